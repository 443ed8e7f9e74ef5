"""Tables of what operating a server takes and withstands: changes of models, a million requests, kills, troubles, a large database."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from written import Figure, bar_figures, figures_table, machines, results, short, table


def operating() -> str:
    """All bars, with the machines on which they were measured."""
    parts = [results(name) for name in ("rolling", "enduring", "killing", "large_store")]
    parts += [part for database in results("trouble").get("databases", {}).values() for part in database.values()]
    return figures_table(operating_figures()) + "\n" + machines(*(part for part in parts if part)) + "\n"


def killing() -> str:
    """What is lost and counted twice if a process is killed again and again."""
    found = results("killing")
    databases = found.get("databases", {})
    shown = {
        "rounds": "kills", "feedback": "feedbacks acknowledged", "feedback_lost": "of these lost", "feedback_twice": "stored twice",
        "jobs": "jobs started", "jobs_lost": "of these lost", "jobs_without_result": "without a result at the end",
        "processes_left": "processes of jobs left after a kill", "requests": "requests that ended a second before a kill",
        "requests_lost": "of these lost", "miscounted": "requests miscounted in the usage", "damaged": "databases damaged",
    }  # fmt: skip
    rows = [[title, *(f"{database.get(name, 0):,}" for database in databases.values())] for name, title in shown.items()]
    return table(["", *databases], rows) + "\n" + machines(found) + "\n"


def operating_figures() -> Iterator[Figure]:
    """The bars."""
    yield from _rolling()
    yield from bar_figures("enduring", "A million requests at half of the rate of saturation", results("enduring").get("bars", {}))
    yield from _killing()
    yield from _trouble()
    yield from _large_store()


def _rolling() -> Iterator[Figure]:
    if not (found := results("rolling")):
        return
    bad = sum(found[what] for what in ("wrong", "hung", "unexpected", "lost", "refused"))
    changes = sum(one["count"] for one in found["moves"].values())
    what = f"{changes:,} deployments, shadows, canaries, promotions and rollbacks under load"
    yield Figure("rolling/bad", f"{what}: wrong or failed answers of {found['checked']:,}", f"{bad}", "0", bad > 0)
    growth = found["memory"]["end"] / found["memory"]["early"]
    yield Figure("rolling/memory", "The same, memory at the end in times of a tenth on", short(growth), "≤ 1.05", growth > 1.05)


def _killing() -> Iterator[Figure]:
    for name, one in results("killing").get("databases", {}).items():
        bad = sum(one[what] for what in ("feedback_lost", "feedback_twice", "jobs_lost", "jobs_without_result", "miscounted", "damaged"))
        what = f"{name}, {one['rounds']} kills: feedbacks, jobs and usage lost or counted twice, damaged databases"
        yield Figure(f"killing/{name}", what, f"{bad}", "0", bad > 0)


def _trouble() -> Iterator[Figure]:
    for name, parts in results("trouble").get("databases", {}).items():
        met = [one for part in parts.values() for one in part.values() if isinstance(one, dict) and "recovered" in one]
        ends = [part["end"] for part in parts.values() if "end" in part]
        bad = sum(one[what] for one in met for what in ("wrong", "hung", "unexpected", "lost", "refused"))
        lost = sum(one["feedback_lost"] + one["feedback_twice"] for one in ends)
        slowest = max(math.inf if one["recovered"] is None else one["recovered"] for one in met)
        about = f"{name}, {len(met)} troubles (full disk, database gone, clock set, corrupt model)"
        yield Figure(f"trouble/{name}/bad", f"{about}: wrong or failed answers", f"{bad}", "0", bad > 0)
        yield Figure(f"trouble/{name}/lost", f"{about}: acknowledged feedback lost or stored twice", f"{lost}", "0", lost > 0)
        yield Figure(f"trouble/{name}/recovery", f"{about}: slowest recovery, seconds", short(slowest), "≤ 10", slowest > 10)


def _large_store() -> Iterator[Figure]:
    for name, one in results("large_store").get("databases", {}).items():
        about = f"{name} with {one['store']['rows_requests']:,} requests"
        yield from _slowest(f"large_store/{name}/query", f"{about}: slowest query, ms", one.get("queries", {}), "largest_ms", 50)
        waits = {key: work["feedback"] for key, work in one.get("deletion", {}).items()}
        yield from _slowest(f"large_store/{name}/wait", f"{about}: longest wait of a feedback during a deletion, s", waits, "longest_s", 1)
        yield from _slowest(f"large_store/{name}/migration", f"{about}: slowest migration, s", one.get("migration", {}), "seconds", 60)


def _slowest(key: str, what: str, found: dict[str, Any], field: str, bar: float) -> Iterator[Figure]:
    if found:
        worst = max(found, key=lambda name: found[name][field])
        value = found[worst][field]
        yield Figure(key, what, f"{short(value)} ({worst})", f"≤ {bar:g}", value > bar)
