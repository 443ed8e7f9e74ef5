"""All fine-tuned models that one process serves by name, on shared base models or as separate graphs; independent of HTTP."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cachetools
from numpy.typing import NDArray

from vertune.core import part
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ModelError, NotFound, StorageError
from vertune.core.integrity import MANIFEST
from vertune.core.kinds import Compressor, Encoder, Task
from vertune.core.records import Answer, Feature, Record
from vertune.core.regular import check_tree, is_present
from vertune.core.sentence import said
from vertune.core.signing import PublicKey
from vertune.core.spellings import moved_value
from vertune.lexical.companion import FILE as COMPANION
from vertune.runtime import eager, reference, shared_store
from vertune.runtime.backbone import Backbone
from vertune.runtime.graph import Graph
from vertune.runtime.live import read_live, reason
from vertune.runtime.predictor import BASE, GRAPH, HOST, Predictor, check_finite
from vertune.runtime.reference import Reference
from vertune.runtime.shared_store import VERTICALS, Precision, SharedEngine

_log = logging.getLogger("vertune")

Payload = tuple[Feature, Sequence[Any]]
"""A model input and the models to run on it: their slots on a shared base model, or (None,) for the graph of a single model."""


class Executor(Hashable, Protocol):
    """Computes batches: either a base model that several fine-tuned models share, or the ONNX graph of a single model."""

    encoder: Encoder

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """Compute one batch; each payload is a feature (model input) with the models that must run on it.

        Returns, for each payload, one array per model: the outputs of the model's head.
        """
        ...


class DedicatedGraph:
    """The ONNX graph of a model that shares no base model; the graph cache may evict it from memory and load it again."""

    def __init__(self, model: Artifact, encoder: Encoder, cache: GraphCache) -> None:
        self.model, self.encoder, self._cache = model, encoder, cache

    @property
    def in_memory(self) -> bool:
        """Whether the graph is in memory, and not evicted."""
        return self.model.id in self._cache

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """Compute one batch; each payload is a feature (model input) for the single model of this graph.

        Returns, for each payload, a list with one array, the outputs of the model's head. If the head has one output vector per
        token, the array has one row for each token of the feature.
        """
        features = [feature for feature, _ in payloads]
        out = self._cache.graph(self.model).run(self.encoder.collate(features))
        return [[row[: feature.positions] if out.ndim > 2 else row] for row, feature in zip(out, features, strict=True)]

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        return self._cache.graph(self.model).outputs(encoder, features)


class _LoadedGraph(NamedTuple):
    """An ONNX graph in memory, and the size of its file."""

    graph: Graph
    size: int
    """Size of its file in bytes."""


class GraphCache:
    """Keeps the most recently used ONNX graphs in memory, up to a total size of their files.

    A graph that is evicted while it computes batches remains in memory until these batches are finished.
    """

    def __init__(self, limit: int, threads: int | None = None) -> None:
        """`limit` is the maximum total size of the graph files in bytes; a graph that is larger is still loaded, as the only one.

        `threads` is the number of threads that compute one batch; None uses all processors that this process may use.
        """
        self.limit, self.threads = limit, threads
        # unbounded, because graphs are evicted before a new one is loaded: the old and the new one are never in memory together
        self._graphs: cachetools.LRUCache[str, _LoadedGraph] = cachetools.LRUCache(math.inf, getsizeof=lambda loaded: loaded.size)
        self._lock = threading.Lock()

    def __contains__(self, model: str) -> bool:
        return model in self._graphs

    def graph(self, model: Artifact) -> Graph:
        """Return the ONNX graph of a model; load it if it is not in memory. Raises StorageError if the file has changed."""
        with self._lock:
            if model.id not in self._graphs:
                size = self._make_room(model)
                model.check_files([GRAPH])
                self._graphs[model.id] = _LoadedGraph(Graph(model.folder / GRAPH, self.threads), size)
            return self._graphs[model.id].graph

    def opened(self, model: Artifact) -> Predictor:
        """Load a compressed model, put its ONNX graph into the cache, and return a predictor that reads the graph from the cache.

        Raises ModelError if the graph has changed since the model was compressed.
        """
        with self._lock:
            size = self._make_room(model)
            for name in (GRAPH, BASE, HOST, COMPANION, reference.FILE):
                check_tree(model.folder, name)
            predictor = Predictor.open(model, self.threads)
            assert isinstance(predictor.engine, Graph)
            self._graphs[model.id] = _LoadedGraph(predictor.engine, size)
        return replace(predictor, engine=DedicatedGraph(model, predictor.encoder, self))

    def _make_room(self, model: Artifact) -> int:
        """Evict graphs until the graph of `model` fits into the cache or no other is left; return the file size of this graph in bytes.

        Raises StorageError if the file can't be read.
        """
        try:
            size = (model.folder / GRAPH).stat().st_size
        except OSError as error:
            message = f"The graph of {model.id} can't be read from {model.folder}: {error.strerror}. Restore the folder."
            raise StorageError(message) from error
        while self._graphs and self.bytes + size > self.limit:
            evicted, _ = self._graphs.popitem()
            _log.info(
                "Removed the ONNX graph of the model %s from memory: the graphs in memory may have at most %d bytes together.",
                evicted, self.limit,
            )  # fmt: skip
        return size

    @property
    def bytes(self) -> int:
        """The total file size of the graphs in memory."""
        return int(self._graphs.currsize)


@dataclass(eq=False, slots=True)
class Health:
    """Whether a served model computes what it must."""

    fault: str = ""
    """What is wrong with the outputs of the model; empty if nothing is."""
    checked: float = 0.0
    """The monotonic time at which its reference outputs were last compared."""


@dataclass(frozen=True, eq=False, slots=True)
class Deployment:
    """A name under which clients request predictions, with the model that currently makes these predictions."""

    name: str
    model: Artifact
    predictor: Predictor
    executor: Executor
    slot: Any
    """The place of the model on its shared base model; None if it has a graph of its own."""
    precision: Precision
    why: str
    """The reason for this precision: a text, or a sentence, which may be as `core.sentence.stored` returns it."""
    shared: str | None
    """The id of the shared base model; None if the model has a graph of its own."""
    feature_key: Hashable
    """Models with equal keys encode equal records as equal features (model inputs), which can be computed once for all of them."""
    record_key: Hashable
    """Models with equal keys read the same fields of a record in the same way."""
    own_layers: float = 1.0
    """Fraction of the shared base model's layers that must run separately for this model, from 0 to 1."""
    reference: Reference | None = None
    """The outputs that the model must have for a few fixed records; None skips the comparison."""
    health: Health = field(default_factory=Health)

    def check(self) -> None:
        """Compare the model's reference outputs; raise ModelError, and store the reason in `health`, if they differ."""
        self.health.checked = time.monotonic()
        try:
            if self.reference is not None:
                self.reference.check(self.predictor)
        except ModelError as error:
            self.health.fault = str(error)
            raise
        self.health.fault = ""

    @property
    def in_memory(self) -> bool:
        """Whether the model can compute now, without loading its graph again."""
        return not isinstance(self.executor, DedicatedGraph) or self.executor.in_memory

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.predictor.task

    @property
    def artifact_id(self) -> str:
        """The id of the stored folder that makes the predictions: a shared base model, or a model with an ONNX graph of its own."""
        return self.executor.model.id if isinstance(self.executor, DedicatedGraph) else str(self.shared)


@dataclass(slots=True)
class Fleet:
    """The models in memory, by the name under which they are served; each can be replaced while the others make predictions."""

    home: Home
    limit: int = 1 << 30
    """Largest total size in memory of the graphs of models that don't share a base model, in bytes."""
    threads: int | None = None
    """Number of threads that compute one batch; None uses all processors that this process may use."""
    exact: bool = False
    """Whether to serve all models in float32, even those that are accurate enough in int8."""
    device: str | None = None
    """The torch device that runs shared backbones, such as `cuda`; None runs them in ONNX Runtime, without torch.
    A device that this machine lacks raises ConfigError."""
    require_signed: Path | None = None
    """The file of a public key: models that were not signed with the private key of this pair are not served. None serves all."""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    _backbones: weakref.WeakValueDictionary[tuple[str, str], Backbone] = field(default_factory=weakref.WeakValueDictionary)
    _keeper: GraphCache = field(init=False)
    _signer: PublicKey | None = field(init=False)

    def __post_init__(self) -> None:
        if self.device is not None:
            eager.check_device(self.device)
        self._keeper = GraphCache(self.limit, self.threads)
        self._signer = PublicKey.load(self.require_signed) if self.require_signed else None

    def get(self, name: str) -> Deployment:
        """Return the deployment (served model) with this name; raise NotFound, with a list of the served names, if there is none."""
        deployment = self.deployments.get(name)
        if deployment is None:
            served = ", ".join(sorted(self.deployments)[:20])
            advice = f"Choose from: {served}." if served else "Serve a model under this name: vertune alias NAME@live MODEL"
            raise NotFound(f"No model is served under the name '{name}'. {advice}")
        return deployment

    def live(self) -> dict[str, Artifact]:
        """Return the models that are to be served, by the name under which clients request them; see `LiveModels.models`."""
        return read_live(self.home).models

    def follow(self, models: Mapping[str, Artifact], keep: Collection[str] = ()) -> dict[str, str]:
        """Serve these models, each under its key in `models`; return error messages, by name, for models that can't be served.

        A name whose new model can't be served keeps its previous model, and so does a name in `keep`. Any other name that is not in
        `models` is no longer served. A running batch finishes with the models that it started with. An error of any type concerns the
        one model whose files caused it.
        """
        errors: dict[str, str] = {}
        for name in set(self.deployments) - set(models) - set(keep):
            self.deployments = {key: value for key, value in self.deployments.items() if key != name}
        for name, model in models.items():
            try:
                self._follow_one(name, model)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a panic in the Rust code of the tokenizers is no Exception
                errors[name] = reason(error, model)
        return errors

    def _follow_one(self, name: str, model: Artifact) -> None:
        """Serve this model under this name, unless it already is; raise an exception if it can't be served."""
        backbone, artifact = self._prepared(name, model)
        current = self.deployments.get(name)
        if current is None or (current.model.id, current.artifact_id) != (model.id, artifact.id):
            self.deployments = {**self.deployments, name: self._deployed(name, model, backbone, artifact)}

    def candidate(self, name: str, model: str) -> Deployment:
        """Load a model that is to be compared with the one that is served under this name, and return it; it is not served.

        It is let go when nothing refers to the deployment. Raises an exception, of any type, if it can't be loaded.
        """
        found = self.home.get("models", model)
        return self._deployed(name, found, *self._prepared(name, found))

    def _prepared(self, name: str, model: Artifact) -> tuple[Artifact | None, Artifact]:
        """Return the backbone that a model is stored with, if there is one, and the artifact that computes its answers."""
        backbone = None if is_present(model.folder, GRAPH) else self._backbone_of(model)
        artifact = backbone or graph_of(self.home, model)
        if artifact is None:
            raise NotFound(f"The model {model.id} has not been prepared for serving yet. Prepare it: vertune share {name}")
        return backbone, artifact

    def _deployed(self, name: str, model: Artifact, backbone: Artifact | None, artifact: Artifact) -> Deployment:
        deploy = self._deploy_shared if backbone else self._deploy_dedicated
        deployment = deploy(name, model, artifact)
        deployment.check()
        return deployment

    def ready(self, model: Artifact) -> bool:
        """Return whether this model can be served without torch: it is stored with a shared base model, or it has an ONNX graph.

        Raises StorageError if the files that tell can't be read.
        """
        return self._backbone_of(model) is not None or graph_of(self.home, model) is not None

    def _backbone_of(self, model: Artifact) -> Artifact | None:
        """Return the newest shared base model (backbone) that is stored with the changes of this model; None if there is none."""
        shelf = reversed(self.home.shelf("backbones"))
        return next((artifact for artifact in shelf if shared_store.read_verdict(artifact, model.id) is not None), None)

    def _deploy_shared(self, name: str, model: Artifact, artifact: Artifact) -> Deployment:
        """Add a fine-tuned model to its shared base model (backbone) in memory, and return it as the deployment `name`.

        `artifact` is the stored folder of the backbone, which is loaded first if it is not in memory.
        """
        self._require_signed(
            model.folder / MANIFEST, artifact.folder / MANIFEST, artifact.folder / VERTICALS / model.id / shared_store.SERVED
        )
        verdict = shared_store.read_verdict(artifact, model.id)
        assert verdict is not None
        on_device = self.device is not None and not shared_store.replaces_layers(artifact, model.id)
        precision: Precision = "float32" if self.exact or on_device else verdict.precision
        key = (artifact.id, str(self.device) if on_device else precision)
        backbone = self._backbones.get(key)
        if backbone is None:
            backbone = (
                shared_store.load_torch_backbone(artifact, str(self.device))
                if on_device
                else shared_store.load_backbone(artifact, precision, self.threads)
            )
            self._backbones[key] = backbone
        predictor = shared_store.attach_model(backbone, artifact, model, self.threads)
        assert isinstance(predictor.engine, SharedEngine)
        slot = predictor.engine.place
        depth = backbone.segments[-1].end
        why = verdict.why
        if precision != verdict.precision:
            why = said("precision.device", device=str(self.device)) if on_device else said("precision.exact")
        return Deployment(
            name, model, predictor, backbone, slot,
            precision=precision, why=why, shared=artifact.id,
            feature_key=(artifact.id, _options(predictor.encoder)), record_key=_record_key(predictor),
            own_layers=(depth - max(slot.begin, 0)) / depth if slot.begin < depth else 0.0,
            reference=reference.load(artifact.folder / VERTICALS / model.id, precision, predictor),
        )  # fmt: skip

    def _deploy_dedicated(self, name: str, model: Artifact, graph: Artifact) -> Deployment:
        """Load the ONNX graph of a model that shares no base model, and return the model as the deployment `name`.

        `graph` is the stored compressed model that contains the graph.
        """
        self._require_signed(graph.folder / MANIFEST)
        if (graph.folder / reference.FILE).exists():  # an older version wrote none
            graph.check_files([reference.FILE])
        predictor = self._keeper.opened(graph)
        assert isinstance(predictor.engine, DedicatedGraph)
        chain = [part["name"] for part in moved_value(graph.manifest["config"], "compress.chain", [])]
        precision = precision_of(chain)
        return Deployment(
            name, model, predictor, predictor.engine, None,
            precision=precision, why=said("precision.own_graph", chain=", ".join(chain) or "export"), shared=None,
            feature_key=(graph.id, _options(predictor.encoder)), record_key=_record_key(predictor),
            reference=reference.load(graph.folder, precision, predictor),
        )  # fmt: skip

    def _require_signed(self, *listings: Path) -> None:
        """Raise ModelError unless each of these JSON files, which list hashes, is signed; do nothing if no signature is required."""
        for listing in listings if self._signer else ():
            assert self._signer is not None
            self._signer.require(listing)


def precision_of(chain: Sequence[str]) -> Precision:
    """Return the precision (float32 or int8) of a model after these compressors were applied to it in order.

    `chain` contains the names of the compressors. One that is not installed is assumed not to change the precision.
    """
    precision = Compressor.precision
    for name in chain:
        kind = part.find(Compressor.folder, name) if name in part.names(Compressor.folder) else Compressor
        assert issubclass(kind, Compressor)
        precision = precision if kind.precision == Compressor.precision else kind.precision
    return precision


def _options(encoder: Encoder) -> str:
    """Return all options of an encoder except the path of its base model, as JSON."""
    return encoder.model_dump_json(exclude={"base"})


def _record_key(predictor: Predictor) -> Hashable:
    """Return a key that is equal for models that read records in the same way.

    The key consists of the class and the columns of the task, the data column from which each field is read, and the cleaners.
    """
    columns = tuple((column.name, column.type, column.required) for column in predictor.task.columns)
    return (type(predictor.task), columns, repr(sorted(predictor.fields.items())), predictor.cleaners)


def graph_of(home: Home, model: Artifact) -> Artifact | None:
    """Return the model itself if it has an ONNX graph.

    Otherwise, return the newest model that was made from it and has an ONNX graph, or None if there is no such model.
    """
    if is_present(model.folder, GRAPH):
        return model
    graphs = [one for one in home.shelf("models") if is_present(one.folder, GRAPH) and model.id in one.parents]
    return graphs[-1] if graphs else None


def decode_outputs(
    deployment: Deployment, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]
) -> list[Answer]:
    """Convert outputs of a served model to predictions; return one prediction per record.

    `features` are all model inputs made from these records, and `outputs` contains the output of the model's head for each of them.
    Raises ModelError, and stores the reason in the health of the deployment, if an output is NaN or infinite.
    """

    def run(more: Sequence[Feature]) -> list[NDArray[Any]]:
        return [row[0] for row in deployment.executor.compute([(feature, (deployment.slot,)) for feature in more])]

    try:
        check_finite(outputs)
    except ModelError as error:
        deployment.health.fault = str(error)
        raise
    return deployment.predictor.decode(records, features, outputs, run)
