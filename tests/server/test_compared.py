"""Labels of several annotators are compared once, until a label or a decision changes."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime

from vertune.core.ids import time_ordered_id
from vertune.server import compared
from vertune.server.compared import Comparisons
from vertune.store import labels, projects
from vertune.store.database import FILE, Database
from vertune.store.projects import Project

NOW = datetime.now(UTC)


def project_of(database: Database, name: str) -> Project:
    project = Project(time_ordered_id(), "", "default", name, upload="", task={"name": "classify"}, settings={}, state="filling")
    rows = [
        {"number": number, "record": json.dumps({"text": f"text {number}"}), "fingerprint": b"", "held": 0, "places": 3, "rank": number,
         "suggestion": None, "confidence": None}
        for number in range(20)
    ]  # fmt: skip
    projects.add(database, project)
    projects.add_records(database, project, rows)
    return project


def label(database: Database, project: Project, person: str, numbers: range, first: int = 0) -> None:
    """Give one label to every second record, from the one with the number `first`, and another one to the others."""
    answers = {one: ("food", "place")[(one + first) % 2] for one in numbers}
    changes = [labels.Change(one, "done", {"label": answer}, None, 1) for one, answer in answers.items()]
    labels.save(database, project, person, changes, NOW)


def test_what_comparing_labels_says_is_kept_until_one_changes(tmp_path, monkeypatch) -> None:
    read = []
    monkeypatch.setattr(compared, "several", lambda *given, real=compared.several: read.append(given[1].name) or real(*given))
    with closing(Database(tmp_path / FILE)) as database:
        project, other, comparisons = project_of(database, "mails"), project_of(database, "others"), Comparisons()
        assert comparisons.agreement(database, project) is None

        def found() -> tuple[int, dict[str, float | None]]:
            quality = comparisons.quality(database, project)
            return comparisons.agreement(database, project)["records"], {one["name"]: one["accuracy"] for one in quality}

        label(database, project, "ann", range(20))
        label(database, project, "bob", range(10))
        read.clear()
        first = found()
        assert (first[0], set(first[1])) == (10, {"ann", "bob"})
        assert found() == first
        label(database, other, "ann", range(20))
        assert found() == first
        assert read == ["mails"] * 2, "once for how often annotators are right, and once for their agreement"
        label(database, project, "cid", range(10, 15), first=1)
        assert found()[0] == 15
        assert len(read) == 4
        labels.decide(database, project, labels.Decision(12, "2030-01-01T00:00:00", "eve", {"label": "food"}, ""))
        assert found()[1]["cid"] < 1
        assert len(read) == 6
