"""Renders the report page of an evaluation, for any task, from the content of metrics.json alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from vertune.reports import behaviour, render
from vertune.reports.mix import mix
from vertune.reports.scales import format_change, format_count, format_interval, format_value, plural, short
from vertune.reports.tried import tried
from vertune.reports.verdict import best_baseline, verdict
from vertune.reports.words import Metric, baseline_name, format_difference, likely_better, metric

_FEW = 100
"""With fewer measured records (or queries, for retrieval), the page says that the sample is small."""
_LARGEST = 150
"""Maximum number of labels with which a confusion matrix is drawn in full."""
_CUT_SHARE = 0.01
"""The page warns if at least this share of the inputs was truncated."""
_SMOOTHED = 10
"""A loss curve with more points than this is smoothed."""
_NEAR = 0.02
"""If mean confidence and accuracy differ by less than this, the model counts as neither overconfident nor underconfident."""
_LONGER = "vertune fit run.yaml --set training.time_limit=900"
_ANSWER_COLUMNS = ("expected", "answered")
_TITLES = {"probability": "confidence", "error": "off by"}

Measured = Mapping[str, Any]


def page(measured: Measured) -> str:
    """Return the HTML of the report page; `measured` is the content of metrics.json, the result of an evaluation."""
    goal = metric(measured["goal"])
    confusion = measured["details"].get("confusion")
    differences = _differences(measured, goal)
    advice = verdict(measured)
    return render(
        "evaluate.html",
        m=measured,
        goal=goal,
        advice=advice,
        next_steps=_next_steps(measured, advice.choice),
        verdicts=_verdicts(measured, goal),
        notices=_notices(measured),
        bars=_bars(measured, goal),
        differences=differences,
        closest=next((row for row in differences if row["baseline"] == best_baseline(measured)), None),
        metrics=_metric_table(measured),
        glossary=[metric(name) for name in measured["metrics"]],
        mistakes=_frequent(mistakes(confusion)) if confusion else [],
        confusion=_drawable(confusion) if confusion else None,
        classes=sorted(measured["details"].get("per_class", ()), key=lambda row: (row["f1"], -row["support"])),
        errors=_error_table(measured["details"].get("errors", ())),
        tests=behaviour.rows(measured.get("tests")),
        slices=_slices(measured, goal),
        calibration=_calibration(measured["details"].get("calibration")),
        curves=_curves(measured["training"].get("curves", {}), goal),
        training=_training(measured["training"]),
        tried=tried(measured["training"].get("chosen")),
    )


def mistakes(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all pairs of different labels of which the first was expected, but the second was predicted.

    A pair is `{"expected", "answered", "count", "of"}`: it occurred in `count` of the `of` rows with the expected
    label. The most frequent pairs come first.
    """
    labels, cells = confusion["labels"], _cells(confusion)
    of: Counter[int] = Counter()
    for row, _, number in cells:
        of[row] += number
    pairs = [
        {"expected": labels[row], "answered": labels[column], "count": number, "of": of[row]}
        for row, column, number in cells
        if row != column
    ]
    return sorted(pairs, key=lambda pair: (-pair["count"], pair["of"], pair["expected"], pair["answered"]))


def _cells(confusion: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """Return the cells of a confusion matrix that are not 0, as (true label, predicted label, count).

    Reports of older versions contain the complete matrix.
    """
    if "cells" in confusion:
        return [(row, column, number) for row, column, number in confusion["cells"]]
    return [(row, column, number) for row, numbers in enumerate(confusion["matrix"]) for column, number in enumerate(numbers) if number]


def _frequent(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the confused pairs of labels that the page lists.

    They are the pairs that occur more than once, up to 12 of them; if each pair occurs only once, they are the first 5
    pairs.
    """
    return [pair for pair in pairs[:12] if pair["count"] > 1] or pairs[:5]


def _next_steps(measured: Measured, choice: str) -> list[dict[str, str]]:
    """Return what the reader can do next, each as a text and a command; either may be empty."""
    model, name = measured["model"], measured["name"]
    is_compressed = measured["training"].get("step") == "compress"
    wrong = measured["details"].get("error_count", 0)
    answers = plural(wrong, "wrong answer") if wrong > 1 else "wrong answer"
    look = {"text": f"Look at the {answers} in errors.csv: often, it is the label that is wrong.", "command": ""}
    # the headline advises it, and a reader would look for a command
    baseline = {
        "text": "A baseline is measured here and not served. To use it, build it with other software, such as scikit-learn.",
        "command": "",
    }
    steps = {
        "model": [
            {"text": "Try it:", "command": f'vertune predict {model} "a text"'},
            {"text": "Let the server use it:", "command": f"vertune alias {name}@live {model}"},
            *([] if is_compressed else [{"text": "Make it smaller and faster:", "command": f"vertune compress {model}"}]),
        ],
        "baseline": [
            {"text": "Add labelled rows, or train longer:", "command": _LONGER},
            baseline,
            {"text": "Use this model nevertheless:", "command": f"vertune alias {name}@live {model}"},
        ],
    }
    found = steps.get(choice) or [
        {"text": "After adding rows, train and measure again:", "command": "vertune fit run.yaml"},
        *([baseline] if choice == "rows" else []),
        {"text": "Use this model nevertheless:", "command": f"vertune alias {name}@live {model}"},
    ]
    return [*([look] if wrong else []), *found]


def _verdicts(measured: Measured, goal: Metric) -> list[dict[str, str]]:
    """Return the four boxes at the top of the page.

    They show the main metric (`goal`), its confidence interval, the comparison with the best baseline, and the largest
    weakness.
    """
    entry = measured["metrics"][goal.name]
    units = plural(measured["units"], "row" if measured["units"] == measured["rows"] else "different row")
    interval = {"title": "How certain is that?", "figure": format_interval(entry["low"], entry["high"], goal.unit)}
    if entry["low"] is None:
        interval |= {"figure": "Unknown", "text": "No interval can be computed for this metric."}
    elif entry["low"] == entry["high"]:
        interval |= {"figure": "Unknown", "text": f"All {units} have the same result, so resampling shows no spread. Test on more rows."}
    else:
        rough = " That is a small sample: more rows would narrow the interval." if measured["units"] < _FEW else ""
        interval["text"] = f"The 95 % interval, from {units}: on other rows of this kind, expect a value in this range.{rough}"
    return [
        {
            "title": "How good is it?",
            "figure": format_value(entry["value"], goal.unit),
            "text": f"{goal.title}. {goal.explain(entry['value'])}",
        },
        interval,
        _against_baseline(measured, goal),
        _weakness(measured),
    ]


def _against_baseline(measured: Measured, goal: Metric) -> dict[str, str]:
    """Return the box that shows whether the model is better than the best baseline in the main metric (`goal`)."""
    title = "Better than a simple baseline?"
    name = best_baseline(measured)
    if name is None:
        return {"title": title, "figure": "Unknown", "text": "There was no baseline to compare with.", "tone": "warn"}
    difference, winner = measured["differences"][name].get(goal.name), measured["verdicts"][name]["winner"]
    theirs = format_value(measured["baselines"][name][goal.name]["value"], goal.unit)
    text = f"The best baseline, {baseline_name(name)}, reaches {theirs}."
    text += f" Difference: {format_difference(difference, goal)}." if difference else ""
    figure, tone = {"model": ("Yes", "good"), "baseline": ("No, worse", "bad")}.get(winner, ("Unclear", "warn"))
    if not winner and difference:
        likely = likely_better(difference, goal.name in measured["lower_is_better"])
        figure, tone = {1: ("Probably", "warn"), -1: ("Probably not", "bad")}.get(likely, (figure, tone))
    if difference and winner and goal.unit == "share":
        figure = f"{'Yes' if winner == 'model' else 'No'}, {format_change(difference['value'], goal.unit)}"
    return {"title": title, "figure": figure, "tone": tone, "text": text}


def _weakness(measured: Measured) -> dict[str, str]:
    """Return the box that shows the largest weakness of the model.

    Depending on the task, this is the most frequent mistake, the label with the lowest F1, or the mean error. For other
    tasks, the box refers to the list of worst predictions.
    """
    title, details = "What does it get wrong?", measured["details"]
    if details.get("confusion"):
        pairs = mistakes(details["confusion"])
        total, wrong = sum(number for _, _, number in _cells(details["confusion"])), sum(pair["count"] for pair in pairs)
        text = "Every row was answered correctly."
        if pairs:
            first = pairs[0]
            pair = f"“{short(first['expected'], 40)}” answered as “{short(first['answered'], 40)}”"
            text = f"Most frequent mistake: {pair}, in {first['count']} of {first['of']} rows."
        return {"title": title, "figure": f"{format_count(wrong)} of {format_count(total)}", "text": text}
    present = [row for row in details.get("per_class", ()) if row["support"]]
    if present:
        weak = min(present, key=lambda row: row["f1"])
        recall = f"It finds {format_value(weak['recall'], 'share')} of {plural(weak['support'], 'case')}."
        text = f"The weakest label: F1 {format_value(weak['f1'], 'share')}. {recall}"
        return {"title": title, "figure": short(weak["label"], 18), "text": text}
    for name in ("mae", "rmse"):
        if name in measured["metrics"]:
            error = measured["metrics"][name]["value"]
            return {"title": title, "figure": f"Off by {format_value(error)}", "text": metric(name).explain(error)}
    if details.get("errors"):
        return {"title": title, "figure": "See below", "text": f"The worst {plural(len(details['errors']), 'answer')} are listed below."}
    if "errors" in details:
        return {"title": title, "figure": "Nothing", "text": "Every answer was correct."}
    return {"title": title, "figure": "Not listed", "text": "This task lists no individual answers."}


def _notices(measured: Measured) -> list[str]:
    """Return the warnings that the page shows above the figures, for example that many inputs were truncated."""
    failed = sum(not test["passed"] for test in measured.get("tests") or ())
    broken = [f"{failed} of {plural(len(measured['tests']), 'behaviour test')} failed; see below."] if failed else []
    notices = [*broken, *measured["notes"], *(measured["training"].get("chosen") or {}).get("warnings", [])]
    if measured["truncated"] >= _CUT_SHARE:
        notices.append(
            f"{format_value(measured['truncated'], 'share')} of the inputs were longer than the model reads and were truncated. "
            "Raise encoder.max_tokens, or set encoder.truncation=window."
        )
    return notices


def _bars(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """Return the rows of a bar chart of the main metric (`goal`): one for the model, and one for each baseline."""
    rows = {"this model": measured["metrics"], **{baseline_name(name): values for name, values in measured["baselines"].items()}}
    return [
        {
            "name": name,
            **values[goal.name],
            "tone": "accent" if values is measured["metrics"] else "plain",
            "strong": values is measured["metrics"],
            "note": format_interval(values[goal.name]["low"], values[goal.name]["high"], goal.unit),
        }
        for name, values in rows.items()
        if goal.name in values
    ]


def _differences(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """Return, for each baseline, how much the model differs from it in the main metric (`goal`).

    Each difference comes with its confidence interval, and with a sentence that explains it.
    """
    tones = {"model": "good", "baseline": "bad"}
    return [
        {
            "baseline": name,
            "name": f"model − {baseline_name(name)}",
            **differences[goal.name],
            "sentence": measured["verdicts"][name]["sentence"],
            "gap": format_difference(differences[goal.name], goal),
            "tone": tones.get(measured["verdicts"][name]["winner"], "warn"),
        }
        for name, differences in measured["differences"].items()
        if goal.name in differences
    ]


def _metric_table(measured: Measured) -> dict[str, Any]:
    """Return a table with one row per metric: the model's value, its confidence interval, and the values of the baselines."""
    rows = []
    for name, entry in measured["metrics"].items():
        shown = metric(name)
        others = [format_value(values.get(name, {}).get("value"), shown.unit) for values in measured["baselines"].values()]
        rows.append(
            [shown.title, format_value(entry["value"], shown.unit), format_interval(entry["low"], entry["high"], shown.unit), *others]
        )
    titles = ["this model", "95 % interval", *map(baseline_name, measured["baselines"])]
    return {"columns": [{"title": "", "kind": "word"}, *({"title": title, "kind": "number"} for title in titles)], "rows": rows}


def _drawable(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the confusion matrix that the page draws.

    If there are more than 150 labels, only the 150 with the most mistakes are kept; `left_out` is the number of the
    others.
    """
    labels, cells = confusion["labels"], _cells(confusion)
    errors: Counter[int] = Counter()
    for row, column, number in cells:
        if row != column:
            errors[row] += number
            errors[column] += number
    shown = sorted(sorted(range(len(labels)), key=lambda label: -errors[label])[:_LARGEST])
    places = {label: place for place, label in enumerate(shown)}
    matrix = [[0] * len(shown) for _ in shown]
    for row, column, number in cells:
        if row in places and column in places:
            matrix[places[row]][places[column]] = number
    return {"labels": [labels[label] for label in shown], "matrix": matrix, "left_out": len(labels) - len(shown)}


def _error_table(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the table of the worst answers: the row in the data, input texts, expected and predicted value, then numbers."""
    if not errors:
        return None
    marks = ("row", "__file", "__row")
    names = [name for name in dict.fromkeys(name for row in errors for name in row) if name not in marks]
    figures = [name for name in names if all(isinstance(row.get(name, 0.0), float | int) for row in errors) and name not in _ANSWER_COLUMNS]
    texts = [name for name in names if name not in (*_ANSWER_COLUMNS, *figures)]
    order = texts + [name for name in _ANSWER_COLUMNS if name in names] + figures
    kinds = {**dict.fromkeys(order, "text"), **dict.fromkeys(_ANSWER_COLUMNS, "word"), **dict.fromkeys(figures, "number")}
    columns = [{"title": _TITLES.get(name) or metric(name).title, "kind": kinds[name]} for name in order]
    rows = [
        [_format_figure(row.get(name), name) if name in figures else _format_answer(row.get(name, "")) for name in order] for row in errors
    ]
    places = _places(errors)
    if any(places):
        columns = [{"title": "row", "kind": "place"}, *columns]
        rows = [[place, *row] for place, row in zip(places, rows, strict=True)]
    return {"columns": columns, "rows": rows}


def _places(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the number of each row in the data, with the name of its file if there are several files; empty if it is unknown."""
    files = {row.get("__file") for row in errors}
    numbers = [format_count(row["__row"]) if isinstance(row.get("__row"), int) else str(row.get("__row", "")) for row in errors]
    if len(files) < 2:
        return numbers
    return [f"{PurePath(str(row.get('__file', ''))).name}: {number}" for row, number in zip(errors, numbers, strict=True)]


def _format_figure(value: float | None, name: str) -> str:
    """Format a number of the table of worst predictions in the unit that the column `name` has."""
    return format_value(value, "share" if name == "probability" else metric(name).unit)


def _format_answer(value: Any) -> str:
    """Format an expected or predicted value as text.

    The items of a list or mapping are joined by commas; an empty value becomes "nothing".
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return short(", ".join(f"{key}: {_format_answer(item)}" for key, item in value.items()), 200)
    if isinstance(value, list | tuple):
        return short(", ".join(map(_format_answer, value)), 200) or "nothing"
    return short(value, 400) or "nothing"


def _slices(measured: Measured, goal: Metric) -> list[dict[str, Any]]:
    """Return one bar chart per column by which the rows were grouped, with one bar per group for the main metric (`goal`).

    The columns are the length of the text and those that the option `evaluate.slices` lists.
    """
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


def _calibration(calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the page shows of the calibration; None if the predictions have no probabilities.

    This is: the bins of the reliability diagram, the mean confidence, the accuracy, and whether the model is over- or
    underconfident.
    """
    if not calibration or not calibration["bins"]:
        return None
    bins = calibration["bins"]
    total = sum(row["count"] for row in bins)
    confidence, accuracy = (sum(row[key] * row["count"] for row in bins) / total for key in ("confidence", "accuracy"))
    direction = "overconfident" if confidence > accuracy else "underconfident"
    verdict = direction if abs(confidence - accuracy) >= _NEAR else "neither overconfident nor underconfident"
    return {**calibration, "confidence": confidence, "accuracy": accuracy, "verdict": verdict}


def _curves(curves: Mapping[str, Any], goal: Metric) -> list[dict[str, Any]]:
    """Return the curves of the training loss and of the main metric (`goal`) on validation rows, each with its own axis.

    The loss varies from batch to batch, so its smoothed curve is drawn, with the measured one faintly behind it.
    """
    kinds = (
        ("loss", "Training loss", "on the training rows", "number", "plain"),
        ("metric", f"{goal.title} on validation", "on rows that the model was not trained on", goal.unit, "accent"),
    )
    found = []
    for name, title, about, unit, tone in kinds:
        points = curves.get(name, ())
        if len(points) > 1:
            series = [{"name": title, "tone": tone, "points": points, "faint": False}]
            if name == "loss" and len(points) > _SMOOTHED:
                smooth = {"name": "smoothed", "tone": "ink", "points": smoothed(points), "faint": False}
                series = [{"name": "measured", "tone": tone, "points": points, "faint": True}, smooth]
            found.append({"title": title, "about": about, "unit": unit, "series": series})
    return found


def smoothed(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """Smooth a curve of [x, y] points: each y becomes the mean of the points around it, as many on its left as on its right.

    A tenth of the points is averaged; near the two ends fewer, so that the curve begins and ends at measured values.
    """
    half = max(1, len(points) // 20)
    found = []
    for place, (x, _) in enumerate(points):
        reach = min(half, place, len(points) - 1 - place)
        around = [y for _, y in points[place - reach : place + reach + 1]]
        found.append([x, sum(around) / len(around)])
    return found


def _described(figures: Mapping[str, Any]) -> str:
    """Return a sentence about the descriptions of labels that were training rows."""
    found = f"of {plural(figures['labels'], 'label')}, as training rows"
    if "with" not in figures:
        return found
    return f"{found}: they made the log-loss of held-out rows {figures['with']:.3f} instead of {figures['without']:.3f}"


def _training(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts about the training, such as the number of steps, as pairs of a title and a text."""
    chosen = training.get("chosen") or {}
    facts = [
        ("Base", training.get("base")),
        ("Method", training.get("method")),
        ("Reason for the method", chosen.get("why")),
        ("Objective", chosen.get("objective")),
        ("Training rows", format_count(training["rows"]) if training.get("rows") else None),
        ("Descriptions of labels", _described(chosen["descriptions"]) if chosen.get("descriptions") else None),
        ("Trained weights", format_count(training["trained"]) if training.get("trained") else None),
        ("Epochs", f"{chosen['epochs']:.3g}" if chosen.get("epochs") is not None else None),
        ("Steps", f"{format_count(chosen['steps'])}, best after {format_count(chosen['best_step'])}" if chosen.get("best_step") else None),
        ("Retrained on all labelled rows", plural(chosen["refit"], "row") if chosen.get("refit") else None),
        ("Training time", f"{format_count(chosen['seconds'])} s" if chosen.get("seconds") is not None else None),
        ("Words beside the model", mix(chosen["companion"]) if chosen.get("companion") else None),
    ]
    return [(name, value) for name, value in facts if value]
