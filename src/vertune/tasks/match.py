"""Classifies how two texts relate, such as equivalence, entailment or relevance; the model reads both texts together.

Independent of the encoder. To search among many texts, use the task `embed` instead.
"""

from __future__ import annotations

from typing import Any, ClassVar

from vertune.core.profile import Guess, TableProfile
from vertune.core.records import Column
from vertune.tasks import _guess, _inputs
from vertune.tasks.classify import Classify

_MOST_GRADES = 6
"""Number of distinct whole numbers up to which they say how well two texts match, for a guess."""


class Match(Classify):
    """Options of the matching task, which are those of classification; each record must have a second text."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        Column("text_pair", "The text that is compared with the first."),
        Column("label", "How the texts relate: a word or a whole number.", role="target", type="label"),
    )

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which columns could contain two texts and how they relate; None if there are no two texts that belong together.

        A question and its answer are a pair only if the label says how well they match, such as 0 and 1, and is not a topic.
        """
        guess = super().guess(table)
        if guess is None or guess.options or len(guess.fields) < len(self.columns):
            return None
        label = next(column for column in table.columns if column.name == guess.fields[self.target_columns[0].name][0])
        found = _guess.pair(table.without(label), label)
        sure = 1.0 if table.texts or found is None else found[2]
        if sure < 1 and not (label.kind == "flags" or (label.whole and label.unique <= _MOST_GRADES)):
            return None
        guess.reasons["task"] = f"two texts, and {guess.reasons['task']}"
        guess.score += 0.1
        return guess

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: pairs of sentences with a label.

        The second sentence has the same meaning as the first, contradicts it, or does neither.
        """
        things = ("bank", "shop", "train", "river", "garden", "market")
        states = ("open", "quiet", "large", "old", "full")
        second = {"contradicts": "the {} is not {}", "entails": "the {} is really {}", "neutral": "perhaps a {} was {}"}
        names = sorted(second)
        made = []
        for row in range(rows):
            words = things[(row // 3) % len(things)], states[(row // 5) % len(states)]
            label = names[row % len(names)]
            made.append({"text": "the {} is {}".format(*words), "text_pair": second[label].format(*words), "label": label})
        return made
