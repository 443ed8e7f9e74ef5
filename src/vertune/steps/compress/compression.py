"""Runs compressors on a trained model and compares every result with this model, in memory; writes no artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Artifact, Recorder
from vertune.core.config import Config
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, DataError, ModelError
from vertune.core.files import storage_errors
from vertune.core.kinds import CompressionContext, Compressor, Encoder, StandaloneModel, Task
from vertune.core.records import Answer, Feature, Record
from vertune.data.dataset import records_of
from vertune.data.validate import model_columns
from vertune.evaluation.gate import REFUSED, Candidate, Gate, GateOptions, benchmark_candidates, mark_best
from vertune.lexical.companion import FILE as COMPANION
from vertune.runtime.benchmark import GraphWorkload
from vertune.runtime.eager import Eager
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import GRAPH, Predictor

if TYPE_CHECKING:
    import onnx

    from vertune.lexical.companion import Companion

TEXTS = 512
"""Number of validation texts on which a graph is compared with its torch model; their lengths are also used to measure speed."""
_BATCH = 16
CHECKPOINTS = "learnt-"
"""Prefix of the checkpoint folders; there is one folder per student model that a compressor trains."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that a compression writes to."""

    scratch: Path
    """A temporary folder, deleted when the compression ends."""
    run: Path
    """The folder of the run, which becomes the folder of the compressed model."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A model that was trained without one part of the rows, and this part."""

    model: StandaloneModel
    train: list[Record]
    held_out: list[Record]


class Compression:
    """One compression: runs the compressors in turn, and compares the model after each of them with the original."""

    def __init__(self, model: Artifact, config: Config, dataset: Artifact, progress: Recorder, folders: Folders) -> None:
        self.config, self.progress, self.folders = config, progress, folders
        self.students = 0
        """Number of student models trained by distillation so far."""
        predictor = Predictor.open(model)
        self.parent = standalone(model, predictor)
        self.companion = predictor.companion
        self.columns = list(predictor.columns) or [column.name for column in predictor.task.columns]
        self.train = records_of(dataset, "train", predictor.task)
        self.validation = records_of(dataset, "validation", predictor.task)
        if not self.validation:
            raise DataError(
                f"The dataset {dataset.id} has no validation rows, but the loss of accuracy is measured on them. "
                "Prepare the data again, with a validation split."
            )
        self.unlabelled = unlabelled(config, predictor)
        options = GateOptions(config.compress.tolerance, model.refitted, config.seed)
        self.gate = Gate(predictor.task, self.validation, predictor.answer(self.validation), options)
        self.candidates: list[Candidate] = []
        self.workloads: list[GraphWorkload] = []
        """For each candidate, its graph file and the input lengths with which its speed is measured."""

    @property
    def labelled(self) -> list[Record]:
        """All labelled records: those of training, then those of validation."""
        return [*self.train, *self.validation]

    def run(self, chain: Sequence[Compressor]) -> tuple[StandaloneModel, onnx.ModelProto]:
        """Run the compressors in order, and return the final torch model and the final ONNX graph.

        The torch model comes with its encoder and its task.
        """
        for name, model, graph in self.stages(chain, self.parent, self._context(self.train, self._passes)):
            self._evaluate(name, model, graph, same=not self.candidates)
        self.progress("measuring", graphs=len(self.workloads))
        benchmark_candidates(self.candidates, self.workloads)
        mark_best(self.candidates)
        return model, graph

    def stages(
        self, chain: Sequence[Compressor], parent: StandaloneModel, context: CompressionContext
    ) -> Iterator[tuple[str, StandaloneModel, onnx.ModelProto]]:
        """Yield the model before compression, called `float32`, and after each compressor: name, torch model, ONNX graph."""
        model = parent
        graph = self._export(model)
        yield "float32", model, graph
        for number, part in enumerate(chain, 1):
            self.progress("compressing", name=part.name, number=number, of=len(chain))
            if part.works_on == "torch":
                model = part.shrink(model, context)
                graph = self._export(model)
            else:
                graph = part.shrink(StandaloneModel(model.encoder, model.task, graph), context).body
            yield part.name, model, graph

    def on_held_out(self, chain: Sequence[Compressor], fold: Fold) -> tuple[list[Answer], list[Answer]]:
        """Compress the model of a fold; return its answers for the rows that were held out, before and after compression.

        Compressors that ask whether a result is accurate enough are told so by a comparison on rows of its training.
        """
        from vertune.learning.companion import refit

        # the words must not have seen the rows that are held out
        features = fold.model.encoder.encode(fold.train, fold.model.task.views(self.columns))
        companion = refit(self.companion, self.parent.task, fold.train, features)

        def answers(model: StandaloneModel, records: Sequence[Record]) -> list[Answer]:
            return self._predictor(model, companion).answer(records)

        known = fold.train[:TEXTS]
        options = GateOptions(self.config.compress.tolerance, seed=self.config.seed)
        gate = Gate(self.parent.task, known, answers(fold.model, known), options)
        context = self._context(fold.train, lambda model: gate.verdict("", answers(model, known)).verdict != REFUSED)
        compressed = [StandaloneModel(model.encoder, model.task, graph) for _, model, graph in self.stages(chain, fold.model, context)]
        return answers(compressed[0], fold.held_out), answers(compressed[-1], fold.held_out)

    def write_companion(self, folder: Path) -> None:
        """Write the companion of the original model, which the smaller one keeps, into a folder; do nothing if there is none."""
        if self.companion is not None:
            with storage_errors(folder):
                self.companion.save(folder / COMPANION)

    def check_written(self, run: Artifact, written: Predictor, measured: StandaloneModel) -> None:
        """Compare `written`, the model that was loaded from the folder of `run`, with `measured`, the same model in memory.

        Raises ModelError if their predictions differ.
        """
        records, task = self.validation[:_BATCH], self.parent.task
        in_memory, on_disk = (
            task.tally(records, predictor.answer(records)) for predictor in (self._predictor(measured, self.companion), written)
        )
        if not np.allclose(in_memory, on_disk, atol=1e-3):
            raise ModelError(
                f"The compressed model in {run.folder} makes other predictions after it is loaded from disk than it made in memory, "
                "so it is not kept. Report this as a bug, with the names of the pretrained model and of the compressors."
            )

    def _context(self, train: Sequence[Record], accepts: Callable[[StandaloneModel], bool]) -> CompressionContext:
        """Return the data and the functions that a compressor may use.

        These are, for example, the training records `train`, and a function that trains a smaller model by distillation.
        """
        from vertune.learning.distil import DistillationInput, distil

        def train_student(student: StandaloneModel, teacher: StandaloneModel, epochs: float) -> None:
            self.students += 1
            records = [*train, *self.unlabelled]
            checkpoint = self.folders.run / f"{CHECKPOINTS}{self.students}"
            distil(student, teacher, DistillationInput(self.config, records, self.columns, epochs, checkpoint), self.progress)

        return CompressionContext(
            train=train, unlabelled=self.unlabelled, columns=self.columns, seed=self.config.seed, distil=train_student,
            outputs=self._outputs, activations=self._activations,
            accepts=accepts,
            progress=self.progress, folder=self.folders.scratch / "parts",
        )  # fmt: skip

    def _passes(self, model: StandaloneModel) -> bool:
        """Return whether a compressed model does not lose too much accuracy on the validation records."""
        return self.gate.verdict("", self._answers(model, self.validation)).verdict != REFUSED

    def _export(self, model: StandaloneModel) -> onnx.ModelProto:
        """Export a torch model to ONNX and return the ONNX model; raise ModelError if their outputs for validation texts differ."""
        from vertune.graphs.tracing import export

        features = self._features(model)
        self.progress("exporting", texts=len(features))
        return export(model.body, model.encoder, features)

    def _features(self, model: StandaloneModel) -> list[Feature]:
        """Return the first `TEXTS` validation records (or all, if there are fewer), encoded as inputs of the model."""
        return model.encoder.encode(self.validation[:TEXTS], model.task.views(self.columns))

    def _engine(self, model: StandaloneModel) -> Any:
        """Return an object that computes the outputs of the model; the model is a torch module or an ONNX graph."""
        from vertune.nn.vertical import VerticalModel

        if isinstance(model.body, VerticalModel):
            return Eager(model.body, self.config.device.tokens, "cpu")  # compressors work on the CPU
        return Graph(model.body.SerializeToString())

    def _predictor(self, model: StandaloneModel, companion: Companion | None = None) -> Predictor:
        return Predictor({}, model.encoder, model.task, self._engine(model), tuple(self.columns), companion=companion)

    def _outputs(self, model: StandaloneModel, records: Sequence[Record]) -> list[NDArray[Any]]:
        """Return the raw outputs of a model for these records, before they are decoded to predictions."""
        return self._predictor(model).outputs(model.encoder.encode(records, model.task.views(self.columns)))

    def _answers(self, model: StandaloneModel, records: Sequence[Record]) -> list[Answer]:
        """Return the predictions of a model for these records."""
        return self._predictor(model, self.companion).answer(records)

    def _activations(self, model: StandaloneModel, records: Sequence[Record], names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Run an ONNX graph on these records, and yield the values of the named tensors.

        Each item is for one batch, and maps the name of a tensor to its values. They are used to calibrate int8.
        """
        from vertune.graphs.editing import with_outputs

        graph = Graph(with_outputs(model.body, names).SerializeToString())
        features = model.encoder.encode(records, model.task.views(self.columns))
        for start in range(0, len(features), _BATCH):
            arrays = model.encoder.collate(features[start : start + _BATCH])
            yield graph.values(arrays, names, model.encoder.mask(arrays))
            self.progress("calibrating", step=min(start + _BATCH, len(features)), steps=len(features))

    def _evaluate(self, name: str, model: StandaloneModel, graph: onnx.ModelProto, same: bool) -> None:
        """Compare the predictions of `model` with those of the original model, and append the result to `candidates`.

        `name` is the name of the compressor that returned `model`. `graph` is the ONNX graph of this model. `same` is
        whether it is the original model, whose outputs were compared when it was exported.
        """
        answers = self._answers(StandaloneModel(model.encoder, model.task, graph), self.validation)
        candidate = self.gate.verdict(name, answers, same)
        file = self.folders.scratch / f"{len(self.candidates)}.onnx"
        file.write_bytes(graph.SerializeToString())
        self.workloads.append(GraphWorkload(file, model.encoder, [feature.cost for feature in self._features(model)]))
        self.candidates.append(candidate)
        candidate.bytes = file.stat().st_size
        goal = model.task.goal
        self.progress("judged", name=name, goal=goal, metric=candidate.metrics[goal], verdict=candidate.verdict, bytes=candidate.bytes)


def standalone(model: Artifact, predictor: Predictor) -> StandaloneModel:
    """Return the trained model as one torch model: its weight changes are merged into the pretrained weights.

    Raises ConfigError if `model` is a compressed model, because such a model has no torch weights.
    """
    from vertune.nn import delta

    if (model.folder / GRAPH).exists():
        raise ConfigError(f"{model.id} is compressed already. Compress the model that it was made from: {model.manifest['parents'][0]}.")
    return assembled(predictor.encoder, predictor.task, delta.load(model.folder))


def assembled(encoder: Encoder, task: Task, changes: Sequence[Edit]) -> StandaloneModel:
    """Return a torch model from the pretrained weights, into which these trained changes are merged."""
    from vertune.nn import edits
    from vertune.nn.build import build as assemble

    body = assemble(encoder, task)
    edits.apply_merged(body, changes)
    return StandaloneModel(encoder, task, body.eval())


def unlabelled(config: Config, predictor: Predictor) -> list[Record]:
    """Return the rows that the config option `data.unlabelled` names, as records with the task's input fields.

    Rows that can't be read are left out. The list is empty if the option is not set.
    """
    import polars as pl

    if config.data.unlabelled is None:
        return []
    frame = config.data.unlabelled.read().lazy().collect()
    if "__error" in frame.columns:
        frame = frame.filter(pl.col("__error").is_null())
    return list(predictor.task.clean(model_columns(frame, predictor)).frame.to_dicts())
