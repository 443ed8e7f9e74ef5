"""Computes the statistics of splits: label counts, duplicates, conflicting answers, leakage, text lengths; reads and writes no files.

All rows are counted. Only text lengths and unknown tokens, which need the tokenizer of the pretrained model, are measured on a
sample of evenly spaced rows if a split is large; the report shows the size of the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.config import dump
from vertune.core.kinds import Encoder, Task, Tokens
from vertune.core.records import Column, Feature
from vertune.data.dataset import SPLITS
from vertune.reports.scales import format_value, plural

SAMPLE = 20_000
"""Text lengths and unknown tokens are measured on a sample if a split has at least twice as many rows."""
FEW = 5
"""A label with fewer training rows gets a warning, because a model can hardly be trained on it."""
IMBALANCE = 10.0
"""There is a warning if the most frequent label has more than this many times as many training rows as the rarest label."""
UNKNOWN = 0.05
"""Share of tokens that the tokenizer does not know, above which there is a warning."""
TRUNCATED = 0.05
"""Share of rows that are longer than the model's limit, above which there is a warning."""
_EXAMPLES = 20
"""Maximum number of examples of conflicts and of leakage."""
_SHOWN = 200
"""Maximum number of characters of an example text."""
_BINS = 24
"""Maximum number of bins of a histogram."""


def describe(
    splits: Mapping[str, pl.DataFrame], task: Task, encoder: Encoder, tokens: Mapping[str, Tokens] | None = None
) -> dict[str, Any]:
    """Compute the statistics of all splits: labels, duplicates, conflicting answers, leakage, text lengths, and unknown tokens.

    `task` must be fitted to the training rows. `tokens` maps a split to the token ids of all its rows; splits that it lacks are
    tokenised here.
    """
    frames = {name: splits[name] for name in SPLITS if splits[name].height}
    keys = {name: _keys(frame, task) for name, frame in frames.items()}
    return {
        "targets": [_target(frames, column.name) for column in _targets(task, frames["train"])],
        "duplicates": {name: frames[name].height - table.unique().height for name, table in keys.items()},
        "conflicts": _conflicts(frames, keys, task),
        "leakage": [_leak(frames, keys, pair, task) for pair in combinations(frames, 2)],
        **_measured(frames, task, encoder, tokens or {}),
    }


def missing(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return, for each of these columns, the fraction of rows in which it is null or a blank text."""
    blank = {name: pl.col(name).is_null() for name in names}
    for name in names:
        if frame.schema[name] == pl.String:
            blank[name] = blank[name] | (pl.col(name).str.strip_chars() == "")
    row: dict[str, float] = frame.select(value.mean().alias(name) for name, value in blank.items()).row(0, named=True)
    return {name: value or 0.0 for name, value in row.items()}


def labels(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """List the labels in a target column, as a frame with the columns `row` (index from 0) and `label`, one row per label.

    For a column of text answers, the label is `answer` or `no answer`. For a column of numbers, the frame is empty.
    """
    values = frame[name]
    table = pl.DataFrame({"row": pl.int_range(frame.height, eager=True), "label": values})
    if values.dtype == pl.String:
        return table
    if isinstance(values.dtype, pl.List):
        inner = values.dtype.inner
        if inner == pl.String:
            return table.explode("label", empty_as_null=True).drop_nulls()
        if isinstance(inner, pl.Struct) and any(item.name == "label" for item in inner.fields):
            return table.explode("label", empty_as_null=True).with_columns(pl.col("label").struct.field("label")).drop_nulls()
        answered = pl.when(pl.col("label").list.len() > 0).then(pl.lit("answer")).otherwise(pl.lit("no answer"))
        return table.with_columns(answered.alias("label"))
    return table.clear().with_columns(pl.col("label").cast(pl.String))


def warnings(report: Mapping[str, Any]) -> list[str]:
    """Return a message for each problem of a dataset, which describes the problem and what to do about it."""
    rows = report["rows"]
    found = []
    if rows["rejected"]:
        found.append(f"{plural(rows['rejected'], 'row')} can't be used. See rejected.jsonl for them and the reasons.")
    found += [sentence for target in report["targets"] for sentence in _about_labels(target)]
    if report["conflicts"]["texts"]:
        found.append(f"{plural(report['conflicts']['texts'], 'text')} with several different answers. Correct them, or leave them out.")
    for leak in report["leakage"]:
        if leak["rows"]:
            first, second = leak["splits"]
            found.append(
                f"{plural(leak['rows'], 'row')} of {second} ({format_value(leak['share'], 'share')}) with a text that is also in {first}: "
                f"scores on {second} will be better than on new texts. Remove these rows from {first}."
            )
    limit = report["encoder"].get("max_tokens")
    for name, lengths in report["lengths"].items():
        if lengths["truncated"] > TRUNCATED:
            found.append(
                f"{format_value(lengths['truncated'], 'share')} of the rows of {name} are longer than {limit} tokens and would be "
                "truncated. Raise encoder.max_tokens, or choose encoder.truncation: window."
            )
    unknown = report["unknown"]["share"]
    if unknown > UNKNOWN:
        found.append(
            f"{format_value(unknown, 'share')} of the tokens are unknown to the pretrained model: it was trained on another language or "
            "script. Choose another base model."
        )
    return found


def _about_labels(target: Mapping[str, Any]) -> list[str]:
    """Return the warnings about rare and unbalanced labels."""
    found = []
    if target["few"]:
        shown = ", ".join(f"'{item['label']}' ({item['rows']})" for item in target["few"][:10])
        more = f" and {len(target['few']) - 10} more" if len(target["few"]) > 10 else ""
        found.append(f"Labels with fewer than {FEW} training rows are hard to learn: {shown}{more}. Add rows with these labels.")
    if target["imbalance"] and target["imbalance"] > IMBALANCE:
        found.append(
            f"The most frequent value of {target['name']} is {target['imbalance']:.0f} times as frequent as the rarest. "
            "Look at the score of each value, not only at the overall one."
        )
    return found


def _targets(task: Task, frame: pl.DataFrame) -> list[Column]:
    """Return the columns with expected answers that a frame has."""
    return [column for column in task.target_columns if column.name in frame.columns]


def _keys(frame: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Return a frame with a hash of the inputs and a hash of the expected answers of each row, to find equal rows."""
    targets = [column.name for column in _targets(task, frame)]
    answers = content.of_rows(frame, targets) if targets else np.zeros(frame.height, np.uint64)
    inputs = content.of_inputs(frame, [column.name for column in task.input_columns])
    return pl.DataFrame({"input": inputs, "target": answers})


def _target(frames: Mapping[str, pl.DataFrame], name: str) -> dict[str, Any]:
    """Return the statistics of a target column: the number of rows of each label in each split, or the distribution of its numbers."""
    if frames["train"].schema[name].is_numeric():
        return {"name": name, "numbers": {split: _spread(frame[name].to_numpy()) for split, frame in frames.items()}, "labels": [],
                "few": [], "imbalance": None}  # fmt: skip
    counts = {split: dict(labels(frame, name)["label"].value_counts().iter_rows()) for split, frame in frames.items()}
    order = sorted({label for found in counts.values() for label in found}, key=lambda label: (-counts["train"].get(label, 0), label))
    table = [{"label": label, "rows": {split: found.get(label, 0) for split, found in counts.items()}} for label in order]
    trained = list(counts["train"].values())
    few = [{"label": label, "rows": counts["train"].get(label, 0)} for label in reversed(order) if counts["train"].get(label, 0) < FEW]
    return {"name": name, "numbers": {}, "labels": table, "few": few, "imbalance": max(trained) / min(trained) if trained else None}


def _conflicts(frames: Mapping[str, pl.DataFrame], keys: Mapping[str, pl.DataFrame], task: Task) -> dict[str, Any]:
    """Return the number of inputs that occur with different expected answers, the number of rows with such an input, and examples."""
    table = pl.concat([keys[name].with_columns(pl.lit(name).alias("split")).with_row_index("row") for name in keys])
    groups = table.group_by("input").agg(pl.col("target").n_unique().alias("answers"), pl.len().alias("rows")).filter(pl.col("answers") > 1)
    chosen = groups.sort("rows", "input", descending=[True, False]).head(_EXAMPLES)["input"]
    rows = table.filter(pl.col("input").is_in(chosen.implode())).unique(subset=["input", "target"], keep="first", maintain_order=True)
    examples: dict[int, dict[str, Any]] = {}
    for place, split, key in rows.select("row", "split", "input").iter_rows():
        record = frames[split].row(place, named=True)
        entry = examples.setdefault(key, {"text": _shown(record, task), "answers": []})
        entry["answers"].append(_expected(record, task))
    return {"texts": groups.height, "rows": int(groups["rows"].sum()), "examples": list(examples.values())}


def _leak(frames: Mapping[str, pl.DataFrame], keys: Mapping[str, pl.DataFrame], pair: tuple[str, str], task: Task) -> dict[str, Any]:
    """Describe the inputs that occur in both splits of a pair.

    Returns the number of these inputs, the number and the fraction of rows of the second split that contain one, and examples.
    """
    first, second = pair
    hit = keys[second].with_row_index("row").filter(pl.col("input").is_in(keys[first]["input"].unique().implode()))
    shown = hit.unique(subset="input", keep="first", maintain_order=True).head(_EXAMPLES)["row"]
    return {
        "splits": [first, second],
        "texts": hit["input"].n_unique(),
        "rows": hit.height,
        "share": hit.height / frames[second].height,
        "examples": [_shown(frames[second].row(place, named=True), task) for place in shown],
    }


def _measured(frames: Mapping[str, pl.DataFrame], task: Task, encoder: Encoder, tokens: Mapping[str, Tokens]) -> dict[str, Any]:
    """Measure text lengths in tokens and the fractions of truncated rows and of unknown tokens, on evenly spaced rows of each split."""
    train = frames["train"]
    inputs = [column for column in task.input_columns if column.name in train.columns]
    inputs = [column for column in inputs if train[column.name].null_count() < train.height]
    names = [column.name for column in inputs]
    rows = {split: np.arange(0, frame.height, max(1, frame.height // SAMPLE)) for split, frame in frames.items()}
    samples = {split: frame[rows[split]] for split, frame in frames.items()}
    sampled_tokens = {split: split_tokens.take(rows[split]) for split, split_tokens in tokens.items() if split in rows}
    views = task.views(names)
    encoder = encoder.resolve(samples["train"].select(names).to_dicts(), views, sampled_tokens.get("train"))
    lengths, classes = {}, {}
    for split, sample in samples.items():
        records = sample.select([name for name in names if name in sample.columns]).to_dicts()
        size, cut = _sizes(encoder.encode(records, views, sampled_tokens.get(split)), len(records))
        lengths[split] = {"sampled": sample.height, "of": frames[split].height, **_spread(size), "truncated": float(cut.mean()),
                          "histogram": _histogram(size)}  # fmt: skip
        classes[split] = _cut_by_label(sample, task, cut)
    texts = [column.name for column in inputs if column.type == "text"]
    strings = [str(text) for name in texts for text in samples["train"][name].drop_nulls()]
    unknown = encoder.unknown_share(strings, sampled_tokens.get("train"))
    return {
        "encoder": dump(encoder),
        "lengths": lengths,
        "truncated_labels": classes,
        "unknown": {"share": float(unknown), "sampled": samples["train"].height, "of": train.height},
    }


def _sizes(features: Sequence[Feature], records: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return, for each record, the length of its longest model input in tokens before truncation, and whether any input is truncated."""
    size, cut = np.zeros(records, np.int64), np.zeros(records, bool)
    for feature in features:
        size[feature.record] = max(size[feature.record], feature.cost + feature.truncated)
        cut[feature.record] |= feature.truncated > 0
    return size, cut


def _cut_by_label(sample: pl.DataFrame, task: Task, cut: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the fraction of truncated rows for each label, highest first."""
    targets = _targets(task, sample)
    if not targets:
        return []
    table = labels(sample, targets[0].name).unique()
    table = table.with_columns(pl.Series("cut", cut[table["row"].to_numpy()]))
    shares = table.group_by("label").agg(pl.len().alias("rows"), pl.col("cut").mean().alias("truncated"))
    return shares.sort("truncated", "label", descending=[True, False]).to_dicts()


def _spread(values: NDArray[Any]) -> dict[str, float]:
    """Return the mean, minimum, maximum and some quantiles of these values."""
    at = np.quantile(values, [0.5, 0.9, 0.99])
    return {"mean": float(values.mean()), "least": float(values.min()), "median": float(at[0]), "p90": float(at[1]), "p99": float(at[2]),
            "most": float(values.max())}  # fmt: skip


def _histogram(values: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return a histogram of these values up to their 99.9 % quantile; larger values are counted in the last bin."""
    edge = float(np.quantile(values, 0.999)) + 1
    counts, edges = np.histogram(np.minimum(values, edge), bins=min(_BINS, max(1, int(edge))), range=(0, edge))
    return [
        {"low": float(low), "high": float(high), "count": int(count)} for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _shown(record: Mapping[str, Any], task: Task) -> str:
    """Format the inputs of a record as one line for the report: texts unchanged, other values as `name: value`."""
    filled = [column for column in task.input_columns if record.get(column.name) not in (None, "")]
    line = " | ".join(
        str(record[column.name]) if column.type == "text" else f"{column.name}: {record[column.name]}"
        for column in filled
        if not isinstance(record[column.name], bytes)
    )
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _expected(record: Mapping[str, Any], task: Task) -> str:
    """Format the expected answer of a record for the report; a span is shown as its label and its text."""
    text = next((str(record.get(column.name) or "") for column in task.input_columns if column.type == "text"), "")
    return "; ".join(_in_words(record[column.name], text) for column in task.target_columns if record.get(column.name) is not None)


def _in_words(value: Any, text: str) -> str:
    """Format one expected value of a record; `text` is the record's first text, in which spans have their positions."""
    if not isinstance(value, list):
        return str(value)
    entries = [
        item
        if isinstance(item, str)
        else f"{item['label']} '{text[item['start'] : item['end']]}'"
        if "label" in item
        else f"'{item['text']}'"
        for item in value
    ]
    return ", ".join(entries) or "nothing"
