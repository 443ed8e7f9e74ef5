"""The page of an evaluation, drawn from its metrics.json alone; knows nothing of tasks or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.reports import render
from vertune.reports.scales import change, count, interval, measure, plural, short
from vertune.reports.words import Metric, gap, metric

_FEW = 100
"""Below so many units a reader is told that the figures are rough."""
_LARGEST = 150
"""Labels of the largest confusion matrix that is drawn."""
_CUT_SHARE = 0.01
"""From this share of truncated inputs on, the page says so at its top."""
_ERROR = ("row", "expected", "answered", "probability", "error")
"""What an error says besides the texts of its record."""

Measured = Mapping[str, Any]


def page(measured: Measured) -> str:
    """The HTML of a report; `measured` is what steps/evaluate.py writes as metrics.json."""
    goal = metric(measured["goal"])
    confusion = measured["details"].get("confusion")
    return render(
        "evaluate.html",
        m=measured,
        goal=goal,
        best=best_baseline(measured),
        verdicts=_verdicts(measured, goal),
        notices=_notices(measured),
        bars=_bars(measured, goal),
        differences=_differences(measured),
        metrics=_metric_table(measured),
        glossary=[metric(name) for name in measured["metrics"]],
        mistakes=mistakes(confusion)[:12] if confusion else [],
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


def _verdicts(measured: Measured, goal: Metric) -> list[dict[str, str]]:
    """The four answers at the top."""
    entry = measured["metrics"][goal.name]
    units = plural(measured["units"], "row" if measured["units"] == measured["rows"] else "unit")
    sure = {"title": "How sure?", "figure": interval(entry["low"], entry["high"], goal.unit)}
    if entry["low"] is None:
        sure |= {"figure": "Not known", "text": "This metric has no interval."}
    elif entry["low"] == entry["high"]:
        sure["text"] = f"All {units} came out alike, so resampling can't show how sure this is. Test on more rows."
    else:
        rough = " That is few: more rows would say it more exactly." if measured["units"] < _FEW else ""
        sure["text"] = f"The 95 % interval, from {units}: with other rows of this kind, the figure would lie about here.{rough}"
    return [
        {"title": "How good?", "figure": measure(entry["value"], goal.unit), "text": f"{goal.title}. {goal.says(entry['value'])}"},
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
    theirs = measure(measured["baselines"][name][goal.name]["value"], goal.unit)
    said = f" Difference: {gap(difference, goal)}." if difference else ""
    figure, tone = {"model": ("Yes", "good"), "baseline": ("No, worse", "bad")}.get(winner, ("Can't tell", "warn"))
    if difference and winner and goal.unit == "share":
        figure = f"{'Yes' if winner == 'model' else 'No'}, {change(difference['value'], goal.unit)}"
    return {"title": title, "figure": figure, "tone": tone, "text": f"The best simple way, {name}, reaches {theirs}.{said}"}


def _wrong(measured: Measured) -> dict[str, str]:
    """What the model gets wrong, from whatever details the task gives."""
    title, details = "What does it get wrong?", measured["details"]
    if details.get("confusion"):
        found = mistakes(details["confusion"])
        total, wrong = sum(map(sum, details["confusion"]["matrix"])), sum(item["count"] for item in found)
        text = "No row was answered wrongly."
        if found:
            first = found[0]
            text = f"Most often: “{short(first['expected'], 40)}” answered as “{short(first['answered'], 40)}”, {first['count']} of {first['of']} times."
        return {"title": title, "figure": f"{count(wrong)} of {count(total)}", "text": text}
    seen = [row for row in details.get("per_class", ()) if row["support"]]
    if seen:
        weak = min(seen, key=lambda row: row["f1"])
        text = f"The weakest label: F1 {measure(weak['f1'], 'share')}. It finds {measure(weak['recall'], 'share')} of {plural(weak['support'], 'case')}."
        return {"title": title, "figure": short(weak["label"], 18), "text": text}
    for name in ("mae", "rmse"):
        if name in measured["metrics"]:
            off = measured["metrics"][name]["value"]
            return {"title": title, "figure": f"Off by {measure(off)}", "text": f"{metric(name).says(off)} The worst answers are listed below."}
    errors = details.get("errors", ())
    return {"title": title, "figure": "See below" if errors else "Nothing listed", "text": f"{plural(len(errors), 'of the worst answer', 'of the worst answers')} listed below."}


def _notices(measured: Measured) -> list[str]:
    """What a reader must know before believing the figures."""
    notices = list(measured["notes"])
    if measured["truncated"] >= _CUT_SHARE:
        notices.append(
            f"{measure(measured['truncated'], 'share')} of the inputs were longer than the model reads and were cut. "
            "Raise encoder.max_tokens, or choose truncation: window."
        )
    if any(verdict["winner"] == "baseline" for verdict in measured["verdicts"].values()):
        notices.append("A simple way is better than this model on these rows. Train longer, use more labels, or use the simple way.")
    return notices


def _bars(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """The model and its baselines on the goal metric."""
    ways = {"this model": measured["metrics"], **measured["baselines"]}
    return [
        {
            "name": name,
            **values[goal.name],
            "tone": "accent" if values is measured["metrics"] else "plain",
            "strong": values is measured["metrics"],
            "note": interval(values[goal.name]["low"], values[goal.name]["high"], goal.unit),
        }
        for name, values in ways.items()
        if goal.name in values
    ]


def _differences(measured: Measured) -> list[dict[str, Any]]:
    tones = {"model": "good", "baseline": "bad"}
    goal = measured["goal"]
    return [
        {"name": f"model − {name}", **found[goal], **measured["verdicts"][name], "tone": tones.get(measured["verdicts"][name]["winner"], "warn")}
        for name, found in measured["differences"].items()
        if goal in found
    ]


def _metric_table(measured: Measured) -> dict[str, Any]:
    """Every metric of the model, with its interval, beside the baselines."""
    rows = []
    for name, entry in measured["metrics"].items():
        shown = metric(name)
        others = [measure(values.get(name, {}).get("value"), shown.unit) for values in measured["baselines"].values()]
        rows.append([shown.title, measure(entry["value"], shown.unit), interval(entry["low"], entry["high"], shown.unit), *others])
    columns = [{"title": "", "kind": "word"}, *({"title": title, "kind": "number"} for title in ("this model", "95 % interval", *measured["baselines"]))]
    return {"columns": columns, "rows": rows}


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
    """The worst answers with what they were given."""
    if not errors:
        return None
    fields = list(dict.fromkeys(field for row in errors for field in row if field not in _ERROR))
    extra = [name for name in ("probability", "error") if any(name in row for row in errors)]
    titles = {"probability": "how sure it was", "error": "off by"}
    columns = [
        *({"title": field.replace("_", " "), "kind": "text"} for field in fields),
        {"title": "expected", "kind": "word"},
        {"title": "answered", "kind": "word"},
        *({"title": titles[name], "kind": "number"} for name in extra),
    ]
    rows = [
        [
            *(short(row.get(field, ""), 400) for field in fields),
            _plain(row["expected"]),
            _plain(row["answered"]),
            *(measure(row.get(name), "share" if name == "probability" else "number") for name in extra),
        ]
        for row in errors
    ]
    return {"columns": columns, "rows": rows}


def _plain(value: Any) -> str:
    """What was expected or answered, as a reader writes it: labels with commas, spans by their label."""
    if isinstance(value, float):
        return measure(value)
    if isinstance(value, dict):
        return short(", ".join(f"{key}: {_plain(item)}" for key, item in value.items()), 200)
    if isinstance(value, list | tuple):
        return short(", ".join(map(_plain, value)), 200) or "nothing"
    return short(value, 200) or "nothing"


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
    way = "about as sure as it is right" if abs(said - right) < 0.02 else "surer than it is right" if said > right else "less sure than it could be"
    return {**found, "said": said, "right": right, "way": way}


def _curves(curves: Mapping[str, Any], goal: Metric) -> list[dict[str, Any]]:
    """The training loss and the goal metric on validation, each with its own axis."""
    shown = []
    if len(curves.get("loss", ())) > 1:
        shown.append({"title": "Loss on the training rows", "points": curves["loss"], "tone": "plain", "unit": "number", "about": "what training lowers"})
    if len(curves.get("metric", ())) > 1:
        shown.append({"title": f"{goal.title} on validation", "points": curves["metric"], "tone": "accent", "unit": goal.unit, "about": "rows it did not learn from"})
    return shown


def _training(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts on how the model came to be, as (name, words)."""
    chosen = training.get("chosen") or {}
    facts = [
        ("Base", training.get("base")),
        ("Method", training.get("method")),
        ("Why this method", chosen.get("why")),
        ("Training rows", count(training["rows"]) if training.get("rows") else None),
        ("Trained weights", count(training["trained"]) if training.get("trained") else None),
        ("Passes over the rows", measure(float(chosen["epochs"])) if chosen.get("epochs") is not None else None),
        ("Steps", f"{count(chosen['steps'])}, best after {count(chosen['best_step'])}" if chosen.get("best_step") else None),
        ("Trained again on all labels", plural(chosen["refit"], "row") if chosen.get("refit") else None),
        ("Seconds of training", count(chosen["seconds"]) if chosen.get("seconds") is not None else None),
    ]
    return [(name, value) for name, value in facts if value]
