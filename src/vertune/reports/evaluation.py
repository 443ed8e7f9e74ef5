"""The page of an evaluation, drawn from its metrics.json alone; knows nothing of tasks or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.reports import render
from vertune.reports.scales import format_change, format_count, format_interval, format_value, plural, short
from vertune.reports.words import Metric, baseline_name, format_difference, metric

_FEW = 100
"""Below so many units a reader is told that the figures are rough."""
_LARGEST = 150
"""Labels of the largest confusion matrix that is drawn."""
_CUT_SHARE = 0.01
"""From this share of truncated inputs on, the page says so at its top."""
_NEAR = 0.02
"""Within this, confidence and accuracy are said to agree."""
_SAID = ("expected", "answered")
_TITLES = {"probability": "how sure it was", "error": "off by"}

Measured = Mapping[str, Any]


def page(measured: Measured) -> str:
    """The HTML of a report; `measured` is what steps/evaluate.py writes as metrics.json."""
    goal = metric(measured["goal"])
    confusion = measured["details"].get("confusion")
    differences = _differences(measured, goal)
    return render(
        "evaluate.html",
        m=measured,
        goal=goal,
        verdicts=_verdicts(measured, goal),
        notices=_notices(measured),
        bars=_bars(measured, goal),
        differences=differences,
        closest=next((row for row in differences if row["way"] == best_baseline(measured)), None),
        metrics=_metric_table(measured),
        glossary=[metric(name) for name in measured["metrics"]],
        mistakes=_frequent(mistakes(confusion)) if confusion else [],
        confusion=_readable(confusion) if confusion else None,
        classes=sorted(measured["details"].get("per_class", ()), key=lambda row: (row["f1"], -row["support"])),
        errors=_error_table(measured["details"].get("errors", ())),
        slices=_slices(measured, goal),
        calibration=_calibration(measured["details"].get("calibration")),
        curves=_curves(measured["training"].get("curves", {}), goal),
        training=_training(measured["training"]),
    )


def best_baseline(measured: Measured) -> str | None:
    """The name of the baseline with the best goal metric."""
    goal, known = measured["goal"], measured["baselines"]
    names = [name for name in known if known[name].get(goal, {}).get("value") is not None]
    sign = -1 if goal in measured["lower_is_better"] else 1
    return max(names, key=lambda name: sign * known[name][goal]["value"]) if names else None


def mistakes(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every confusion of two labels, the most frequent first: `{"expected", "answered", "count", "of"}`."""
    labels, counts = confusion["labels"], confusion["matrix"]
    found = [
        {"expected": labels[row], "answered": labels[column], "count": number, "of": sum(numbers)}
        for row, numbers in enumerate(counts)
        for column, number in enumerate(numbers)
        if number and row != column
    ]
    return sorted(found, key=lambda item: (-item["count"], item["of"], item["expected"], item["answered"]))


def _frequent(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mistakes that are listed: those made more than once, or a few of those that were made once."""
    return [item for item in found[:12] if item["count"] > 1] or found[:5]


def _verdicts(measured: Measured, goal: Metric) -> list[dict[str, str]]:
    """The four answers at the top."""
    entry = measured["metrics"][goal.name]
    units = plural(measured["units"], "row" if measured["units"] == measured["rows"] else "unit")
    sure = {"title": "How sure?", "figure": format_interval(entry["low"], entry["high"], goal.unit)}
    if entry["low"] is None:
        sure |= {"figure": "Not known", "text": "This metric has no interval."}
    elif entry["low"] == entry["high"]:
        sure |= {"figure": "Can't say", "text": f"All {units} came out alike, so resampling shows no spread. Test on more rows."}
    else:
        rough = " That is few: more rows would say it more exactly." if measured["units"] < _FEW else ""
        sure["text"] = f"The 95 % interval, from {units}: with other rows of this kind, the figure would lie about here.{rough}"
    return [
        {"title": "How good?", "figure": format_value(entry["value"], goal.unit), "text": f"{goal.title}. {goal.says(entry['value'])}"},
        sure,
        _against(measured, goal),
        _wrong(measured),
    ]


def _against(measured: Measured, goal: Metric) -> dict[str, str]:
    """Whether the model is worth more than the best simple way."""
    title = "Better than a simple way?"
    name = best_baseline(measured)
    if name is None:
        return {"title": title, "figure": "Not known", "text": "There was no simple way to compare with.", "tone": "warn"}
    difference, winner = measured["differences"][name].get(goal.name), measured["verdicts"][name]["winner"]
    theirs = format_value(measured["baselines"][name][goal.name]["value"], goal.unit)
    said = f" Difference: {format_difference(difference, goal)}." if difference else ""
    figure, tone = {"model": ("Yes", "good"), "baseline": ("No, worse", "bad")}.get(winner, ("Can't tell", "warn"))
    if not winner and difference and difference["low"] != difference["high"]:
        said += " The interval includes 0: more test rows would tell."
    if difference and winner and goal.unit == "share":
        figure = f"{'Yes' if winner == 'model' else 'No'}, {format_change(difference['value'], goal.unit)}"
    return {"title": title, "figure": figure, "tone": tone, "text": f"The best simple way, {baseline_name(name)}, reaches {theirs}.{said}"}


def _wrong(measured: Measured) -> dict[str, str]:
    """What the model gets wrong, from whatever details the task gives."""
    title, details = "What does it get wrong?", measured["details"]
    if details.get("confusion"):
        found = mistakes(details["confusion"])
        total, wrong = sum(map(sum, details["confusion"]["matrix"])), sum(item["count"] for item in found)
        text = "No row was answered wrongly."
        if found:
            first = found[0]
            pair = f"“{short(first['expected'], 40)}” answered as “{short(first['answered'], 40)}”"
            text = f"Most often: {pair}, {first['count']} of {first['of']} times."
        return {"title": title, "figure": f"{format_count(wrong)} of {format_count(total)}", "text": text}
    seen = [row for row in details.get("per_class", ()) if row["support"]]
    if seen:
        weak = min(seen, key=lambda row: row["f1"])
        recall = f"It finds {format_value(weak['recall'], 'share')} of {plural(weak['support'], 'case')}."
        text = f"The weakest label: F1 {format_value(weak['f1'], 'share')}. {recall}"
        return {"title": title, "figure": short(weak["label"], 18), "text": text}
    for name in ("mae", "rmse"):
        if name in measured["metrics"]:
            off = measured["metrics"][name]["value"]
            return {"title": title, "figure": f"Off by {format_value(off)}", "text": metric(name).says(off)}
    if details.get("errors"):
        return {"title": title, "figure": "See below", "text": f"The worst {plural(len(details['errors']), 'answer')} are listed."}
    said = ("Nothing", "No answer was wrong.") if "errors" in details else ("Not listed", "This task lists no single answers.")
    return {"title": title, "figure": said[0], "text": said[1]}


def _notices(measured: Measured) -> list[str]:
    """What a reader must know before believing the figures."""
    notices = list(measured["notes"])
    if measured["truncated"] >= _CUT_SHARE:
        notices.append(
            f"{format_value(measured['truncated'], 'share')} of the inputs were longer than the model reads and were cut. "
            "Raise encoder.max_tokens, or choose truncation: window."
        )
    if any(verdict["winner"] == "baseline" for verdict in measured["verdicts"].values()):
        notices.append("A simple way is better than this model on these rows. Train longer, use more labels, or use the simple way.")
    return notices


def _bars(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """The model and its baselines on the goal metric."""
    ways = {"this model": measured["metrics"], **{baseline_name(name): values for name, values in measured["baselines"].items()}}
    return [
        {
            "name": name,
            **values[goal.name],
            "tone": "accent" if values is measured["metrics"] else "plain",
            "strong": values is measured["metrics"],
            "note": format_interval(values[goal.name]["low"], values[goal.name]["high"], goal.unit),
        }
        for name, values in ways.items()
        if goal.name in values
    ]


def _differences(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """Model − baseline on the goal metric, with the sentence on it."""
    tones = {"model": "good", "baseline": "bad"}
    return [
        {
            "way": name,
            "name": f"model − {baseline_name(name)}",
            **found[goal.name],
            "sentence": measured["verdicts"][name]["sentence"],
            "gap": format_difference(found[goal.name], goal),
            "tone": tones.get(measured["verdicts"][name]["winner"], "warn"),
        }
        for name, found in measured["differences"].items()
        if goal.name in found
    ]


def _metric_table(measured: Measured) -> dict[str, Any]:
    """Every metric of the model, with its interval, beside the baselines."""
    rows = []
    for name, entry in measured["metrics"].items():
        shown = metric(name)
        others = [format_value(values.get(name, {}).get("value"), shown.unit) for values in measured["baselines"].values()]
        rows.append(
            [shown.title, format_value(entry["value"], shown.unit), format_interval(entry["low"], entry["high"], shown.unit), *others]
        )
    titles = ["this model", "95 % interval", *map(baseline_name, measured["baselines"])]
    return {"columns": [{"title": "", "kind": "word"}, *({"title": title, "kind": "number"} for title in titles)], "rows": rows}


def _readable(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """The confusion matrix, or the part of it with the most mistakes where there are too many labels to draw."""
    labels, counts = confusion["labels"], confusion["matrix"]
    if len(labels) <= _LARGEST:
        return {"labels": labels, "matrix": counts, "left_out": 0}
    weight = [sum(row) + sum(other[place] for other in counts) - 2 * row[place] for place, row in enumerate(counts)]
    kept = sorted(sorted(range(len(labels)), key=lambda place: -weight[place])[:_LARGEST])
    return {
        "labels": [labels[place] for place in kept],
        "matrix": [[counts[row][column] for column in kept] for row in kept],
        "left_out": len(labels) - len(kept),
    }


def _error_table(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The worst answers: the texts that were given, what was expected and answered, then figures."""
    if not errors:
        return None
    names = [name for name in dict.fromkeys(name for row in errors for name in row) if name != "row"]
    figures = [name for name in names if all(isinstance(row.get(name, 0.0), float | int) for row in errors) and name not in _SAID]
    order = [name for name in names if name not in (*_SAID, *figures)] + [name for name in _SAID if name in names] + figures
    kinds = {**dict.fromkeys(order, "text"), **dict.fromkeys(_SAID, "word"), **dict.fromkeys(figures, "number")}
    columns = [{"title": _TITLES.get(name) or metric(name).title, "kind": kinds[name]} for name in order]
    rows = [[_figure(row.get(name), name) if name in figures else _plain(row.get(name, "")) for name in order] for row in errors]
    return {"columns": columns, "rows": rows}


def _figure(value: float | None, name: str) -> str:
    return format_value(value, "share" if name == "probability" else metric(name).unit)


def _plain(value: Any) -> str:
    """What was expected or answered, as a reader writes it: labels with commas, spans by their label."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return short(", ".join(f"{key}: {_plain(item)}" for key, item in value.items()), 200)
    if isinstance(value, list | tuple):
        return short(", ".join(map(_plain, value)), 200) or "nothing"
    return short(value, 400) or "nothing"


def _slices(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    return [
        {
            "column": part["column"],
            "bars": [
                {"name": row["name"], **row["metrics"][goal.name], "tone": "accent", "note": plural(row["rows"], "row")}
                for row in part["values"]
            ],
        }
        for part in measured["slices"]
    ]


def _calibration(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The reliability diagram with a sentence on which way the model errs."""
    if not found or not found["bins"]:
        return None
    total = sum(row["count"] for row in found["bins"])
    said, right = (sum(row[key] * row["count"] for row in found["bins"]) / total for key in ("confidence", "accuracy"))
    words = "surer than it is right" if said > right else "less sure than it could be"
    return {**found, "said": said, "right": right, "way": words if abs(said - right) >= _NEAR else "about as sure as it is right"}


def _curves(curves: Mapping[str, Any], goal: Metric) -> list[dict[str, Any]]:
    """The training loss and the goal metric on validation, each with its own axis."""
    kinds = (
        ("loss", "Loss on the training rows", "what training lowers", "number", "plain"),
        ("metric", f"{goal.title} on validation", "on rows it did not learn from", goal.unit, "accent"),
    )
    return [
        {"title": title, "about": about, "unit": unit, "tone": tone, "points": curves[name]}
        for name, title, about, unit, tone in kinds
        if len(curves.get(name, ())) > 1
    ]


def _training(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts on how the model came to be, as (name, words)."""
    chosen = training.get("chosen") or {}
    facts = [
        ("Base", training.get("base")),
        ("Method", training.get("method")),
        ("Why this method", chosen.get("why")),
        ("Training rows", format_count(training["rows"]) if training.get("rows") else None),
        ("Trained weights", format_count(training["trained"]) if training.get("trained") else None),
        ("Passes over the rows", f"{chosen['epochs']:.3g}" if chosen.get("epochs") is not None else None),
        ("Steps", f"{format_count(chosen['steps'])}, best after {format_count(chosen['best_step'])}" if chosen.get("best_step") else None),
        ("Trained again on all labels", plural(chosen["refit"], "row") if chosen.get("refit") else None),
        ("Seconds of training", format_count(chosen["seconds"]) if chosen.get("seconds") is not None else None),
    ]
    return [(name, value) for name, value in facts if value]
