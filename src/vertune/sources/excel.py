"""Sheets of Excel and OpenDocument workbooks (.xlsx, .xls, .xlsm, .xlsb, .ods)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import Field

from vertune.core.errors import DataError, MissingExtra, NoRows, UnknownName, first_line
from vertune.core.kinds import Source
from vertune.sources import _files, _header, _table, _workbook

_HEADER_ROWS = 100
"""Number of rows, from the start of a sheet, that show which one contains the names of the columns."""


class Excel(Source):
    """Source that reads a sheet of a workbook; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
    binary: ClassVar[bool] = True
    path: str
    """The workbook, or a pattern such as `data/*.xlsx`."""
    sheet: str | None = None
    """Name of the sheet, or a pattern such as `2026-*` or `*` for several sheets with the same columns; None reads the first sheet."""
    header: int = Field(default=1, ge=0)
    """Number of the row that contains the column names, counted from 1; rows above it, such as a title, are not read. With 0, no row
    contains names, and columns are named column_1, column_2 and so on."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the file is a zip file with the parts of a workbook."""
        if not _files.head(path).startswith(b"PK"):
            return False
        try:
            with zipfile.ZipFile(path) as file:
                return bool({"xl/workbook.xml", "xl/workbook.bin"} & set(file.namelist()))
        except (OSError, zipfile.BadZipFile):
            return False

    def read(self) -> pl.DataFrame:
        """Return all rows under the header of the sheet; raise DataError for a file that is not a workbook."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return a copy with the sheet that has the most cells, and with the row of the names of its columns."""
        path = _files.find(self.path)[0]
        workbook = _open(path)
        update: dict[str, Any] = {}
        chosen = workbook.sheet_names if self.sheet is None else _matching(workbook.sheet_names, self.sheet)
        sheets = {name: _cells(workbook, name) for name in chosen}
        if not sheets:
            return self, ()
        largest = max(sheets, key=lambda name: sheets[name].height * sheets[name].width)
        notes = []
        rows = _texts(sheets[largest])
        names = _header.row_of_names(rows) if rows else 0
        if len(sheets) > 1 and self.sheet is None:
            update["sheet"] = largest
            notes.append(f"The sheet '{largest}' is read; {path.name} also has {', '.join(name for name in sheets if name != largest)}.")
            if names is not None and all(_texts(cells)[names : names + 1] == rows[names : names + 1] for cells in sheets.values()):
                notes[-1] = notes[-1].removesuffix(".") + ", with the same columns: to read all sheets, use --sheet '*'."
        if names != 0 and "header" not in self.model_fields_set:
            update["header"] = 0 if names is None else names + 1
            what = "has no row with names of the columns" if names is None else f"has the names of its columns in row {names + 1}"
            notes.append(f"The sheet '{largest}' {what}.")
        return self.model_copy(update=update), tuple(notes)

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
        chosen = sheets[:1] if self.sheet is None else _matching(sheets, self.sheet)
        if not chosen:
            raise UnknownName("sheet", str(self.sheet), sheets, str(path))
        frames = []
        for sheet in chosen:
            # number rows before blank ones are removed, so that a row number in an error leads to the row in the sheet
            frame = _table.marked(self._values(workbook, path, sheet), f"{path}, sheet {sheet}" if len(chosen) > 1 else str(path))
            frames.append(frame.filter(~pl.all_horizontal(pl.exclude("^__.*$").is_null())))
        filled = [frame for frame in frames if not frame.is_empty()]
        if not filled:
            raise NoRows(f"The sheet '{chosen[0]}' of {path} has no rows under its header. Name another sheet with the option 'sheet'.")
        return _table.stacked(filled)

    def _values(self, workbook: Any, path: Path, sheet: str) -> pl.DataFrame:
        """Return the cells under the header; a column whose cells have different types, such as numbers and words, becomes texts."""
        import fastexcel

        try:
            # all rows decide on the types, because a code such as A1 in a late row would be lost in a column of numbers
            options = {"header_row": self.header - 1 if self.header else None, "schema_sample_rows": None, "dtype_coercion": "coerce"}
            frame: pl.DataFrame = workbook.load_sheet(sheet, **options).to_polars()
            gaps = [place for place, column in enumerate(frame) if column.null_count() and column.dtype not in (pl.String, pl.Null)]
            if gaps:
                # the reader drops words such as "n/a" from a column of numbers, which are seen only if the column is read as texts
                texts: pl.DataFrame = workbook.load_sheet(sheet, **options, use_columns=gaps, dtypes="string").to_polars()
                frame = frame.with_columns(texts[name] for name in texts.columns if texts[name].null_count() < frame[name].null_count())
        except fastexcel.FastExcelError as error:
            raise DataError(
                f"The sheet '{sheet}' of {path} can't be read ({first_line(error)}). "
                "Check the number of the row with the column names (option 'header'), or name another sheet with the option 'sheet'."
            ) from error
        frame.columns = _table.names((_cell_name(name) for name in frame.columns), str(path))
        return frame.with_columns(pl.col(pl.Null).cast(pl.String))


def _matching(sheets: Sequence[str], wanted: str) -> list[str]:
    """Return the sheet with this name, else the sheets whose names match it as a pattern."""
    return [wanted] if wanted in sheets else [name for name in sheets if fnmatchcase(name, wanted)]


def _texts(cells: pl.DataFrame) -> list[list[str]]:
    """Return the first rows of a sheet as texts without blanks around them."""
    return [["" if cell is None else str(cell).strip() for cell in row] for row in cells.head(_HEADER_ROWS).iter_rows()]


def _cells(workbook: Any, sheet: str) -> pl.DataFrame:
    """Return all cells of a sheet as texts."""
    frame: pl.DataFrame = workbook.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string", dtype_coercion="coerce").to_polars()
    return frame


def _cell_name(name: str) -> str:
    """Return the name of a column; an empty text instead of the name that the reader makes up for an empty cell of the header."""
    return "" if name.startswith("__UNNAMED__") else name


def _open(path: Path) -> Any:
    try:
        import fastexcel
    except ImportError as error:
        raise MissingExtra("Reading Excel workbooks", "excel", "fastexcel") from error
    try:
        return fastexcel.read_excel(path)
    except fastexcel.FastExcelError as error:
        raise DataError(f"{path} is not a workbook that can be read ({first_line(error)}). Save it again as .xlsx.") from error
