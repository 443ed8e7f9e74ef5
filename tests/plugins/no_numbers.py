"""Rows whose text is nothing but digits are dropped."""

from __future__ import annotations

from vertune.core.kinds import Cleaner
from vertune.core.records import Cleaned, Note


class NoNumbers(Cleaner):
    """It has no options."""

    def clean(self, frame, columns):
        import polars as pl

        (text,) = (column.name for column in columns if column.role == "input")
        stays = frame.filter(~pl.col(text).str.contains(r"^\d+$").fill_null(False))
        dropped = frame.height - stays.height
        return Cleaned(stays, notes=[Note(self.name, "rows were numbers and were dropped", dropped, frame.height)] if dropped else [])
