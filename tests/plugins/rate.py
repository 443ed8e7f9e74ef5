"""Stars for a review, under field names of its own."""

from __future__ import annotations

from typing import Any, ClassVar, TypedDict

import numpy as np

from vertune.core.errors import DataError
from vertune.core.kinds import Task
from vertune.core.records import Cleaned, Column, Note, Targets, View
from vertune.metrics import classification


class Stars(TypedDict):
    stars: str
    sure: float
    truncated: bool


class Rate(Task):
    """Options of rating."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("review", "The review."),
        Column("rating", "The stars.", role="target", type="label"),
        Column("customer", "Who wrote it.", required=False, role="extra", type="category"),
    )
    answer: ClassVar[type[Any]] = Stars
    decoder: ClassVar[str | None] = "reviews.grades"
    linear_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    scale: tuple[str, ...] = ()
    """The stars that there are, learnt."""

    def clean(self, frame):
        import polars as pl

        if "review" not in frame.columns:
            raise DataError(f"There is no column 'review' among {', '.join(frame.columns)}. Name it with `fields`.")
        frame = frame.with_columns(pl.col(name).cast(pl.String).str.strip_chars() for name in ("review", "rating") if name in frame.columns)
        bad = frame.with_row_index("__number", offset=1).filter((pl.col("review").fill_null("") == "") | self._unrated(frame))
        rejected = [
            {"file": row.get("__file"), "row": row.get("__row", row["__number"]), "reason": "no review or rating", "values": {}}
            for row in bad.iter_rows(named=True)
        ]
        good = frame.filter((pl.col("review").fill_null("") != "") & ~self._unrated(frame))
        shouted = good.filter(pl.col("review").str.contains("!!"))
        notes = [Note(self.name, "reviews were shouted", shouted.height, good.height)] if shouted.height else []
        return Cleaned(good.with_columns(pl.col("review").str.replace_all("!!", "!")), rejected, notes)

    @staticmethod
    def _unrated(frame):
        import polars as pl

        return pl.col("rating").fill_null("") == "" if "rating" in frame.columns else pl.lit(False)

    def fit(self, frame):
        return self.model_copy(update={"scale": tuple(sorted(frame["rating"].unique()))})

    def views(self, columns):
        return (View("review", ("review",), windows=True),)

    @property
    def size(self) -> int:
        return len(self.scale)

    @property
    def known_labels(self) -> tuple[str, ...]:
        return self.scale

    def head(self, width):
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records, features):
        places = [self.scale.index(record["rating"]) for record in records]
        return Targets([np.array(places[feature.record]) for feature in features])

    def loss(self, outputs, targets):
        from vertune.nn import losses

        return losses.cross_entropy(outputs, targets)

    def decoder_options(self):
        return {"scale": list(self.scale)}

    def named(self, answer):
        return (answer["stars"],)

    def confidence(self, answer):
        return answer["sure"]

    def tally(self, records, answers):
        truth = np.array([self.scale.index(record["rating"]) for record in records])
        return classification.tally(truth, np.array([self.scale.index(answer["stars"]) for answer in answers]), self.size)

    def summarise(self, total):
        found = classification.summarise(total, self.size)
        return {name: found[name] for name in self.metrics}

    def baselines(self, train, validation, test):
        from collections import Counter

        usual = Counter(record["rating"] for record in train).most_common(1)[0][0]
        known = {word: record["rating"] for record in train for word in record["review"].split() if word in _WORDS}
        return {
            "majority": [{"stars": usual, "sure": 1.0, "truncated": False} for _ in test],
            "words": [
                {"stars": next((known[word] for word in record["review"].split() if word in known), usual), "sure": 1.0, "truncated": False}
                for record in test
            ],
        }

    def example(self, rows=64):
        return [
            {"review": f"the {('soup', 'rice', 'cake')[row // 4 % 3]} was {_WORDS[row % 4]}", "rating": str(1 + row % 4)}
            for row in range(rows)
        ]


_WORDS = ("awful", "poor", "good", "superb")
