"""Tables of false alarms, of what monitors find and how soon, of accuracy that is estimated without labels, and of what watching costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from written import NOT_MEASURED, Figure, bar_figures, figures_table, machines, results, table

SHOWN = {"banking77": "Banking77", "trec6": "TREC-6", "phrasebank": "PhraseBank", "symptom2disease": "Symptom2Disease", "sick": "SICK",
         "medquad": "MedQuAD"}  # fmt: skip


def _parts(name: str) -> dict[str, Any]:
    """A part of the result file without the machine."""
    return {key: value for key, value in results("watching").get(name, {}).items() if key != "machine"}


def watching() -> str:
    """What each change of the traffic is found by, and how soon."""
    rows = []
    for key, one in sorted(_parts("power").items(), key=lambda item: item[0].partition(": ")[::-1]):
        name, _, what = key.partition(": ")
        by = sorted(one["found by"].items(), key=lambda item: -item[1])[:4]
        delay = one["median delay of the first"]
        best = one["largest power of any test of the feedback alone"]
        found = f"{one['found']:.0%} of {one['runs']}"
        monitors = ", ".join(f"{monitor} {share:.0%}" for monitor, share in by) or "none"
        shown = delay if isinstance(delay, str) else f"{delay:,.0f}"
        rows.append([what, SHOWN[name], found, shown, monitors, f"{best:.0%}" if what.startswith("accuracy") else "–"])
    head = ["change", "data", "found within 1,000 requests", "median delay in requests", "by", "best test of the feedback alone"]
    return table(head, rows) + "\n" + _machines("power")


def watching_feedback() -> str:
    """How soon a fall of the accuracy by five points is seen on feedback alone."""
    rows = []
    for name, one in _parts("feedback").items():
        delays = [one["median delay in requests with feedback"], one["median delay in requests"]]
        alarms = next(value for key, value in one.items() if key.startswith("false alarms"))
        rows.append(
            [
                SHOWN[name],
                f"{one['error rate'][0]:.1%} → {one['error rate'][1]:.1%}",
                f"{one['found within 1,000 requests with feedback']:.0%}",
            ]
            + [delay if isinstance(delay, str) else f"{delay:,.0f}" for delay in delays]
            + [f"{alarms:.0%}"]
        )
    head = [
        "data",
        "error rate",
        "found within 1,000 requests with feedback",
        "median delay in those",
        "in all requests (5 % have feedback)",
    ]
    return table([*head, "false alarms in 2,000 with feedback"], rows) + "\n" + _machines("feedback")


def estimated_accuracy() -> str:
    """The accuracy that is estimated without labels, beside the true one."""
    rows = []
    for key, one in _parts("estimated").items():
        name, _, what = key.partition(": ")
        silent, within = one["share of windows of which it can't be known"], one["share of the others within 2 points"]
        value = "–" if one["estimated"] is None else f"{one['estimated']:.1%}"
        rows.append([SHOWN[name], what, f"{one['true']:.1%}", value, "–" if within is None else f"{within:.0%}", f"{silent:.0%}"])
    head = ["data", "shift", "true", "estimated", "windows within 2 points", "windows of which it can't be known"]
    return table(head, rows) + "\n" + _machines("estimated")


def watching_bars() -> str:
    """All bars, with the machines on which they were measured."""
    figures = list(watching_figures())
    return (
        figures_table(iter(figures)) + "\n" + machines(*(one for one in results("watching").values())) + "\n" if figures else NOT_MEASURED
    )


def watching_figures() -> Iterator[Figure]:
    """The bars."""
    found = _parts("false")
    if found:
        about = f"Unchanged traffic, {found['verticals']} verticals, {found['counts']['weeks']} weeks"
        yield from bar_figures("watching/false", about, found["bars"])
    for part, about in (("power", "Monitors"), ("estimated", "Accuracy without labels")):
        for key, one in _parts(part).items():
            name, _, what = key.partition(": ")
            yield from bar_figures(f"watching/{part}/{key}", f"{about}, {SHOWN[name]}, {what}", one["bars"])
    if found := _parts("cost"):
        yield from bar_figures("watching/cost", f"Watching {found['requests a day']:,} requests a day", found["bars"])


def _machines(part: str) -> str:
    found = results("watching").get(part)
    return machines(found) + "\n" if found else ""
