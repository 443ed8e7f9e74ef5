"""Tables of retrainings in rounds, of a ring whose server is killed, of what watching adds to an answer, and of the console's pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from written import NOT_MEASURED, Figure, bar_figures, figures_table, machines, results, short, table

WRONG = {
    "no_live_model": "moments without a live model, or with two", "alerts_without_messages": "alerts without a message",
    "messages_lost": "messages lost", "messages_unknown": "messages of unknown origin", "messages_unsent": "messages never sent",
    "events_sent_twice": "events sent twice",
    "lines_lost": "messages that a receiver did not get", "lines_written_twice": "messages that a receiver got twice",
    "broken_history": "breaks in the history of live models", "live_without_history": "live models without history",
    "retrainings_stuck": "retrainings that never end", "jobs_stuck": "jobs that never end", "damaged": "databases damaged",
}  # fmt: skip
"""What must not happen to the ring, by the names in the result file."""


def retraining() -> str:
    """The accuracy on each part of the classes after each round, beside one training on all of them."""
    parts = []
    for name, one in _rounds().items():
        count = len(one["parts"])
        rows = [
            [f"round {number}", *(f"{100 * value:.1f}" for value in scores), *["–"] * (count - len(scores)), f"{seconds:.0f}"]
            for number, (scores, seconds) in enumerate(zip(one["accuracy"], one["seconds"], strict=True))
        ]
        joint = [f"{100 * value:.1f}" for value in one["joint_parts"]]
        rows.append(["one training on all", *joint, f"{one['joint_seconds']:.0f}"])
        head = [_about(name), *(f"part {number + 1}" for number in range(count)), "processor seconds"]
        parts.append(table(head, rows) + "\n" + machines(one) + "\n")
    return "\n".join(parts) or NOT_MEASURED


def retraining_bars() -> str:
    """All bars of retrainings, of the ring, and of what watching adds."""
    found = [*_measured("retraining").values(), *results("ring_kills").get("runs", []), results("watch_cost")]
    rows = figures_table(retraining_figures())
    return rows if rows == NOT_MEASURED else rows + "\n" + machines(*(one for one in found if one)) + "\n"


def retraining_figures() -> Iterator[Figure]:
    """The bars."""
    for name, one in _rounds().items():
        bars, about = one["bars"], f"Five rounds with new classes each, {_about(name)}"
        share, lost = one["share"], max(one["lost"])
        joint = f"{about}: accuracy on all classes at the end, as a share of one training on all"
        yield Figure(f"retraining/{name}/joint", joint, short(share), f"≥ {bars['joint']:g}", share < bars["joint"])
        part = f"{about}: largest loss of an earlier part since it arrived"
        yield Figure(f"retraining/{name}/part", part, short(lost), f"≤ {bars['part']:g}", lost > bars["part"])
    for name, one in _measured("retraining").items():
        if "default" in one:
            yield from _beside_scratch(name, one)
    yield from _killed()
    if found := results("watch_cost"):
        low, high = found["interval_ms"]
        measured = f"{short(found['added_ms'])} ({short(low)} – {short(high)})"
        yield Figure("watch_cost", "Monitors in the server: added to the median answer, ms", measured, f"≤ {found['bar_ms']:g}",
                     high > found["bar_ms"])  # fmt: skip


def ring_kills() -> str:
    """What a ring of monitors, alerts and retrainings went through while its server was killed, and what was wrong afterwards."""
    runs = results("ring_kills").get("runs", [])
    if not runs:
        return NOT_MEASURED

    def sums(of: str) -> Counter[str]:
        return sum((Counter[str](one[of]) for one in runs), Counter[str]())

    def counts(of: str) -> str:
        return ", ".join(f"{name}: {count}" for name, count in sorted(sums(of).items()))

    kills, alerts, messages, answers = (sum(one[name] for one in runs) for name in ("kills", "alerts", "messages", "answers"))
    wrong = sums("wrong")
    rows = [
        ["kills (of these, by the server itself at a chosen point)", f"{kills} ({sums('by')['by itself']})"],
        ["homes in which they happened", f"{len(runs)}"],
        ["kills while a retraining was in the stage", counts("stages")],
        ["alerts; messages", f"{alerts}; {messages}"],
        ["retrainings", counts("retrainings")],
        ["answers meanwhile", f"{answers:,}"],
        *([title, f"{wrong[name]}"] for name, title in WRONG.items()),
    ]
    return table(["", "number"], rows) + "\n" + machines(*runs) + "\n"


def console() -> str:
    """How soon each page of the console paints something, and how soon all of it."""
    found = results("console")
    if not found:
        return NOT_MEASURED
    bars, least = found["bars"], found["first paint of a page of one word"]
    rows = []
    for path, complete in found["complete"].items():
        first = bars[f"first paint of {path}"]
        rows.append([f"`{path}`", *(_milliseconds(one, name) for one, name in ((first, "figure"), (complete, "median")))])
    rows.append(["a page of one word, without a server", _milliseconds(least, "median"), "–"])
    keys = found["next record painted"]
    text = (
        f"With {found['labels']:,} labels in the store. From a key press until the next record is painted: {1000 * keys['median']:.0f} ms "
        f"(median), {1000 * keys['p95']:.0f} ms (95 %), which includes waiting for the screen.\n"
    )
    return table(["page", "first paint, ms (bar: ≤ 100)", "complete, ms"], rows) + f"\n{text}\n" + machines(found) + "\n"


def console_figures() -> Iterator[Figure]:
    """The bars."""
    yield from bar_figures("console", "Console, a million labels, seconds", results("console").get("bars", {}))


def _measured(name: str) -> dict[str, Any]:
    """The entries of a result file."""
    return {key: one for key, one in results(name).items() if isinstance(one, dict)}


def _rounds() -> dict[str, Any]:
    return {name: one for name, one in _measured("retraining").items() if "joint_parts" in one}


def _about(name: str) -> str:
    """What an entry was measured on: its name is scenario, method, rows of a class, `seed` and its number."""
    _, method, rows, *_ = name.split()
    return f"Banking77, `method: {method}`, " + ("all rows" if rows == "all" else f"{rows} rows a class")


def _beside_scratch(name: str, one: dict[str, Any]) -> Iterator[Figure]:
    """The bars of one retraining beside a training on everything from scratch."""
    found, bars, about = one["default"], one["bars"], f"500 new labels ({name.split()[0]}), {_about(name)}"
    for key, what, sign, missed in (
        ("gain", "gain on the new rows, as a share of that from scratch", "≥", found["gain"] < bars["gain"]),
        ("loss", "loss on the old rows", "≤", found["loss"] > bars["loss"]),
        ("time", "processor time, as a share of that from scratch", "≤", found["time"] > bars["time"]),
    ):
        yield Figure(f"retraining/{name}/{key}", f"{about}: {what}", short(found[key]), f"{sign} {bars[key]:.3g}", missed)


def _killed() -> Iterator[Figure]:
    if runs := results("ring_kills").get("runs"):
        kills, wrong = sum(one["kills"] for one in runs), sum(sum(one["wrong"].values()) for one in runs)
        what = f"The ring of monitors, alerts and retrainings, {kills} kills: what is lost, doubled, stuck or damaged"
        yield Figure("ring_kills/wrong", what, f"{wrong}", "0", wrong > 0)
        yield Figure("ring_kills/kills", "The same: number of kills", f"{kills}", "≥ 200", kills < 200)


def _milliseconds(one: dict[str, float], name: str) -> str:
    low, high = 1000 * one["low"], 1000 * one["high"]
    return f"{1000 * one[name]:.0f} ({low:.0f} – {high:.0f})"
