"""Renders the report page of a monitoring, from the content of findings.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vertune.reports import render
from vertune.reports.scales import format_count, format_interval, format_value, plural, short

_DAY = 86_400.0
_SAFE = 0.001
"""Probabilities below this are written as smaller than it."""
_VERDICTS = {"quiet": "unchanged", "changed": "changed", "unknown": "can't tell"}
_TONES = {"quiet": "good", "changed": "bad", "unknown": "plain"}
Found = Mapping[str, Any]


def page(found: Found) -> str:
    """Return the HTML of the report page; `found` is the content of findings.json."""
    monitors = [_shown(one) for one in found["monitors"]]
    confirmed = [one for one in monitors if one["tone"] == "bad"]
    return render(
        "monitor.html",
        m=found,
        advice=_advice(found, confirmed),
        boxes=_boxes(found, monitors, confirmed),
        notices=found["notes"],
        changed=confirmed,
        passed=_passed(found, confirmed),
        monitors=monitors,
        table=_table(monitors),
        decided=_decided(found),
    )


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one monitor."""
    verdict = "changed" if one["confirmed"] else one["verdict"]
    once = one["verdict"] == "changed" and not one["confirmed"]
    return {
        **one,
        "heading": one["title"][:1].upper() + one["title"][1:],
        "tone": "warn" if once else _TONES[verdict],
        "words": "changed once" if once else _VERDICTS[verdict],
        "unit": "share" if one["unit"] == "share" else "number",
        "axis": "seconds" if one["unit"] == "seconds" else "",
        "chart": _chart(one),
        "evidence": _evidence(one["evidence"]),
    }


def _chart(one: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the points of the curve of a value, over days if times are known and else over windows; None if there is only one."""
    windows = one["windows"]
    timed = all(window["end"] is not None for window in windows)
    first = windows[0]["begin"] if timed else 0
    points = [
        {"x": (window["end"] - first) / _DAY if timed else number, **{name: window[name] for name in ("value", "low", "high")},
         "tone": "bad" if window["confirmed"] else "warn" if window["verdict"] == "changed" else "accent"}
        for number, window in enumerate(windows, 1)
        if window["value"] is not None
    ]  # fmt: skip
    if len(points) < 2:
        return None
    values = [point[name] for point in points for name in ("value", "low", "high") if point[name] is not None]
    return {"points": points, "x_title": "days" if timed else "window", "ends": values}


def _evidence(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the table of the evidence of a finding."""
    if not rows:
        return None
    names = list(rows[0])
    numeric = [all(isinstance(row.get(name), int | float) for row in rows) for name in names]
    shares = [number and "share" in name for name, number in zip(names, numeric, strict=True)]
    kinds = ["number" if number else "word" if name in {"word", "label"} else "text" for name, number in zip(names, numeric, strict=True)]
    columns = [{"title": name, "kind": kind} for name, kind in zip(names, kinds, strict=True)]
    return {"columns": columns, "rows": [[_cell(row.get(name), share) for name, share in zip(names, shares, strict=True)] for row in rows]}


def _cell(value: Any, is_share: bool) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_value(float(value) if is_share else value, "share" if is_share else "number")
    return short(value, 200) if value is not None else ""


def _when(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _advice(found: Found, confirmed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the headline of the page, why, and what to do."""
    name = found["name"]
    if not confirmed:
        once = [one for one in found["monitors"] if one["verdict"] == "changed"]
        more = f" {plural(len(once), 'monitor')} saw a change in the last window alone; the next one decides." if once else ""
        past = " What changed before and is over is listed below." if found["episodes"] else ""
        unknown = sum(one["verdict"] == "unknown" for one in found["monitors"])
        reason = (
            f"{plural(len(found['monitors']) - unknown, 'monitor')} compared {plural(found['requests'], 'request')} with the reference."
        )
        reason += f" {plural(unknown, 'other')} can't tell; the reasons are below." if unknown else ""
        return {"tone": "good", "headline": "Nothing has changed.", "reason": reason + more + past, "steps": []}
    began = [one["began"] for one in found["episodes"] if one["monitor"] in {shown["name"] for shown in confirmed}]
    since = min((at for at in began if at is not None), default=None)
    words = ", ".join(one["title"] for one in confirmed)
    steps = [
        {
            "text": "Look at the evidence below: is this a change of what people ask, or an error of whoever sends the requests?",
            "command": "",
        },
        {"text": "Label some of the new requests; the ones that tell most come first:", "command": "vertune label"},
        {"text": "Train again on what was learnt since, and let the gate decide:", "command": f"vertune retrain {name}"},
    ]
    return {
        "tone": "bad", "headline": f"{plural(len(confirmed), 'thing')} {'has' if len(confirmed) == 1 else 'have'} changed.",
        "reason": f"Since {_when(since)}: {words}." if since is not None else f"{words[:1].upper()}{words[1:]}.", "steps": steps,
    }  # fmt: skip


def _boxes(found: Found, monitors: Sequence[Mapping[str, Any]], confirmed: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the four boxes at the top of the page."""
    unknown = [one for one in monitors if one["verdict"] == "unknown"]
    alarms = found["false_alarms"]
    rate = alarms["expected"] / max(1, alarms["looks"])
    return [
        {
            "title": "What has changed?", "figure": f"{len(confirmed)} of {len(monitors)}", "tone": "bad" if confirmed else "good",
            "text": ", ".join(one["title"] for one in confirmed) or "No monitor has seen a change in two windows in a row.",
        },
        _quality(monitors),
        {
            "title": "What is not known?", "figure": format_count(len(unknown)),
            "text": "; ".join(f"{one['title']}" for one in unknown) or "Every monitor had what it needs.",
        },
        {
            "title": "How often is this a false alarm?", "figure": f"1 in {format_count(round(1 / rate))}" if rate else "–",
            "text": "windows is to be expected, if nothing changes: the same change must show in two in a row.",
        },
    ]  # fmt: skip


def _quality(monitors: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the box on how good the model is now: as feedback says, or as it is estimated."""
    by_title = {one["title"]: one for one in monitors}
    for title, words in (
        ("error rate on feedback", "of the answers with feedback are wrong"),
        ("estimated accuracy", "of all answers are right"),
    ):
        one = by_title.get(title)
        last = one["windows"][-1] if one else None
        if last and last["value"] is not None:
            interval = format_interval(last["low"], last["high"], "share")
            source = "as users say" if title.startswith("error") else "estimated from confidences; valid if only inputs have changed"
            return {
                "title": "How good is it now?",
                "figure": format_value(last["value"], "share"),
                "text": f"{words} ({interval}), {source}.",
            }
    return {"title": "How good is it now?", "figure": "Unknown", "text": "There is no feedback, and nothing to estimate the accuracy from."}


def _passed(found: Found, confirmed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about changes that were confirmed and are over."""
    now = {one["name"] for one in confirmed}
    titles = {one["name"]: one["title"] for one in found["monitors"]}
    return [
        f"{titles[one['monitor']]}: from {_when(one['began'])} to {_when(one['ended'])}"
        for one in found["episodes"]
        if one["monitor"] not in now
    ]


def _table(monitors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a table with one row per monitor: the value in the last window, its interval, how likely it is, and the verdict."""
    rows = []
    for one in monitors:
        last = one["windows"][-1]
        p = "–" if last["adjusted"] is None else f"< {_SAFE}" if last["adjusted"] < _SAFE else f"{last['adjusted']:.3f}"
        value = format_value(last["value"], one["unit"])
        rows.append(
            [one["title"], one["words"], value, format_interval(last["low"], last["high"], one["unit"]), p, format_count(last["n"])]
        )
    titles = ("", "verdict", "value", "95 % interval", "p, corrected", "requests")
    kinds = ("word", "word", "number", "number", "number", "number")
    return {"columns": [{"title": title, "kind": kind} for title, kind in zip(titles, kinds, strict=True)], "rows": rows}


def _decided(found: Found) -> list[tuple[str, str]]:
    """Return how the verdicts were made, as pairs of a title and a text."""
    alarms, count = found["false_alarms"], format_count(found["windows"])
    length = f"{found['window']} requests" if isinstance(found["window"], int) else found["window"]
    level, expected = format_value(found["level"], "share"), format_value(float(alarms["expected"]))
    return [
        ("Requests", f"{format_count(found['requests'])}: {found['source']}"),
        ("Reference", found["reference"]),
        ("Windows", f"{count}, each of {length}"),
        (
            "A decision needs",
            f"{format_count(found['least'])} requests, a difference that is large enough for its monitor, and two windows in a row that "
            "say the same",
        ),
        (
            "Many tests",
            f"the {alarms['tests']} findings of a window are corrected for each other (Benjamini and Hochberg), so that at most {level} of "
            "the changes that are found in a window are false in expectation",
        ),
        (
            "False alarms",
            f"if nothing changes and requests do not depend on each other, {expected} in {plural(alarms['looks'], 'window')} are to be "
            "expected; monitors that watch a stream by themselves come on top",
        ),
    ]
