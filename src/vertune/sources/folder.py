"""A folder a label: every file in it is a text of that label."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import polars as pl

from vertune.core.errors import DataError, NotFound
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table


class Folder(Source):
    """Options of labelled folders."""

    path: str
    """The folder that holds a folder for each label."""
    pattern: str = "*.txt"
    """Which files are read, in the folder of a label and below it."""
    rows: Literal["file", "line"] = "file"
    """Whether a text is a whole file, or each line of it that is not blank."""
    encoding: str = "auto"
    """auto finds the encoding of each file; or a name."""

    def read(self) -> pl.DataFrame:
        """`text`, `label` (the folder's name) and `document` (the file's path in the folder); NotFound or DataError without any."""
        root = Path(self.path).expanduser()
        return pl.concat([self._file(root, label, file) for label, file in self._labelled(root)])

    def fingerprint(self) -> str:
        """A hash of all files that are read."""
        return _files.fingerprint(file for _, file in self._labelled(Path(self.path).expanduser()))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Three labelled texts, each a file."""
        for number, (text, label) in enumerate(_table.SAMPLE):
            (folder / "texts" / label).mkdir(parents=True, exist_ok=True)
            (folder / "texts" / label / f"{number}.txt").write_text(text, encoding="utf-8")
        return cls(path=str(folder / "texts"))

    def _labelled(self, root: Path) -> list[tuple[str, Path]]:
        """Each file with its label, sorted."""
        if not root.is_dir():
            raise NotFound(f"There is no folder {root}. Give the folder that holds a folder for each label.")
        labels = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [(label.name, file) for label in labels for file in sorted(label.rglob(self.pattern)) if file.is_file()]
        if not files:
            found = f"{len(labels)} folders, none with a file that matches {self.pattern}" if labels else "no folders"
            raise DataError(
                f"Expected {root} to hold a folder of texts for each label; it has {found}. Check the path and the option 'pattern'."
            )
        return files

    def _file(self, root: Path, label: str, file: Path) -> pl.DataFrame:
        try:
            whole, error = _decode.decode(file, self.encoding)
        except DataError as unreadable:
            whole, error = "", str(unreadable)
        lines = whole.splitlines() if self.rows == "line" and not error else [whole.strip()]
        frame = pl.DataFrame({"text": pl.Series(lines, dtype=pl.String)}).with_columns(
            pl.lit(label).alias("label"), pl.lit(file.relative_to(root).as_posix()).alias("document")
        )
        frame = _table.marked(frame, str(file), [error] * frame.height)
        return frame.filter(pl.col("text").str.strip_chars() != "") if self.rows == "line" and not error else frame
