"""Decides when a vertical is trained again without a person, on what, and when there are enough labels for another look at a candidate.

What a vertical learns is its feedback, and the labels of the labelling project with its name. Only labels count for another look: nobody
was asked for feedback, so its rows are not those on which two models can be compared.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from vertune.core.artifact import Artifact
from vertune.core.errors import NotFound
from vertune.core.ids import first_id_of
from vertune.core.watch import FAILURES, Retrain, duration
from vertune.store import alerts, feedback, labels, projects, retrainings
from vertune.store.alerts import UNSOLVED, Filter
from vertune.store.database import format_time
from vertune.store.key import DEFAULT_CUSTOMER
from vertune.store.projects import Project
from vertune.store.retrainings import Retraining


def reason(connection: Connection, vertical: str, wanted: Retrain, live: Artifact, now: datetime) -> dict[str, Any] | None:
    """Return why a vertical is to be trained again now, and on what; None if it is not.

    Nothing is trained without anything new to learn, nor sooner than `least_pause` after the last time.
    """
    last = next(iter(retrainings.find(connection, [vertical], 1)), None)
    since = live.created if last is None else datetime.fromisoformat(last.at)
    if not wanted.wanted or (last is not None and now - since < duration(wanted.least_pause)):
        return None
    learnt = _learnt(connection, vertical, live.manifest.get("customer"), since)
    new = sum(count for _, count in learnt)
    if not new:
        return None
    found = {"new": new, "on": [source for source, count in learnt if count]}
    if wanted.labels is not None and new >= wanted.labels:
        return {"reason": "labels", **found}
    if wanted.every is not None and now - since >= duration(wanted.every):
        return {"reason": "time", **found}
    alert = _drift(connection, vertical, first_id_of(since)) if wanted.on_drift else None
    return None if alert is None else {"reason": "drift", "alert": alert, **found}


def sources(connection: Connection, vertical: str, customer: str | None) -> list[dict[str, Any]]:
    """Return the sources from which a vertical can learn anything at all."""
    return [source for source, count in _learnt(connection, vertical, customer, datetime.fromtimestamp(0, UTC)) if count]


def feedback_on(vertical: str, customer: str | None) -> dict[str, Any]:
    """Return the source that reads the feedback on a vertical."""
    return {"name": "feedback", "vertical": vertical, "customer": customer}


def labels_of(vertical: str, customer: str | None, held: bool = False) -> dict[str, Any]:
    """Return the source that reads the labels of the project with the name of a vertical; with `held`, those of its hold-out."""
    return {"name": "labels", "project": vertical, "customer": customer, **({"held": True} if held else {})}


def judging_sources(connection: Connection, vertical: str, customer: str | None) -> list[dict[str, Any]]:
    """Return the sources of labels by which a candidate is judged once more: those of the hold-out, which are random, and the others."""
    project = _project(connection, vertical, customer)
    if project is None:
        return []
    held = labels.decided_held(connection, project.id) > 0
    given = labels.count_done(connection, project.id, "") > 0
    return [*([labels_of(vertical, customer, True)] if held else []), *([labels_of(vertical, customer)] if given else [])]


def labels_since(connection: Connection, vertical: str, customer: str | None, since: datetime) -> int:
    """Return how many records annotators labelled, or reviewers of the hold-out decided on, since a time, in the project of a vertical."""
    project = _project(connection, vertical, customer)
    if project is None:
        return 0
    held = labels.decided_held(connection, project.id, format_time(since.astimezone(UTC)))
    return labels.records_since(connection, project.id, first_id_of(since)) + held


def labels_waited_for(connection: Connection, one: Retraining, customer: str | None) -> int:
    """Return how many labels have come since a retraining began to wait for some; 0 if it does not."""
    wait = one.request.get("wait")
    return labels_since(connection, one.vertical, customer, datetime.fromisoformat(wait["since"])) if wait else 0


def _project(connection: Connection, vertical: str, customer: str | None) -> Project | None:
    with suppress(NotFound):
        return projects.get(connection, vertical, customer or DEFAULT_CUSTOMER)
    return None


def _learnt(connection: Connection, vertical: str, customer: str | None, since: datetime) -> list[tuple[dict[str, Any], int]]:
    """Return each source of new rows, and how many of its rows came since a time."""
    project, after = _project(connection, vertical, customer), first_id_of(since)
    given = 0 if project is None else labels.count_done(connection, project.id, after)
    from_feedback = feedback.count_usable(connection, vertical, after, customer)
    return [(feedback_on(vertical, customer), from_feedback), (labels_of(vertical, customer), given)]


def _drift(connection: Connection, vertical: str, after: str) -> str | None:
    """Return the id of an unsolved alert with a greater id than `after` that training can help against; None if there is none."""
    found = alerts.find(connection, Filter(verticals=[vertical], states=UNSOLVED), 100)
    return next((one.id for one in found if one.monitor not in FAILURES and one.id > after), None)
