"""Answers what an app asks for: predictions of its models, all in one batch, and passages of its index; knows nothing of what apps do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vertune.core.app import App, Hit
from vertune.core.artifact import Home
from vertune.core.errors import Busy, NotFound, UnknownName
from vertune.core.pack import passage_id
from vertune.core.records import Answer, Record
from vertune.data.validate import select_fields, validate_records
from vertune.products.additions import Searched
from vertune.runtime.cache import AnswerCache, CachedPredictor
from vertune.runtime.fleet import Fleet
from vertune.runtime.predictor import Predictor

_KEPT = 5_000
"""Predictions of models in this process that are kept."""
_PREPARING_SECONDS = 2.0
"""After how many seconds a question is to be repeated whose model is being prepared."""
_REMEMBERED = 64
"""Vectors that are kept of one message and its parts."""


class Models(Protocol):
    """Predicts with several models at once; `AnswerService` does, and `LoadedModels`."""

    def ask_together(
        self, questions: Mapping[str, Sequence[Mapping[str, Any] | str]], deadline: float = 30.0, client: str = ""
    ) -> dict[str, list[Answer]]:
        """Return the predictions of each vertical for its records, by the name of the vertical."""
        ...


class LoadedModels:
    """Models in this process, without a queue: for training, evaluation and tests."""

    def __init__(self, predictors: Mapping[str, CachedPredictor]) -> None:
        self.predictors = dict(predictors)

    @classmethod
    def open(cls, home: Home, models: Mapping[str, str]) -> LoadedModels:
        """Load models as a server has them; `models` has their ids by the names of the verticals. Raises NotFound and ModelError.

        One that has not been prepared for serving is loaded as it was trained.
        """
        fleet = Fleet(home)

        def opened(vertical: str, id: str) -> Predictor:
            model = home.get("models", id)
            return fleet.candidate(vertical, id).predictor if fleet.ready(model) else Predictor.open(model)

        cache: AnswerCache[Hashable, Answer] = AnswerCache(_KEPT)  # a text in the index is a training message, or one to learn from
        return cls({vertical: CachedPredictor(opened(vertical, id), id, cache) for vertical, id in models.items()})

    def ask_together(
        self, questions: Mapping[str, Sequence[Mapping[str, Any] | str]], deadline: float = 30.0, client: str = ""
    ) -> dict[str, list[Answer]]:
        """Return the predictions of each vertical for its records; `deadline` and `client` have no meaning without a queue."""
        answers = {}
        for vertical, records in questions.items():
            if vertical not in self.predictors:
                raise UnknownName("vertical", vertical, self.predictors)
            cached = self.predictors[vertical]
            predictor = cached.predictor
            rows = [{predictor.task.input_columns[0].name: one} if isinstance(one, str) else one for one in records]
            answers[vertical] = cached.answer(validate_records(predictor, select_fields([predictor], rows)))
        return answers


@dataclass
class Asking:
    """What one message of an app may ask for; made anew for each message."""

    app: type[App]
    models: Models
    verticals: Mapping[str, str]
    """By slot, the name of the vertical."""
    searched: Searched = field(default_factory=lambda: Searched(None))
    customer: str | None = None
    """The customer of the server for whom it is asked; passages of others are not found."""
    at: str | None = None
    """The moment at which passages must be valid, in ISO 8601."""
    deadline: float = 30.0
    _vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, init=False)
    _spelled: dict[str, str] = field(default_factory=dict, init=False)

    def predict(self, questions: Mapping[str, Sequence[Record]]) -> dict[str, list[Answer]]:
        """Return, by slot, the predictions for records, all in one batch; slots without a model, or without records, are missing.

        Raises Busy if a model of the product is not served yet, because a server still prepares it.
        """
        for slot in questions:
            if slot not in self.app.needs:
                raise UnknownName("slot", slot, self.app.needs)
        asked = {slot: records for slot, records in questions.items() if slot in self.verticals and records}
        if not asked:
            return {}
        named = {self.verticals[slot]: records for slot, records in asked.items()}
        try:
            found = self.models.ask_together(named, self.deadline, self.customer or "")
        except NotFound as error:
            raise Busy("A model of the app is still being prepared. Try again in a moment.", _PREPARING_SECONDS) from error
        answers = {slot: found[self.verticals[slot]] for slot in asked}
        for record, answer in zip(asked.get(self.app.vectors, ()), answers.get(self.app.vectors, ()), strict=True):
            if len(self._vectors) < _REMEMBERED:
                self._vectors[str(record.get("text"))] = np.asarray(answer["vector"], np.float32)
        return answers

    def spelled(self, text: str) -> str:
        """Return a text with typos, pinyin and homophones as the index writes them; unchanged if there is no index."""
        index = self.searched.index
        if index is None or not text.strip():
            return text
        if text not in self._spelled:
            self._spelled[text] = index.spelled(text, self.customer)
        return self._spelled[text]

    def search(self, text: str, number: int) -> list[Hit]:
        """Return the passages that fit a text best; its vector is computed now, unless `predict` was asked for it before."""
        index = self.searched.index
        if index is None or not text.strip():
            return []
        if self.app.vectors in self.verticals and text not in self._vectors:
            self.predict({self.app.vectors: [{"text": text}]})
        return index.search(text, number, vector=self._vectors.get(text), customer=self.customer, at=self.at)

    def entry(self, id: str, language: str) -> Hit | None:
        """Return an entry or a passage by its id, as it is found now: of a replaced or corrected entry, what has taken its place."""
        index, successors = self.searched.index, self.searched.successors
        if index is None:
            return None
        for name in (passage_id(id, language), id):
            name = successors.get((self.customer or "", name), name)
            if (hit := index.get(name, customer=self.customer, at=self.at)) is not None:
                return hit
        return None
