"""export: writes a model in a format of other software, such as ONNX, and checks that the exported model has the same outputs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import Artifact
from vertune.core.errors import ConfigError
from vertune.core.files import new_folder
from vertune.core.kinds import Export
from vertune.core.parse import build
from vertune.runtime.eager import Eager
from vertune.runtime.predictor import GRAPH, Predictor

if TYPE_CHECKING:
    from vertune.lexical.companion import Companion

_log = logging.getLogger("vertune")


def export(model: Artifact, form: str | Export, folder: Path) -> Path:
    """Write a model in the format `form` into a new or empty folder, and return the folder's path.

    Raises Conflict if the folder is not empty, ConfigError if a model of this kind can't be written in the format,
    ModelError if the outputs of the exported model differ. If there is an error, no files remain in the folder.
    """
    from vertune.nn import delta
    from vertune.nn.trained import TrainedModel

    exporter = form if isinstance(form, Export) else build(Export, form)
    with new_folder(folder) as target:
        predictor = Predictor.open(model)
        if exporter.needs_sequences and predictor.encoder.input_names.sequence is None:
            raise ConfigError(
                f"{model.id} reads no token sequences, but the format {exporter.name} needs a model that does. Export to onnx instead."
            )
        described: dict[str, Any] = {
            "name": str(model.manifest["name"]),
            "encoder": predictor.encoder,
            "task": predictor.task,
            "reads": predictor.columns,
            "companion": predictor.companion,
        }
        if predictor.companion is not None and not exporter.takes_companion:
            _check_without_words(model, predictor.companion, exporter)
        if isinstance(predictor.engine, Eager):
            trained = TrainedModel(model=predictor.engine.model, edits=delta.load(model.folder), **described)
        elif exporter.takes_graphs:
            trained = TrainedModel(model=None, edits=[], graph=model.folder / GRAPH, run=predictor.outputs, **described)
        else:
            raise ConfigError(
                f"{model.id} is compressed and has no torch weights, but the format {exporter.name} needs them. "
                f"Export the model that it was made from ({model.manifest['parents'][0]}), or choose the format onnx."
            )
        if predictor.cleaners:
            names = ", ".join(cleaner.name for cleaner in predictor.cleaners)
            _log.warning(
                "The model %s changes each text with the cleaners %s before it predicts, but the exported model does not. "
                "Change the texts in the same way before you pass them to the exported model.",
                model.id,
                names,
            )
        exporter.write(trained, target)
        exporter.check(trained, target)
    return folder.absolute()


def _check_without_words(model: Artifact, companion: Companion, exporter: Export) -> None:
    """Log that a format can't contain the companion of a model; raise ConfigError if the answers depend on the companion alone."""
    if companion.model == 0:
        raise ConfigError(
            f"{model.id} can't be written for {exporter.name}: its answers come from the words of the texts alone, which only the format "
            "onnx contains. Export to onnx, or train with companion: none."
        )
    _log.warning(
        "The model %s mixes its outputs with those of its companion (scores of words, or a temperature), but the exported model does "
        "not: it gives other probabilities, and may give other answers. Export to onnx to keep the mix, or train with companion: none.",
        model.id,
    )
