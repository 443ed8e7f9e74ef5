"""Compresses the candidate of a retraining as the live model was compressed, so that it may replace it; judges no candidate."""

from __future__ import annotations

import json
from typing import Any

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.config import Config, is_same, override
from vertune.core.errors import ConfigError, DataError, ModelError, NotFound
from vertune.core.parse import build
from vertune.runtime.predictor import GRAPH
from vertune.steps.compress import CompressOptions, compress
from vertune.steps.gate import COMPRESSION_FAILED
from vertune.steps.retrain.dataset import Lineage

_FURTHER = ("training", "device", "seed")
"""Sections of a config, besides `compress`, that a compression may have been given other values of than the training."""


def compressed_candidate(lineage: Lineage, model: Artifact, home: Home, progress: Progress | None = None) -> Artifact:
    """Return a candidate compressed with the options of the live model, or the candidate itself if the live model is not compressed.

    A candidate that was compressed so before is not compressed again. A result of which its rows can't tell whether it is accurate enough
    is returned too, and the gate can't tell either. If the result is refused, the candidate is returned as it is, its manifest says why,
    and the gate fails it for this reason.
    """
    if not (lineage.live.folder / GRAPH).exists() or (model.manifest.get(COMPRESSION_FAILED) or {}).get("live") == lineage.live.id:
        return model
    settings = _settings(lineage)
    config = build(Config, override(model.manifest["config"], settings))
    if earlier := _earlier(home, model, config):
        return earlier
    if progress:
        progress("as_live", live=lineage.live.id, chain=", ".join(part.name for part in config.compress.chain) or "no compressor")
    try:
        return compress(model, home, settings, progress, CompressOptions(resume=True, keep_undecided=True))
    except (ConfigError, DataError, ModelError, NotFound) as error:
        if progress:
            progress("warning", message=f"The candidate is not compressed as the live model is, and the gate fails it for that. {error}")
        model.update(**{COMPRESSION_FAILED: {"live": lineage.live.id, "why": str(error)}})
        return model


def _settings(lineage: Lineage) -> list[str]:
    """Return the settings with which the live model was compressed."""
    live, trained = (one.manifest["config"] for one in (lineage.live, lineage.trained))
    found: dict[str, Any] = {"compress": live.get("compress") or {}}
    found |= {name: live[name] for name in _FURTHER if name in live and live[name] != trained.get(name)}
    unlabelled = (live.get("data") or {}).get("unlabelled")
    if unlabelled != (trained.get("data") or {}).get("unlabelled"):
        found["data.unlabelled"] = unlabelled
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in found.items()]


def _earlier(home: Home, model: Artifact, config: Config) -> Artifact | None:
    """Return the newest model that was made of this one with this config by a compression."""
    for made in reversed(home.shelf("models")):
        manifest = made.manifest_or_empty
        asked = manifest.get("asked")
        if manifest.get("step") == "compress" and model.id in made.parents and isinstance(asked, dict) and is_same(asked["config"], config):
            return made
    return None
