"""Puts old and new rows together to the next dataset, and counts what became of each new row; reads no files, and trains nothing.

Rows with equal inputs are one: of new ones, the newest reviewed counts. It replaces an old row with another target in its split, but never
a gold row. What nobody reviewed replaces nothing. New reviewed rows are divided in the proportion of the old splits, at even distances in
the order of their labels; others only train, with the weight of the trust in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import MAX_EXAMPLES, Note
from vertune.data.dataset import ROUND, SPLITS, TRUST
from vertune.steps.retrain import targets
from vertune.steps.retrain.reading import AT, AUTHOR, KEY, REVIEWED

WHERE = "retrain"
_PLACE = "__place"
ABOUT = (AT, AUTHOR, KEY, REVIEWED)
"""Columns about new rows that the dataset does not keep."""


@dataclass(frozen=True, slots=True)
class Old:
    """The rows of the dataset that the live model was trained on."""

    splits: Mapping[str, pl.DataFrame]
    gold: pl.DataFrame
    """Rows by which models are judged; they are among the test rows."""
    shares: tuple[float, float]
    """The shares of the rows that were used for validation and for the test when the first dataset was made."""


@dataclass(frozen=True, slots=True)
class Held:
    """A row that was held back for review."""

    check: str
    reason: str
    row: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the row with the reason, as a line of held.jsonl."""
        hidden = {ROUND, TRUST, _PLACE, "__file", "__row", REVIEWED}
        values = {name: value for name, value in self.row.items() if name not in hidden and name not in ABOUT}
        about = {"held_at": self.row.get(AT), "held_author": self.row.get(AUTHOR), "held_key": self.row.get(KEY)}
        origin = {"held_file": self.row.get("__file"), "held_row": self.row.get("__row")}
        return {**values, "held_check": self.check, "held_reason": self.reason, **origin, **about}


@dataclass(slots=True)
class Assembled:
    """The rows of the next dataset."""

    splits: dict[str, pl.DataFrame]
    gold: pl.DataFrame
    held: list[Held] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """What became of the new rows, by outcome; their sum is the number of new rows that could be read."""

    @property
    def learnt(self) -> int:
        """The number of new rows that are in a split, or changed the target of an old one."""
        return sum(self.counts.get(name, 0) for name in (*SPLITS, "replaced"))


def assemble(task: Task, old: Old, new: pl.DataFrame, suspects: Mapping[int, tuple[str, str]], number: int) -> Assembled:
    """Return the next dataset; `suspects` are the indices of new rows to hold back, with check and reason.

    `number` is that of this retraining, from 1, which each new row gets.
    """
    state = _Assembly(task, old, new.with_row_index(_PLACE), number)
    state.hold(suspects)
    state.take_trusted()
    state.take_one_of_each()
    state.compare_with_gold()
    state.compare_with_old()
    return state.finished()


class _Assembly:
    """New rows on their way: those that are left, and what became of the others."""

    def __init__(self, task: Task, old: Old, new: pl.DataFrame, number: int) -> None:
        self.task, self.number = task, number
        self.old = old
        self.splits = {name: _with_marks(frame) for name, frame in old.splits.items()}
        self.left = new
        self.total = new.height
        self.result = Assembled(dict(self.splits), old.gold)

    def hold(self, reasons: Mapping[int, tuple[str, str]]) -> None:
        """Take rows out of those that are left, and list them for review; the keys of `reasons` are their numbers."""
        if not reasons:
            return
        for row in self.left.filter(pl.col(_PLACE).is_in(list(reasons))).iter_rows(named=True):
            check, reason = reasons[row[_PLACE]]
            self.result.held.append(Held(check, reason, row))
        self._take("held", list(reasons), "new rows were held back for review; held.jsonl lists them")

    def take_trusted(self) -> None:
        """Leave out rows without any trust."""
        places = self.left.filter(pl.col(TRUST) <= 0)[_PLACE].to_list()
        self._take("untrusted", places, "new rows were left out, because they are not trusted at all")

    def take_one_of_each(self) -> None:
        """Keep one new row of those with equal inputs: the newest reviewed one; hold back those that differ where none was reviewed."""
        frame = self.left.with_columns(
            pl.Series("__input", targets.input_keys(self.task, self.left)), pl.Series("__target", targets.target_keys(self.task, self.left))
        )
        ranked = frame.sort([REVIEWED, AT, _PLACE], descending=True, nulls_last=True)
        first = ranked.group_by("__input", maintain_order=True).first().select("__input", pl.col("__target").alias("__best"), REVIEWED)
        joined = ranked.join(first, on="__input", suffix="_first", maintain_order="left")
        repeated = pl.struct("__input").is_first_distinct().not_()
        same = joined.filter(repeated & (pl.col("__target") == pl.col("__best")))
        differing = joined.filter(pl.col("__target") != pl.col("__best"))
        open_ones = differing.filter(~pl.col(f"{REVIEWED}_first"))["__input"].unique()
        disputed = joined.filter(pl.col("__input").is_in(open_ones.implode()))
        repeats = same.filter(~pl.col("__input").is_in(open_ones.implode()))
        self._take("repeated", repeats[_PLACE].to_list(), "new rows repeat another new one")
        reason = "new rows with the same input have other targets, and nobody reviewed any of them"
        self.hold(dict.fromkeys(disputed[_PLACE].to_list(), ("conflict", reason)))
        lost = differing.filter(pl.col(f"{REVIEWED}_first"))[_PLACE].to_list()
        self._take("overruled", lost, "new rows were overruled by a newer reviewed row with the same input")

    def compare_with_gold(self) -> None:
        """Take out new rows whose input is that of a gold row; hold back those that contradict it."""
        same, other = self._matching(self.old.gold)
        self._take("gold", same, "new rows have the input of a gold row, which never trains")
        self.hold(dict.fromkeys(other, ("gold", "it contradicts a gold row, which never changes")))

    def compare_with_old(self) -> None:
        """Take out what old rows say already; let reviewed rows replace the target of old ones, and hold back others that contradict."""
        for name in SPLITS:
            same, other = self._matching(self.splits[name])
            self._take("known", same, f"new rows say what {name} rows say already")
            chosen = self.left.filter(pl.col(_PLACE).is_in(other))
            unreviewed = chosen.filter(~pl.col(REVIEWED))[_PLACE].to_list()
            self.hold(dict.fromkeys(unreviewed, ("conflict", f"it contradicts a {name} row, and nobody reviewed it")))
            self._replace(name, chosen.filter(pl.col(REVIEWED)))

    def _matching(self, frame: pl.DataFrame) -> tuple[list[int], list[int]]:
        """Return the new rows with the input of one of these rows: those with the same target, and those with another one."""
        if not frame.height or not self.left.height:
            return [], []
        known: dict[int, set[int]] = {}
        pairs = zip(targets.input_keys(self.task, frame).tolist(), targets.target_keys(self.task, frame).tolist(), strict=True)
        for key, target in pairs:
            known.setdefault(key, set()).add(target)
        keys, wanted = targets.input_keys(self.task, self.left).tolist(), targets.target_keys(self.task, self.left).tolist()
        places = self.left[_PLACE].to_list()
        found = [(place, target in known[key]) for place, key, target in zip(places, keys, wanted, strict=True) if key in known]
        return [place for place, same in found if same], [place for place, same in found if not same]

    def _replace(self, name: str, rows: pl.DataFrame) -> None:
        """Give the rows of a split the targets of these new rows with the same inputs; gold rows are not among them."""
        if not rows.height:
            return
        frame, names = self.splits[name], targets.target_names(self.task, rows)
        chosen = dict(zip(targets.input_keys(self.task, rows).tolist(), rows.iter_rows(named=True), strict=True))
        keys = targets.input_keys(self.task, frame).tolist()
        columns = [
            pl.Series(column, [chosen[key][column] if key in chosen else value for key, value in zip(keys, frame[column], strict=True)],
                      frame.schema[column])
            for column in names
        ]  # fmt: skip
        replaced = [self.number if key in chosen else value for key, value in zip(keys, frame[ROUND], strict=True)]
        self.splits[name] = frame.with_columns(*columns, pl.Series(ROUND, replaced, pl.Int64))
        self._take("replaced", rows[_PLACE].to_list(), f"reviewed rows replaced the target of {name} rows with the same input")

    def _take(self, outcome: str, places: Sequence[int], what: str) -> None:
        """Take rows out of those that are left, and count and note what became of them."""
        if not places:
            return
        gone = self.left.filter(pl.col(_PLACE).is_in(list(places)))
        self.left = self.left.filter(~pl.col(_PLACE).is_in(list(places)))
        counts = self.result.counts
        counts[outcome] = counts.get(outcome, 0) + gone.height
        notes = self.result.notes
        before = next((place for place, note in enumerate(notes) if note.what == what), None)
        if before is None:
            notes.append(Note(WHERE, what, gone.height, self.total, _examples(gone)))
        else:
            examples = (*notes[before].examples, *_examples(gone))[:MAX_EXAMPLES]
            notes[before] = Note(WHERE, what, notes[before].count + gone.height, self.total, examples)

    def finished(self) -> Assembled:
        """Divide the rows that are left, and return the next dataset."""
        names = _divided(self.task, self.left, self.old, self.splits["train"])
        kept = self.left.with_columns(pl.lit(self.number, pl.Int64).alias(ROUND)).drop(*ABOUT, _PLACE, strict=False)
        for name in SPLITS:
            added = kept.filter(pl.Series(names == name))
            if added.height:
                self.result.counts[name] = added.height
                where = f"new rows were added to the {name} rows; the second number is that of all new rows"
                self.result.notes.append(Note(WHERE, where, added.height, self.total))
            self.splits[name] = pl.concat([self.splits[name], added], how="diagonal_relaxed") if added.height else self.splits[name]
        self.result.splits = {
            "train": self.splits["train"], **{name: self.splits[name].drop(TRUST, strict=False) for name in ("validation", "test")}
        }  # fmt: skip
        assert sum(self.result.counts.values()) == self.total, "a new row was lost"
        return self.result


def _with_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """Return old rows with the columns that a retraining adds: of the first dataset, and trusted."""
    added = {ROUND: pl.lit(0, pl.Int64), TRUST: pl.lit(1.0)}
    return frame.with_columns(value.alias(name) for name, value in added.items() if name not in frame.columns)


def _divided(task: Task, frame: pl.DataFrame, old: Old, train: pl.DataFrame) -> NDArray[np.object_]:
    """Return the split of each new row.

    Reviewed rows are put in the order of their targets, and of a hash within each, and dealt in the proportion of the old splits. The first
    row of a label that is new trains.
    """
    names = np.full(frame.height, "train", dtype=object)
    known = {label for found in targets.labels_of(task, train) for label in found}
    order = np.lexsort((targets.input_keys(task, frame), targets.target_keys(task, frame))) if frame.height else np.empty(0, np.int64)
    reviewed, labels = frame[REVIEWED].to_numpy() if frame.height else np.empty(0, bool), targets.labels_of(task, frame)
    validation, test = old.shares
    dealt = np.zeros(2)
    for row in order.tolist():
        if not reviewed[row]:
            continue
        dealt += (test, validation)
        if set(labels[row]) - known:
            known |= set(labels[row])
        elif dealt[0] >= 0.5:
            names[row], dealt[0] = "test", dealt[0] - 1
        elif dealt[1] >= 0.5:
            names[row], dealt[1] = "validation", dealt[1] - 1
    return names


def _examples(frame: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    """Return the first of these rows as examples of a note."""
    hidden = {_PLACE, TRUST, *ABOUT, "__file", "__row"}
    return tuple(
        {"file": row["__file"], "row": row["__row"], "value": {name: _short(value) for name, value in row.items() if name not in hidden}}
        for row in frame.head(MAX_EXAMPLES).iter_rows(named=True)
    )


def _short(value: Any) -> Any:
    """Return a value that JSON can store, and that is not long."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
