"""Sheets of Excel and OpenDocument workbooks (.xlsx, .xls, .xlsm, .xlsb, .ods)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core.errors import DataError, MissingExtra, UnknownName
from vertune.core.kinds import Source
from vertune.sources import _files, _table, _workbook


class Excel(Source):
    """Source that reads a sheet of a workbook; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
    path: str
    """The workbook, or a pattern such as `data/*.xlsx`."""
    sheet: str | None = None
    """Name of the sheet; None reads the first sheet."""

    def read(self) -> pl.DataFrame:
        """Return all rows under the header of the sheet; raise DataError for a file that is not a workbook."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a workbook with three labelled texts and return the source that reads it."""
        path = folder / "rows.xlsx"
        _workbook.write(path, {"data": [["text", "label"], *_table.SAMPLE]})
        return cls(path=str(path))

    def _file(self, path: Path) -> pl.DataFrame:
        workbook = _open(path)
        sheets: list[str] = workbook.sheet_names
        if self.sheet is not None and self.sheet not in sheets:
            raise UnknownName("sheet", self.sheet, sheets, str(path))
        frame: pl.DataFrame = workbook.load_sheet(self.sheet or 0, dtype_coercion="coerce").to_polars()
        frame = frame.with_columns(pl.col(pl.Null).cast(pl.String))
        # number rows before blank ones are removed, so that a row number in an error leads to the row in the sheet
        frame = _table.marked(frame, str(path))
        values = [name for name in frame.columns if not name.startswith("__")]
        frame = frame.filter(~pl.all_horizontal(pl.col(values).is_null()))
        if frame.is_empty():
            raise DataError(
                f"The sheet '{self.sheet or sheets[0]}' of {path} has no rows under its header. Name another sheet with the option 'sheet'."
            )
        return frame


def _open(path: Path) -> Any:
    try:
        import fastexcel
    except ImportError as error:
        raise MissingExtra("Reading Excel workbooks", "excel", "fastexcel") from error
    try:
        return fastexcel.read_excel(path)
    except fastexcel.FastExcelError as error:
        raise DataError(f"{path} is not a workbook that can be read ({str(error).splitlines()[0]}). Save it again as .xlsx.") from error
