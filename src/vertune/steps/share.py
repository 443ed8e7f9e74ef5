"""share: lets models that were fine-tuned from the same pretrained model share one copy of it when they are served.

This copy, the backbone, is an ONNX graph that gets the weight changes of each model as inputs. It is exported once, in
float32 and in int8; a further model is added without a new export if its changes fit these inputs. The outputs of every
model on the backbone are compared with its outputs in torch. A model that loses too much accuracy in int8 on its
validation records is served in float32.
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
from vertune.core.errors import ConfigError, MissingExtra, ModelError, StorageError
from vertune.core.kinds import CompressionContext, Encoder, StandaloneModel, Task
from vertune.core.machine import cpu_features
from vertune.core.names import as_name
from vertune.core.records import Answer, Feature, Record
from vertune.core.regular import regular_file
from vertune.core.sentence import said
from vertune.core.spellings import moved_value
from vertune.data.dataset import of_model, records_of
from vertune.evaluation.gate import ACCEPTED, Gate, GateOptions
from vertune.runtime import reference, shared_store
from vertune.runtime.backbone import END, START, Backbone, Banks
from vertune.runtime.fleet import graph_of
from vertune.runtime.graph import Graph
from vertune.runtime.live import reason
from vertune.runtime.predictor import BASE, DELTA, GRAPH, Predictor, check_base
from vertune.runtime.shared_store import VERTICALS, PrecisionVerdict, SharedEntry
from vertune.steps.compress import CompressOptions, compress

if TYPE_CHECKING:
    import onnx

    from vertune.nn.vertical import VerticalModel

_TEXTS = 256
"""Number of validation records per model on which outputs are compared; also the total number of records that calibrate int8."""
_BATCH = 16
TOLERANCE = 1e-4
"""Allowed difference between a model's float32 outputs on the backbone and in torch, relative to its largest output (at least 1)."""


@dataclass(slots=True)
class _Member:
    """A trained model that will share a backbone."""

    model: Artifact
    encoder: Encoder
    task: Task
    edits: list[Edit]
    records: list[Record]
    """The model's validation records, or example records of the task if its dataset was deleted."""
    has_validation: bool
    """Whether `records` are validation records, so that the loss of accuracy in int8 can be measured."""
    entry: SharedEntry
    """The model's weight changes and head, in the form that a backbone stores."""
    replaces_layers: bool
    """Whether training changed whole layers, so that the model needs its own copies of them."""
    features: list[Feature]
    """The records on which outputs are compared, encoded as inputs of the model."""


def share(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Add each model to a backbone, the shared copy of its pretrained model; export a new one if none fits.

    Returns a dict that maps the ids of the models that can't share a backbone to the reasons. A model can't share if,
    for example, training changed all its layers, if it uses the classification head of its model family in
    transformers, or if it is compressed and has its own ONNX graph. Raises MissingExtra if torch or onnx is not
    installed.
    """
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("torch") is None:
        raise MissingExtra("Putting trained models on a shared backbone", "train", "onnx")
    reasons: dict[str, str] = {}
    groups: dict[str, list[_Member]] = {}
    bases: dict[str, VerticalModel] = {}
    for model in models:
        if (model.folder / GRAPH).exists():
            reasons[model.id] = "It is compressed and has its own ONNX graph."
            continue
        with _collect_errors(reasons, [model]):
            member = _load_member(model, home, bases)
            groups.setdefault(json.dumps(model.manifest["fingerprint"], sort_keys=True), []).append(member)
    for members in groups.values():
        failed: dict[str, str] = {}
        with _collect_errors(failed, [member.model for member in members]):
            _share_group(members, home, reasons, progress)
        for member in members if failed and len(members) > 1 else ():  # one of them may be why no backbone could be made for all
            with _collect_errors(reasons, [member.model]):
                _share_group([member], home, reasons, progress)
        reasons |= failed if len(members) == 1 else {}
    return reasons


def _share_group(members: Sequence[_Member], home: Home, reasons: dict[str, str], progress: Progress | None) -> None:
    """Add models of the same pretrained model to one backbone, which is exported first if none fits.

    The reasons for which single models can't be added are stored in `reasons`, by the ids of the models.
    """
    existing = find_backbone(home, members[0].model, [member.entry.rows for member in members], _cuts(members))
    backbone = _LoadedBackbone(existing or _make_backbone(members, home, progress))
    for number, member in enumerate(members, 1):
        with _collect_errors(reasons, [member.model]):
            if not _is_added(member.model, backbone.artifact):
                _add_model(member, backbone)
        if progress:
            progress("sharing", step=number, steps=len(members))


def _is_added(model: Artifact, backbone: Artifact) -> bool:
    """Return whether the backbone contains a complete entry of this model; a damaged entry is to be written again."""
    try:
        return shared_store.read_verdict(backbone, model.id) is not None
    except StorageError:
        return False


@contextmanager
def _collect_errors(reasons: dict[str, str], models: Sequence[Artifact], prefix: str = "") -> Iterator[None]:
    """Catch an exception in the `with` block, so that the caller can continue with other models.

    The error is stored in `reasons` for each of `models`, with `prefix` before its text. Errors of other types than
    VertuneError are included, because damaged files may cause any of them. MissingExtra is raised again, because it
    concerns all models.
    """
    try:
        yield
    except MissingExtra:
        raise
    except Exception as error:
        reasons |= {model.id: f"{prefix}{reason(error, model)}" for model in models}


def make_servable(models: Sequence[Artifact], home: Home, progress: Progress | None = None) -> dict[str, str]:
    """Convert every model to ONNX, so that it is served without torch.

    Models of the same pretrained model share one copy of it, where this is possible. Any other model is exported as its
    own graph, in int8 if that is accurate enough, else in float32. Returns a dict that maps the ids of the models for
    which this failed to the reasons.
    """
    reasons: dict[str, str] = {}
    for id, why in share(models, home, progress).items():
        model = home.get("models", id)
        with _collect_errors(reasons, [model], f"{why} Exporting its own ONNX graph failed too: "):
            if graph_of(home, model) is None:
                _make_own_graph(model, home, progress)
    return reasons


def _make_own_graph(model: Artifact, home: Home, progress: Progress | None) -> None:
    """Export the model as its own ONNX graph: in int8 if that is accurate enough, else in float32.

    If the model was trained on its validation records too, int8 can't be measured on them, so float32 is used.
    """
    if not model.refitted:  # otherwise no held-out record is left to measure int8 on
        try:
            compress(model, home, ["compress.chain=[int8]", "compress.folds=0"], progress)
        except (ConfigError, ModelError):  # no layer is large enough, or the gate refuses it
            pass
        else:
            return
    compress(model, home, ["compress.chain=[]"], progress, CompressOptions(accept=True))


def find_backbone(home: Home, model: Artifact, rows: Sequence[BankRows], cuts: Sequence[int]) -> Artifact | None:
    """Return the newest backbone (shared ONNX graph of a pretrained model) into which all given models fit.

    `model` is one of these models, `rows` contains the weight changes of each. The backbone must be made from their
    pretrained model, its inputs must be large enough for the weight changes, and its graph must be cut at the layers in
    `cuts`. Returns None if there is no such backbone.
    """
    for artifact in reversed(home.shelf("backbones")):
        manifest = artifact.manifest_or_empty
        if manifest.get("fingerprint") != model.manifest["fingerprint"]:
            continue
        try:
            shapes = {name: tuple(shape) for name, shape in manifest["banks"].items()}
            ends = {segment["end"] for segment in manifest["stretches"]}
        except (KeyError, TypeError, AttributeError):  # a damaged manifest of a backbone that other models may use
            continue
        if {*cuts} <= ends and all(fits_into(vertical, shapes) for vertical in rows):
            return artifact
    return None


@dataclass(frozen=True)
class _LoadedBackbone:
    """A backbone (shared copy of a pretrained model); its graphs are loaded when they are first used."""

    artifact: Artifact

    @cached_property
    def float32(self) -> Backbone:
        return shared_store.load_backbone(self.artifact, "float32")

    @cached_property
    def int8(self) -> Backbone | None:
        return shared_store.load_backbone(self.artifact, "int8") if (self.artifact.folder / "int8").exists() else None


def _load_member(model: Artifact, home: Home, bases: dict[str, VerticalModel]) -> _Member:
    """Load a trained model and its weight changes; raise ConfigError if the model can't share a backbone.

    `bases` maps the names of pretrained models to torch modules that are loaded already. If the pretrained model of
    `model` is not in `bases`, this function loads and adds it.
    """
    from vertune.nn import banks
    from vertune.nn.vertical import headless_backbone

    for name in DELTA:
        regular_file(model.folder, name)
    model.check_files(DELTA)
    config = model.manifest["config"]
    encoder, task = Encoder.model_validate(config["encoder"]), Task.model_validate(config["task"])
    check_base(model.id, model.manifest["fingerprint"], encoder)
    own_graph = f"Serve it with its own graph: vertune compress {model.id}"
    if encoder.input_names.sequence is None:
        raise ConfigError(f"{model.id} reads no token sequences, so it can't share a pretrained model with others. {own_graph}")
    pooling = encoder.pooling_of(task.states)
    if pooling == "native":
        raise ConfigError(
            f"{model.id} can't share a pretrained model with others, because it uses the classification head of its model family in "
            f"transformers (pooling: native). {own_graph}"
        )
    edits = _read_edits(model)
    depths = [edit.depth for edit in edits if edit.kind != "head"]
    begin = min(depths) - 1 if depths else END  # depth of the states that are the input of the lowest changed layer
    layers = any(edit.kind == "layers" for edit in edits)
    if layers and begin < 1:
        raise ConfigError(f"{model.id} can't share a pretrained model with others, because training changed all its layers. {own_graph}")
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


def _read_edits(model: Artifact) -> list[Edit]:
    """Return the weight changes of a trained model; raise StorageError or ModelError if they can't be read or are not finite."""
    from vertune.nn import delta

    edits = delta.load(model.folder)
    unusable = next((edit for edit in edits for tensor in edit.tensors.values() if not tensor.isfinite().all()), None)
    if unusable is not None:  # it would make the ranges wrong that are measured for all models of the backbone
        raise ModelError(
            f"The weights of {model.id} contain NaN or infinity at {unusable.site!r}; expected finite numbers. Train the model again."
        )
    return edits


def _validation(model: Artifact, task: Task, home: Home) -> list[Record]:
    """Return the validation records of the model; an empty list if its dataset was deleted."""
    dataset = of_model(model.manifest, home)
    return records_of(dataset, "validation", task) if dataset else []


def _cuts(members: Sequence[_Member]) -> list[int]:
    """Return the depths (numbers of layers, from the bottom) at which the graph of the backbone is cut.

    For each model, the graph is cut below the lowest layer that its training changed, so that the unchanged layers
    below run as a graph of their own. Models that change the embeddings, or only the head, need no cut.
    """
    return sorted({member.entry.begin for member in members} - {START, END})


def _make_backbone(members: Sequence[_Member], home: Home, progress: Progress | None) -> Artifact:
    """Export a new backbone (shared copy of the pretrained model) for these models, and return it as an artifact."""
    first = members[0]
    shapes = merge_shapes(member.entry.rows for member in members)
    name = Path(first.encoder.base_name).name.lower()
    cuts = _cuts(members)
    run = home.begin("backbones", as_name(name), step="share", parents=[member.model.id for member in members])
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


def _export(encoder: Encoder, shapes: Mapping[str, tuple[int, ...]], features: Sequence[Feature], edits: Sequence[Edit] = ()) -> Any:
    """Export the encoder's pretrained model to ONNX, with the weight changes in `edits` merged into its weights.

    `shapes` describes further inputs of the graph, through which it gets the weight changes of other models: for each
    name, the shape of one model's entry. `features` are encoded texts with which the graph is traced.
    """
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
    """Cut a graph at the layers in `cuts`, and write each segment (consecutive layers) into a file.

    `precision` is the name of the subfolder, float32 or int8. With `begin`, only the segments from this layer on are
    written. Returns a list of manifest entries: the file of each segment, and the layers at which it starts and ends.
    """
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
    """Quantise the graph to int8.

    To calibrate int8, the graph is run on texts of all models, each text with the weight changes of its own model.
    """
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
    """Raise AssertionError: a placeholder for functions that an int8 quantisation without a search never calls."""
    raise AssertionError("This must not be called: int8 quantisation without a search neither trains a model nor computes outputs.")


def _of_all_costs(features: Sequence[Feature], number: int) -> list[Feature]:
    """Return a sample of at most `number` encoded texts, in which all lengths occur.

    The texts are sorted by cost (length in tokens), and then chosen at equal distances.
    """
    ordered = sorted(features, key=lambda feature: feature.cost)
    return [ordered[rank] for rank in np.unique(np.linspace(0, len(ordered) - 1, number).astype(int))]


def _add_model(member: _Member, backbone: _LoadedBackbone) -> None:
    """Add a model to a backbone: write its weight changes, check its outputs, and choose float32 or int8.

    If there is an error, the files that were written for this model are deleted, and the error is raised.
    """
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
    exact = shared_store.attach_model(backbone.float32, backbone.artifact, member.model)
    _check_outputs(member, exact)
    int8 = None if backbone.int8 is None else shared_store.attach_model(backbone.int8, backbone.artifact, member.model)
    reference.write(folder, {"float32": exact} | ({"int8": int8} if int8 else {}))
    shared_store.write_verdict(folder, _choose_precision(member, exact, int8), member.model)


def _check_outputs(member: _Member, attached: Predictor) -> None:
    """Compare the model's outputs on the backbone with those in torch; raise ModelError if they differ.

    The model must also have the same outputs if other models in the same batch add prompt vectors, because these make
    its sequences longer.
    """
    from vertune.runtime.eager import Eager

    assert isinstance(attached.engine, shared_store.SharedEngine)
    features = member.features
    expected = Eager.load(member.model.folder, member.encoder, member.task, 2048).outputs(member.encoder, features)
    backbone, slot = attached.engine.backbone, attached.engine.place
    own, most = slot.positions, max((shape[0] for name, shape in backbone.banks.shapes.items() if kind(name) == "open"), default=0)
    for positions in sorted({own, most}):
        slot.positions = positions
        outputs = attached.engine.outputs(attached.encoder, features)
        difference = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in zip(expected, outputs, strict=True))
        scale = max(1.0, max(float(np.abs(ours).max(initial=0.0)) for ours in expected))
        if not difference <= TOLERANCE * scale:
            raise ModelError(
                f"The outputs of {member.model.id} on the shared pretrained model differ from its outputs in torch by {difference:.2g}, "
                f"but at most {TOLERANCE * scale:.2g} is allowed. Report this as a bug, with the names of the pretrained model and the "
                "training method."
            )
    slot.positions = own


def _choose_precision(member: _Member, exact: Predictor, int8: Predictor | None) -> PrecisionVerdict:
    """Choose the number format in which the model is served on the backbone: int8 or float32.

    `exact` is the model on the backbone in float32, and `int8` the same in int8; it is None if the backbone has no int8
    graphs. int8 is chosen if its loss of accuracy on the model's validation records is at most the option
    `compress.tolerance`. float32 is chosen if the loss is larger, or if it can't be measured or decided.
    """
    if int8 is None:
        return PrecisionVerdict("float32", said("precision.uncalibrated"))
    if not member.has_validation:
        return PrecisionVerdict("float32", said("precision.no_dataset"))
    manifest = member.model.manifest
    before, after = exact.answer(member.records), int8.answer(member.records)
    tolerance = float(moved_value(manifest["config"], "compress.tolerance", 0.005))
    options = GateOptions(tolerance, member.model.refitted, int(manifest.get("seed", 0)))
    candidate = Gate(member.task, member.records, before, options).verdict("int8", after)
    agreeing = agreement(member.task, before, after)
    return PrecisionVerdict("int8" if candidate.verdict == ACCEPTED else "float32", candidate.why, candidate.loss, agreeing)


def agreement(task: Task, before: Sequence[Answer], after: Sequence[Answer]) -> float | None:
    """Return the fraction (0 to 1) of records for which two models made the same prediction; None for a task without labels."""
    if not task.names_labels:
        return None
    return float(np.mean([task.agrees(one, other) for one, other in zip(before, after, strict=True)]))
