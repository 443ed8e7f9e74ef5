"""All fine-tuned models that one process serves by name, on shared base models or as separate graphs; independent of HTTP."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import cachetools
from numpy.typing import NDArray

from vertune.core import part
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import NotFound, StorageError, VertuneError
from vertune.core.kinds import Compressor, Encoder, Task
from vertune.core.records import Answer, Feature, Record
from vertune.core.spellings import moved_value
from vertune.runtime import eager, shared_store
from vertune.runtime.backbone import Backbone
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import GRAPH, Predictor
from vertune.runtime.shared_store import Precision, SharedEngine

_log = logging.getLogger("vertune")

Payload = tuple[Feature, Sequence[Any]]
"""A model input and the models to run on it: their slots on a shared base model, or (None,) for the graph of a single model."""


class Executor(Hashable, Protocol):
    """Computes model outputs for batches: either a base model that several models share, or the graph of a single model."""

    encoder: Encoder

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """Return, for each feature (model input), one array per model that must run on it: the outputs of the model's head."""
        ...


class DedicatedGraph:
    """The ONNX graph of a single model, which shares no base model. The graph cache may evict it from memory and load it again."""

    def __init__(self, model: Artifact, encoder: Encoder, cache: GraphCache) -> None:
        self.model, self.encoder, self._cache = model, encoder, cache

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """Return, for each feature (model input), a list with one array: the outputs of the model's head.

        If the head has one output vector per token, the array has one row for each token of the feature.
        """
        features = [feature for feature, _ in payloads]
        out = self._cache.graph(self.model).run(self.encoder.collate(features))
        return [[row[: feature.positions] if out.ndim > 2 else row] for row, feature in zip(out, features, strict=True)]

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        return self._cache.graph(self.model).outputs(encoder, features)


class _LoadedGraph(NamedTuple):
    """An ONNX graph in memory."""

    graph: Graph
    size: int
    """Size of its file in bytes."""


class GraphCache:
    """Keeps the most recently used graphs in memory, up to a total size. An evicted graph remains until its running batches finish."""

    def __init__(self, limit: int, threads: int | None = None) -> None:
        """`limit` is the total size of the graph files in bytes; a single graph may exceed it."""
        self.limit, self.threads = limit, threads
        # unbounded, because graphs are evicted before a new one is loaded: the old and the new one are never in memory together
        self._graphs: cachetools.LRUCache[str, _LoadedGraph] = cachetools.LRUCache(math.inf, getsizeof=lambda loaded: loaded.size)
        self._lock = threading.Lock()

    def __contains__(self, model: str) -> bool:
        return model in self._graphs

    def graph(self, model: Artifact) -> Graph:
        """Return the graph of a model, loading it if it is not in memory."""
        with self._lock:
            if model.id not in self._graphs:
                size = self._make_room(model)
                self._graphs[model.id] = _LoadedGraph(Graph(model.folder / GRAPH, self.threads), size)
            return self._graphs[model.id].graph

    def opened(self, model: Artifact) -> Predictor:
        """Open a model and put its graph into the cache; raise ModelError if the graph has changed since it was measured."""
        with self._lock:
            size = self._make_room(model)
            predictor = Predictor.open(model, self.threads)
            assert isinstance(predictor.engine, Graph)
            self._graphs[model.id] = _LoadedGraph(predictor.engine, size)
        return replace(predictor, engine=DedicatedGraph(model, predictor.encoder, self))

    def _make_room(self, model: Artifact) -> int:
        """Evict graphs from memory until this model's graph fits or none is left; return the size of its file in bytes."""
        try:
            size = (model.folder / GRAPH).stat().st_size
        except OSError as error:
            message = f"The graph of {model.id} can't be read from {model.folder}: {error.strerror}. Restore the folder."
            raise StorageError(message) from error
        while self._graphs and self.bytes + size > self.limit:
            evicted, _ = self._graphs.popitem()
            _log.info("Removed the graph of %s from memory: all graphs used by only one model may take %d bytes.", evicted, self.limit)
        return size

    @property
    def bytes(self) -> int:
        """The total file size of the graphs in memory."""
        return int(self._graphs.currsize)


@dataclass(frozen=True, eq=False, slots=True)
class Deployment:
    """A name under which predictions are served (a vertical), with the model that currently makes them."""

    name: str
    model: Artifact
    predictor: Predictor
    executor: Executor
    slot: Any
    """The place of the model on its shared base model; None if it has a graph of its own."""
    precision: Precision
    why: str
    """The reason for this precision."""
    shared: str | None
    """The id of the shared base model; None if the model has a graph of its own."""
    feature_key: Hashable
    """Models with equal keys encode equal records as equal features (model inputs), which can be computed once for all of them."""
    record_key: Hashable
    """Models with equal keys read the same fields of a record in the same way."""
    own_layers: float = 1.0
    """Fraction of the shared base model's layers that must run separately for this model, from 0 to 1."""

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.predictor.task

    @property
    def artifact_id(self) -> str:
        """The id of what makes the predictions: a shared base model, or a model with a graph of its own."""
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
    deployments: dict[str, Deployment] = field(default_factory=dict)
    _backbones: weakref.WeakValueDictionary[tuple[str, str], Backbone] = field(default_factory=weakref.WeakValueDictionary)
    _keeper: GraphCache = field(init=False)

    def __post_init__(self) -> None:
        if self.device is not None:
            eager.check_device(self.device)
        self._keeper = GraphCache(self.limit, self.threads)

    def get(self, name: str) -> Deployment:
        """Return what is served under this name; raise NotFound, which lists the existing names, if there is nothing."""
        deployment = self.deployments.get(name)
        if deployment is None:
            served = ", ".join(sorted(self.deployments)[:20])
            advice = f"Choose from: {served}." if served else "Serve a model under this name: vertune alias NAME@live MODEL"
            raise NotFound(f"No vertical '{name}' is served here. {advice}")
        return deployment

    def live(self) -> dict[str, Artifact]:
        """Return, by NAME, the model of each alias NAME@live in the home folder (.vertune); skip aliases whose model does not exist."""
        return {name: model for name, model in self._aliased() if isinstance(model, Artifact)}

    def dangling(self) -> dict[str, str]:
        """Return an error message, by NAME, for each alias NAME@live whose model does not exist."""
        return {
            name: f"{error} Choose a model: vertune alias {name}@live MODEL" for name, error in self._aliased() if isinstance(error, str)
        }

    def _aliased(self) -> Iterator[tuple[str, Artifact | str]]:
        """Yield NAME and its model for each alias NAME@live; if the model does not exist, yield the error message instead of it."""
        for alias, id in self.home.aliases().items():
            name, _, kind = alias.partition("@")
            if kind == "live":
                try:
                    yield name, self.home.get("models", id)
                except NotFound as error:
                    yield name, str(error)

    def follow(self, models: Mapping[str, Artifact]) -> dict[str, str]:
        """Serve exactly these models, given by name; return error messages, by name, for the models that can't be served.

        A name whose new model can't be served keeps its previous model. A running batch finishes with the models that it started with.
        """
        errors: dict[str, str] = {}
        for name in set(self.deployments) - set(models):
            self.deployments = {key: value for key, value in self.deployments.items() if key != name}
        for name, model in models.items():
            try:
                backbone = None if (model.folder / GRAPH).exists() else self._backbone_of(model)
                artifact = backbone or graph_of(self.home, model)
                if artifact is None:
                    raise NotFound(f"{model.id} has not been prepared for serving yet. Prepare it: vertune share {name}")
                current = self.deployments.get(name)
                if current is None or (current.model.id, current.artifact_id) != (model.id, artifact.id):
                    deploy = self._deploy_shared if backbone else self._deploy_dedicated
                    self.deployments = {**self.deployments, name: deploy(name, model, artifact)}
            except VertuneError as error:
                errors[name] = str(error)
        return errors

    def ready(self, model: Artifact) -> bool:
        """Return whether this model can be served without torch, because it is stored on a shared base model or has an ONNX graph."""
        return self._backbone_of(model) is not None or graph_of(self.home, model) is not None

    def _backbone_of(self, model: Artifact) -> Artifact | None:
        """Return the newest backbone (shared base model) that contains this model's changes; None if there is none."""
        shelf = reversed(self.home.shelf("backbones"))
        return next((artifact for artifact in shelf if shared_store.read_verdict(artifact, model.id) is not None), None)

    def _deploy_shared(self, name: str, model: Artifact, artifact: Artifact) -> Deployment:
        """Add a model to its shared base model (backbone) in memory; load the backbone first if necessary."""
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
            why = f"shared backbones are computed on {self.device}, in float32" if on_device else "the server's setting `exact` is on"
        return Deployment(
            name, model, predictor, backbone, slot,
            precision=precision, why=why, shared=artifact.id,
            feature_key=(artifact.id, _options(predictor.encoder)), record_key=_record_key(predictor),
            own_layers=(depth - max(slot.begin, 0)) / depth if slot.begin < depth else 0.0,
        )  # fmt: skip

    def _deploy_dedicated(self, name: str, model: Artifact, graph: Artifact) -> Deployment:
        """Load the ONNX graph of a model that does not share a base model."""
        predictor = self._keeper.opened(graph)
        assert isinstance(predictor.engine, DedicatedGraph)
        chain = [part["name"] for part in moved_value(graph.manifest["config"], "compress.chain", [])]
        return Deployment(
            name, model, predictor, predictor.engine, None,
            precision=_precision(chain), why=f"it has its own graph, made by {', '.join(chain) or 'export'}", shared=None,
            feature_key=(graph.id, _options(predictor.encoder)), record_key=_record_key(predictor),
        )  # fmt: skip


def _precision(chain: Sequence[str]) -> Precision:
    """Return the precision of a model that these compressors have changed, one after the other.

    A compressor that is not installed counts as one that does not change the precision.
    """
    precision = Compressor.precision
    for name in chain:
        kind = part.find(Compressor.folder, name) if name in part.names(Compressor.folder) else Compressor
        assert issubclass(kind, Compressor)
        precision = precision if kind.precision == Compressor.precision else kind.precision
    return precision


def _options(encoder: Encoder) -> str:
    """Return the options of an encoder as JSON, without the path of its base model."""
    return encoder.model_dump_json(exclude={"base"})


def _record_key(predictor: Predictor) -> Hashable:
    """Return everything that affects how a record is read: the class and columns of the task, the names of its fields, and the cleaners."""
    columns = tuple((column.name, column.type, column.required) for column in predictor.task.columns)
    return (type(predictor.task), columns, repr(sorted(predictor.fields.items())), predictor.cleaners)


def graph_of(home: Home, model: Artifact) -> Artifact | None:
    """Return the model itself if it has an ONNX graph.

    Otherwise, return the newest model that was made from it and has an ONNX graph, or None if there is no such model.
    """
    if (model.folder / GRAPH).exists():
        return model
    graphs = [one for one in home.shelf("models") if model.id in one.manifest_or_empty.get("parents", ()) and (one.folder / GRAPH).exists()]
    return graphs[-1] if graphs else None


def decode_outputs(
    deployment: Deployment, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]
) -> list[Answer]:
    """Return one prediction per record; `outputs` are those of the model's head for all features (model inputs) of the records."""

    def run(more: Sequence[Feature]) -> list[NDArray[Any]]:
        return [row[0] for row in deployment.executor.compute([(feature, (deployment.slot,)) for feature in more])]

    return deployment.task.decode(records, features, outputs, run=run)
