"""Datasets of the Hugging Face hub, or of a local folder that the datasets library saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core.errors import DataError, MissingExtra, NoRows, NotFound, UnknownName, first_line
from vertune.core.kinds import Source
from vertune.sources import _files, _marked, _table, conll
from vertune.sources._marked import Marked


class Huggingface(Source):
    """Source that reads a Hugging Face dataset; the fields below are its options."""

    remote: ClassVar[bool] = True

    path: str
    """An id on the hub such as `owner/name`, or a folder that `save_to_disk` wrote."""
    split: str = "train"
    """Name of the split to read."""
    subset: str | None = None
    """Name of the configuration, for a dataset that has several."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None means the latest version."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the folder contains the files that `save_to_disk` of the datasets library writes."""
        return (path / "dataset_dict.json").is_file() or all((path / name).is_file() for name in ("dataset_info.json", "state.json"))

    def read(self) -> pl.DataFrame:
        """Return all rows of the split, with class names instead of class numbers; of tokens with tags, also `text` and `spans`.

        Raise NotFound if the dataset is neither a local folder nor on the hub, DataError if it can't be read or has no rows.
        """
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("Reading Hugging Face data sets", "huggingface", "datasets") from error
        chosen = self._local(datasets) if Path(self.path).expanduser().is_dir() else self._hub(datasets)
        frame = pl.from_arrow(chosen.with_format("arrow")[:])
        if not isinstance(frame, pl.DataFrame) or frame.is_empty():
            raise NoRows(
                f"The split '{self.split}' of {self.path} has no rows, but at least one is needed. "
                "Name another split with the option 'split'."
            )
        for name, feature in chosen.features.items():
            inner = getattr(feature, "feature", feature)
            if isinstance(inner, datasets.ClassLabel):
                frame = frame.with_columns(_named(frame[name], inner.names))
        frame, errors = _with_spans(frame)
        return _table.marked(frame, f"{self.path}:{self.split}", errors)

    def fingerprint(self) -> str | None:
        """Return a hash of all files of a local folder; None for the hub, because its content is unknown before a download."""
        folder = Path(self.path).expanduser()
        return _files.fingerprint(sorted(file for file in folder.rglob("*") if file.is_file())) if folder.is_dir() else None

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a dataset with three labelled texts to a folder and return the source that reads it."""
        import datasets

        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["card", "rate"])})
        texts, labels = zip(*_table.SAMPLE, strict=True)
        rows = datasets.Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)
        datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(folder / "hub"))
        return cls(path=str(folder / "hub"))

    def _local(self, datasets: Any) -> Any:
        folder = Path(self.path).expanduser()
        try:
            loaded = datasets.load_from_disk(str(folder))
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} contains no dataset; expected a folder that save_to_disk of the datasets library wrote. "
                "Use the source csv, jsonl or parquet for plain files."
            ) from error
        if not isinstance(loaded, datasets.DatasetDict):
            return loaded
        if self.split not in loaded:
            raise UnknownName("split", self.split, loaded, str(folder))
        return loaded[self.split]

    def _hub(self, datasets: Any) -> Any:
        from huggingface_hub.errors import HfHubHTTPError

        level = datasets.utils.logging.get_verbosity()
        datasets.utils.logging.set_verbosity_error()
        try:
            return datasets.load_dataset(self.path, self.subset, split=self.split, revision=self.revision)
        except (OSError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
            raise NotFound(
                f"The dataset '{self.path}' is not a local folder, and can't be loaded from the Hugging Face hub ({type(error).__name__}). "
                "Check the name and the network, or read a local file with the source csv, jsonl or parquet."
            ) from error
        except ValueError as error:  # the datasets library raises this for an unknown subset or split
            reason = first_line(error).rstrip(".")
            raise DataError(f"The dataset '{self.path}' can't be read: {reason}. Check the options 'subset' and 'split'.") from error
        finally:
            datasets.utils.logging.set_verbosity(level)


def _named(column: pl.Series, names: Sequence[str]) -> pl.Series:
    """Return a column, or a column of lists, with the names of classes instead of their numbers; -1, which means no class, becomes null."""
    known: dict[Any, str] = dict(enumerate(names))
    if isinstance(column.dtype, pl.List) and column.dtype.inner.is_integer():
        return column.list.eval(pl.element().replace_strict(known, default=None, return_dtype=pl.String))
    return column.replace_strict(known, default=None, return_dtype=pl.String) if column.dtype.is_integer() else column


def _with_spans(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str | None] | None]:
    """Add the columns `text` and `spans` to a data set of tokens with tags, and return an error or None for each row.

    Tags that are numbers without names get the usual ones; nothing is added if even these can't be known.
    """
    found = [_marked.of_tokens(row) for row in frame.head(1).to_dicts()]
    if not all(found) or {"text", "spans"} & set(frame.columns):
        return frame, None
    rows = frame.to_dicts()
    numbered = [tags for row in rows if (tags := _marked.numbered_tags(row))]
    names = (_marked.usual_names(numbered) if numbered else None) or []
    if numbered and not names:
        return frame, None
    marked = [_marked.of_tokens(row, names) or [Marked(None, None, "has no tokens, or another number of tags")] for row in rows]
    added = [
        pl.Series("text", [one.text for one, *_ in marked], dtype=pl.String),
        pl.Series("spans", [one.spans for one, *_ in marked], dtype=conll.SPANS),
    ]
    return frame.with_columns(added), [one.error for one, *_ in marked]
