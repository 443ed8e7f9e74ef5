"""Reads new rows for a retraining: fields of the task, and what is known of each row, such as who sent it and whether it was reviewed.

Feedback has a trust and was not reviewed; labels of a labelling project were given by people who were asked, and count as reviewed, as do
rows of files, for which whoever names them vouches. Independent of what the rows are used for.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vertune.core.columns import named
from vertune.core.config import Config
from vertune.core.errors import DataError, NoDatabase, NoRows, VertuneError
from vertune.core.kinds import Source, Task
from vertune.data.chain import ChainLog
from vertune.data.dataset import TRUST
from vertune.data.fields import map_fields

AT, AUTHOR, KEY, REVIEWED = "__at", "__author", "__key", "__reviewed"
"""Names of the columns that are added: the time of a row, who gave the answer, the API key, and whether a person was asked for it."""
_KNOWN = {
    AT: ("feedback_at", "labelled_at"),
    AUTHOR: ("feedback_author", "labelled_by"),
    KEY: ("feedback_key",),
}
"""The columns of sources that these are read from."""
_TRUST, _ASKED = "feedback_trust", "labelled_by"


def read(sources: Sequence[Source], config: Config, kept: Sequence[str], log: ChainLog) -> pl.DataFrame:
    """Return the rows of all sources, with the fields of the task and the columns about each row; rejected ones go to the log.

    `kept` are further columns of the old dataset. A source that has no rows, or none yet, is a warning if another one has some. Raises
    NoRows if none has, or if all rows were rejected; what else is wrong with a source, such as a file that can't be read, is an error.
    """
    frames, empty = list[pl.DataFrame](), list[VertuneError]()
    for source in sources:
        try:
            frames.append(_read(source, config, kept, log))
        except (NoDatabase, NoRows) as error:
            empty.append(error)
    found = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
    if not found.height:
        if empty and len(sources) == 1:
            raise empty[0]
        rest = f"All {log.read:,} rows were rejected: {log.rejected[0]['reason']}." if log.rejected else "The sources have no rows."
        raise NoRows(f"There is nothing new to learn. {rest} Give feedback or labels, or name a file: --on new.csv")
    for why in map(str, empty):
        log.progress("warning", message=f"Only the other sources are learnt. {why}")
    return found


def _read(source: Source, config: Config, kept: Sequence[str], log: ChainLog) -> pl.DataFrame:
    """Read one source, rename its columns to fields, and clean its rows as the step `prepare` does."""
    log.progress("read", split="new", source=source.name)
    frame = source.read().lazy().collect()
    there, task = set(frame.columns), config.task
    fields = {name: value for name, value in config.data.fields.items() if ({value} if isinstance(value, str) else {*value}) <= there}
    about = [column for names in _KNOWN.values() for column in names if column in there]
    about += [_TRUST] if _TRUST in there else []
    table = map_fields(frame, fields, task, [*about, *(name for name in kept if name in there)]).frame
    log.read += table.height
    unread = table.filter(pl.col("__error").is_not_null())
    log.reject("read", [_rejection(row, task) for row in unread.iter_rows(named=True)], table.height)
    table = table.filter(pl.col("__error").is_null()).drop("__error")
    for cleaner in config.data.clean:
        table = log.take(cleaner.clean(table, task.columns), cleaner.name, table.height)
    table = log.take(task.resolve(table).clean(table), task.name, table.height) if table.height else table
    return _marked(table, about)


def _rejection(row: dict[str, object], task: Task) -> dict[str, object]:
    values = {column.name: row[column.name] for column in task.columns if column.name in row}
    return {"file": row["__file"], "row": row["__row"], "reason": row["__error"], "values": values}


def _marked(table: pl.DataFrame, about: Sequence[str]) -> pl.DataFrame:
    """Replace the columns of the source about each row by those that all sources have."""

    def first(names: Sequence[str]) -> pl.Expr:
        found = [named(name).cast(pl.String) for name in names if name in about]
        return found[0] if found else pl.lit(None, dtype=pl.String)

    given = _TRUST in about
    if given:
        _check_trust(table)
    reviewed = named(_ASKED).is_not_null() if _ASKED in about else pl.lit(not given)
    trust = pl.when(reviewed).then(1.0).otherwise(named(_TRUST).cast(pl.Float64).fill_null(1.0) if given else pl.lit(1.0))
    columns = [*(first(names).alias(name) for name, names in _KNOWN.items()), reviewed.alias(REVIEWED), trust.alias(TRUST)]
    return table.with_columns(columns).drop(about)


def _check_trust(table: pl.DataFrame) -> None:
    """Raise DataError for a trust that is no number from 0 to 1: it is the weight of its row in the loss."""
    trust = named(_TRUST)
    number = trust.cast(pl.Float64, strict=False)
    wrong = table.filter(trust.is_not_null() & ~number.is_between(0, 1).fill_null(False))
    if wrong.height:
        raise DataError(
            f"{wrong['__file'][0]}, row {wrong['__row'][0]}: {_TRUST} is {wrong[_TRUST][0]!r}; expected a number from 0 to 1. Correct "
            f"{wrong.height:,} values, or leave the column out, which counts all rows as reviewed."
        )
