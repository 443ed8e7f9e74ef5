"""Each training row once more, in capitals."""

from __future__ import annotations

from vertune.core.kinds import Augmenter


class Shouted(Augmenter):
    """It has no options."""

    def augment(self, frame, columns, seed):
        import polars as pl

        (text,) = (column.name for column in columns if column.role == "input")
        return frame.with_columns(pl.col(text).str.to_uppercase())
