"""Classifies how two texts relate, such as equivalence, entailment or relevance; the model reads both texts together.

Independent of the encoder. To search among many texts, use the task `embed` instead.
"""

from __future__ import annotations

from typing import Any, ClassVar

from vertune.core.records import Column
from vertune.tasks import _inputs
from vertune.tasks.classify import Classify


class Match(Classify):
    """Options of the matching task, which are those of classification; each record must have a second text."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        Column("text_pair", "The text that is compared with the first."),
        Column("label", "How the texts relate: a word or a whole number.", role="target", type="label"),
    )

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
