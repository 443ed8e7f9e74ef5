"""Divides the inputs of a request among the executors, which run the models, and merges equal inputs; independent of queues and caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.records import Answer, Feature, Record
from vertune.runtime.fleet import Deployment, decode_outputs


@dataclass(slots=True)
class Share:
    """The part of a request that one model must compute: records without a cached prediction, and their features (tokenised inputs)."""

    deployment: Deployment
    answers: list[Answer | None]
    """The list of the call that receives the predictions of this model, one per record of the call."""
    positions: list[int]
    """The index of each record in `answers`."""
    records: list[Record]
    features: list[Feature]
    outputs: list[tuple[int, int]] = field(default_factory=list)
    """Where the output of each feature is: the index of its payload in the work, and the index of this model in that payload."""


@dataclass(slots=True)
class Work:
    """What one executor, an object that runs one or more models, must compute for a request.

    Each payload consists of one tokenised input and the slots of all models that need its outputs. A slot identifies one
    fine-tuned model among those that run on the same pretrained model; it is None for a model that runs alone.
    """

    shares: Sequence[Share]
    payloads: list[tuple[Feature, list[Any]]] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    """The cost of each payload in tokens; layers that the models share count once, and other layers once per model."""
    tokens: int = 0
    """The number of tokens of all distinct inputs."""

    def finish(self, results: list[Any]) -> list[list[Answer]]:
        """Convert the outputs of the models to predictions; return one list per share (the part of a request for one model).

        `results` has one entry per payload: a list with the output of each model that the payload names.
        """
        return [
            decode_outputs(share.deployment, share.records, share.features, [results[row][slot] for row, slot in share.outputs])
            for share in self.shares
        ]


def by_executor(shares: Sequence[Share]) -> list[list[Share]]:
    """Group shares (the parts of a request, one per model) by the executor that runs their models; return the groups."""
    groups: dict[int, list[Share]] = {}
    for share in shares:
        groups.setdefault(id(share.deployment.executor), []).append(share)
    return list(groups.values())


def work_of(shares: Sequence[Share]) -> Work:
    """Return the Work for these shares (parts of a request, one per model), whose models all run on the same executor.

    Equal inputs of several models become one payload. For each feature (tokenised input) of a share, a pair is
    appended to the share's list `outputs`: the index of the feature's payload, and the index of the model in this payload.
    """
    work = Work(shares)
    distinct = _Distinct(work.payloads, compare=len(shares) > 1)
    costs: list[float] = []
    slots: dict[tuple[int, int], int] = {}
    for share in shares:
        deployment = share.deployment
        encoder, own = deployment.predictor.encoder, deployment.own_layers
        for feature in share.features:
            cost = feature.cost
            row = distinct.row(feature, encoder.content)
            if row == len(costs):
                costs.append((1 - own) * cost)
                work.tokens += cost
            row_slots = work.payloads[row][1]
            slot = slots.setdefault((row, id(share)), len(row_slots))  # a text that occurs twice is computed once per model
            if slot == len(row_slots):
                row_slots.append(deployment.slot)
                costs[row] += own * cost
            share.outputs.append((row, slot))
    work.costs = [max(1, round(cost)) for cost in costs]
    return work


class _Distinct:
    """Assigns each feature (tokenised input) to a payload, an input that is computed once for one or more models.

    With `compare`, features of equal content get the same payload; without it, each feature gets its own.
    """

    def __init__(self, payloads: list[tuple[Feature, list[Any]]], compare: bool) -> None:
        self._payloads, self._compare = payloads, compare
        self._by_content: dict[bytes, int] = {}
        self._by_identity: dict[int, int] = {}

    def row(self, feature: Feature, content: Callable[[Feature], bytes]) -> int:
        """Return the index, among the inputs to compute, of the one that gives the outputs of a feature (tokenised input).

        An input of equal content is used again, if inputs are compared. Otherwise, the feature is appended to the inputs to compute.
        The function `content` returns the bytes by which features are compared.
        """
        row = self._by_identity.get(id(feature)) if self._compare else None
        if row is None:
            row = len(self._payloads)
            if self._compare:
                row = self._by_identity[id(feature)] = self._by_content.setdefault(content(feature), row)
            if row == len(self._payloads):
                self._payloads.append((feature, []))
        return row
