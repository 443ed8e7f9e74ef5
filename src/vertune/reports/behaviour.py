"""Lists behaviour tests with their results, for the pages of an evaluation and of the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.reports.scales import MISSING, plural


def rows(tests: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return one row per test, those that fail first; `tests` are the entries `tests` of a report, or None if it has none.

    The entry `live`, if it is not None, is in how many cases the live model did what the test expects.
    """
    found = [
        {
            "name": test["name"],
            "about": test.get("about") or "",
            "held": f"{test['held']} of {plural(test['cases'], 'case')}",
            "live": f"{test['live']} of {test['cases']}" if test.get("live") is not None else MISSING,
            "tone": "good" if test["passed"] else "bad",
            "verdict": "passed" if test["passed"] else "failed",
            "example": test["failures"][0] if test["failures"] else MISSING,
        }
        for test in tests or ()
    ]
    return sorted(found, key=lambda row: row["tone"] == "good")
