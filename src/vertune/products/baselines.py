"""Two simple baselines of a product: the nearest known message by TF-IDF with a threshold, and the most frequent intent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.baselines.texts import Vectors
from vertune.core.app import Labelled
from vertune.core.pack import Pack
from vertune.products.figures import Given

NEAREST, MAJORITY = "nearest", "majority"


@dataclass
class Nearest:
    """Answers as the nearest known message is answered, if it is near enough; else hands over."""

    vectors: Vectors
    known: Any
    answers: list[str]
    threshold: float

    @classmethod
    def fit(cls, pack: Pack, trained: Sequence[Labelled], calibration: Sequence[Labelled]) -> Nearest:
        """Know the training messages and the questions of the FAQ, and choose the threshold on labelled messages.

        The threshold is the lowest at which the share of wrong answers among those given is at most the error of the pack on these
        messages; without labelled messages it is 0, so that everything is answered.
        """
        known = [(one.text, one.intent) for one in trained if one.intent]
        known += [(text, entry.id) for entry in pack.faq.values() for texts in entry.questions.values() for text in texts]
        vectors = Vectors([{"text": text} for text, _ in known])
        self = cls(vectors, vectors.of([{"text": text} for text, _ in known]), [answer for _, answer in known], 0.0)
        if calibration:
            places, near = self._nearest([one.text for one in calibration])
            right = np.array([self.answers[place] in {one.intent, one.entry} for place, one in zip(places, calibration, strict=True)])
            order = np.argsort(-near)
            wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
            allowed = np.flatnonzero(wrong <= pack.config.error)
            self.threshold = float(near[order][allowed[-1]]) if len(allowed) else float("inf")
        return self

    def _nearest(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the place of the nearest known message of each text, and its cosine."""
        asked = self.vectors.of([{"text": text} for text in texts])
        norms = (
            np.sqrt(np.maximum(asked.multiply(asked).sum(axis=1), 1e-12)),
            np.sqrt(np.maximum(self.known.multiply(self.known).sum(axis=1), 1e-12)),
        )
        products = np.asarray((asked @ self.known.T).todense()) / (np.asarray(norms[0]) * np.asarray(norms[1]).T)
        places = products.argmax(axis=1)
        return places, products[np.arange(len(texts)), places]

    def answer(self, texts: Sequence[str]) -> list[Given]:
        """Return what is answered to each text."""
        if not texts:
            return []
        places, near = self._nearest(texts)
        return [Given(self.answers[place] if value >= self.threshold else None) for place, value in zip(places, near, strict=True)]


def majority(trained: Sequence[Labelled], texts: Sequence[str]) -> list[Given]:
    """Answer every text as the most frequent intent of the training messages."""
    intents = Counter(one.intent for one in trained if one.intent)
    return [Given(intents.most_common(1)[0][0] if intents else None)] * len(texts)
