"""Computes statistics of training, validation and test rows, such as label counts, duplicates, leakage and text lengths.

Leakage means that equal inputs occur in two splits. Most statistics count all rows. Only text lengths and unknown tokens, which need the
tokenizer of the pretrained model, are measured on a sample if a split has 40,000 rows or more: on 20,000 to 30,000 evenly spaced rows.
The report shows the size of the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.columns import named, only
from vertune.core.config import dump
from vertune.core.kinds import Encoder, Task, Tokens
from vertune.core.labels import marks_missing, nearly_equal, quoted
from vertune.core.language import detect
from vertune.core.records import Column, Feature
from vertune.data.dataset import SPLITS
from vertune.reports import language
from vertune.reports.scales import format_value, plural, short

SAMPLE = 20_000
"""Text lengths and unknown tokens are measured on a sample if a split has at least twice as many rows."""
FEW = 5
"""A label with fewer training rows gets a warning, because a model can hardly be trained on it."""
IMBALANCE = 10.0
"""There is a warning if the most frequent label has more than this many times as many training rows as the rarest label."""
TRUNCATED = 0.05
"""Share of rows that are longer than the model's limit, above which there is a warning."""
COPIES = 0.05
"""Share of rows that repeat the text and the answer of an earlier row of their split, from which there is a warning."""
_REASONS = 3
"""Maximum number of reasons that the warning about rejected rows names; the report has more."""
_LONGEST_REASON = 80
"""Maximum number of characters of each of them."""
_EXAMPLES = 20
"""Maximum number of examples of conflicts and of leakage."""
_EXAMPLE_ROWS = 1000
"""Number of rows, from the start, among which `examples` searches."""
_FEW_INPUTS = 5
"""Number of different inputs below which `contradiction` gives no warning."""
_CONTRADICTORY = 0.5
"""Fraction of the inputs that must have several answers for a warning that a column is missing."""
_LONGEST_MARK = 10
"""Number of characters above which a text is no mark of a missing value."""
_SHOWN = 200
"""Maximum number of characters of an example text."""
_BINS = 24
"""Maximum number of bins of a histogram."""


def describe(
    splits: Mapping[str, pl.DataFrame], task: Task, encoder: Encoder, tokens: Mapping[str, Tokens] | None = None
) -> dict[str, Any]:
    """Compute the statistics of all splits: labels, duplicates, conflicting answers, leakage, text lengths, and unknown tokens.

    Answers conflict if rows with equal inputs have different expected answers. `splits` maps the name of each split to its rows. `task`
    must be the result of `task.fit(training rows)`. `tokens` maps a split to the token ids of all its rows; the texts of a split that
    is not in this mapping are tokenised here.
    """
    frames = {name: splits[name] for name in SPLITS if splits[name].height}
    keys = {name: _keys(frame, task) for name, frame in frames.items()}
    return {
        "targets": [_target(frames, column.name) for column in _targets(task, frames["train"])],
        "marked": _marked(frames, task),
        "duplicates": {name: frames[name].height - table.unique().height for name, table in keys.items()},
        "conflicts": _conflicts(frames, keys, task),
        "leakage": [_leak(frames, keys, pair, task) for pair in combinations(frames, 2)],
        **_measured(frames, task, encoder, tokens or {}),
    }


def examples(frame: pl.DataFrame, task: Task, count: int = 3) -> list[dict[str, Any]]:
    """Return a few cleaned rows as the model reads them: `file`, `row` (from 1), `input` and `target`.

    They are the first rows of the file with different targets; if there are not enough of them, further first rows follow.
    """
    frame = frame.sort("__file", "__row", maintain_order=True) if {"__file", "__row"} <= set(frame.columns) else frame
    found: dict[str, dict[str, Any]] = {}
    rest: list[dict[str, Any]] = []
    for record in frame.head(_EXAMPLE_ROWS).iter_rows(named=True):
        target = _expected(record, task)
        shown = {"file": record.get("__file", ""), "row": record.get("__row"), "input": _shown(record, task), "target": target}
        if target in found:
            rest.append(shown)
        else:
            found[target] = shown
        if len(found) == count:
            break
    return sorted([*found.values(), *rest][:count], key=lambda shown: (str(shown["file"]), shown["row"] or 0))


def contradictions(frame: pl.DataFrame, task: Task) -> tuple[int, int]:
    """Return how many different inputs have several different expected answers, and how many different inputs there are."""
    groups = _keys(frame, task).group_by("input").agg(pl.col("target").n_unique().alias("answers"))
    return groups.filter(pl.col("answers") > 1).height, groups.height


def contradiction(texts: int, of: int) -> str | None:
    """Return a warning if at least half of the inputs have several different answers, so that no model can be right; else None."""
    if of < _FEW_INPUTS or texts < _CONTRADICTORY * of:
        return None
    return (
        f"{texts:,} of {plural(of, 'different input')} have several different answers: a column that tells these rows apart is probably "
        "not read. Add it to data.fields, or check which column is the answer."
    )


def missing(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return, for each column in `names`, the fraction (0 to 1) of rows whose value is null or a blank text."""
    blank = {name: named(name).is_null() for name in names}
    for name in names:
        if frame.schema[name] == pl.String:
            blank[name] = blank[name] | (named(name).str.strip_chars() == "")
    row: dict[str, float] = frame.select(value.mean().alias(name) for name, value in blank.items()).row(0, named=True)
    return {name: value or 0.0 for name, value in row.items()}


def labels(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """List the labels that the rows of `frame` have in the target column `name`.

    Returns a frame with the columns `row` (index of the row in `frame`, from 0) and `label`; a row with several labels has several
    entries. If the column contains text answers (question answering), the label is `answer` or `no answer`. If the column contains
    numbers, the result is empty.
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
    """Return warnings about a dataset: each describes one problem in the statistics `report`, and what to do about the problem."""
    rows = report["rows"]
    found = []
    if rows["rejected"]:
        found.append(_about_rejected(rows["rejected"], report.get("rejected") or ()))
    found += [sentence for target in report["targets"] for sentence in _about_labels(target)]
    if report.get("marked"):
        shown = ", ".join(f"{quoted(text)} ({rows})" for text, rows in list(report["marked"].items())[:5])
        found.append(f"Texts that usually mark a missing value are kept: {shown}. If there is no text, leave these rows out.")
    contradictory = contradiction(report["conflicts"]["texts"], report["conflicts"].get("of", 0))
    if contradictory:
        found.append(contradictory)
    elif report["conflicts"]["texts"]:
        found.append(f"{plural(report['conflicts']['texts'], 'text')} with several different answers. Correct them, or leave them out.")
    found += _about_copies(report["duplicates"], rows)
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
    found += filter(None, [language.warning(report["encoder"].get("base", ""), report["language"], report["unknown"]["share"])])
    return found


def _about_rejected(count: int, reasons: Sequence[Mapping[str, Any]]) -> str:
    """Return the warning about rows that can't be used, with the most frequent reasons and their numbers of rows."""
    shown = [f"{short(str(reason['reason']), _LONGEST_REASON)} ({reason['rows']:,})" for reason in reasons[:_REASONS]]
    more = " …" if len(reasons) > _REASONS else ""
    return f"{plural(count, 'row')} can't be used{': ' if shown else ''}{'; '.join(shown)}{more}. See rejected.jsonl for each of them."


def _about_copies(duplicates: Mapping[str, int], rows: Mapping[str, int]) -> list[str]:
    """Return a warning, as a list of one text, if many rows repeat the text and the answer of an earlier row of their split."""
    copies, total = sum(duplicates.values()), sum(rows[name] for name in duplicates)
    if not copies or copies < COPIES * total:
        return []
    measured = ", ".join(
        f"{number:,} of the {rows[name]:,} {name} rows" for name, number in duplicates.items() if number and name != "train"
    )
    effect = f" In the figures, repeated texts count several times: {measured} are copies." if measured else ""
    return [
        f"{plural(copies, 'row')} ({format_value(copies / total, 'share')}) repeat the text and the answer of an earlier row; only "
        f"{plural(total - copies, 'row')} differ.{effect} Training learns repeated texts more often than others. Unless this is how "
        "often they occur in practice, remove the copies with --set 'data.clean=[duplicates]'."
    ]


def _about_labels(target: Mapping[str, Any]) -> list[str]:
    """Return warnings about rare labels and unbalanced label counts; `target` contains the statistics of one target column."""
    found = []
    if target["few"]:
        shown = ", ".join(f"'{item['label']}' ({item['rows']})" for item in target["few"][:10])
        more = f" and {len(target['few']) - 10} more" if len(target["few"]) > 10 else ""
        found.append(f"Labels with fewer than {FEW} training rows are hard to learn: {shown}{more}. Add rows with these labels.")
    if target.get("near"):
        groups = [" and ".join(f"{quoted(item['label'])} ({item['rows']})" for item in group) for group in target["near"][:5]]
        listing = "; ".join(groups) + (" …" if len(target["near"]) > 5 else "")
        found.append(
            f"Values of {target['name']} that nearly agree are learnt as different ones: {listing}. "
            "If they mean the same, merge them with --set data.labels=merge, or correct the data."
        )
    if marks := [item for item in target["labels"] if marks_missing(item["label"])]:
        shown = ", ".join(f"{quoted(item['label'])} ({sum(item['rows'].values())})" for item in marks[:5])
        found.append(
            f"Values of {target['name']} that usually mark a missing value are learnt as labels: {shown}. "
            "If these rows have no label, empty their cells, so that they are left out."
        )
    if target["imbalance"] and target["imbalance"] > IMBALANCE:
        found.append(
            f"The most frequent value of {target['name']} is {target['imbalance']:.0f} times as frequent as the rarest. "
            "Look at the score of each value, not only at the overall one."
        )
    return found


def _targets(task: Task, frame: pl.DataFrame) -> list[Column]:
    """Return the definitions of those target columns (columns with expected answers) of the task that exist in the frame."""
    return [column for column in task.target_columns if column.name in frame.columns]


def _keys(frame: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Return a frame with two hashes for each row, to find equal rows: `input` for its inputs, `target` for its expected answers.

    Inputs that differ only in case or white space have equal hashes.
    """
    targets = [column.name for column in _targets(task, frame)]
    answers = content.of_rows(frame, targets) if targets else np.zeros(frame.height, np.uint64)
    inputs = content.of_inputs(frame, [column.name for column in task.input_columns])
    return pl.DataFrame({"input": inputs, "target": answers})


def _target(frames: Mapping[str, pl.DataFrame], name: str) -> dict[str, Any]:
    """Return the statistics of a target column for each split: the number of rows of each label, or the distribution of numbers."""
    if frames["train"].schema[name].is_numeric():
        return {"name": name, "numbers": {split: _spread(frame[name].to_numpy()) for split, frame in frames.items()}, "labels": [],
                "few": [], "near": [], "imbalance": None}  # fmt: skip
    counts = {split: dict(labels(frame, name)["label"].value_counts().iter_rows()) for split, frame in frames.items()}
    order = sorted({label for found in counts.values() for label in found}, key=lambda label: (-counts["train"].get(label, 0), label))
    table = [{"label": label, "rows": {split: found.get(label, 0) for split, found in counts.items()}} for label in order]
    trained = list(counts["train"].values())
    few = [{"label": label, "rows": counts["train"].get(label, 0)} for label in reversed(order) if counts["train"].get(label, 0) < FEW]
    near = [[{"label": label, "rows": rows} for label, rows in group.items()] for group in nearly_equal(counts["train"])]
    imbalance = max(trained) / min(trained) if trained else None
    return {"name": name, "numbers": {}, "labels": table, "few": few, "near": near, "imbalance": imbalance}


def _marked(frames: Mapping[str, pl.DataFrame], task: Task) -> dict[str, int]:
    """Return the input texts of all splits that only mark a missing value, such as `nan`, with their numbers of rows."""
    found: dict[str, int] = {}
    for frame in frames.values():
        for column in task.input_columns:
            if column.type != "text" or column.name not in frame.columns:
                continue
            texts = frame[column.name].filter(frame[column.name].str.len_chars() <= _LONGEST_MARK)
            for text, rows in texts.value_counts(sort=True).iter_rows():
                if marks_missing(text):
                    found[text] = found.get(text, 0) + rows
    return found


def _conflicts(frames: Mapping[str, pl.DataFrame], keys: Mapping[str, pl.DataFrame], task: Task) -> dict[str, Any]:
    """Find inputs that occur in several rows, of any splits, with different expected answers.

    `keys` maps each split to the result of `_keys`. Returns the number of these inputs (`texts`), the number of rows that contain one
    of them (`rows`), and up to 20 examples with their answers.
    """
    table = pl.concat([keys[name].with_columns(pl.lit(name).alias("split")).with_row_index("row") for name in keys])
    groups = table.group_by("input").agg(pl.col("target").n_unique().alias("answers"), pl.len().alias("rows")).filter(pl.col("answers") > 1)
    chosen = groups.sort("rows", "input", descending=[True, False]).head(_EXAMPLES)["input"]
    rows = table.filter(pl.col("input").is_in(chosen.implode())).unique(subset=["input", "target"], keep="first", maintain_order=True)
    examples: dict[int, dict[str, Any]] = {}
    for place, split, key in rows.select("row", "split", "input").iter_rows():
        record = frames[split].row(place, named=True)
        entry = examples.setdefault(key, {"text": _shown(record, task), "answers": []})
        entry["answers"].append(_expected(record, task))
    return {"texts": groups.height, "of": table["input"].n_unique(), "rows": int(groups["rows"].sum()), "examples": list(examples.values())}


def _leak(frames: Mapping[str, pl.DataFrame], keys: Mapping[str, pl.DataFrame], pair: tuple[str, str], task: Task) -> dict[str, Any]:
    """Find the inputs that occur in both splits of `pair`.

    `keys` maps each split to the result of `_keys`. Returns the number of these inputs (`texts`), the number of rows of the second
    split that contain one of them (`rows`), the same number as a fraction of all rows of this split (`share`), and up to 20 examples.
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
    """Measure text lengths in tokens and the fraction of truncated rows, on evenly spaced rows of each split.

    Also detects the language of training texts, and measures which fraction of their tokens is unknown to the tokenizer. `tokens` maps a
    split to the token ids of all its rows, if these are available. Returns the entries `encoder`, `language`, `lengths`,
    `truncated_labels` and `unknown` of the statistics.
    """
    train = frames["train"]
    inputs = [column for column in task.input_columns if column.name in train.columns]
    inputs = [column for column in inputs if train[column.name].null_count() < train.height]
    names = [column.name for column in inputs]
    rows = {split: np.arange(0, frame.height, max(1, frame.height // SAMPLE)) for split, frame in frames.items()}
    samples = {split: frame[rows[split]] for split, frame in frames.items()}
    sampled_tokens = {split: split_tokens.take(rows[split]) for split, split_tokens in tokens.items() if split in rows}
    views = task.views(names)
    encoder = encoder.resolve(only(samples["train"], names).to_dicts(), views, sampled_tokens.get("train"))
    lengths, classes = {}, {}
    for split, sample in samples.items():
        records = only(sample, [name for name in names if name in sample.columns]).to_dicts()
        complete = sampled_tokens.get(split) or encoder.read(records, [name for name in names if name in sample.columns])
        size, cut = _sizes(encoder.encode(records, views, complete), len(records))
        lengths[split] = {"sampled": sample.height, "of": frames[split].height, **_spread(size), "truncated": float(cut.mean()),
                          "histogram": _histogram(size)}  # fmt: skip
        classes[split] = _cut_by_label(sample, task, cut)
    texts = [column.name for column in inputs if column.type == "text"]
    strings = [str(text) for name in texts for text in samples["train"][name].drop_nulls()]
    unknown = encoder.unknown_share(strings, sampled_tokens.get("train"))
    return {
        "encoder": dump(encoder),
        "language": detect(strings).as_json() if texts else None,
        "lengths": lengths,
        "truncated_labels": classes,
        "unknown": {"share": float(unknown), "sampled": samples["train"].height, "of": train.height},
    }


def _sizes(features: Sequence[Feature], records: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return two arrays with one value per record: the number of tokens of its longest model input, and whether an input was cut.

    The number of tokens is that before truncation. `features` are the model inputs, and `records` is the number of records that they
    were made from.
    """
    size, cut = np.zeros(records, np.int64), np.zeros(records, bool)
    for feature in features:
        size[feature.record] = max(size[feature.record], feature.cost + feature.truncated)
        cut[feature.record] |= feature.truncated > 0
    return size, cut


def _cut_by_label(sample: pl.DataFrame, task: Task, cut: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return, for each label of the first target column, its number of rows and the fraction of them with a truncated input.

    The label with the highest fraction is first. `cut` is true for the rows of `sample` with a truncated input.
    """
    targets = _targets(task, sample)
    if not targets:
        return []
    table = labels(sample, targets[0].name).unique()
    table = table.with_columns(pl.Series("cut", cut[table["row"].to_numpy()]))
    shares = table.group_by("label").agg(pl.len().alias("rows"), pl.col("cut").mean().alias("truncated"))
    return shares.sort("truncated", "label", descending=[True, False]).to_dicts()


def _spread(values: NDArray[Any]) -> dict[str, float]:
    """Return the mean, minimum and maximum of these values, and the quantiles 0.5 (median), 0.9 and 0.99."""
    at = np.quantile(values, [0.5, 0.9, 0.99])
    return {"mean": float(values.mean()), "least": float(values.min()), "median": float(at[0]), "p90": float(at[1]), "p99": float(at[2]),
            "most": float(values.max())}  # fmt: skip


def _histogram(values: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return a histogram: a list of bins with `low`, `high` and `count`. Values above the 99.9 % quantile are counted in the last bin."""
    edge = float(np.quantile(values, 0.999)) + 1
    counts, edges = np.histogram(np.minimum(values, edge), bins=min(_BINS, max(1, int(edge))), range=(0, edge))
    return [
        {"low": float(low), "high": float(high), "count": int(count)} for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _shown(record: Mapping[str, Any], task: Task) -> str:
    """Format the inputs of a record for the report, joined by ` | ` and cut to 200 characters.

    A text is shown unchanged, any other value as `name: value`; bytes are left out.
    """
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
    """Format the value of one target column, such as a label or a list of spans, for the report.

    `text` is the record's first text, to which the offsets of spans refer.
    """
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
