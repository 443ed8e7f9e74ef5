"""A file with a rating, a bar and a review on each line."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from vertune.core.kinds import Source


class Piped(Source):
    """Options of the file."""

    suffixes: ClassVar[tuple[str, ...]] = (".piped",)

    path: str
    """The file."""

    def read(self):
        import polars as pl

        pairs = [line.partition("|") for line in Path(self.path).read_text(encoding="utf-8").splitlines()]
        frame = pl.DataFrame({"rating": [left for left, _, _ in pairs], "review": [right for _, _, right in pairs]})
        return frame.with_columns(
            pl.lit(self.path).alias("__file"), pl.int_range(1, pl.len() + 1).alias("__row"), pl.lit(None, pl.String).alias("__error")
        )

    def sample(self, folder: Path) -> Piped:
        """A file of eight ratings."""
        file = folder / "sample.piped"
        file.write_text("".join(f"{1 + row % 2}|review {row}\n" for row in range(8)), encoding="utf-8")
        return Piped(path=str(file))
