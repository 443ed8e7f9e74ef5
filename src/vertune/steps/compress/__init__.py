"""compress: makes a smaller, faster model from a trained one by a chain of compressors, such as distillation and int8.

Compressors that change a torch module run first. Then the model is exported to ONNX, and compressors that change an
ONNX graph run. After every compressor, the model is compared with the original on the validation rows, and its speed is
measured. The final model must not lose more accuracy than the option `compress.tolerance` allows; this check is called
the gate. If there are too few validation rows to decide, or if the model was trained on them too, the loss is measured by
cross-validation: training and compression are repeated without each fifth of the rows, which then decides.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune import __version__
from vertune.core import content, machine
from vertune.core.artifact import Artifact, Home, Progress, owner_entries, recording
from vertune.core.config import Config, dump, is_same, override
from vertune.core.errors import ConfigError, MissingExtra, ModelError, NotFound
from vertune.core.files import storage_errors, write_text
from vertune.core.kinds import Compressor, StandaloneModel
from vertune.core.parse import build
from vertune.core.records import Answer, Record
from vertune.core.sentence import said
from vertune.core.spellings import modernise_setting
from vertune.data.dataset import of_model, records_of
from vertune.evaluation.gate import ACCEPTED, ECE, REFUSED, UNDECIDED, Gate, GateOptions
from vertune.reports.card import card
from vertune.reports.compression import page
from vertune.runtime import reference
from vertune.runtime.fleet import precision_of
from vertune.runtime.predictor import BASE, GRAPH, Predictor, hashes, task_hash
from vertune.steps.compress import folds
from vertune.steps.compress.compression import CHECKPOINTS, TEXTS, Compression, Folders, standalone

if TYPE_CHECKING:
    import onnx

_SETTINGS = ("compress", "data.unlabelled", "training", "device", "seed")
"""The sections of a config whose values the settings of a compression may change."""
_FOLDS = "folds"
"""Folder of the models that a cross-validation trains; it is deleted when the compression ends."""
_ACCEPTED_BY_USER = "by hand: validation could not tell"


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """Options of a compression that are not part of the config."""

    accept: bool = False
    """Accept the result even if there are too few validation rows to decide whether it is accurate enough."""
    resume: bool = False
    """Continue a killed run from its checkpoints."""
    keep_undecided: bool = False
    """Return a result of which the rows can't tell whether it is accurate enough; its manifest says so."""


def compress(
    model: Artifact, home: Home, settings: Sequence[str] = (), progress: Progress | None = None, options: CompressOptions | None = None
) -> Artifact:
    """Run the compressors (such as int8) that the model's config lists, and return the smaller model.

    Each of `settings` changes one value of this config, for example `compress.chain=[int8]`. Raises ConfigError for
    compressors that can't run in the given order, DataError if there are no validation rows, and ModelError if the
    result loses too much accuracy or if there are too few labelled rows to decide this. In the last case the
    unfinished run is kept: make the same call with `accept=True` in the options to accept its result. With
    `keep_undecided`, it is returned without a decision.
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
        compression = Compression(model, config, dataset, recorder, Folders(Path(scratch), run.folder))
        smaller, graph = compression.run(chain)
        proof = _cross_validated(compression, model, home, run.folder / _FOLDS, options.accept)
        compression.write_companion(run.folder)
        _write(run, smaller, graph, _entries(compression, model, proof), dataset.manifest)
        written = Predictor.open(run)
        compression.check_written(run, written, StandaloneModel(smaller.encoder, smaller.task, graph))
        reference.write(run.folder, {precision_of([part.name for part in chain]): written})
        for folder in (run.folder / _FOLDS, *run.folder.glob(f"{CHECKPOINTS}*")):
            shutil.rmtree(folder, ignore_errors=True)
        last = compression.candidates[-1]
        if last.verdict == REFUSED:
            advice = "" if last.loss <= compression.gate.tolerance.loss else ", or allow a larger loss with --set compress.tolerance=…"
            raise ModelError(
                f"The smaller model did not pass the check of its accuracy: {last.why}. {run.folder / 'report.html'} shows the loss "
                f"after each compressor. Change the options of the compressor that loses too much, or leave this compressor out{advice}."
            )
        if last.verdict == ACCEPTED:
            return home.finish(run)
        if options.accept:
            return home.finish(run, accepted=_ACCEPTED_BY_USER)
        if options.keep_undecided:
            return home.finish(run)
        run.update(status=UNDECIDED)
    raise ModelError(
        f"The rows can't decide whether the smaller model is accurate enough: {last.why}. Add labelled rows, or accept the model without "
        "a decision: --accept"
    )


def float32(model: Artifact, home: Home) -> bytes:
    """Export a trained model to ONNX in float32, without any compression, and return the serialised graph.

    Raises ModelError if the outputs of the graph differ from those of the trained model.
    """
    from vertune.graphs.tracing import export

    predictor = Predictor.open(model)
    parent = standalone(model, predictor)
    records = records_of(_dataset(model, home), "validation", predictor.task)[:TEXTS]
    columns = list(predictor.columns) or sorted({key for record in records for key in record})
    features = parent.encoder.encode(records, parent.task.views(columns))
    graph: bytes = export(parent.body, parent.encoder, features).SerializeToString()
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


def _cross_validated(compression: Compression, model: Artifact, home: Home, folder: Path, accept: bool) -> dict[str, Any] | None:
    """Decide by cross-validation if the validation rows can't, and return its figures; return None if there is none.

    It is repeated with other parts while it can't decide either, which narrows the interval. The last candidate of the
    compression gets its verdict. With `accept`, the user has decided instead.
    """
    last, labelled, task = compression.candidates[-1], compression.labelled, compression.parent.task
    fields = [column.name for column in task.input_columns]
    config = compression.config
    number = folds.number_of(config, len(set(content.groups(labelled, fields).tolist())))
    if last.verdict == ACCEPTED or compression.gate.is_surely_worse(last) or number < 2:
        return None
    if accept:
        last.verdict = UNDECIDED
        return None
    chosen = model.manifest.get("chosen") or {}  # models of older versions have none
    training = folds.Training(build(Config, model.manifest["config"]), chosen, compression.columns, home.folder)
    options = GateOptions(config.compress.tolerance, seed=config.seed, where=said("loss.folds", rows=f"{len(labelled):,}"))
    tested = _Tested()
    for round in range(1, folds.ROUNDS + 1):
        divided = folds.parts(labelled, fields, number, config.seed + round)
        for fold in folds.trained(training, labelled, divided, folder / str(round), compression.progress):
            tested.add(fold.held_out, *compression.on_held_out(config.compress.chain, fold))
        gate = Gate(task, tested.records, tested.before, options, tested.sizes)
        found = gate.verdict(last.name, tested.after)
        if found.verdict == REFUSED and not gate.is_surely_worse(found):
            found.verdict = UNDECIDED
        judged = {"goal": task.goal, "metric": found.metrics[task.goal], "verdict": found.verdict, "bytes": last.bytes}
        compression.progress("judged", name=f"cross-validation {round}", **judged)
        if found.verdict != UNDECIDED or not gate.per_record:
            break
    last.verdict, last.why = found.verdict, found.why
    return {
        "trainings": len(tested.sizes), "rows": len(labelled), "before": gate.metrics[task.goal], "after": found.metrics[task.goal],
        "loss": found.loss, "low": found.low, "high": found.high, "ece": found.ece,
    }  # fmt: skip


@dataclass(slots=True)
class _Tested:
    """The rows that models of a cross-validation were not trained on, with the answers before and after compression."""

    records: list[Record] = field(default_factory=list)
    before: list[Answer] = field(default_factory=list)
    after: list[Answer] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Number of rows for each model."""

    def add(self, records: Sequence[Record], before: Sequence[Answer], after: Sequence[Answer]) -> None:
        """Add the rows of one model with its answers."""
        self.records += records
        self.before += before
        self.after += after
        self.sizes.append(len(records))


def _entries(compression: Compression, model: Artifact, cross_validation: dict[str, Any] | None) -> dict[str, Any]:
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
            "cross_validation": cross_validation,
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
    write_text(run.folder / "report.html", page(run.manifest))
    write_text(run.folder / "README.md", card(run.manifest, dataset))
