"""Datasets of the Hugging Face hub, or of a local folder that the datasets library saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core.errors import DataError, MissingExtra, NotFound, UnknownName, first_line
from vertune.core.kinds import Source
from vertune.sources import _files, _table


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

    def read(self) -> pl.DataFrame:
        """Return all rows of the split, with class names instead of class numbers.

        Raise NotFound if the dataset is neither a local folder nor on the hub, DataError if it can't be read or has no rows.
        """
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("Reading Hugging Face data sets", "huggingface", "datasets") from error
        chosen = self._local(datasets) if Path(self.path).expanduser().is_dir() else self._hub(datasets)
        frame = pl.from_arrow(chosen.with_format("arrow")[:])
        if not isinstance(frame, pl.DataFrame) or frame.is_empty():
            raise DataError(
                f"The split '{self.split}' of {self.path} has no rows, but at least one is needed. "
                "Name another split with the option 'split'."
            )
        named = [
            pl.col(name).map_elements(feature.int2str, return_dtype=pl.String) if frame.schema[name].is_integer() else pl.col(name)
            for name, feature in chosen.features.items()
            if isinstance(feature, datasets.ClassLabel)
        ]
        return _table.marked(frame.with_columns(named), f"{self.path}:{self.split}")

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
