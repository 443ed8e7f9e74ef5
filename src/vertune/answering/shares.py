"""Splits a call into what each executor must compute, each feature once; knows nothing of queues or caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.records import Answer, Feature, Record
from vertune.runtime.fleet import Deployment, decode_outputs


@dataclass(slots=True)
class Share:
    """What one vertical must still compute for a call: the records without a cached answer, and their features."""

    deployment: Deployment
    answers: list[Answer | None]
    """The vertical's row of the call's answers, to be filled in."""
    positions: list[int]
    """The place of each record in that row."""
    records: list[Record]
    features: list[Feature]
    outputs: list[tuple[int, int]] = field(default_factory=list)
    """For each feature, which payload computes it, and which of the payload's slots is this vertical's."""


@dataclass(slots=True)
class Work:
    """What one executor must compute: each distinct feature once, for the slots of all verticals that need it."""

    shares: Sequence[Share]
    payloads: list[tuple[Feature, list[Any]]] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    """Tokens of each payload; layers that only some verticals need count for each of them."""
    tokens: int = 0
    """Tokens of the distinct features."""

    def finish(self, results: list[Any]) -> list[list[Answer]]:
        """The answers of each share, from the outputs of all payloads."""
        return [
            decode_outputs(share.deployment, share.records, share.features, [results[row][slot] for row, slot in share.outputs])
            for share in self.shares
        ]


def by_executor(shares: Sequence[Share]) -> list[list[Share]]:
    """The shares, those of one executor together."""
    groups: dict[int, list[Share]] = {}
    for share in shares:
        groups.setdefault(id(share.deployment.executor), []).append(share)
    return list(groups.values())


def work_of(shares: Sequence[Share]) -> Work:
    """What the executor of these shares must compute; fills in where each share finds its outputs."""
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
            slot = slots.setdefault((row, id(share)), len(row_slots))  # the same text twice is computed once for a vertical
            if slot == len(row_slots):
                row_slots.append(deployment.slot)
                costs[row] += own * cost
            share.outputs.append((row, slot))
    work.costs = [max(1, round(cost)) for cost in costs]
    return work


class _Distinct:
    """The payload of each feature: features of equal content share one where several verticals are asked."""

    def __init__(self, payloads: list[tuple[Feature, list[Any]]], compare: bool) -> None:
        self._payloads, self._compare = payloads, compare
        self._by_content: dict[bytes, int] = {}
        self._by_identity: dict[int, int] = {}

    def row(self, feature: Feature, content: Callable[[Feature], bytes]) -> int:
        """The index of the feature's payload, which is appended if it is a new one."""
        row = self._by_identity.get(id(feature)) if self._compare else None
        if row is None:
            row = len(self._payloads)
            if self._compare:
                row = self._by_identity[id(feature)] = self._by_content.setdefault(content(feature), row)
            if row == len(self._payloads):
                self._payloads.append((feature, []))
        return row
