"""share: puts trained models on the backbone of their base, so that one process serves them all; knows nothing of HTTP.

A backbone's graph takes what models add as inputs. It is written once, in float32 and in 8 bits, for the kinds and places of
change that its models have; a model that fits joins without a new graph. Each is compared with itself alone in torch, and
measured on its own validation records: what loses accuracy in 8 bits is served in float32.
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

from vertune.core.artifact import Artifact, Home, Progress, recording
from vertune.core.banks import POSITIONS, SLOTS, BankRows, fits_into, kind, merge_shapes
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, MissingExtra, ModelError, VertuneError
from vertune.core.kinds import CompressionContext, Encoder, StandaloneModel, Task
from vertune.core.machine import cpu_features
from vertune.core.records import Answer, Feature, Record
from vertune.data.dataset import of_model, records_of
from vertune.evaluation.gate import ACCEPTED, Gate
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
"""Records of each model that it is compared on, and of all of them that scales of 8 bits are learnt from."""
_BATCH = 16
GAP = 1e-4
"""How far an answer in a mixed batch may lie from the model alone, in float32."""


@dataclass(slots=True)
class _Member:
    """One model that is to share a backbone."""

    model: Artifact
    encoder: Encoder
    task: Task
    edits: list[Edit]
    records: list[Record]
    """Of its validation split; the task's own examples where there is none."""
    measured: bool
    """Whether the records are its own, so that the gate can tell."""
    entry: SharedEntry
    layers: bool
    """Whether it replaces layers."""
    features: list[Feature]
    """Of the records that it is compared on."""


def share(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Put models on backbones, and make those that are not there yet; why each model that can't share can't, by its id.

    A model that replaces all layers, or has a head of its family, can't; nor can a compressed one, whose graph is its own.
    Raises MissingExtra without torch.
    """
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("torch") is None:
        raise MissingExtra("Putting trained models on a shared backbone", "train", "onnx")
    refused: dict[str, str] = {}
    groups: dict[str, list[_Member]] = {}
    bases: dict[str, VerticalModel] = {}
    for model in models:
        if (model.folder / GRAPH).exists():
            refused[model.id] = "it was compressed, and its graph is its own"
            continue
        with _noting(refused, [model]):
            member = _member(model, home, bases)
            groups.setdefault(json.dumps(model.manifest["fingerprint"], sort_keys=True), []).append(member)
    for members in groups.values():
        with _noting(refused, [member.model for member in members]):
            backbone = found(home, members[0].model, [member.entry.rows for member in members], _cuts(members))
            stand = _LoadedBackbone(backbone or _made(members, home, progress))
            for number, member in enumerate(members, 1):
                with _noting(refused, [member.model]):
                    if shared_store.read_verdict(stand.artifact, member.model.id) is None:
                        _add_model(member, stand)
                if progress:
                    progress("sharing", step=number, steps=len(members))
    return refused


@contextmanager
def _noting(troubles: dict[str, str], models: Sequence[Artifact], before: str = "") -> Iterator[None]:
    """Note what goes wrong with these models, so that the others go on; a missing package concerns them all."""
    try:
        yield
    except MissingExtra:
        raise
    except VertuneError as error:
        troubles |= {model.id: f"{before}{error}" for model in models}


def make_ready(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Give every model a form that is served without torch; why each that has none has none, by its id.

    Those that can't share a backbone get a graph of their own, in 8 bits where the gate lets it pass and in float32 where not.
    """
    troubles: dict[str, str] = {}
    for id, why in share(models, home, progress).items():
        model = home.get("models", id)
        with _noting(troubles, [model], f"{why} For a graph of its own: "):
            if graph_of(home, model) is None:
                _own_graph(model, home, progress)
    return troubles


def _own_graph(model: Artifact, home: Home, progress: Progress | None) -> None:
    """A graph in 8 bits where the gate lets it pass, else in float32."""
    if not _learnt_all(model):  # else no record is left that could tell what 8 bits lose
        try:
            compress(model, home, ["compress=[int8]"], progress)
        except (ConfigError, ModelError):  # nothing in it is large enough, or the gate refuses it
            pass
        else:
            return
    compress(model, home, ["compress=[]"], progress, CompressOptions(accept=True))


def _learnt_all(model: Artifact) -> bool:
    """Whether the model learnt from its validation records too, in the end."""
    return bool((model.manifest.get("chosen") or {}).get("refit"))


def found(home: Home, model: Artifact, several: Sequence[BankRows], cuts: Sequence[int]) -> Artifact | None:
    """The newest backbone of this model's base that holds all of these rows and is cut at these states."""
    for artifact in reversed(home.shelf("backbones")):
        manifest = artifact.known_manifest
        if manifest.get("fingerprint") != model.manifest["fingerprint"]:
            continue
        shapes = {name: tuple(shape) for name, shape in manifest["banks"].items()}
        ends = {one["end"] for one in manifest["stretches"]}
        if {*cuts} <= ends and all(fits_into(rows, shapes) for rows in several):
            return artifact
    return None


@dataclass(frozen=True)
class _LoadedBackbone:
    """A backbone on which models are tried, each precision in memory once."""

    artifact: Artifact

    @cached_property
    def exact(self) -> Backbone:
        return shared_store.load_backbone(self.artifact, "float32")

    @cached_property
    def small(self) -> Backbone | None:
        return shared_store.load_backbone(self.artifact, "int8") if (self.artifact.folder / "int8").exists() else None


def _member(model: Artifact, home: Home, bases: dict[str, VerticalModel]) -> _Member:
    """A trained model with what it adds to its base, one in `bases`; ConfigError where it can't share one."""
    from vertune.nn import banks, delta
    from vertune.nn.vertical import headless_backbone

    config = model.manifest["config"]
    encoder, task = Encoder.model_validate(config["encoder"]), Task.model_validate(config["task"])
    check_base(model.id, model.manifest["fingerprint"], encoder)
    if encoder.input_names.sequence is None:
        raise ConfigError(f"{model.id} reads no sequences, so it can't share a backbone. Serve it on a graph of its own: vertune compress.")
    pooling = encoder.pooling_of(task.states)
    if pooling == "native":
        raise ConfigError(f"{model.id} has the head of its base's family, which reads more than states.")
    edits = delta.load(model.folder)
    depths = [edit.depth for edit in edits if edit.kind != "head"]
    begin = min(depths) - 1 if depths else END  # the states that enter the lowest layer that changes
    layers = any(edit.kind == "layers" for edit in edits)
    if layers and begin < 1:
        raise ConfigError(f"{model.id} replaces all layers of its base, so that nothing is left to share.")
    base = encoder.base_name
    if base not in bases:
        bases[base] = headless_backbone(encoder)
    rows = {} if layers else banks.bank_rows(bases[base], edits)
    head = {name: tensor.float().numpy() for edit in edits if edit.kind == "head" for name, tensor in edit.tensors.items()}
    own = _validation(model, task, home)
    records = own or list[Record](task.example(16))
    columns = model.manifest.get("columns") or sorted({key for record in records for key in record})
    asked = encoder.encode(records[:_TEXTS], task.views(columns))
    return _Member(model, encoder, task, edits, records, bool(own), SharedEntry(rows, head, max(begin, START), pooling), layers, asked)


def _validation(model: Artifact, task: Task, home: Home) -> list[Record]:
    """The records that the gate measures on; none where the dataset is not here."""
    dataset = of_model(model.manifest, home)
    return records_of(dataset, "validation", task) if dataset else []


def _cuts(members: Sequence[_Member]) -> list[int]:
    """The states at which the models' own rows begin."""
    return sorted({member.entry.begin for member in members} - {START, END})


def _made(members: Sequence[_Member], home: Home, progress: Progress | None) -> Artifact:
    """A new backbone for these models."""
    first = members[0]
    shapes = merge_shapes(member.entry.rows for member in members)
    name = Path(first.encoder.base_name).name.lower()
    cuts = _cuts(members)
    run = home.begin("backbones", _named(name), step="share", parents=[member.model.id for member in members])
    with recording(home, run, progress) as recorder:
        whole = _exported(first.encoder, shapes, first.features)
        stretches = _written(run.folder, whole, cuts, "float32")
        if any(member.measured for member in members):
            small = _small(whole, members, shapes, recorder)
            _written(run.folder, small, cuts, "int8")
        first.encoder.write(run.folder / BASE)
        run.update(
            fingerprint=first.model.manifest["fingerprint"], encoder=first.model.manifest["config"]["encoder"], stretches=stretches,
            processor=list(cpu_features()), banks={name: list(shape) for name, shape in shapes.items()},
        )  # fmt: skip
    return home.finish(run)


def _named(name: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name).strip("-")[:60] or "base"


def _exported(encoder: Encoder, shapes: Mapping[str, tuple[int, ...]], features: Sequence[Feature], edits: Sequence[Edit] = ()) -> Any:
    """The graph of a backbone, changed by edits that replace its weights."""
    from vertune.graphs import shared
    from vertune.nn import edits as changes
    from vertune.nn.vertical import headless_backbone

    fresh = headless_backbone(encoder)
    changes.apply_merged(fresh, [edit for edit in edits if edit.kind != "head"])
    chosen = sorted(features, key=lambda feature: feature.cost)[:: max(1, len(features) // 4)][:4]
    return shared.export(fresh, encoder, shapes, chosen)


def _written(folder: Path, whole: onnx.ModelProto, cuts: Sequence[int], precision: str, begin: int | None = None) -> list[dict[str, Any]]:
    """Write the stretches of a graph, or those from some states on; what the manifest says of them."""
    import onnx

    from vertune.graphs.editing import split_at

    (folder / precision).mkdir(parents=True, exist_ok=True)
    listed = []
    for start, end, graph in split_at(whole, cuts):
        if begin is None or (start is not None and start >= begin):
            file = f"{'batch' if start is None else start}-{end}.onnx"
            onnx.save(graph, folder / precision / file)
            listed.append({"file": file, "start": start, "end": end})
    return listed


def _small(
    whole: onnx.ModelProto, members: Sequence[_Member], shapes: Mapping[str, tuple[int, ...]], progress: Progress
) -> onnx.ModelProto:
    """The graph in 8 bits, its scales learnt from texts of all members, each changed as its own model asks."""
    from vertune.compressors.int8 import Int8

    banks = Banks(shapes)
    slots = [banks.put(member.entry.rows) if member.entry.rows else 0 for member in members]
    each = max(4, _TEXTS // len(members))
    sample: list[Record] = [
        {"feature": feature, "slot": slot}
        for member, slot in zip(members, slots, strict=True)
        for feature in _spread(member.features, each)
    ]

    def look(model: StandaloneModel, records: Sequence[Record], names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        from vertune.graphs.editing import with_outputs

        shown = Graph(with_outputs(model.body, names).SerializeToString())
        for start in range(0, len(records), _BATCH):
            part = records[start : start + _BATCH]
            own = np.array([record["slot"] for record in part], np.int64)
            fronts = {name: bank[own, :0] for name, bank in banks.arrays.items() if kind(name) in POSITIONS}
            arrays = model.encoder.collate([record["feature"] for record in part])
            yield shown.values({**arrays, **banks.arrays, **fronts, SLOTS: own}, names, model.encoder.mask(arrays))
            progress("calibrating", step=min(start + _BATCH, len(records)), steps=len(records))

    first = members[0]
    bench = CompressionContext(
        train=sample, unlabelled=[], columns=[], seed=0, learn=_never, answer=_never, look=look, accepts=lambda found: True,
        progress=progress, folder=Path(),
    )  # fmt: skip
    made: onnx.ModelProto = (
        Int8(search=False, rows=max(8, len(sample))).shrink(StandaloneModel(first.encoder, first.task, whole), bench).body
    )
    return made


def _never(*given: Any) -> Any:
    """What a compressor of graphs that searches nothing does not call."""
    raise AssertionError("8 bits without a search neither learn nor answer")


def _spread(features: Sequence[Feature], number: int) -> list[Feature]:
    """So many features of all lengths."""
    ordered = sorted(features, key=lambda feature: feature.cost)
    return [ordered[place] for place in np.unique(np.linspace(0, len(ordered) - 1, number).astype(int))]


def _add_model(member: _Member, stand: _LoadedBackbone) -> None:
    """Write what a model adds, prove that it answers as it does alone, and measure it in 8 bits; all of it, or nothing is left."""
    folder = stand.artifact.folder / VERTICALS / member.model.id
    try:
        _settle(member, stand, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _settle(member: _Member, stand: _LoadedBackbone, folder: Path) -> None:
    backbone = stand.artifact
    small = stand.small is not None
    cuts = [one["end"] for one in backbone.manifest["stretches"]]
    top: list[dict[str, Any]] = []
    if member.layers:
        whole = _exported(member.encoder, {}, member.features, member.edits)
        top = _written(folder, whole, cuts, "float32", member.entry.begin)
        if small:
            _written(folder, _small(whole, [member], {}, lambda *said, **more: None), cuts, "int8", member.entry.begin)
    shared_store.write_entry(folder, member.entry, member.model.manifest["config"]["task"], top)
    _prove(member, shared_store.attach_model(stand.exact, backbone, member.model))
    shared_store.write_verdict(folder, _gated(member, stand))


def _prove(member: _Member, seated: Predictor) -> None:
    """ModelError unless the model gives on the backbone what it gives alone in torch, also where others add positions."""
    from vertune.runtime.eager import Eager

    assert isinstance(seated.engine, shared_store.SharedEngine)
    asked = member.features
    alone = Eager.load(member.model.folder, member.encoder, member.task, 8192).outputs(member.encoder, asked)
    backbone, place = seated.engine.backbone, seated.engine.place
    own, most = place.positions, max((shape[0] for name, shape in backbone.banks.shapes.items() if kind(name) == "open"), default=0)
    for positions in sorted({own, most}):
        place.positions = positions
        together = seated.engine.outputs(seated.encoder, asked)
        gap = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in zip(alone, together, strict=True))
        size = max(1.0, max(float(np.abs(ours).max(initial=0.0)) for ours in alone))
        if not gap <= GAP * size:
            raise ModelError(f"On a shared backbone {member.model.id} answers otherwise than alone: outputs differ by {gap:.2g}.")
    place.positions = own


def _gated(member: _Member, stand: _LoadedBackbone) -> PrecisionVerdict:
    """Whether 8 bits are as accurate, measured as a compressed model is."""
    if stand.small is None:
        return PrecisionVerdict("float32", "no data was here to learn 8 bits from")
    if not member.measured:
        return PrecisionVerdict("float32", "its dataset is not here, so that what 8 bits lose can't be measured")
    manifest = member.model.manifest
    before = shared_store.attach_model(stand.exact, stand.artifact, member.model).answer(member.records)
    after = shared_store.attach_model(stand.small, stand.artifact, member.model).answer(member.records)
    terms = (float(manifest["config"].get("tolerance", 0.005)), _learnt_all(member.model))
    candidate = Gate(member.task, member.records, before, terms, int(manifest.get("seed", 0))).verdict("int8", after)
    return PrecisionVerdict("int8" if candidate.verdict == ACCEPTED else "float32", candidate.why, candidate.loss, same(before, after))


def same(before: Sequence[Answer], after: Sequence[Answer]) -> float | None:
    """Share of the answers whose labels or spans are equal; None for answers of numbers alone."""
    pairs = [(_labels(ours), _labels(theirs)) for ours, theirs in zip(before, after, strict=True)]
    return None if any(ours is None for ours, _ in pairs) else float(np.mean([ours == theirs for ours, theirs in pairs]))


def _labels(answer: Answer) -> list[Any] | None:
    """What an answer names, in an order of its own, without how sure it is; None where it names nothing."""
    if "spans" in answer:
        return sorted((span["start"], span["end"], span["label"]) for span in answer["spans"])
    if "labels" in answer:
        return sorted(answer["labels"])
    return [answer["label"]] if "label" in answer else None
