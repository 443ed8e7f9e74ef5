"""Renders the report page of a product from the content of product.json: how often it was wrong, and what it did instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.reports import render
from vertune.reports.scales import MISSING, format_change, format_interval, format_value, plural

Content = Mapping[str, Any]

_TONES = {"pass": "good", "fail": "bad", "unknown": "warn"}
_WORDS = {"pass": "passed", "fail": "failed", "unknown": "can't tell"}
_NAMES = {
    "false_answers": "wrong among the answers given",
    "containment": "answered at once, of the messages that have an answer",
    "right": "turns as expected",
    "clarified": "turns that ask which intent is meant",
    "handoff_precision": "hand-overs that were right",
    "handoff_recall": "needed hand-overs that were made",
    "resolved": "conversations that ended without a person",
}
_BASELINES = {"nearest": "TF-IDF: the nearest known message, with a threshold", "majority": "the most frequent intent"}
_COLUMNS = ("turns", "wrong answers", "answered at once", "as expected")
_MORE = "Add messages like these to calibration.csv or to the training rows"
_BOXES = {
    "false_answers": "How often is it wrong?",
    "containment": "How much does it answer?",
    "clarified": "How often does it ask back?",
    "handoff_recall": "Does it hand over in time?",
}
_INTENTS = 60
"""Most intents in the table; those with the fewest turns as expected come first."""


def page(content: Content) -> str:
    """Return the HTML of the page; `content` is the content of product.json of the report."""
    return render(
        "product.html",
        c=content,
        tone=_TONES[content["verdict"]],
        headline=_headline(content),
        about=_about(content),
        next_steps=_next_steps(content),
        boxes=_boxes(content["figures"]),
        checks=[{**check, "tone": _TONES[check["verdict"]], "word": _WORDS[check["verdict"]]} for check in content["checks"]],
        rows=[[_NAMES[name], *_cells(one)] for name, one in content["figures"].items()],
        compared=_compared(content),
        languages=_cut(content["languages"], "language"),
        kinds=_cut(content["kinds"], "kind"),
        intents=_cut(_worst(content["intents"]), "intent"),
        problems=_problems(content["problems"]),
    )


def _headline(content: Content) -> str:
    false = content["figures"]["false_answers"]
    if false["value"] is None:
        return "No answer was given, so nothing shows how many would be wrong."
    return f"{false['hits']} of {plural(false['of'], 'answer')} given {'was' if false['hits'] == 1 else 'were'} wrong."


def _about(content: Content) -> str:
    return (
        f"{content['product']} replied to {plural(content['turns'], 'labelled turn')} in "
        f"{plural(content['conversations'], 'conversation')}, on which nothing was trained and no threshold was learnt."
    )


def _next_steps(content: Content) -> list[dict[str, str]]:
    name = content["name"]
    steps = {
        "pass": [{"text": "Let it answer:", "command": f"vertune app {name} serve"}],
        "fail": [{"text": f"Look at the replies below. {_MORE}; then:", "command": f"vertune app {name} train"}],
        "unknown": [{"text": "Label more conversations, one JSON object a line; then:", "command": f"vertune app {name} eval FILE.jsonl"}],
    }  # fmt: skip
    return steps[content["verdict"]]


def _boxes(figures: Content) -> list[dict[str, str]]:
    return [
        {"title": title, "figure": format_value(figures[name]["value"], "share"), "text": f"{_NAMES[name]} {_range(figures[name])}"}
        for name, title in _BOXES.items()
    ]


def _range(figure: Content) -> str:
    return f"({format_interval(figure['low'], figure['high'], 'share')})" if figure["of"] else ""


def _cells(figure: Content) -> list[str]:
    return [format_value(figure["value"], "share"), _range(figure), f"{figure['hits']:,} of {figure['of']:,}"]


def _compared(content: Content) -> list[list[str]]:
    """Return the rows of the table of the product beside the baselines, and beside the live product if there is one."""
    named = [(content["product"], content["figures"], None)]
    named += [("the live product", content["live"], None)] if content["live"] else []
    named += [(_BASELINES[name], figures, content["ahead"].get(name)) for name, figures in content["baselines"].items()]
    rows = []
    for name, figures, ahead in named:
        ends = [format_change(ahead[end], "share").removesuffix(" points") for end in ("low", "high")] if ahead else []
        shown = f"{format_change(ahead['value'], 'share')} ({' to '.join(ends)})" if ahead else MISSING
        cells = [" ".join(_cells(figures[key])[:2]) for key in ("false_answers", "containment")]
        rows.append([name, *cells, shown])
    return rows


def _cut(groups: Mapping[str, Content], what: str) -> dict[str, Any]:
    """Return a table of figures by group."""
    columns = [{"title": what, "kind": "word"}, *({"title": title, "kind": "number"} for title in _COLUMNS)]
    rows = [
        [
            name,
            f"{one['right']['of']:,}",
            f"{one['false_answers']['hits']} of {one['false_answers']['of']}",
            *(" ".join(_cells(one[key])[:2]) for key in ("containment", "right")),
        ]
        for name, one in groups.items()
    ]
    return {"columns": columns, "rows": rows}


def _worst(groups: Mapping[str, Content]) -> dict[str, Content]:
    order = sorted(groups, key=lambda name: (groups[name]["right"]["value"] or 0.0, -groups[name]["right"]["of"], name))
    return {name: groups[name] for name in order[:_INTENTS]}


def _problems(problems: Sequence[Content]) -> dict[str, Any]:
    """Return the table of replies that were not as expected; wrong answers come first."""
    columns = [
        {"title": title, "kind": kind}
        for title, kind in (("message", "text"), ("reply", "text"), ("did", "word"), ("what is wrong", "text"))
    ]
    ordered = sorted(problems, key=lambda one: not one["false"])
    return {"columns": columns, "rows": [[one["text"], one["reply"], one["action"], one["problem"] or "a wrong answer"] for one in ordered]}
