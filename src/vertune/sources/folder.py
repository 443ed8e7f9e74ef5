"""Text files in one folder per label, where the folder's name is the label."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import polars as pl

from vertune.core import documents
from vertune.core.errors import DataError, NotFound
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table


class Folder(Source):
    """Source that reads text files from one folder per label; the fields below are its options."""

    general: ClassVar[bool] = True
    path: str
    """The folder that contains one folder per label."""
    pattern: str = "*.txt"
    """Pattern of the files to read, in the folder of a label and its subfolders."""
    rows: Literal["file", "line"] = "file"
    """What becomes a row: each `file`, or each `line` that is not blank."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects it for each file."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether it is a folder; only a folder of folders with texts can then be read."""
        return path.is_dir()

    def read(self) -> pl.DataFrame:
        """Return a row per file, or per line: `text`, `label` (name of the folder) and `document` (path of the file).

        Raises NotFound if the folder does not exist, DataError if it contains no text files.
        """
        root = Path(self.path).expanduser()
        return pl.concat([self._file(root, label, file) for label, file in self._labelled(root)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(file for _, file in self._labelled(Path(self.path).expanduser()))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write three labelled text files and return the source that reads them."""
        for number, (text, label) in enumerate(_table.SAMPLE):
            (folder / "texts" / label).mkdir(parents=True, exist_ok=True)
            (folder / "texts" / label / f"{number}.txt").write_text(text, encoding="utf-8")
        return cls(path=str(folder / "texts"))

    def _labelled(self, root: Path) -> list[tuple[str, Path]]:
        """Find the text files in the folders of all labels; return a pair (label, file) for each file, sorted by label and path.

        Raises NotFound if the folder does not exist, DataError if it contains no text files.
        """
        if not root.is_dir():
            raise NotFound(f"There is no folder {root}. Name the folder that contains one folder for each label.")
        labels = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [(label.name, file) for label in labels for file in sorted(label.rglob(self.pattern)) if file.is_file()]
        if not files:
            content = f"{len(labels)} folders, none with a file that matches {self.pattern}" if labels else "no folders"
            raise DataError(
                f"{root} contains {content}, but one folder of texts for each label is expected. Check the path and the option 'pattern'."
            )
        return files

    def _file(self, root: Path, label: str, file: Path) -> pl.DataFrame:
        texts, errors = self._texts(file)
        frame = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).with_columns(
            pl.lit(label).alias("label"), pl.lit(file.relative_to(root).as_posix()).alias("document")
        )
        frame = _table.marked(frame, str(file), errors)
        is_blank = (pl.col("text").str.strip_chars() == "") & pl.col(_table.ERROR).is_null()
        return frame.filter(~is_blank) if self.rows == "line" else frame

    def _texts(self, file: Path) -> tuple[list[str], list[str | None]]:
        """Return the text of a file, or its lines, and for each the reason why it can't be used, or None."""
        try:
            source = _decode.text(file, self.encoding, "text file")
            with source.open() as opened:
                content = opened.read()
        except DataError as unreadable:
            return [""], [str(unreadable)]
        texts = documents.lines(content) if self.rows == "line" else [content.strip()]
        return [_decode.printable(text) for text in texts], [source.flaw(text) for text in texts]
