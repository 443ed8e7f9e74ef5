"""Checks that a query, which chooses the records to label next, obeys its contract; independent of how it chooses.

Authors of a query run the checks on it:

    for check in CHECKS:
        check(MyQuery())
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vertune.core.query import Beliefs, Pool, Query

_WIDTH = 16


def pool(records: int = 200, labels: int = 4, labelled: int = 20, seed: int = 0, believes: bool = True) -> Pool:
    """Return a pool of records in a cluster for each label, the first of which have labels, with the beliefs of a model that knows them."""
    random = np.random.default_rng(seed)
    of = np.arange(records) % labels
    centres = random.normal(size=(labels, _WIDTH))
    states = centres[of] + 0.5 * random.normal(size=(records, _WIDTH))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    known = np.arange(records) < labelled
    logits = states @ centres.T * 2 + 0.3 * random.normal(size=(records, labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Pool(states.astype(np.float32), known, known, Beliefs.of_classes(probabilities) if believes else None, seed)


def _pools(query: Query) -> list[Pool]:
    found = [pool(), pool(labelled=1, seed=1), pool(records=30, labelled=25)]
    return found if query.needs_beliefs else [*found, pool(labelled=0, believes=False), pool(records=1, labelled=0, believes=False)]


def check_open_records_are_picked(query: Query) -> None:
    """Check that a query picks as many records as are wanted, each once and none that is closed, also where only a few are open."""
    for one in _pools(query):
        for number in (1, 7, 50, 1000):
            picked = query.pick(one, number)
            assert len(set(picked.tolist())) == len(picked) == min(number, len(one.open())), (
                f"{query.name}: {number} wanted, {len(picked)} picked"
            )
            assert not one.closed[picked].any(), f"{query.name}: a closed record is picked"


def check_skipped_records_are_left_out(query: Query) -> None:
    """Check that a record that is closed without a label is never picked."""
    one = pool()
    closed = one.closed | (np.arange(len(one.closed)) % 3 == 0)
    picked = query.pick(replace(one, closed=closed), 60)
    assert not closed[picked].any(), f"{query.name}: a skipped record is picked"


def check_nothing_is_open(query: Query) -> None:
    """Check that a query picks nothing where everything has a label."""
    one = pool(labelled=200)
    assert not len(query.pick(one, 10)), f"{query.name}: something is picked although nothing is open"


def check_choice_is_repeatable(query: Query) -> None:
    """Check that a query picks the same records again."""
    for one in _pools(query):
        assert query.pick(one, 9).tolist() == query.pick(one, 9).tolist(), f"{query.name}: the same pool gives other records"


def check_equal_records(query: Query) -> None:
    """Check that a query works where all records are equal, and where it would be sure of each."""
    one = pool()
    same = replace(one, states=np.repeat(one.states[:1], 200, axis=0))
    assert len(query.pick(same, 9)) == 9, f"{query.name}: too few of equal records are picked"
    sure = Beliefs.of_classes(np.eye(4)[np.zeros(200, int)])
    assert len(query.pick(replace(one, beliefs=sure), 9)) == 9, f"{query.name}: too few records are picked where the model is sure"


def check_no_near_duplicates(query: Query) -> None:
    """Check that a query picks a record and its copy only if it must; random choices are as they fall."""
    one = pool(records=100, labelled=10)
    twice = Pool(
        np.repeat(one.states, 2, axis=0), np.repeat(one.labelled, 2), np.repeat(one.closed, 2),
        None if one.beliefs is None else Beliefs.of_classes(np.repeat(one.beliefs.probabilities, 2, axis=0)),
    )  # fmt: skip
    number = 20
    picked = query.pick(twice, number)[round(number * query.random_share()) :]
    assert len(set((picked // 2).tolist())) == len(picked), f"{query.name}: a record and its copy are picked"


def check_random_share(query: Query) -> None:
    """Check that the share of random records is one."""
    assert 0 <= query.random_share() <= 1, f"{query.name}: {query.random_share()} is no share"


CHECKS: tuple[Callable[[Query], None], ...] = (
    check_open_records_are_picked,
    check_skipped_records_are_left_out,
    check_nothing_is_open,
    check_choice_is_repeatable,
    check_equal_records,
    check_no_near_duplicates,
    check_random_share,
)
