"""The companion of a model: mixes the model's outputs with scores of words, and calibrates them; knows nothing of training.

The mixed output of a record is `model * x + words * s + shift`: x are the model's outputs, merged over the windows of a long text, and s
are the scores that a linear model of n-grams gives the record's texts. For probabilities, this is a geometric mean of those of both models,
each sharpened or softened by its weight: a temperature (Guo et al. 2017) is the inverse of a weight. The shift, one number for each output,
corrects labels that the model names too often or too rarely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import windows
from vertune.lexical import tensors
from vertune.lexical.scorer import Scorer
from vertune.lexical.tagging import UnitModel
from vertune.lexical.vectors import Vocabulary

if TYPE_CHECKING:
    from vertune.core.records import Activation, Feature

FILE = "companion.safetensors"
"""Name of the file in a model's folder."""
_CHUNK = 256
"""Number of records that are scored together, which limits the memory."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class WordModel:
    """A linear model of the n-grams in the texts of a record."""

    fields: tuple[str, ...]
    """The names of the one or two fields with texts."""
    vocabulary: Vocabulary
    scorer: Scorer

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored, by name."""
        vocabulary = self.vocabulary
        return {"grams": vocabulary.grams, "kinds": vocabulary.kinds, "rarity": vocabulary.rarity, **self.scorer.arrays()}

    @classmethod
    def of(cls, fields: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> WordModel:
        """Return the model of these arrays, which `arrays` returned; raise KeyError if one is missing."""
        return cls(tuple(fields), Vocabulary(arrays["grams"], arrays["kinds"], arrays["rarity"]), Scorer.of(arrays))

    @property
    def bytes(self) -> int:
        """The size of the stored arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def scores(self, records: Sequence[Mapping[str, Any]], features: Sequence[Feature] = ()) -> NDArray[np.float64]:
        """Return the scores of the records, shape (records, outputs); they don't depend on `features`."""
        parts = []
        for start in range(0, len(records), _CHUNK):
            part = records[start : start + _CHUNK]
            texts = [[str(record.get(name) or "") for record in part] for name in self.fields]
            parts.append(self.scorer.scores(self.vocabulary.vectors(texts), len(part)))
        return np.concatenate(parts) if parts else np.empty((0, len(self.scorer.intercepts)))


@dataclass(frozen=True, slots=True)
class Companion:
    """The two weights of a mix, and the model of the words."""

    activation: Activation
    model: float
    """The weight of the model's outputs: 0 leaves the answers to the words alone."""
    words: float = 0.0
    """The weight of the scores of the words: 0 leaves the answers to the model alone."""
    scorer: WordModel | UnitModel | None = None
    """The model of the words; None if their weight is 0."""
    shift: tuple[float, ...] = ()
    """What is added to each mixed output; empty for nothing."""

    @property
    def decides(self) -> bool:
        """Whether answers depend on anything at all: with two weights of 0, all records get the same."""
        return bool(self.model or self.words)

    def mixed(
        self, records: Sequence[Mapping[str, Any]], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Return the outputs from which the task decodes answers, one array per feature (model input).

        All features of a record get the same mixed outputs, so the task's average over them changes nothing. If the task tags words, a
        word has outputs of its own instead, at its first token. `outputs` are those of the model.
        """
        if not features:
            return list(outputs)
        if self.activation == "tags":
            scaled = [self.model * np.asarray(output, np.float64) for output in outputs]
            if isinstance(self.scorer, UnitModel):
                self.scorer.add_scores(records, features, scaled, self.words)
            return scaled
        mix = self.model * merged(self.activation, len(records), features, outputs)
        if isinstance(self.scorer, WordModel):
            mix += self.words * self.scorer.scores(records, features)
        if self.shift:
            mix += np.array(self.shift)
        return list(mix[windows.owners(features)])

    def save(self, file: Path) -> None:
        """Write the companion to a safetensors file; its numbers that are no arrays are JSON in the metadata."""
        entries: dict[str, Any] = {"activation": self.activation, "model": self.model, "words": self.words, "fields": None}
        if self.shift:
            entries["shift"] = self.shift
        arrays: dict[str, NDArray[Any]] = {}
        if self.scorer is not None:
            entries["fields"] = list(self.scorer.fields)
            arrays = self.scorer.arrays()
        tensors.save(file, arrays, {"companion": json.dumps(entries)})

    @classmethod
    def load(cls, file: Path) -> Companion:
        """Load the companion that `save` wrote; raise ValueError if the file is damaged."""
        arrays, metadata = tensors.load(file)
        try:
            entries = json.loads(metadata["companion"])
            scorer = None
            if entries["fields"] is not None:
                scorer = (UnitModel if entries["activation"] == "tags" else WordModel).of(entries["fields"], arrays)
            shift = tuple(float(value) for value in entries.get("shift", ()))
            return cls(entries["activation"], float(entries["model"]), float(entries["words"]), scorer, shift)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} lacks a part of the companion: {error!r}. Restore it from a copy.") from error


def merged(activation: Activation, count: int, features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return one row of outputs per record, from which a task decodes the same answer as from all features of the record.

    For probabilities, which are averaged over the windows of a long text, these are their logarithms or log-odds. `count` is the
    number of records.
    """
    stacked = np.array(outputs, np.float64)
    if activation == "identity" or (len(features) == count and all(feature.record == row for row, feature in enumerate(features))):
        return windows.merge(count, features, stacked)
    if activation == "softmax":
        logs: NDArray[np.float64] = np.log(np.maximum(windows.merge(count, features, windows.softmax(stacked)), _TINY))
        return logs
    odds = np.clip(windows.merge(count, features, windows.sigmoid(stacked)), _TINY, 1 - _TINY)
    result: NDArray[np.float64] = np.log(odds) - np.log1p(-odds)
    return result
