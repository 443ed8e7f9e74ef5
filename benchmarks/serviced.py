"""Tables of what customer service answers, how often it is wrong, and whether it does what people want."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from written import Figure, bar_figures, figures_table, machines, results, table

PARTS = {
    "intents": "Banking77 with messages outside, all training rows",
    "few": "The same, ten training rows of each intent",
    "few-both": "The same, ten training and ten validation rows of each intent",
    "behaviour": "Behaviour sets",
    "dialogues": "Schema-Guided Dialogue, banks and payments",
}
SHOWN = {
    "mixture, corrected": "messages outside as in validation",
    "mixture, raw": "the same, labels of the data set",
    "all, corrected": "all",
    "all, raw": "all, labels of the data set",
}
KINDS = {
    "negation": "negations",
    "not_that": '"not that"',
    "typos": "typos in 10 % of the characters",
    "two_intents": "two wishes in a message",
    "person": "asks for a person",
    "angry": "angry",
    "smalltalk": "greetings, thanks, small talk",
    "out_of_scope": "belongs to no intent",
    "flow": "details, corrections, cancellations",
}


def service_answers() -> str:
    """Share of messages that are answered at once, and of false answers, at each stated rate."""
    found = results("service")
    rows = [
        [PARTS[part], f"{float(target):.0%}", title, *_row(one[name])]
        for part in ("intents", "few", "few-both")
        for target, one in found.get(part, {}).get("targets", {}).items()
        for name, title in SHOWN.items()
    ]
    head = [
        "data",
        "stated",
        "test rows",
        "answered at once, right",
        "false answers",
        "95 % interval",
        "nearest message by TF-IDF: right; false",
    ]
    return table(head, rows) + "\n" + machines(*(found[part] for part in found)) + "\n"


def _row(one: dict[str, Any]) -> list[str]:
    base = one["baseline"]
    simple = f"{_percent(base['containment'])}; {_percent(base['false_rate'])}"
    interval = f"{_percent(one['false_low'])} – {_percent(one['false_high'])}"
    return [f"**{_percent(one['containment'])}**", f"{_percent(one['false_rate'])} ({one['false']} of {one['answers']})", interval, simple]


def service_behaviour() -> str:
    """Cases of the behaviour sets that are right, by kind and pack."""
    packs = results("service").get("behaviour", {}).get("packs", {})
    rows = [
        [title, *(_cases(one["kinds"].get(kind)) for one in packs.values())] for kind, title in KINDS.items() if packs
    ]  # fmt: skip
    rows += [["**all**", *(f"**{_cases(one['cases'])}**" for one in packs.values())]] if packs else []
    rows += [["all, without asking which intent is meant", *(f"{one['cases']['at_once']}" for one in packs.values())]] if packs else []
    return table(["cases", *(f"`{name}`" for name in packs)], rows)


def _cases(one: dict[str, Any] | None) -> str:
    return f"{one['right']} of {one['of']}" if one else "–"


def service_slots() -> str:
    """Slots of dialogues beside the published baseline."""
    found = results("service").get("dialogues", {})
    if not found:
        return table([], [])
    joint = found["slots"]["joint"]
    rows = [
        [f"all details right after a turn, {kind}", _share(joint[kind]), f"{100 * found['slots']['baseline'][kind]:.1f} %"]
        for kind in joint
    ]
    chosen = found["slots_chosen"]["joint"]
    rows += [[f"the same, users choose what is meant if they are asked, {kind}", _share(chosen[kind]), "–"] for kind in chosen]
    rows += [[f"`{name}`", _share(one), "–"] for name, one in found["slots"]["slots"].items()]
    rows += [[f"scripted users, `{name}`", _share(one), "–"] for name, one in found["users"]["flows"].items()]
    return table(["what", "vertune", "published baseline, all services"], rows)


def _share(one: dict[str, Any]) -> str:
    return f"{_percent(one['value'])} ({one['right']} of {one['of']})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def service_bars() -> str:
    """All bars, with the machines on which they were measured."""
    found = results("service")
    return figures_table(service_figures()) + "\n" + machines(*found.values()) + "\n"


def service_figures() -> Iterator[Figure]:
    """The bars."""
    for part, about in PARTS.items():
        yield from bar_figures(f"service/{part}", about, results("service").get(part, {}).get("bars", {}))
