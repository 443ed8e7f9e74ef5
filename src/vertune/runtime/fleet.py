"""All verticals that one process serves, on shared backbones or on dedicated graphs; knows nothing of HTTP."""

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
"""A feature, and the slots of the backbone to compute it for; a dedicated graph has one slot, None."""


class Executor(Hashable, Protocol):
    """Computes batches: a backbone, or one graph."""

    encoder: Encoder

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """The head's outputs of each feature, one array for each of its slots."""
        ...


class DedicatedGraph:
    """A graph that serves one vertical; its cache may drop it from memory and load it again."""

    def __init__(self, model: Artifact, encoder: Encoder, keeper: GraphCache) -> None:
        self.model, self.encoder, self._keeper = model, encoder, keeper

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """The head's outputs of each feature; outputs of one row a token have as many rows as the feature has tokens."""
        features = [feature for feature, _ in payloads]
        out = self._keeper.graph(self.model).run(self.encoder.collate(features))
        return [[row[: feature.positions] if out.ndim > 2 else row] for row, feature in zip(out, features, strict=True)]

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        return self._keeper.graph(self.model).outputs(encoder, features)


class _LoadedGraph(NamedTuple):
    graph: Graph
    size: int
    """Bytes of the file."""


class GraphCache:
    """The most recently used graphs, up to a number of bytes; a batch that runs on an evicted graph holds it until it is done."""

    def __init__(self, limit: int, threads: int | None = None) -> None:
        """`limit` is in bytes of graph files; one graph may exceed it, alone."""
        self.limit, self.threads = limit, threads
        # Without a bound of its own: room is made before a graph is loaded, so that both are never in memory together.
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
        """Open a model, which checks that its graph is the one that was measured, and put its graph into the cache."""
        with self._lock:
            size = self._make_room(model)
            predictor = Predictor.open(model, self.threads)
            assert isinstance(predictor.engine, Graph)
            self._graphs[model.id] = _LoadedGraph(predictor.engine, size)
        return replace(predictor, engine=DedicatedGraph(model, predictor.encoder, self))

    def _make_room(self, model: Artifact) -> int:
        """Evict graphs until that of a model fits or none is left; return the size of its file in bytes."""
        try:
            size = (model.folder / GRAPH).stat().st_size
        except OSError as error:
            message = f"The graph of {model.id} can't be read from {model.folder}: {error.strerror}. Restore the folder."
            raise StorageError(message) from error
        while self._graphs and self.bytes + size > self.limit:
            evicted, _ = self._graphs.popitem()
            _log.info("Evicted the graph of %s: dedicated graphs may take %d bytes.", evicted, self.limit)
        return size

    @property
    def bytes(self) -> int:
        """Total size of the files of the graphs in memory."""
        return int(self._graphs.currsize)


@dataclass(frozen=True, eq=False, slots=True)
class Deployment:
    """One vertical with the model that answers for it now."""

    name: str
    model: Artifact
    predictor: Predictor
    executor: Executor
    slot: Any
    """Where the vertical stands on its backbone; None on a dedicated graph."""
    precision: Precision
    why: str
    """Why it is served in this precision."""
    shared: str | None
    """The id of the shared backbone; None on a dedicated graph."""
    feature_key: Hashable
    """Verticals with equal keys make the same features of the same records."""
    record_key: Hashable
    """Verticals with equal keys read the same fields of a record in the same way."""
    own_layers: float = 1.0
    """Share of the backbone's layers that must run for this vertical alone, from 0 to 1."""

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.predictor.task

    @property
    def artifact_id(self) -> str:
        """The id of the artifact that computes: a backbone, or a model with a graph."""
        return self.executor.model.id if isinstance(self.executor, DedicatedGraph) else str(self.shared)


@dataclass(slots=True)
class Fleet:
    """The verticals in memory, by name; each can be replaced while the others answer."""

    home: Home
    limit: int = 1 << 30
    """Bytes that dedicated graphs may take in memory."""
    threads: int | None = None
    exact: bool = False
    """Whether to serve float32 where the gate chose int8."""
    device: str | None = None
    """The torch device that computes shared backbones, such as `cuda`; None computes them in ONNX Runtime, without torch.
    A device that this machine lacks raises ConfigError."""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    _backbones: weakref.WeakValueDictionary[tuple[str, str], Backbone] = field(default_factory=weakref.WeakValueDictionary)
    _keeper: GraphCache = field(init=False)

    def __post_init__(self) -> None:
        if self.device is not None:
            eager.check_device(self.device)
        self._keeper = GraphCache(self.limit, self.threads)

    def get(self, name: str) -> Deployment:
        """One vertical; NotFound lists those that are served."""
        deployment = self.deployments.get(name)
        if deployment is None:
            served = ", ".join(sorted(self.deployments)[:20])
            advice = f"Choose from: {served}." if served else "Make one live: vertune alias NAME@live MODEL"
            raise NotFound(f"No vertical '{name}' is served here. {advice}")
        return deployment

    def live(self) -> dict[str, Artifact]:
        """The live model of each vertical of the home, by the vertical's name; without the aliases that `dangling` lists."""
        return {name: model for name, model in self._aliased() if isinstance(model, Artifact)}

    def dangling(self) -> dict[str, str]:
        """The error of each live alias whose model does not exist, by the vertical's name."""
        return {
            name: f"{error} Choose a model: vertune alias {name}@live MODEL" for name, error in self._aliased() if isinstance(error, str)
        }

    def _aliased(self) -> Iterator[tuple[str, Artifact | str]]:
        for alias, id in self.home.aliases().items():
            name, _, kind = alias.partition("@")
            if kind == "live":
                try:
                    yield name, self.home.get("models", id)
                except NotFound as error:
                    yield name, str(error)

    def follow(self, models: Mapping[str, Artifact]) -> dict[str, str]:
        """Serve these models and no others; returns the error of each vertical whose model can't be served.

        Such a vertical keeps the model that it had. A batch in progress ends with the models that it began with.
        """
        errors: dict[str, str] = {}
        for name in set(self.deployments) - set(models):
            self.deployments = {key: value for key, value in self.deployments.items() if key != name}
        for name, model in models.items():
            try:
                backbone = None if (model.folder / GRAPH).exists() else self._backbone_of(model)
                artifact = backbone or graph_of(self.home, model)
                if artifact is None:
                    raise NotFound(f"{model.id} has no graph to be served with yet. Make one: vertune share {name}")
                current = self.deployments.get(name)
                if current is None or (current.model.id, current.artifact_id) != (model.id, artifact.id):
                    deploy = self._deploy_shared if backbone else self._deploy_dedicated
                    self.deployments = {**self.deployments, name: deploy(name, model, artifact)}
            except VertuneError as error:
                errors[name] = str(error)
        return errors

    def ready(self, model: Artifact) -> bool:
        """Whether this model can be served without torch, so is on a backbone or has a graph."""
        return self._backbone_of(model) is not None or graph_of(self.home, model) is not None

    def _backbone_of(self, model: Artifact) -> Artifact | None:
        """The newest backbone that a model shares."""
        shelf = reversed(self.home.shelf("backbones"))
        return next((artifact for artifact in shelf if shared_store.read_verdict(artifact, model.id) is not None), None)

    def _deploy_shared(self, name: str, model: Artifact, artifact: Artifact) -> Deployment:
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
        predictor = self._keeper.opened(graph)
        assert isinstance(predictor.engine, DedicatedGraph)
        chain = [part["name"] for part in moved_value(graph.manifest["config"], "compress.chain", [])]
        return Deployment(
            name, model, predictor, predictor.engine, None,
            precision=_precision(chain), why=f"on a graph of its own, made by {', '.join(chain) or 'export'}", shared=None,
            feature_key=(graph.id, _options(predictor.encoder)), record_key=_record_key(predictor),
        )  # fmt: skip


def _precision(chain: Sequence[str]) -> Precision:
    """In which numbers a model of this chain of compressors computes; one that is not installed here counts as float32."""
    precision = Compressor.precision
    for name in chain:
        kind = part.find(Compressor.folder, name) if name in part.names(Compressor.folder) else Compressor
        assert issubclass(kind, Compressor)
        precision = precision if kind.precision == Compressor.precision else kind.precision
    return precision


def _options(encoder: Encoder) -> str:
    """The options of an encoder as JSON, without the path of its base."""
    return encoder.model_dump_json(exclude={"base"})


def _record_key(predictor: Predictor) -> Hashable:
    """All that decides how a record is read: the task's class and columns, the fields' names in the training data, the edits."""
    columns = tuple((column.name, column.type, column.required) for column in predictor.task.columns)
    return (type(predictor.task), columns, repr(sorted(predictor.fields.items())), predictor.cleaners)


def graph_of(home: Home, model: Artifact) -> Artifact | None:
    """The model itself if it has a graph, else the newest model with a graph that was made from it, else None."""
    if (model.folder / GRAPH).exists():
        return model
    graphs = [one for one in home.shelf("models") if model.id in one.manifest_or_empty.get("parents", ()) and (one.folder / GRAPH).exists()]
    return graphs[-1] if graphs else None


def decode_outputs(
    deployment: Deployment, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]
) -> list[Answer]:
    """One answer for each record, from the head's outputs of all features."""

    def run(more: Sequence[Feature]) -> list[NDArray[Any]]:
        return [row[0] for row in deployment.executor.compute([(feature, (deployment.slot,)) for feature in more])]

    return deployment.task.decode(records, features, outputs, run=run)
