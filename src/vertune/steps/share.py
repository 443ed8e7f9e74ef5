"""share: puts trained models on one backbone per base, so that one process serves them all; knows nothing of HTTP.

The graph of a backbone takes the models' changes as inputs. It is written once, in float32 and in int8, for the kinds and sites
of change that its models have; a further model whose changes fit joins without a new graph. Every model's outputs on the
backbone are compared with its own in torch, and the gate measures it on its validation records: a model that loses accuracy in
int8 is served in float32.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core import part
from vertune.core.artifact import Artifact, Home, Progress, recording
from vertune.core.banks import POSITIONS, SLOTS, BankRows, fits_into, kind, merge_shapes
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, MissingExtra, ModelError, VertuneError
from vertune.core.kinds import CompressionContext, Encoder, StandaloneModel, Task
from vertune.core.machine import cpu_features
from vertune.core.records import Answer, Feature, Record
from vertune.core.spellings import moved_value
from vertune.data.dataset import of_model, records_of
from vertune.evaluation.gate import ACCEPTED, Gate, GateOptions
from vertune.runtime import shared_store
from vertune.runtime.backbone import END, START, Backbone, Banks
from vertune.runtime.fleet import graph_of
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import BASE, GRAPH, Predictor, check_base
from vertune.runtime.shared_store import VERTICALS, PrecisionVerdict, SharedEntry
from vertune.steps.compress import CompressOptions, compress

if TYPE_CHECKING:
    import onnx

    from vertune.nn.vertical import VerticalModel

_TEXTS = 256
"""Validation records of each model on which outputs are compared, and of all models together for the calibration of int8."""
_BATCH = 16
TOLERANCE = 1e-4
"""Allowed difference between a float32 output on the backbone and the model's own, relative to its largest output (at least 1)."""


@dataclass(slots=True)
class _Member:
    """One model that is to share a backbone."""

    model: Artifact
    encoder: Encoder
    task: Task
    edits: list[Edit]
    records: list[Record]
    """Its validation records, or the task's examples if its dataset is gone."""
    has_validation: bool
    """Whether the records are validation records, so that the gate can decide."""
    entry: SharedEntry
    replaces_layers: bool
    features: list[Feature]
    """Features of the records on which outputs are compared."""


def share(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Put models on backbones, making new ones as needed. Returns the reason for each model that can't share, by id.

    A model that replaces all layers or uses the head of its base's family can't share; nor can a compressed one, which has a
    graph of its own. Raises MissingExtra without torch or onnx.
    """
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("torch") is None:
        raise MissingExtra("Putting trained models on a shared backbone", "train", "onnx")
    reasons: dict[str, str] = {}
    groups: dict[str, list[_Member]] = {}
    bases: dict[str, VerticalModel] = {}
    for model in models:
        if (model.folder / GRAPH).exists():
            reasons[model.id] = "It is compressed and has a graph of its own."
            continue
        with _collect_errors(reasons, [model]):
            member = _load_member(model, home, bases)
            groups.setdefault(json.dumps(model.manifest["fingerprint"], sort_keys=True), []).append(member)
    for members in groups.values():
        with _collect_errors(reasons, [member.model for member in members]):
            existing = find_backbone(home, members[0].model, [member.entry.rows for member in members], _cuts(members))
            backbone = _LoadedBackbone(existing or _make_backbone(members, home, progress))
            for number, member in enumerate(members, 1):
                with _collect_errors(reasons, [member.model]):
                    if shared_store.read_verdict(backbone.artifact, member.model.id) is None:
                        _add_model(member, backbone)
                if progress:
                    progress("sharing", step=number, steps=len(members))
    return reasons


@contextmanager
def _collect_errors(reasons: dict[str, str], models: Sequence[Artifact], prefix: str = "") -> Iterator[None]:
    """Note an error as the reason for these models, so that the others go on; a missing package concerns all and is raised."""
    try:
        yield
    except MissingExtra:
        raise
    except VertuneError as error:
        reasons |= {model.id: f"{prefix}{error}" for model in models}


def make_servable(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Give every model a form that is served without torch. Returns the reason for each model that can't have one, by id.

    A model that can't share a backbone gets a graph of its own, in int8 if the gate accepts it and else in float32.
    """
    reasons: dict[str, str] = {}
    for id, why in share(models, home, progress).items():
        model = home.get("models", id)
        with _collect_errors(reasons, [model], f"{why} A graph of its own failed too: "):
            if graph_of(home, model) is None:
                _make_own_graph(model, home, progress)
    return reasons


def _make_own_graph(model: Artifact, home: Home, progress: Progress | None) -> None:
    """Compress the model to int8 if the gate accepts it, else export it in float32."""
    if not _trained_on_validation(model):  # else no held-out record is left to measure int8 with
        try:
            compress(model, home, ["compress.chain=[int8]"], progress)
        except (ConfigError, ModelError):  # no layer is large enough, or the gate refuses it
            pass
        else:
            return
    compress(model, home, ["compress.chain=[]"], progress, CompressOptions(accept=True))


def _trained_on_validation(model: Artifact) -> bool:
    """Whether the final weights were trained on the validation records too."""
    return bool((model.manifest.get("chosen") or {}).get("refit"))


def find_backbone(home: Home, model: Artifact, rows: Sequence[BankRows], cuts: Sequence[int]) -> Artifact | None:
    """The newest backbone of this model's base whose banks fit all of these rows and whose graph is cut at these depths."""
    for artifact in reversed(home.shelf("backbones")):
        manifest = artifact.manifest_or_empty
        if manifest.get("fingerprint") != model.manifest["fingerprint"]:
            continue
        shapes = {name: tuple(shape) for name, shape in manifest["banks"].items()}
        ends = {segment["end"] for segment in manifest["stretches"]}
        if {*cuts} <= ends and all(fits_into(vertical, shapes) for vertical in rows):
            return artifact
    return None


@dataclass(frozen=True)
class _LoadedBackbone:
    """A backbone with each precision loaded at most once."""

    artifact: Artifact

    @cached_property
    def float32(self) -> Backbone:
        return shared_store.load_backbone(self.artifact, "float32")

    @cached_property
    def int8(self) -> Backbone | None:
        return shared_store.load_backbone(self.artifact, "int8") if (self.artifact.folder / "int8").exists() else None


def _load_member(model: Artifact, home: Home, bases: dict[str, VerticalModel]) -> _Member:
    """Load a trained model and its changes; `bases` caches torch models by base. ConfigError if the model can't share."""
    from vertune.nn import banks, delta
    from vertune.nn.vertical import headless_backbone

    config = model.manifest["config"]
    encoder, task = Encoder.model_validate(config["encoder"]), Task.model_validate(config["task"])
    check_base(model.id, model.manifest["fingerprint"], encoder)
    own_graph = f"Serve it on a graph of its own: vertune compress {model.id}"
    if encoder.input_names.sequence is None:
        raise ConfigError(f"{model.id} reads no sequences, so it can't share a backbone. {own_graph}")
    pooling = encoder.pooling_of(task.states)
    if pooling == "native":
        raise ConfigError(f"{model.id} can't share a backbone: it uses the head of its base's family (pooling: native). {own_graph}")
    edits = delta.load(model.folder)
    depths = [edit.depth for edit in edits if edit.kind != "head"]
    begin = min(depths) - 1 if depths else END  # the states that enter the lowest changed layer
    layers = any(edit.kind == "layers" for edit in edits)
    if layers and begin < 1:
        raise ConfigError(f"{model.id} can't share a backbone: training changed all layers of its base. {own_graph}")
    base = encoder.base_name
    if base not in bases:
        bases[base] = headless_backbone(encoder)
    rows = {} if layers else banks.bank_rows(bases[base], edits)
    head = {name: tensor.float().numpy() for edit in edits if edit.kind == "head" for name, tensor in edit.tensors.items()}
    validation = _validation(model, task, home)
    records = validation or list[Record](task.example(16))
    columns = model.manifest.get("columns") or sorted({key for record in records for key in record})
    return _Member(
        model=model, encoder=encoder, task=task, edits=edits, records=records, has_validation=bool(validation),
        entry=SharedEntry(rows, head, max(begin, START), pooling), replaces_layers=layers,
        features=encoder.encode(records[:_TEXTS], task.views(columns)),
    )  # fmt: skip


def _validation(model: Artifact, task: Task, home: Home) -> list[Record]:
    """The model's validation records; none if its dataset is gone."""
    dataset = of_model(model.manifest, home)
    return records_of(dataset, "validation", task) if dataset else []


def _cuts(members: Sequence[_Member]) -> list[int]:
    """The depths at which the models' own changes begin, where the graph is cut into segments."""
    return sorted({member.entry.begin for member in members} - {START, END})


def _make_backbone(members: Sequence[_Member], home: Home, progress: Progress | None) -> Artifact:
    """Write a new backbone for these models."""
    first = members[0]
    shapes = merge_shapes(member.entry.rows for member in members)
    name = Path(first.encoder.base_name).name.lower()
    cuts = _cuts(members)
    run = home.begin("backbones", _artifact_name(name), step="share", parents=[member.model.id for member in members])
    with recording(home, run, progress) as recorder:
        graph = _export(first.encoder, shapes, first.features)
        segments = _write_segments(run.folder, graph, cuts, "float32")
        if any(member.has_validation for member in members):
            _write_segments(run.folder, _quantise(graph, members, shapes, recorder), cuts, "int8")
        first.encoder.write(run.folder / BASE)
        run.update(
            fingerprint=first.model.manifest["fingerprint"], encoder=first.model.manifest["config"]["encoder"], stretches=segments,
            processor=list(cpu_features()), banks={name: list(shape) for name, shape in shapes.items()},
        )  # fmt: skip
    return home.finish(run)


def _artifact_name(base: str) -> str:
    """The name of a base with every character that an artifact's name may not have replaced by a hyphen."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in base).strip("-")[:60] or "base"


def _export(encoder: Encoder, shapes: Mapping[str, tuple[int, ...]], features: Sequence[Feature], edits: Sequence[Edit] = ()) -> Any:
    """Export the backbone to ONNX with banks of these shapes, after merging the edits into its weights."""
    from vertune.graphs import shared
    from vertune.nn import edits as changes
    from vertune.nn.vertical import headless_backbone

    backbone = headless_backbone(encoder)
    changes.apply_merged(backbone, [edit for edit in edits if edit.kind != "head"])
    examples = sorted(features, key=lambda feature: feature.cost)[:: max(1, len(features) // 4)][:4]
    return shared.export(backbone, encoder, shapes, examples)


def _write_segments(
    folder: Path, graph: onnx.ModelProto, cuts: Sequence[int], precision: str, begin: int | None = None
) -> list[dict[str, Any]]:
    """Cut a graph into segments and write them, or only those from depth `begin` on; the manifest's entries on them."""
    import onnx

    from vertune.graphs.editing import split_at

    (folder / precision).mkdir(parents=True, exist_ok=True)
    segments = []
    for start, end, segment in split_at(graph, cuts):
        if begin is None or (start is not None and start >= begin):
            file = f"{'batch' if start is None else start}-{end}.onnx"
            onnx.save(segment, folder / precision / file)
            segments.append({"file": file, "start": start, "end": end})
    return segments


def _quantise(
    graph: onnx.ModelProto, members: Sequence[_Member], shapes: Mapping[str, tuple[int, ...]], progress: Progress
) -> onnx.ModelProto:
    """Quantise the graph to int8, calibrated on texts of all members, each with its own model's changes applied."""
    banks = Banks(shapes)
    slots = [banks.put(member.entry.rows) if member.entry.rows else 0 for member in members]
    texts_each = max(4, _TEXTS // len(members))
    sample: list[Record] = [
        {"feature": feature, "slot": slot}
        for member, slot in zip(members, slots, strict=True)
        for feature in _of_all_costs(member.features, texts_each)
    ]

    def activations(model: StandaloneModel, records: Sequence[Record], names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        from vertune.graphs.editing import with_outputs

        observed = Graph(with_outputs(model.body, names).SerializeToString())
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            batch_slots = np.array([record["slot"] for record in batch], np.int64)
            fronts = {name: bank[batch_slots, :0] for name, bank in banks.arrays.items() if kind(name) in POSITIONS}
            arrays = model.encoder.collate([record["feature"] for record in batch])
            yield observed.values({**arrays, **banks.arrays, **fronts, SLOTS: batch_slots}, names, model.encoder.mask(arrays))
            progress("calibrating", step=min(start + _BATCH, len(records)), steps=len(records))

    first = members[0]
    context = CompressionContext(
        train=sample, unlabelled=[], columns=[], seed=0, distil=_unused, outputs=_unused, activations=activations,
        accepts=lambda model: True, progress=progress, folder=Path(),
    )  # fmt: skip
    int8: Any = part.having("compressors", precision="int8")
    quantised: onnx.ModelProto = (
        int8(search=False, rows=max(8, len(sample))).shrink(StandaloneModel(first.encoder, first.task, graph), context).body
    )
    return quantised


def _unused(*arguments: Any) -> Any:
    """Stands in for callables that quantisation without a search never calls."""
    raise AssertionError("quantisation without a search neither trains a model nor asks for outputs")


def _of_all_costs(features: Sequence[Feature], number: int) -> list[Feature]:
    """A sample of `number` features with evenly spaced ranks of cost."""
    ordered = sorted(features, key=lambda feature: feature.cost)
    return [ordered[rank] for rank in np.unique(np.linspace(0, len(ordered) - 1, number).astype(int))]


def _add_model(member: _Member, backbone: _LoadedBackbone) -> None:
    """Add a model to a backbone: write its entry, check its outputs, and decide its precision. On an error nothing is left behind."""
    folder = backbone.artifact.folder / VERTICALS / member.model.id
    try:
        _write_member(member, backbone, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_member(member: _Member, backbone: _LoadedBackbone, folder: Path) -> None:
    cuts = [segment["end"] for segment in backbone.artifact.manifest["stretches"]]
    own_segments: list[dict[str, Any]] = []
    if member.replaces_layers:
        graph = _export(member.encoder, {}, member.features, member.edits)
        own_segments = _write_segments(folder, graph, cuts, "float32", member.entry.begin)
        if backbone.int8 is not None:
            quantised = _quantise(graph, [member], {}, lambda *arguments, **fields: None)
            _write_segments(folder, quantised, cuts, "int8", member.entry.begin)
    shared_store.write_entry(folder, member.entry, member.model.manifest["config"]["task"], own_segments)
    _check_outputs(member, shared_store.attach_model(backbone.float32, backbone.artifact, member.model))
    shared_store.write_verdict(folder, _choose_precision(member, backbone))


def _check_outputs(member: _Member, attached: Predictor) -> None:
    """ModelError unless the model's outputs on the backbone equal its own in torch, even if other models add positions."""
    from vertune.runtime.eager import Eager

    assert isinstance(attached.engine, shared_store.SharedEngine)
    features = member.features
    expected = Eager.load(member.model.folder, member.encoder, member.task, 8192).outputs(member.encoder, features)
    backbone, slot = attached.engine.backbone, attached.engine.place
    own, most = slot.positions, max((shape[0] for name, shape in backbone.banks.shapes.items() if kind(name) == "open"), default=0)
    for positions in sorted({own, most}):
        slot.positions = positions
        outputs = attached.engine.outputs(attached.encoder, features)
        difference = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in zip(expected, outputs, strict=True))
        scale = max(1.0, max(float(np.abs(ours).max(initial=0.0)) for ours in expected))
        if not difference <= TOLERANCE * scale:
            raise ModelError(
                f"On a shared backbone the outputs of {member.model.id} differ by {difference:.2g} from its own; at most "
                f"{TOLERANCE * scale:.2g} is allowed. Report this as a bug with the base and the method."
            )
    slot.positions = own


def _choose_precision(member: _Member, backbone: _LoadedBackbone) -> PrecisionVerdict:
    """int8 if the gate accepts it on the model's validation records, else float32."""
    if backbone.int8 is None:
        return PrecisionVerdict("float32", "there was no dataset to calibrate int8 with")
    if not member.has_validation:
        return PrecisionVerdict("float32", "its dataset is not here, so the accuracy in int8 can't be measured")
    manifest = member.model.manifest
    before = shared_store.attach_model(backbone.float32, backbone.artifact, member.model).answer(member.records)
    after = shared_store.attach_model(backbone.int8, backbone.artifact, member.model).answer(member.records)
    tolerance = float(moved_value(manifest["config"], "compress.tolerance", 0.005))
    options = GateOptions(tolerance, _trained_on_validation(member.model), int(manifest.get("seed", 0)))
    candidate = Gate(member.task, member.records, before, options).verdict("int8", after)
    agreeing = agreement(member.task, before, after)
    return PrecisionVerdict("int8" if candidate.verdict == ACCEPTED else "float32", candidate.why, candidate.loss, agreeing)


def agreement(task: Task, before: Sequence[Answer], after: Sequence[Answer]) -> float | None:
    """Share of the answers that agree in both lists; None for answers that name no labels."""
    if not task.names_labels:
        return None
    return float(np.mean([task.agrees(one, other) for one, other in zip(before, after, strict=True)]))
