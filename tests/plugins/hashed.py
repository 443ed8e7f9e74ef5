"""Every tenth text, by its hash, is for the test and every next one for validation."""

from __future__ import annotations

from vertune.core import content
from vertune.core.kinds import Split


class Hashed(Split):
    """It has no options."""

    def divide(self, frame, columns):
        import polars as pl

        tenth = pl.Series("split", content.of_inputs(frame, [column.name for column in columns if column.role == "input"]) % 10)
        return tenth.replace_strict({0: "test", 1: "validation"}, default="train", return_dtype=pl.String)
