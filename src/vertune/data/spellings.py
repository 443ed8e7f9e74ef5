"""Merges labels that differ only in case, white space, invisible characters or Unicode form.

Independent of tasks; the columns of labels have been cleaned before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from vertune.core.columns import named
from vertune.core.labels import key, quoted
from vertune.core.records import MAX_EXAMPLES, Note
from vertune.data import describe

_SHOWN = 10
"""Maximum number of labels that a note lists."""


@dataclass(frozen=True, slots=True)
class Spellings:
    """The spelling that is used for each group of labels that nearly agree."""

    chosen: Mapping[str, str]
    """Maps the `key` of a group to its spelling."""

    @classmethod
    def of(cls, counts: Mapping[str, int], listed: Iterable[str] = ()) -> Spellings:
        """Choose the most frequent spelling of each label; a label in `listed`, which the config lists, is always chosen.

        `counts` maps each label to its number of training rows.
        """
        order = [*listed, *(label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))]
        chosen: dict[str, str] = {}
        for label in order:
            chosen.setdefault(key(label), label)
        return cls(chosen)

    def merge(self, frame: pl.DataFrame, column: str, where: str) -> tuple[pl.DataFrame, Note | None]:
        """Replace the other spellings in a column of labels, label sets or spans; also return a note on the replaced labels, if any.

        `where` is the name of the split, for the note.
        """
        labels = describe.labels(frame, column)
        counts = Counter(labels["label"].to_list())
        replaced = {label: new for label in counts if (new := self.chosen.get(key(label), label)) != label}
        if not replaced:
            return frame, None
        listing = ", ".join(f"{quoted(old)} as {quoted(new)} ({counts[old]})" for old, new in list(replaced.items())[:_SHOWN])
        more = f" and {len(replaced) - _SHOWN} more" if len(replaced) > _SHOWN else ""
        rows = labels.filter(pl.col("label").is_in(list(replaced)))
        examples: tuple[dict[str, object], ...] = ()
        if {"__file", "__row"} <= {*frame.columns}:  # frames of Python have no files
            examples = tuple(
                {"file": str(frame["__file"][row]), "row": frame["__row"][row], "value": label}
                for row, label in rows.head(MAX_EXAMPLES).iter_rows()
            )
        note = Note(f"labels {where}", f"labels were merged with another spelling: {listing}{more}", rows.height, labels.height, examples)
        return frame.with_columns(_replaced(frame.schema[column], column, replaced)), note


def _replaced(kind: pl.DataType, column: str, replaced: Mapping[str, str]) -> pl.Expr:
    """Return the expression for a column whose labels are replaced; labels that are then twice in a row's set are kept once."""
    if kind == pl.String:
        return named(column).replace(replaced)
    if kind == pl.List(pl.String):
        return named(column).list.eval(pl.element().replace(replaced)).list.unique(maintain_order=True)
    fields = [field.name for field in kind.inner.fields]  # type: ignore[attr-defined]
    item = pl.element()
    values: Sequence[pl.Expr] = [
        item.struct.field(name).replace(replaced) if name == "label" else item.struct.field(name) for name in fields
    ]
    return named(column).list.eval(pl.struct(values))
