"""Writes the model card (Mitchell et al. 2019) of a model: the file README.md in the model's folder.

Its content comes from manifest.json of the model and manifest.json of the model's dataset. If a fact is missing in
these files, the card states that it is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vertune.core import base as bases
from vertune.core.bounded_yaml import parse_yaml
from vertune.core.documents import lines
from vertune.core.errors import VertuneError
from vertune.core.kinds import Task
from vertune.reports import language, render
from vertune.reports.mix import mix
from vertune.reports.scales import format_interval, format_value
from vertune.reports.tried import tried
from vertune.reports.verdict import verdict
from vertune.reports.words import metric

UNKNOWN = "unknown"
"""The licence, in the form that model hubs read, of which nothing is stated."""
_LISTED = 40
"""Maximum number of labels that are listed; of the others, the card only gives the number."""


def card(manifest: Mapping[str, Any], dataset: Mapping[str, Any] | None = None, evaluated: Mapping[str, Any] | None = None) -> str:
    """Return the model card in Markdown.

    `manifest` is the content of the model's manifest.json; `dataset` is the content of manifest.json of the model's
    dataset. In `manifest`, `metrics` maps each split, such as `validation`, to the values of its metrics by name.
    `intervals` maps each split to the 95 % confidence intervals of its metrics by name, each as a list of lower and
    upper end. `evaluated` contains the entries `verdict.KEYS` of a report's metrics.json, if the model was evaluated on
    test rows; these figures come first.
    """
    config = manifest["config"]
    base = config.get("encoder", {}).get("base")
    labels = Task.model_validate(config["task"]).known_labels
    data = _data(config, dataset or {})
    return render(
        "card.md",
        m=manifest,
        head=_head(manifest, base, data["stated"]),
        task=config["task"]["name"],
        labels=_labels(labels),
        base=base,
        base_licence=base_licence(base),
        method=_name(config.get("method")),
        chosen=manifest.get("chosen") or {},
        mix=mix((manifest.get("chosen") or {}).get("companion")),
        tried=tried(manifest.get("chosen")),
        data=data,
        language=language.sentence((dataset or {}).get("language"), (dataset or {}).get("unknown")),
        foreign=language.warning(base or "", (dataset or {}).get("language"), (dataset or {}).get("unknown")),
        measured=_measured(manifest, evaluated, data["rows"]),
        verdict=verdict(evaluated) if evaluated else None,
        label_count=len(labels),
        encoder=config.get("encoder", {}),
    )


def _measured(manifest: Mapping[str, Any], evaluated: Mapping[str, Any] | None, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the splits on which the model was measured, the test rows first, each with its number of rows and its metrics."""
    splits: dict[str, dict[str, Any]] = {}
    if evaluated:
        entries = evaluated["metrics"]
        ends = {name: [entry["low"], entry["high"]] for name, entry in entries.items() if entry["low"] is not None}
        splits[evaluated["split"]] = {
            "count": evaluated["rows"], "rows": _rows({name: entry["value"] for name, entry in entries.items()}, ends), "intervals": ends,
        }  # fmt: skip
    for split, values in (manifest.get("metrics") or {}).items():
        if values and split not in splits:
            ends = (manifest.get("intervals") or {}).get(split) or {}
            splits[split] = {"count": counts.get(split), "rows": _rows(values, ends), "intervals": ends}
    return [{"split": split, **entries} for split, entries in splits.items()]


def base_licence(base: str | None) -> str | None:
    """Return the licence of the pretrained model `base`, as its own model card states it.

    Returns None if the pretrained model is not on this machine, or if its card can't be read or states no licence.
    """
    try:
        text = (bases.resolve(base) / "README.md").read_text(encoding="utf-8") if base else ""
        front = parse_yaml(text.split("---")[1], "README.md") if text.startswith("---") else {}
    except (VertuneError, OSError, UnicodeDecodeError):
        return None
    stated = front.get("license") if isinstance(front, dict) else None
    return ", ".join(stated) if isinstance(stated, list) else stated


def data_licence(source: str | None) -> str | None:
    """Return the first line that is not blank of the licence file in the folder of the data file `source`.

    Returns None if there is no licence file.
    """
    folder = Path(source).parent if source else None
    if folder is None or not folder.is_dir():
        return None
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            text = file.read_text(encoding="utf-8", errors="replace")
            return next((line.strip().lstrip("# ") for line in lines(text) if line.strip()), None)
    return None


def _head(manifest: Mapping[str, Any], base: str | None, data_licence: str | None) -> str:
    """Return the YAML front matter of the card, which model hubs read.

    `base` is the name of the pretrained model, and `data_licence` the licence of the data that the config states.
    """
    hub = bases.ALIASES.get(base, base) if base else None
    tags = ["vertune", manifest["config"]["task"]["name"]]
    entries = {"library_name": "vertune", "base_model": hub, "license": _combined(base_licence(base), data_licence), "tags": tags}
    return yaml.safe_dump({key: value for key, value in entries.items() if value}, sort_keys=False, allow_unicode=True)


def _combined(base: str | None, data: str | None) -> str:
    """Return the licence of a model that was made from a pretrained model and data with these licences.

    It is `unknown` if one of them is not stated, because a model that is made from data without a licence has none
    either; and `other` if they differ, because then the conditions of both apply.
    """
    if base is None or data is None:
        return UNKNOWN
    return base if base.casefold() == data.casefold() else "other"


def _labels(labels: Iterable[str]) -> str:
    """Return the labels as one line of text; of more than 40 labels (`_LISTED`), the first 40 and the number of the others."""
    quoted = [f"`{label}`" for label in labels]
    return ", ".join(quoted[:_LISTED]) + (f" and {len(quoted) - _LISTED} more" if len(quoted) > _LISTED else "")


def _name(part: Any) -> str:
    """Return the name of a component that the config selects, such as the method.

    In the config, a component is either only its name, or a mapping with its name and its options.
    """
    return str(part["name"] if isinstance(part, Mapping) else part)


def _data(config: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the records come from, how many each split contains, and what is known of their licence, for the card.

    `stated` is the licence that the config states, `licence_file` the first line of a licence file beside the data.
    """
    source = (config.get("data") or {}).get("source") or {}
    path = source.get("path")
    return {
        "source": Path(path).name if path else source.get("name") or "data passed in Python",
        "rows": {name: rows for name, rows in (dataset.get("rows") or {}).items() if rows},
        "stated": (config.get("data") or {}).get("licence"),
        "licence_file": data_licence(path),
    }


def _rows(metrics: Mapping[str, float], intervals: Mapping[str, list[float]]) -> list[dict[str, str]]:
    """Return the metrics as rows of a table, formatted for the card.

    `intervals` maps the name of a metric to the two ends of its confidence interval, if this is known.
    """
    return [
        {
            "title": metric(name).title,
            "value": format_value(value, metric(name).unit),
            "interval": format_interval(intervals[name][0], intervals[name][1], metric(name).unit) if name in intervals else "",
            "about": metric(name).explain(value),
        }
        for name, value in metrics.items()
    ]
