"""export: writes a model in the form of other software, kept only if it answers the same there; knows nothing of the forms."""

from __future__ import annotations

from pathlib import Path

from vertune.core.artifact import Artifact
from vertune.core.errors import ConfigError
from vertune.core.files import new_folder
from vertune.core.kinds import Export
from vertune.core.parse import build
from vertune.runtime.eager import Eager
from vertune.runtime.predictor import GRAPH, Predictor


def export(model: Artifact, form: str | Export, folder: Path) -> Path:
    """Write a model into a new or empty folder and return its path.

    Raises Conflict where the folder holds anything, ConfigError where that software has no counterpart, ModelError where it
    answers otherwise than the model; a failed export leaves nothing behind.
    """
    from vertune.nn import delta
    from vertune.nn.trained import TrainedModel

    chosen = form if isinstance(form, Export) else build(Export, form)
    with new_folder(folder) as place:
        opened = Predictor.open(model)
        if chosen.needs_sequences and opened.encoder.input_names.sequence is None:
            raise ConfigError(
                f"The model reads no token sequences, and {chosen.name} knows no others. Expected a model of texts. Export onnx."
            )
        name = str(model.manifest["name"])
        if isinstance(opened.engine, Eager):
            trained = TrainedModel(name, opened.encoder, opened.task, opened.engine.model, delta.load(model.folder), opened.columns)
        elif chosen.takes_graphs:
            graph = model.folder / GRAPH
            trained = TrainedModel(name, opened.encoder, opened.task, None, [], opened.columns, graph, opened.outputs)
        else:
            raise ConfigError(
                f"{model.id} was compressed and has no torch weights any more, which {chosen.name} needs. Export the model that it was "
                f"made from ({model.manifest['parents'][0]}), or choose onnx."
            )
        chosen.write(trained, place)
        chosen.check(trained, place)
    return folder.absolute()
