"""compress: makes a smaller, faster model from a trained one by a chain of compressors, such as distillation and int8.

Compressors that change a torch module run first. Then the model is exported to ONNX, and compressors that change an
ONNX graph run. After every compressor, the model is compared with the original on the validation rows, and its speed is
measured. The final model must not lose more accuracy than the option `compress.tolerance` allows; this check is called
the gate.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune import __version__
from vertune.core import machine
from vertune.core.artifact import Artifact, Home, Progress, Recorder, owner_entries, recording
from vertune.core.config import Config, dump, is_same, override
from vertune.core.errors import ConfigError, DataError, MissingExtra, ModelError, NotFound
from vertune.core.files import storage_errors, write_text
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel
from vertune.core.parse import build
from vertune.core.records import Answer, Feature, Record
from vertune.core.spellings import modernise_setting
from vertune.data.dataset import of_model, records_of
from vertune.data.validate import model_columns
from vertune.evaluation.gate import ACCEPTED, ECE, REFUSED, UNDECIDED, Candidate, Gate, GateOptions, benchmark_candidates, mark_best
from vertune.reports import compression
from vertune.reports.card import card
from vertune.runtime import reference
from vertune.runtime.benchmark import GraphWorkload
from vertune.runtime.eager import Eager
from vertune.runtime.fleet import precision_of
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import BASE, GRAPH, Predictor, hashes, task_hash

if TYPE_CHECKING:
    import onnx

_TEXTS = 512
"""Number of validation texts on which a graph is compared with its torch model; their lengths are also used to measure speed."""
_BATCH = 16
_SETTINGS = ("compress", "data.unlabelled", "training", "device", "seed")
"""The sections of a config whose values the settings of a compression may change."""
_CHECKPOINTS = "learnt-"
"""Prefix of the checkpoint folders; there is one folder per student model that a compressor trains."""
_ACCEPTED_BY_USER = "by hand: validation could not tell"


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """Options of a compression that are not part of the config."""

    accept: bool = False
    """Accept the result even if there are too few validation rows to decide whether it is accurate enough."""
    resume: bool = False
    """Continue a killed run from its checkpoints."""


def compress(
    model: Artifact, home: Home, settings: Sequence[str] = (), progress: Progress | None = None, options: CompressOptions | None = None
) -> Artifact:
    """Run the compressors (such as int8) that the model's config lists, and return the smaller model.

    Each of `settings` changes one value of this config, for example `compress.chain=[int8]`. Raises ConfigError for
    compressors that can't run in the given order, DataError if there are no validation rows, and ModelError if the
    result loses too much accuracy or if there are too few validation rows to decide this. In the last case the
    unfinished run is kept: make the same call with `accept=True` in the options to accept its result.
    """
    options = options or CompressOptions()
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("torch") is None:
        raise MissingExtra("Compressing", "train", "onnx")
    _check_settings(settings)
    config = build(Config, override(model.manifest["config"], settings))
    dataset = _dataset(model, home)
    chain = config.compress.chain
    _check_order(chain)
    parents = [model.id, dataset.id]
    if options.accept and (undecided := _earlier_run(home, config, parents, {UNDECIDED})):
        return home.finish(undecided, accepted=_ACCEPTED_BY_USER)
    run = _earlier_run(home, config, parents, {"running", "stopped", "failed"}) if options.resume else None
    request = {"config": dump(config), "parents": parents}
    run = run or home.begin("models", config.name, step="compress", asked=request, parents=parents)
    with home.locked():
        run.update(error=None, **owner_entries())
    with recording(home, run, progress) as recorder, tempfile.TemporaryDirectory() as scratch:
        compression = _Compression(model, config, dataset, recorder, _Folders(Path(scratch), run.folder))
        smaller, graph = compression.run(chain)
        _write(run, smaller, graph, _entries(compression, model), dataset.manifest)
        written = Predictor.open(run)
        compression.check_written(run, written, StandaloneModel(smaller.encoder, smaller.task, graph))
        reference.write(run.folder, {precision_of([part.name for part in chain]): written})
        for folder in run.folder.glob(f"{_CHECKPOINTS}*"):
            shutil.rmtree(folder, ignore_errors=True)
        last = compression.candidates[-1]
        if last.verdict == REFUSED:
            advice = "" if last.loss <= compression.gate.tolerance.loss else ", or allow a larger loss with --set compress.tolerance=…"
            raise ModelError(
                f"The smaller model did not pass the check on the validation rows: {last.why}. {run.folder / 'report.html'} shows the loss "
                f"after each compressor. Change the options of the compressor that loses too much, or leave this compressor out{advice}."
            )
        if last.verdict == ACCEPTED:
            return home.finish(run)
        if options.accept:
            return home.finish(run, accepted=_ACCEPTED_BY_USER)
        run.update(status=UNDECIDED)
    raise ModelError(
        f"The validation rows can't decide whether the smaller model is accurate enough: {last.why}. Add validation rows, or accept the "
        "model without a decision: --accept"
    )


def float32(model: Artifact, home: Home) -> bytes:
    """Export a trained model to ONNX in float32, without any compression, and return the serialised graph.

    Raises ModelError if the outputs of the graph differ from those of the trained model.
    """
    from vertune.graphs.tracing import export

    predictor = Predictor.open(model)
    standalone = _standalone(model, predictor)
    records = records_of(_dataset(model, home), "validation", predictor.task)[:_TEXTS]
    columns = list(predictor.columns) or sorted({key for record in records for key in record})
    features = standalone.encoder.encode(records, standalone.task.views(columns))
    graph: bytes = export(standalone.body, standalone.encoder, features).SerializeToString()
    return graph


def _check_settings(settings: Sequence[str]) -> None:
    """Raise ConfigError if one of the settings (`KEY=VALUE`) changes more than the compression.

    Only config keys in the sections in `_SETTINGS` may change; other keys would change the trained model.
    """
    for setting in settings:
        key = modernise_setting(setting)[0].partition("=")[0]
        if not any(key == section or key.startswith(f"{section}.") for section in _SETTINGS):
            raise ConfigError(
                f"--set {key} would change the trained model, not its compression. A compression can only set: {', '.join(_SETTINGS)}. "
                "To change anything else, train again."
            )


def _check_order(chain: Sequence[Compressor]) -> None:
    """Raise ConfigError if a compressor that changes a torch module comes after one that changes an ONNX graph."""
    kinds = [part.works_on for part in chain]
    if kinds != sorted(kinds, reverse=True):
        names = ", ".join(part.name for part in chain)
        ordered = [part.name for part in chain if part.works_on == "torch"] + [part.name for part in chain if part.works_on == "onnx"]
        raise ConfigError(
            f"The compressors {names} can't run in this order, because a compressor of torch models comes after one of ONNX graphs. "
            f"Put the compressors of torch models first: compress: {{chain: [{', '.join(ordered)}]}}."
        )


def _earlier_run(home: Home, config: Config, parents: list[str], states: set[str]) -> Artifact | None:
    """Return the newest unfinished run that was started with the same config and parents; None if there is none.

    Parents are the ids of the artifacts that a run reads: the model and its dataset. Only runs with a status in
    `states` are considered, and only if no process is working on them.
    """
    runs = [
        run
        for run in home.runs()
        if _asks(run.manifest_or_empty.get("asked"), config, parents) and run.manifest_or_empty.get("status") in states and not run.in_use
    ]
    return runs[-1] if runs else None


def _asks(asked: Any, config: Config, parents: list[str]) -> bool:
    """Return whether a run was started with this config and these parents.

    `asked` is the entry of the run's manifest that contains its config and its parents (the ids of the artifacts that
    it reads).
    """
    return isinstance(asked, dict) and asked.get("parents") == parents and is_same(asked.get("config"), config)


def _dataset(model: Artifact, home: Home) -> Artifact:
    """Return the dataset that the model was trained on; raise NotFound if it was deleted."""
    dataset = of_model(model.manifest, home)
    if dataset is None:
        raise NotFound(
            f"The dataset of {model.id} is not in {home.folder}, and without its validation rows the loss of accuracy can't be measured. "
            "Prepare the data and train again."
        )
    return dataset


@dataclass(frozen=True, slots=True)
class _Folders:
    """The folders that a compression writes to."""

    scratch: Path
    """A temporary folder, deleted when the compression ends."""
    run: Path
    """The folder of the run, which becomes the folder of the compressed model."""


class _Compression:
    """One compression: runs the compressors in turn, and compares the model after each of them with the original."""

    def __init__(self, model: Artifact, config: Config, dataset: Artifact, progress: Recorder, folders: _Folders) -> None:
        self.config, self.progress, self.folders = config, progress, folders
        self.students = 0
        """Number of student models trained by distillation so far."""
        predictor = Predictor.open(model)
        self.parent = _standalone(model, predictor)
        self.columns = list(predictor.columns) or [column.name for column in predictor.task.columns]
        self.train = records_of(dataset, "train", predictor.task)
        self.validation = records_of(dataset, "validation", predictor.task)
        if not self.validation:
            raise DataError(
                f"The dataset {dataset.id} has no validation rows, but the loss of accuracy is measured on them. "
                "Prepare the data again, with a validation split."
            )
        self.unlabelled = _unlabelled(config, predictor)
        options = GateOptions(config.compress.tolerance, bool((model.manifest.get("chosen") or {}).get("refit")), config.seed)
        self.gate = Gate(predictor.task, self.validation, predictor.answer(self.validation), options)
        self.candidates: list[Candidate] = []
        self.workloads: list[GraphWorkload] = []
        """For each candidate, its graph file and the input lengths with which its speed is measured."""

    def run(self, chain: Sequence[Compressor]) -> tuple[StandaloneModel, onnx.ModelProto]:
        """Run the compressors in order, and return the final torch model and the final ONNX graph.

        The torch model comes with its encoder and its task.
        """
        model = self.parent
        graph = self._export(model)
        self._evaluate("float32", model, graph)
        context = self._context()
        for number, part in enumerate(chain, 1):
            self.progress("compressing", name=part.name, number=number, of=len(chain))
            if part.works_on == "torch":
                model = part.shrink(model, context)
                graph = self._export(model)
            else:
                graph = part.shrink(StandaloneModel(model.encoder, model.task, graph), context).body
            self._evaluate(part.name, model, graph)
        self.progress("measuring", graphs=len(self.workloads))
        benchmark_candidates(self.candidates, self.workloads)
        mark_best(self.candidates)
        return model, graph

    def check_written(self, run: Artifact, written: Predictor, measured: StandaloneModel) -> None:
        """Compare `written`, the model that was loaded from the folder of `run`, with `measured`, the same model in memory.

        Raises ModelError if their predictions differ.
        """
        records, task = self.validation[:_BATCH], self.parent.task
        in_memory, on_disk = (task.tally(records, predictor.answer(records)) for predictor in (self._predictor(measured), written))
        if not np.allclose(in_memory, on_disk, atol=1e-3):
            raise ModelError(
                f"The compressed model in {run.folder} makes other predictions after it is loaded from disk than it made in memory, "
                "so it is not kept. Report this as a bug, with the names of the pretrained model and of the compressors."
            )

    def _context(self) -> CompressionContext:
        """Return the data and the functions that a compressor may use.

        These are, for example, the training records, and a function that trains a smaller model by distillation.
        """
        from vertune.learning.distil import DistillationInput, distil

        def train_student(student: StandaloneModel, teacher: StandaloneModel, epochs: float) -> None:
            self.students += 1
            records = [*self.train, *self.unlabelled]
            checkpoint = self.folders.run / f"{_CHECKPOINTS}{self.students}"
            distil(student, teacher, DistillationInput(self.config, records, self.columns, epochs, checkpoint), self.progress)

        return CompressionContext(
            train=self.train, unlabelled=self.unlabelled, columns=self.columns, seed=self.config.seed, distil=train_student,
            outputs=self._outputs, activations=self._activations,
            accepts=lambda model: self.gate.verdict("", self._answers(model)).verdict != REFUSED,
            progress=self.progress, folder=self.folders.scratch / "parts",
        )  # fmt: skip

    def _export(self, model: StandaloneModel) -> onnx.ModelProto:
        """Export a torch model to ONNX and return the ONNX model; raise ModelError if their outputs for validation texts differ."""
        from vertune.graphs.tracing import export

        features = self._features(model)
        self.progress("exporting", texts=len(features))
        return export(model.body, model.encoder, features)

    def _features(self, model: StandaloneModel) -> list[Feature]:
        """Return the first `_TEXTS` validation records (or all, if there are fewer), encoded as inputs of the model."""
        return model.encoder.encode(self.validation[:_TEXTS], model.task.views(self.columns))

    def _engine(self, model: StandaloneModel) -> Any:
        """Return an object that computes the outputs of the model; the model is a torch module or an ONNX graph."""
        from vertune.nn.vertical import VerticalModel

        if isinstance(model.body, VerticalModel):
            return Eager(model.body, self.config.device.tokens, "cpu")  # compressors work on the CPU
        return Graph(model.body.SerializeToString())

    def _predictor(self, model: StandaloneModel) -> Predictor:
        return Predictor({}, model.encoder, model.task, self._engine(model), tuple(self.columns))

    def _outputs(self, model: StandaloneModel, records: Sequence[Record]) -> list[NDArray[Any]]:
        """Return the raw outputs of a model for these records, before they are decoded to predictions."""
        return self._predictor(model).outputs(model.encoder.encode(records, model.task.views(self.columns)))

    def _answers(self, model: StandaloneModel) -> list[Answer]:
        """Return the predictions of a model for the validation records."""
        return self._predictor(model).answer(self.validation)

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

    def _evaluate(self, name: str, model: StandaloneModel, graph: onnx.ModelProto) -> None:
        """Compare the predictions of `model` with those of the original model, and append the result to `candidates`.

        `name` is the name of the compressor that returned `model`. `graph` is the ONNX graph of this model.
        """
        candidate = self.gate.verdict(name, self._answers(StandaloneModel(model.encoder, model.task, graph)))
        file = self.folders.scratch / f"{len(self.candidates)}.onnx"
        file.write_bytes(graph.SerializeToString())
        self.workloads.append(GraphWorkload(file, model.encoder, [feature.cost for feature in self._features(model)]))
        self.candidates.append(candidate)
        candidate.bytes = file.stat().st_size
        goal = model.task.goal
        self.progress("judged", name=name, goal=goal, metric=candidate.metrics[goal], verdict=candidate.verdict, bytes=candidate.bytes)


def _standalone(model: Artifact, predictor: Predictor) -> StandaloneModel:
    """Return the trained model as one torch model: its weight changes are merged into the pretrained weights.

    Raises ConfigError if `model` is a compressed model, because such a model has no torch weights.
    """
    from vertune.nn import delta, edits
    from vertune.nn.build import build as assemble

    if (model.folder / GRAPH).exists():
        raise ConfigError(f"{model.id} is compressed already. Compress the model that it was made from: {model.manifest['parents'][0]}.")
    body = assemble(predictor.encoder, predictor.task)
    edits.apply_merged(body, delta.load(model.folder))
    return StandaloneModel(predictor.encoder, predictor.task, body.eval())


def _unlabelled(config: Config, predictor: Predictor) -> list[Record]:
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


def _entries(compression: _Compression, model: Artifact) -> dict[str, Any]:
    """Return the manifest entries of the compressed model, such as its config, its metrics and its loss of accuracy."""
    manifest = model.manifest
    last, gate, task = compression.candidates[-1], compression.gate, compression.parent.task
    inherited = ("data_hash", "chosen", "columns", "seed")
    return {
        **{key: manifest[key] for key in inherited if key in manifest},  # models of older versions lack some
        "metrics": {"validation": last.metrics},
        "config": dump(compression.config),
        "candidates": [asdict(candidate) for candidate in compression.candidates],
        "gate": {
            "tolerance": gate.tolerance.loss,
            "ece": ECE,
            "share": gate.tolerance.share,
            "goal": task.goal,
            "lower_is_better": task.goal in task.lower_is_better,
            "rows": len(compression.validation),
            "known": gate.options.trained_on_records,
        },
        "processor": list(machine.cpu_features()),
        "bytes": last.bytes,
        "versions": {**manifest.get("versions", {}), "vertune": __version__},
    }


def _write(run: Artifact, model: StandaloneModel, graph: onnx.ModelProto, entries: dict[str, Any], dataset: Mapping[str, Any]) -> None:
    """Write the compressed model into the folder of a run: the graph and the encoder's files.

    The manifest entries, the HTML report and the model card are written too. `dataset` is the manifest of the model's
    dataset.
    """
    with storage_errors(run.folder):
        (run.folder / GRAPH).write_bytes(graph.SerializeToString())
    model.encoder.write(run.folder / BASE)
    run.update(fingerprint={**hashes(run.folder, (run.folder / BASE).is_dir()), "task": task_hash(entries["config"]["task"])}, **entries)
    write_text(run.folder / "report.html", compression.page(run.manifest))
    write_text(run.folder / "README.md", card(run.manifest, dataset))
