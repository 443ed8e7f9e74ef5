"""One folder for each label: every file in it is a text with that label."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import polars as pl

from vertune.core.errors import DataError, NotFound
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table


class Folder(Source):
    """Options of folders that are named as labels."""

    path: str
    """The folder that holds one folder for each label."""
    pattern: str = "*.txt"
    """Pattern of the files that are read, in the folder of a label and below it."""
    rows: Literal["file", "line"] = "file"
    """Whether a row is a whole file or a line that is not blank."""
    encoding: str = "auto"
    """The encoding, such as gb18030; auto detects it for each file."""

    def read(self) -> pl.DataFrame:
        """Rows of `text`, `label` (the name of the folder) and `document` (the path of the file); NotFound or DataError without any."""
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
            raise NotFound(f"There is no folder {root}. Name the folder that holds one folder for each label.")
        labels = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [(label.name, file) for label in labels for file in sorted(label.rglob(self.pattern)) if file.is_file()]
        if not files:
            content = f"{len(labels)} folders, none with a file that matches {self.pattern}" if labels else "no folders"
            raise DataError(
                f"{root} holds {content}, but one folder of texts for each label is expected. Check the path and the option 'pattern'."
            )
        return files

    def _file(self, root: Path, label: str, file: Path) -> pl.DataFrame:
        try:
            content, error = _decode.decode(file, self.encoding)
        except DataError as unreadable:
            content, error = "", str(unreadable)
        lines = content.splitlines() if self.rows == "line" and not error else [content.strip()]
        frame = pl.DataFrame({"text": pl.Series(lines, dtype=pl.String)}).with_columns(
            pl.lit(label).alias("label"), pl.lit(file.relative_to(root).as_posix()).alias("document")
        )
        frame = _table.marked(frame, str(file), [error] * frame.height)
        return frame.filter(pl.col("text").str.strip_chars() != "") if self.rows == "line" and not error else frame
