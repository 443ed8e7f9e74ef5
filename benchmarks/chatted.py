"""Tables of conversations over HTTP: how fast they are answered, what is left after kills, and what hostile messages did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from written import NOT_MEASURED, Figure, figures_table, machines, results, short, table

_BARS = {"p50": ("median", "≤", 15), "p99": ("99 %", "≤", 80)}
"""By percentile: its name, the sign of the bar, and milliseconds."""
_RATE, _CONVERSATIONS, _HOSTILE = 200, 10_000, 200
WRONG = {
    "lost": "messages lost", "doubled": "messages or replies twice", "mixed_up": "replies from another state",
    "out_of_order": "messages out of order", "another_reply": "repetitions with another reply",
    "acted_wrongly": "actions not called, or answered more than once",
}  # fmt: skip
"""What must not happen to conversations, by the names in the result file."""


def chat_bars() -> str:
    """All bars of conversations over HTTP."""
    found = [*results("chat_load").get("cases", {}).values(), *results("chat_kills").get("runs", [])[-1:]]
    found += results("hostile_chat").get("cases", {}).values()
    rows = figures_table(chat_figures())
    return rows if rows == NOT_MEASURED else rows + "\n" + machines(*found) + "\n"


def chat_kills() -> str:
    """What conversations went through while their servers were killed, by database, and what was wrong afterwards."""
    runs = results("chat_kills").get("runs", [])
    if not runs:
        return NOT_MEASURED
    names = list(dict.fromkeys(run["database"] for run in runs))

    def total(name: str, *keys: str) -> str:
        value = 0
        for run in runs:
            if run["database"] == name:
                one: Any = run
                for key in keys:
                    one = one[key]
                value += one
        return f"{value:,}"

    counted = {
        "conversations": "conversations", "messages": "messages", "requests": "requests, with repetitions",
        "failed_requests": "requests that failed and were repeated", "early": "messages that came too early",
        "actions": "actions", "action_calls": "calls of actions, with repetitions", "deaths": "servers that died",
    }  # fmt: skip
    rows = [[title, *(total(name, key) for name in names)] for key, title in counted.items()]
    rows += [[title, *(total(name, "wrong", key) for name in names)] for key, title in WRONG.items()]

    def servers(name: str) -> str:
        counts = sorted({run["servers"] for run in runs if run["database"] == name})
        return f"{name}, {' or '.join(map(str, counts))} servers"

    return table(["", *map(servers, names)], rows) + "\n" + machines(*runs[-1:]) + "\n"


def chat_figures() -> Iterator[Figure]:
    """The bars."""
    for app, case in results("chat_load").get("cases", {}).items():
        texts = ", each text is new" if case.get("new") else ""
        load = f"{case['conversations']} conversations at once, {case['rate']:g} messages a second are due"
        about = f"Chat with the app `{case['app']}`{texts}, {load}"
        for name, (title, sign, bar) in _BARS.items():
            values = [one["open"][name] for one in case["rounds"]]
            measured = f"{short(case['median'][name])} ({short(min(values))} – {short(max(values))})"
            key = f"chat_load/{app}/{name}"
            yield Figure(key, f"{about}: {title} of the times, ms", measured, f"{sign} {bar}", case["median"][name] > bar)
        most = case["most_per_second"]
        yield Figure(f"chat_load/{app}/most", f"{about}: most messages a second", short(most), f"≥ {_RATE}", most < _RATE)
    if total := results("chat_kills").get("total"):
        wrong, count = sum(total["wrong"].values()), total["conversations"]
        measured = f"{count:,}; {wrong} wrong"
        bar = f"≥ {_CONVERSATIONS:,}; 0 wrong"
        yield Figure("chat_kills", "Conversations through kills of servers", measured, bar, count < _CONVERSATIONS or wrong > 0)
    for app, case in results("hostile_chat").get("cases", {}).items():
        sound = case["alive"] and case["honest_visitor_answered"] and case["sound"] and not case["tracebacks_in_log"]
        bad = len(case["found"]) + (not sound)
        measured = f"{case['messages']} ({case['requests']:,} requests); {bad} wrong"
        missed = case["messages"] < _HOSTILE or bad > 0
        yield Figure(f"hostile_chat/{app}", f"Hostile messages to the app `{app}`", measured, f"≥ {_HOSTILE}; 0 wrong", missed)
