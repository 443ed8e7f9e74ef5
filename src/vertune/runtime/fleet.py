"""All verticals that one process answers for, on shared backbones or on graphs of their own; knows nothing of HTTP."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import NotFound, StorageError, VertuneError
from vertune.core.kinds import Encoder, Task
from vertune.core.records import Answer, Feature, Record
from vertune.runtime import eager, shared_store
from vertune.runtime.backbone import Backbone
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import GRAPH, Predictor
from vertune.runtime.shared_store import Precision, SharedEngine

_log = logging.getLogger("vertune")

Payload = tuple[Feature, Sequence[Any]]
"""A feature, and the places that it is asked of; a vertical on a graph of its own has one place, None."""


class Executor(Hashable, Protocol):
    """What computes batches: a backbone, or one graph."""

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """The outputs of each feature for each of its places."""
        ...


class DedicatedGraph:
    """A graph that serves one vertical, in memory as long as it is asked often enough."""

    def __init__(self, model: Artifact, encoder: Encoder, keeper: GraphCache) -> None:
        self.model, self.encoder, self._keeper = model, encoder, keeper

    def compute(self, payloads: Sequence[Payload]) -> list[list[NDArray[Any]]]:
        """The outputs of each feature; those of one row a token are as long as it."""
        features = [feature for feature, _ in payloads]
        out = self._keeper.graph(self.model).run(self.encoder.collate(features))
        return [[row[: len(feature)] if out.ndim > 2 else row] for row, feature in zip(out, features, strict=True)]

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        return self._keeper.graph(self.model).outputs(encoder, features)


class GraphCache:
    """Graphs in memory up to a number of bytes; those longest unasked leave first."""

    def __init__(self, limit: int, threads: int | None = None) -> None:
        self.limit, self.threads = limit, threads
        self._kept: OrderedDict[str, tuple[Graph, int]] = OrderedDict()
        self._lock = threading.Lock()

    def graph(self, model: Artifact) -> Graph:
        """The graph of a model, loaded where it is not in memory; one that a batch runs on stays until that is done."""
        with self._lock:
            if model.id not in self._kept:
                size = self._make_room(model)
                self._kept[model.id] = (Graph(model.folder / GRAPH, self.threads), size)
            self._kept.move_to_end(model.id)
            return self._kept[model.id][0]

    def opened(self, model: Artifact) -> Predictor:
        """A model whose graph was checked to be the one that was measured, and is in memory now."""
        with self._lock:
            size = self._make_room(model)
            predictor = Predictor.open(model, self.threads)
            assert isinstance(predictor.engine, Graph)
            self._kept[model.id] = (predictor.engine, size)
        return replace(predictor, engine=DedicatedGraph(model, predictor.encoder, self))

    def _make_room(self, model: Artifact) -> int:
        """Have others leave until a model's graph fits, where it ever does; the bytes of its file."""
        try:
            size = (model.folder / GRAPH).stat().st_size
        except OSError as error:
            why = f"The graph of {model.id} is not in {model.folder} any more: {error.strerror}. Restore the folder."
            raise StorageError(why) from error
        while self._kept and self.bytes + size > self.limit:
            gone, _ = self._kept.popitem(last=False)
            _log.info("%s left memory: the graphs that can't share a backbone have %d bytes.", gone, self.limit)
        return size

    @property
    def bytes(self) -> int:
        """Size of the files of all graphs in memory."""
        return sum(size for _, size in self._kept.values())


@dataclass(frozen=True, eq=False, slots=True)
class Deployment:
    """One vertical as it is served now."""

    name: str
    model: Artifact
    predictor: Predictor
    lane: Executor
    place: Any
    precision: Precision
    why: str
    """Why in this precision, and on what."""
    shared: str | None
    """The backbone's id; None on a graph of its own."""
    encoding: Hashable
    """Verticals of equal encodings make the same features of the same records."""
    reading: Hashable
    """Verticals of equal readings find the same in the same records."""
    layers: float = 1.0
    """Share of the layers that are its own."""

    @property
    def task(self) -> Task:
        """What is answered."""
        return self.predictor.task

    @property
    def artifact_id(self) -> str:
        """The id of the artifact that answers: a backbone, or a model with a graph."""
        return self.lane.model.id if isinstance(self.lane, DedicatedGraph) else str(self.shared)


@dataclass(slots=True)
class Fleet:
    """The verticals in memory, by name; replaced one by one while others answer."""

    home: Home
    limit: int = 1 << 30
    """Bytes of graphs that can't share a backbone."""
    threads: int | None = None
    exact: bool = False
    """Whether all that share a backbone are served in float32."""
    device: str | None = None
    """Where torch answers for those that share a backbone, such as `cuda`; None has ONNX Runtime answer, without torch. ConfigError
    for a device that is not there."""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    _backbones: weakref.WeakValueDictionary[tuple[str, str], Backbone] = field(default_factory=weakref.WeakValueDictionary)
    _keeper: GraphCache = field(init=False)

    def __post_init__(self) -> None:
        if self.device is not None:
            eager.check_device(self.device)
        self._keeper = GraphCache(self.limit, self.threads)

    def get(self, name: str) -> Deployment:
        """One vertical; NotFound says which there are."""
        found = self.deployments.get(name)
        if found is None:
            listed = ", ".join(sorted(self.deployments)[:20]) or "none"
            raise NotFound(f"No vertical '{name}' is served here. There are: {listed}.")
        return found

    def live(self) -> dict[str, Artifact]:
        """The model of each live alias of the home, by the vertical's name; without those that `lost` tells."""
        return {name: model for name, model in self._aliased() if isinstance(model, Artifact)}

    def lost(self) -> dict[str, str]:
        """Why each live alias that leads to no model of the home does not, by the vertical's name."""
        return {
            name: f"{error} Say which it is: vertune alias {name}@live MODEL" for name, error in self._aliased() if isinstance(error, str)
        }

    def _aliased(self) -> Iterator[tuple[str, Artifact | str]]:
        for alias, id in self.home.aliases().items():
            name, _, kind = alias.partition("@")
            if kind == "live":
                try:
                    yield name, self.home.get("models", id)
                except NotFound as error:
                    yield name, str(error)

    def follow(self, wanted: Mapping[str, Artifact]) -> dict[str, str]:
        """Serve these models and no others; why each that can't be served can't, by the name of its vertical.

        One that can't keeps the model that it had. A batch in progress keeps what it began with.
        """
        troubles: dict[str, str] = {}
        for name in set(self.deployments) - set(wanted):
            self.deployments = {key: value for key, value in self.deployments.items() if key != name}
        for name, model in wanted.items():
            try:
                backbone = None if (model.folder / GRAPH).exists() else self._backbone_of(model)
                stands = backbone or graph_of(self.home, model)
                if stands is None:
                    raise NotFound(f"{model.id} has no graph to be served with yet. Make one: vertune share {name}")
                now = self.deployments.get(name)
                if now is None or (now.model.id, now.artifact_id) != (model.id, stands.id):
                    made = self._seated(name, model, stands) if backbone else self._alone(name, model, stands)
                    self.deployments = {**self.deployments, name: made}
            except VertuneError as error:
                troubles[name] = str(error)
        return troubles

    def ready(self, model: Artifact) -> bool:
        """Whether this model can be served as it lies there, without torch."""
        return self._backbone_of(model) is not None or graph_of(self.home, model) is not None

    def _backbone_of(self, model: Artifact) -> Artifact | None:
        """The newest backbone that a model was put on."""
        shelf = reversed(self.home.shelf("backbones"))
        return next((artifact for artifact in shelf if shared_store.read_verdict(artifact, model.id) is not None), None)

    def _seated(self, name: str, model: Artifact, artifact: Artifact) -> Deployment:
        verdict = shared_store.read_verdict(artifact, model.id)
        assert verdict is not None
        on_device = self.device is not None and not shared_store.replaces_layers(artifact, model.id)
        precision: Precision = "float32" if self.exact or on_device else verdict.precision
        key = (artifact.id, str(self.device) if on_device else precision)
        backbone = self._backbones.get(key)
        if backbone is None:
            made = (
                shared_store.load_torch_backbone(artifact, str(self.device))
                if on_device
                else shared_store.load_backbone(artifact, precision, self.threads)
            )
            self._backbones[key] = backbone = made
        predictor = shared_store.attach_model(backbone, artifact, model, self.threads)
        assert isinstance(predictor.engine, SharedEngine)
        place = predictor.engine.place
        depth = backbone.segments[-1].end
        own = (depth - max(place.begin, 0)) / depth if place.begin < depth else 0.0
        encoding = (artifact.id, _said(predictor.encoder))
        why = verdict.why
        if precision != verdict.precision:
            why = f"all that share are answered on {self.device}, in float32" if on_device else "the server was told to answer exactly"
        return Deployment(name, model, predictor, backbone, place, precision, why, artifact.id, encoding, _reading(predictor), own)

    def _alone(self, name: str, model: Artifact, graph: Artifact) -> Deployment:
        predictor = self._keeper.opened(graph)
        assert isinstance(predictor.engine, DedicatedGraph)
        chain = [part["name"] for part in graph.manifest["config"]["compress"]]
        precision: Precision = "int8" if "int8" in chain else "float32"
        why = f"on a graph of its own, made by {', '.join(chain) or 'export'}"
        encoding = (graph.id, _said(predictor.encoder))
        return Deployment(name, model, predictor, predictor.engine, None, precision, why, None, encoding, _reading(predictor))


def _said(encoder: Encoder) -> str:
    """The options of an encoder, without where its base lies."""
    return encoder.model_dump_json(exclude={"base"})


def _reading(predictor: Predictor) -> Hashable:
    """What a record is read by: the task, whose options may say more than its columns, and the names that fields have in the data."""
    columns = tuple((column.name, column.type, column.required) for column in predictor.task.columns)
    return (type(predictor.task), columns, repr(sorted(predictor.fields.items())))


def graph_of(home: Home, model: Artifact) -> Artifact | None:
    """A model with a graph: this one, or the newest that was made from it."""
    if (model.folder / GRAPH).exists():
        return model
    made = [one for one in home.shelf("models") if model.id in one.manifest_or_empty.get("parents", ()) and (one.folder / GRAPH).exists()]
    return made[-1] if made else None


def decode_outputs(
    served: Deployment, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]
) -> list[Answer]:
    """One answer a record."""

    def run(more: Sequence[Feature]) -> list[NDArray[Any]]:
        return [row[0] for row in served.lane.compute([(feature, (served.place,)) for feature in more])]

    return served.task.decode(records, features, outputs, run=run)
