"""Contrastive losses against a slow reading of their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.nn.contrastive import Normalise, info_nce, supervised

Rows = list[tuple[int, int, int]]
"""Query, document and label of each record."""


def _batch(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = {(role, number): torch.randn(4, generator=generator) for role in (0, 1) for number in range(10)}
    targets = [(role, query, document, label) for query, document, label in rows for role in (0, 1)]
    vectors = torch.stack([sides[role, document if role else query] for role, query, document, _ in targets])
    return Normalise()(vectors).requires_grad_(), torch.tensor(targets)


def _slow(vectors: torch.Tensor, rows: Rows, temperature: float) -> list[float]:
    losses = []
    fits = {(query, document) for query, document, label in rows if label}
    place = {document: 2 * row + 1 for row, (_, document, _) in enumerate(rows)}
    for row, (query, document, label) in enumerate(rows):
        if not label:
            continue
        others = [other for other in place if other == document or (query, other) not in fits]
        scores = {other: math.exp(float(vectors[2 * row] @ vectors[place[other]]) / temperature) for other in others}
        losses.append(-math.log(scores[document] / sum(scores.values())))
    return losses


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(4, 9), st.integers(0, 1)), min_size=1, max_size=9))
def test_equals_the_definition(drawn: Rows) -> None:
    rows = [(query, document, label) for (query, document), label in {(query, document): label for query, document, label in drawn}.items()]
    vectors, targets = _batch(rows)
    found = info_nce(vectors, targets, 0.1)
    expected = _slow(vectors.detach(), rows, 0.1)
    assert found.shape == (len(targets),)
    assert found.mean().item() == pytest.approx(sum(expected) / max(1, len(expected)), abs=1e-4)


def test_a_batch_in_which_nobody_asks_has_no_loss_but_a_gradient() -> None:
    vectors, targets = _batch([(0, 4, 0), (1, 5, 0)])
    loss = info_nce(vectors, targets, 0.05).sum()
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert vectors.grad.abs().sum() == 0


def test_a_repeated_row_changes_nothing_but_a_hard_negative_does() -> None:
    rows = [(0, 4, 1), (1, 5, 1)]
    once, twice, harder = (info_nce(*_batch(batch), 0.1).mean().item() for batch in (rows, rows * 2, [*rows, (0, 6, 0)]))
    assert once == pytest.approx(twice)
    assert harder > once


def test_the_head_has_no_parameters_and_gives_length_one() -> None:
    head = Normalise()
    assert not list(head.parameters())
    assert head(torch.randn(3, 8)).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


Sets = list[set[int]]
"""The labels of each row."""


def _jaccard(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def _slow_supervised(vectors: torch.Tensor, labels: Sets, temperature: float) -> torch.Tensor:
    """The mean, over the similar rows of a row, of the cross-entropy of selecting them among all other rows."""
    losses = []
    for row in range(len(labels)):
        others = [other for other in range(len(labels)) if other != row]
        scores = {other: (vectors[row] @ vectors[other] / temperature).exp() for other in others}
        total = sum(scores.values(), start=torch.zeros((), dtype=vectors.dtype))
        weights = {other: _jaccard(labels[row], labels[other]) for other in others}
        each = [weights[other] * -(scores[other] / total).log() for other in others]
        losses.append(sum(each, start=torch.zeros((), dtype=vectors.dtype)) / max(sum(weights.values()), 1e-300))
    return torch.stack(losses)


def _vectors(rows: int) -> torch.Tensor:
    return Normalise()(torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)).requires_grad_()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3), max_size=3), min_size=2, max_size=9), st.floats(0.05, 1))
def test_supervised_equals_the_definition_and_so_does_its_gradient(labels: Sets, temperature: float) -> None:
    vectors, again = _vectors(len(labels)), _vectors(len(labels))
    likeness = torch.tensor([[_jaccard(one, other) for other in labels] for one in labels])
    found, expected = supervised(vectors, likeness, temperature), _slow_supervised(again, labels, temperature)
    assert torch.allclose(found, expected, atol=1e-6)
    found.sum().backward()
    expected.sum().backward()
    assert vectors.grad is not None
    assert again.grad is not None
    assert torch.allclose(vectors.grad, again.grad, atol=1e-5)


def test_a_row_without_a_like_has_no_loss_and_no_gradient_that_is_not_finite() -> None:
    vectors = _vectors(3)
    losses = supervised(vectors, torch.eye(3), 0.1)
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0]
    assert vectors.grad is not None
    assert vectors.grad.abs().sum() == 0
