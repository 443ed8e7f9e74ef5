"""compress: from a trained model to a smaller one, kept only where validation shows what it keeps; knows no way to shrink.

The chain of compressors works on torch first, is written as an ONNX graph once, and goes on there. Every output of it is scored
on validation beside the model that it was made from, and measured; the last one must pass the gate.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Sequence
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
from vertune.data.validate import model_columns as columns_of
from vertune.evaluation.gate import ACCEPTED, ECE, REFUSED, UNDECIDED, Candidate, Gate, benchmark_candidates, mark_best
from vertune.reports import compression
from vertune.runtime.benchmark import GraphWorkload
from vertune.runtime.eager import Eager
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import BASE, GRAPH, Predictor, hashes, task_hash

if TYPE_CHECKING:
    import onnx

_TEXTS = 512
"""Validation texts on which a graph is compared with its model, and whose lengths are those of its speed."""
_BATCH = 16
_SETTINGS = ("compress", "data.unlabelled", "training", "device", "seed")
"""The places of a config that say how a model is compressed."""
_LEARNT = "learnt-"
"""What the folders of checkpoints begin with, one for each time that a compressor has a model learn."""
_BY_HAND = "by hand: validation could not tell"


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """On what terms a compression runs."""

    accept: bool = False
    """Take a result of which validation can't tell what it lost."""
    resume: bool = False
    """Go on with what a killed run had learnt."""


def compress(
    model: Artifact, home: Home, settings: Sequence[str] = (), progress: Progress | None = None, terms: CompressOptions | None = None
) -> Artifact:
    """Shrink a trained model by the chain of its config, changed by `settings` such as `compress.chain=[int8]`.

    Raises ConfigError for a chain that can't work, DataError without validation rows, ModelError where the gate refuses the
    result, or where validation is too small to tell; then the run stays, and the same call that accepts it takes it over.
    """
    terms = terms or CompressOptions()
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("torch") is None:
        raise MissingExtra("Compressing", "train", "onnx")
    _check_settings(settings)
    config = build(Config, override(model.manifest["config"], settings))
    dataset = _dataset(model, home)
    chain = config.compress.chain
    _check(chain)
    parents = [model.id, dataset.id]
    if terms.accept and (waiting := _run(home, config, parents, {UNDECIDED})):
        return home.finish(waiting, accepted=_BY_HAND)
    run = _run(home, config, parents, {"running", "stopped", "failed"}) if terms.resume else None
    asked = {"config": dump(config), "parents": parents}
    run = run or home.begin("models", config.name, step="compress", asked=asked, parents=parents)
    run.update(error=None, **owner_entries())
    with recording(home, run, progress) as recorder, tempfile.TemporaryDirectory() as scratch:
        work = _Work(model, config, dataset, recorder, (Path(scratch), run.folder))
        whole, graph = work.run(chain)
        _write(run, whole, graph, _entries(work, model))
        work.prove(run, StandaloneModel(whole.encoder, whole.task, graph))
        for folder in run.folder.glob(f"{_LEARNT}*"):
            shutil.rmtree(folder, ignore_errors=True)
        last = work.candidates[-1]
        if last.verdict == REFUSED:
            more = "" if last.loss <= work.judge.tolerance else ", or allow more with --set compress.tolerance=…"
            raise ModelError(
                f"The smaller model was refused: {last.why}. {run.folder / 'report.html'} shows what each step cost; weaken or leave out "
                f"what cost too much{more}."
            )
        if last.verdict == ACCEPTED:
            return home.finish(run)
        if terms.accept:
            return home.finish(run, accepted=_BY_HAND)
        run.update(status=UNDECIDED)
    raise ModelError(f"Validation can't tell: {last.why}. More validation rows would; to take it as it is, add --accept.")


def float32(model: Artifact, home: Home) -> bytes:
    """The graph of a trained model as it is, checked on its validation texts; for measuring beside smaller ones."""
    from vertune.graphs.tracing import export

    opened = Predictor.open(model)
    whole = _whole(model, opened)
    records = records_of(_dataset(model, home), "validation", opened.task)[:_TEXTS]
    columns = list(opened.columns) or sorted({key for record in records for key in record})
    graph: bytes = export(whole.body, whole.encoder, whole.encoder.encode(records, whole.task.views(columns))).SerializeToString()
    return graph


def _check_settings(settings: Sequence[str]) -> None:
    """ConfigError for a change of what the model is: it was trained and measured with other settings."""
    for setting in settings:
        key = modernise_setting(setting)[0].partition("=")[0]
        if not any(key == known or key.startswith(f"{known}.") for known in _SETTINGS):
            raise ConfigError(
                f"--set {key} would change the model that is compressed, not how. Here may be set: {', '.join(_SETTINGS)}. "
                "Train again for anything else."
            )


def _check(chain: Sequence[Compressor]) -> None:
    """ConfigError where a part for torch comes after one for ONNX."""
    kinds = [part.works_on for part in chain]
    if kinds != sorted(kinds, reverse=True):
        names = ", ".join(part.name for part in chain)
        first = [part.name for part in chain if part.works_on == "torch"] + [part.name for part in chain if part.works_on == "onnx"]
        raise ConfigError(f"The chain {names} goes back from ONNX to torch. Write it as: compress: {{chain: [{', '.join(first)}]}}.")


def _run(home: Home, config: Config, parents: list[str], states: set[str]) -> Artifact | None:
    """The newest run of exactly this in one of these states that no process works at."""
    runs = [
        run
        for run in home.runs()
        if _asks(run.known_manifest.get("asked"), config, parents) and run.known_manifest.get("status") in states and not run.in_use
    ]
    return runs[-1] if runs else None


def _asks(asked: Any, config: Config, parents: list[str]) -> bool:
    """Whether the request in a manifest is for this config and these parents."""
    return isinstance(asked, dict) and asked.get("parents") == parents and is_same(asked.get("config"), config)


def _dataset(model: Artifact, home: Home) -> Artifact:
    """The dataset that the model learnt from."""
    found = of_model(model.manifest, home)
    if found is None:
        raise NotFound(
            f"The dataset of {model.id} is not in {home.folder}, and without it nothing can be measured. Prepare and train again."
        )
    return found


class _Work:
    """One compression: the chain, and the judgement of all that it makes."""

    def __init__(self, model: Artifact, config: Config, dataset: Artifact, progress: Recorder, folders: tuple[Path, Path]) -> None:
        """`folders` are one that lives as long as the work, and that of the run."""
        self.config, self.progress, (self.scratch, self.folder) = config, progress, folders
        self.taught = 0
        opened = Predictor.open(model)
        self.parent = _whole(model, opened)
        self.columns = list(opened.columns) or [column.name for column in opened.task.columns]
        self.train = records_of(dataset, "train", opened.task)
        self.validation = records_of(dataset, "validation", opened.task)
        if not self.validation:
            raise DataError(
                f"The dataset {dataset.id} has no validation rows, and the gate measures on them. Prepare it with a validation part."
            )
        self.unlabelled = _unlabelled(config, opened)
        known = bool((model.manifest.get("chosen") or {}).get("refit"))
        self.judge = Gate(opened.task, self.validation, opened.answer(self.validation), (config.compress.tolerance, known), config.seed)
        self.candidates: list[Candidate] = []
        self.workloads: list[GraphWorkload] = []
        """The file of each candidate, and the lengths of typical texts in its tokens."""

    def run(self, chain: Sequence[Compressor]) -> tuple[StandaloneModel, onnx.ModelProto]:
        """The last model of the chain, and its graph."""
        whole = self.parent
        graph = self._exported(whole)
        self._judge("float32", whole, graph)
        bench = self._bench()
        for number, part in enumerate(chain, 1):
            self.progress("compressing", name=part.name, number=number, of=len(chain))
            if part.works_on == "torch":
                whole = part.shrink(whole, bench)
                graph = self._exported(whole)
            else:
                made = part.shrink(StandaloneModel(whole.encoder, whole.task, graph), bench)
                graph = made.body
            self._judge(part.name, whole, graph)
        self.progress("measuring", graphs=len(self.workloads))
        benchmark_candidates(self.candidates, self.workloads)
        mark_best(self.candidates)
        return whole, graph

    def prove(self, run: Artifact, made: StandaloneModel) -> None:
        """ModelError unless what was written, with its own tokenizer and task, answers records as what was measured."""
        records, task = self.validation[:_BATCH], self.parent.task
        answers = [found.answer(records) for found in (self._predictor(made), Predictor.open(run))]
        ours, theirs = (task.tally(records, found) for found in answers)
        if not np.allclose(ours, theirs, atol=1e-3):
            raise ModelError("The model that was written answers otherwise than the one that was measured. Please report this.")

    def _bench(self) -> CompressionContext:
        from vertune.learning.distil import DistillationInput, distil

        def learn(student: StandaloneModel, teacher: StandaloneModel, epochs: float) -> None:
            self.taught += 1
            records = [*self.train, *self.unlabelled]
            checkpoint = self.folder / f"{_LEARNT}{self.taught}"
            distil(student, teacher, DistillationInput(self.config, records, self.columns, epochs, checkpoint), self.progress)

        return CompressionContext(
            train=self.train, unlabelled=self.unlabelled, columns=self.columns, seed=self.config.seed, learn=learn, answer=self._outputs,
            look=self._look, accepts=lambda whole: self.judge.verdict("", self._answers(whole)).verdict != REFUSED,
            progress=self.progress, folder=self.scratch / "parts",
        )  # fmt: skip

    def _exported(self, whole: StandaloneModel) -> onnx.ModelProto:
        """The graph, checked on validation texts."""
        from vertune.graphs.tracing import export

        features = self._features(whole)
        self.progress("exporting", texts=len(features))
        return export(whole.body, whole.encoder, features)

    def _features(self, whole: StandaloneModel) -> list[Feature]:
        """Some of the validation texts."""
        return whole.encoder.encode(self.validation[:_TEXTS], whole.task.views(self.columns))

    def _engine(self, whole: StandaloneModel) -> Any:
        """What answers for a model, whatever it is made of."""
        from vertune.nn.vertical import VerticalModel

        if isinstance(whole.body, VerticalModel):
            return Eager(whole.body, self.config.device.tokens, "cpu")  # compressors work on it there
        return Graph(whole.body.SerializeToString())

    def _predictor(self, whole: StandaloneModel) -> Predictor:
        return Predictor({}, whole.encoder, whole.task, self._engine(whole), tuple(self.columns))

    def _outputs(self, whole: StandaloneModel, records: Sequence[Record]) -> list[NDArray[Any]]:
        return self._predictor(whole).outputs(whole.encoder.encode(records, whole.task.views(self.columns)))

    def _answers(self, whole: StandaloneModel) -> list[Answer]:
        return self._predictor(whole).answer(self.validation)

    def _look(self, whole: StandaloneModel, records: Sequence[Record], names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """The values inside a graph."""
        from vertune.graphs.editing import with_outputs

        shown = Graph(with_outputs(whole.body, names).SerializeToString())
        features = whole.encoder.encode(records, whole.task.views(self.columns))
        for start in range(0, len(features), _BATCH):
            arrays = whole.encoder.collate(features[start : start + _BATCH])
            yield shown.values(arrays, names, whole.encoder.mask(arrays))
            self.progress("calibrating", step=min(start + _BATCH, len(features)), steps=len(features))

    def _judge(self, name: str, whole: StandaloneModel, graph: onnx.ModelProto) -> None:
        """Score one output of the chain."""
        candidate = self.judge.verdict(name, self._answers(StandaloneModel(whole.encoder, whole.task, graph)))
        file = self.scratch / f"{len(self.candidates)}.onnx"
        file.write_bytes(graph.SerializeToString())
        self.workloads.append(GraphWorkload(file, whole.encoder, [feature.cost for feature in self._features(whole)]))
        self.candidates.append(candidate)
        candidate.bytes = file.stat().st_size
        goal = whole.task.goal
        self.progress("judged", name=name, goal=goal, metric=candidate.metrics[goal], verdict=candidate.verdict, bytes=candidate.bytes)


def _whole(model: Artifact, opened: Predictor) -> StandaloneModel:
    """The trained model without its base under it; ConfigError where it was compressed before."""
    from vertune.nn import delta, edits
    from vertune.nn.build import build as assemble

    if (model.folder / GRAPH).exists():
        raise ConfigError(f"{model.id} was compressed already. Compress the model that it was made from: {model.manifest['parents'][0]}.")
    body = assemble(opened.encoder, opened.task)
    edits.apply_merged(body, delta.load(model.folder))
    return StandaloneModel(opened.encoder, opened.task, body.eval())


def _unlabelled(config: Config, opened: Predictor) -> list[Record]:
    """The good rows of `data.unlabelled`, as the task reads them."""
    import polars as pl

    if config.data.unlabelled is None:
        return []
    read_ = config.data.unlabelled.read()
    frame = read_.collect() if isinstance(read_, pl.LazyFrame) else read_
    if "__error" in frame.columns:
        frame = frame.filter(pl.col("__error").is_null())
    return list(opened.task.clean(columns_of(frame, opened)).frame.to_dicts())


def _entries(work: _Work, model: Artifact) -> dict[str, Any]:
    """What the manifest says of the smaller model."""
    manifest = model.manifest
    last = work.candidates[-1]
    kept = ("data_hash", "chosen", "columns", "seed")
    return {
        **{key: manifest[key] for key in kept if key in manifest},  # models of older versions lack some
        "metrics": {"validation": last.metrics},
        "config": dump(work.config),
        "candidates": [asdict(one) for one in work.candidates],
        "gate": {
            "tolerance": work.judge.tolerance,
            "ece": ECE,
            "share": work.judge.share,
            "goal": work.parent.task.goal,
            "lower_is_better": work.parent.task.goal in work.parent.task.lower_is_better,
            "rows": len(work.validation),
            "known": work.judge.known,
        },
        "processor": list(machine.cpu_features()),
        "bytes": last.bytes,
        "versions": {**manifest.get("versions", {}), "vertune": __version__},
    }


def _write(run: Artifact, whole: StandaloneModel, graph: onnx.ModelProto, entries: dict[str, Any]) -> None:
    """The graph, what its encoder reads, the report, and the manifest that can be opened."""
    with storage_errors(run.folder):
        (run.folder / GRAPH).write_bytes(graph.SerializeToString())
    whole.encoder.write(run.folder / BASE)
    run.update(fingerprint={**hashes(run.folder, (run.folder / BASE).is_dir()), "task": task_hash(entries["config"]["task"])}, **entries)
    write_text(run.folder / "report.html", compression.page(run.manifest))
