"""Renders the report page of the gate, for people who decide whether a candidate goes live, from the content of release.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.reports import behaviour, render
from vertune.reports.scales import MISSING, Unit, format_change, format_value, plural

Content = Mapping[str, Any]

_TONES = {"pass": "good", "fail": "bad", "unknown": "warn"}
_WORDS = {"pass": "passed", "fail": "failed", "unknown": "can't tell"}
_ORDER = ("fail", "unknown", "pass")
_KINDS = {"labels": "label", "groups of rows": "slice", "earlier sets": "set"}
"""For the name of a check of groups, what their groups have in common."""
_RIGHT = {"live": "the live model", "candidate": "the candidate", "neither": "neither", "": MISSING}
_GROUPS = 12
"""Largest number of groups in the chart of differences; the worst are shown."""


def page(content: Content) -> str:
    """Return the HTML of the page; `content` is the content of release.json."""
    groups = sorted((group for group in content["groups"] if group["judged"]), key=lambda group: group["value"])
    return render(
        "release.html",
        c=content,
        tone=_TONES[content["verdict"]],
        about=_about(content),
        next_steps=_next_steps(content),
        checks=_checks(content),
        groups=[_group(group) for group in groups[:_GROUPS]],
        unit=_unit(groups[0]["measure"]) if groups else "share",
        left_out=sum(not group["judged"] for group in content["groups"]),
        judged=len(groups),
        changes=_changes(content["changes"]),
        tests=behaviour.rows(content.get("tests")),
        sets=[[name, one["rows"], one["changed"], _share(one)] for name, one in content["sets"].items()],
    )


def _about(content: Content) -> str:
    """Return one sentence with what was compared."""
    sets = [plural(one["rows"], f"{name} row") for name, one in content["sets"].items()]
    return f"The candidate {content['candidate']} was compared with the live model {content['live']} on {' and '.join(sets)}."


def _next_steps(content: Content) -> list[dict[str, str]]:
    """Return what the reader can do next, each as a text and a command; either may be empty."""
    name, candidate = content["name"], content["candidate"]
    look = {"text": "Look at the texts that are answered differently, below.", "command": ""}
    steps = {
        "pass": [
            {"text": "Let it answer a tenth of the requests first:", "command": f"vertune deploy {name} {candidate} --canary 10%"},
            {"text": "Let it answer all requests:", "command": f"vertune deploy {name} {candidate}"},
        ],
        "fail": [{"text": "The live model stays. Correct the labels or add training rows where it lost, and train again.", "command": ""}],
        "unknown": [
            {"text": "Add labelled rows to the gold file, then compare again:", "command": f"vertune gate {candidate} --gold FILE"},
            {
                "text": "Or take texts of traffic, and label what differs:",
                "command": f"vertune gate {candidate} --gold FILE --traffic TEXTS",
            },
            {"text": "Let it answer copies of requests meanwhile:", "command": f"vertune deploy {name} {candidate} --shadow"},
        ],
    }
    return [*([look] if content["changed"] else []), *steps[content["verdict"]]]


def _checks(content: Content) -> list[dict[str, Any]]:
    """Return the rows of the table of checks: first those that fail, then the undecided ones."""
    doubtful = {group["kind"] for group in content["groups"] if group["judged"] and group["verdict"] == "unknown"}
    rows = [_check(check, _KINDS.get(check["name"]) in doubtful) for check in content["checks"]]
    return sorted(rows, key=lambda row: _ORDER.index(row["order"]))


def _check(check: Mapping[str, Any], doubtful: bool) -> dict[str, Any]:
    """Return one row of the table of checks; `doubtful` is whether one of its groups is to be looked at, although it passed."""
    look = doubtful and check["verdict"] == "pass"
    return {
        "name": check["name"],
        "order": check["verdict"],
        "tone": "warn" if look else _TONES[check["verdict"]],
        "verdict": "passed, look at it" if look else _WORDS[check["verdict"]],
        "value": f"worst: {_value(check)}" if check["name"] in _KINDS else _value(check),
        "limit": _limit(check),
        "why": check["why"],
    }


def _value(check: Mapping[str, Any]) -> str:
    """Format what was measured, with its interval."""
    value, low, high = check["value"], check["low"], check["high"]
    if value is None:
        return MISSING
    if check["measure"] == "ratio":
        return f"{value:.2f} times"
    if low is None:
        return format_value(value, _unit(check["measure"]))
    unit = _unit(check["measure"])
    ends = (format_change(end, unit).removesuffix(" points") for end in (low, high))
    return f"{format_change(value, unit)} ({' to '.join(ends)})"


def _limit(check: Mapping[str, Any]) -> str:
    """Format the limit of a check."""
    limit = check["limit"]
    if limit is None:
        return MISSING
    if check["measure"] == "ratio":
        return f"at most {limit:g} times"
    if check["low"] is None:
        return format_value(limit, _unit(check["measure"]))
    return format_change(limit, _unit(check["measure"])) if limit else "above 0"


def _unit(measure: str) -> Unit:
    """Return the unit in which a value of this kind is written."""
    return "share" if measure == "share" else "number"


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of the chart of groups."""
    name = f"{group['name']} · {plural(group['rows'], 'row')}"
    tone = "bad" if group["verdict"] == "fail" else "warn" if group["verdict"] == "unknown" else "plain"
    return {"name": name, "value": group["value"], "low": group["low"], "high": group["high"], "tone": tone}


def _changes(changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table of texts that are answered differently."""
    columns = [
        {"title": "text", "kind": "text"},
        {"title": "live model", "kind": "word"},
        {"title": "candidate", "kind": "word"},
        {"title": "right is", "kind": "word"},
        {"title": "set", "kind": "word"},
    ]
    rows = [[one["text"], one["live"], one["candidate"], _RIGHT[one["right"]], one["set"]] for one in changes]
    return {"columns": columns, "rows": rows}


def _share(one: Mapping[str, Any]) -> str:
    """Format the share of rows of a set that are answered differently."""
    return format_value(one["changed"] / one["rows"], "share") if one["rows"] else MISSING
