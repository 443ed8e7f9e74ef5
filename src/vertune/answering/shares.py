"""Divides the inputs of a call among the executors (which run the models) and merges equal inputs; independent of queues and caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.records import Answer, Feature, Record
from vertune.runtime.fleet import Deployment, decode_outputs


@dataclass(slots=True)
class Share:
    """The part of a call that one model must compute: the records without a cached answer, and their features (tokenised inputs)."""

    deployment: Deployment
    answers: list[Answer | None]
    """The list of the call that receives the predictions of this vertical (model), one per record."""
    positions: list[int]
    """The index of each record in `answers`."""
    records: list[Record]
    features: list[Feature]
    outputs: list[tuple[int, int]] = field(default_factory=list)
    """Where the output of each feature is: the index of its payload, and the index of this vertical's slot in that payload."""


@dataclass(slots=True)
class Work:
    """The payloads that one executor must compute: each distinct tokenised input once, with the slots of all verticals that need it.

    A slot refers to the weights of one vertical (fine-tuned model) in a pretrained model that several verticals share.
    """

    shares: Sequence[Share]
    payloads: list[tuple[Feature, list[Any]]] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    """The cost of each payload in tokens; layers that the verticals share count once, and other layers once per vertical."""
    tokens: int = 0
    """The number of tokens of all distinct inputs."""

    def finish(self, results: list[Any]) -> list[list[Answer]]:
        """Decode the outputs of all payloads; return a list of predictions for each share (part of a call for one vertical)."""
        return [
            decode_outputs(share.deployment, share.records, share.features, [results[row][slot] for row, slot in share.outputs])
            for share in self.shares
        ]


def by_executor(shares: Sequence[Share]) -> list[list[Share]]:
    """Group shares (parts of a call, each for one model) by the executor that computes them."""
    groups: dict[int, list[Share]] = {}
    for share in shares:
        groups.setdefault(id(share.deployment.executor), []).append(share)
    return list(groups.values())


def work_of(shares: Sequence[Share]) -> Work:
    """Return the payloads that the common executor of these shares must compute.

    Appends to `outputs` of each share, for each of its features, the indices at which the result of this feature will be.
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
            slot = slots.setdefault((row, id(share)), len(row_slots))  # a text that occurs twice is computed once per vertical
            if slot == len(row_slots):
                row_slots.append(deployment.slot)
                costs[row] += own * cost
            share.outputs.append((row, slot))
    work.costs = [max(1, round(cost)) for cost in costs]
    return work


class _Distinct:
    """Assigns each feature (tokenised input) to a payload; if `compare` is set, features of equal content use the same payload."""

    def __init__(self, payloads: list[tuple[Feature, list[Any]]], compare: bool) -> None:
        self._payloads, self._compare = payloads, compare
        self._by_content: dict[bytes, int] = {}
        self._by_identity: dict[int, int] = {}

    def row(self, feature: Feature, content: Callable[[Feature], bytes]) -> int:
        """Return the index of the payload of a feature (tokenised input); append a payload if the feature is new."""
        row = self._by_identity.get(id(feature)) if self._compare else None
        if row is None:
            row = len(self._payloads)
            if self._compare:
                row = self._by_identity[id(feature)] = self._by_content.setdefault(content(feature), row)
            if row == len(self._payloads):
                self._payloads.append((feature, []))
        return row
