"""Sees that texts are in other languages."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from vertune.core.language import language_of
from vertune.core.monitor import SIGNIFICANT, Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.metrics.drift import fisher, share_interval
from vertune.monitors._shares import MOST_EXAMPLES, examples, per_cent, write_p

_USUAL = 0.05
"""Share of texts of the reference from which a language is usual there."""


class Language(Monitor):
    """The share of texts in languages that are not usual in the reference, compared by Fisher's exact test.

    Languages are those that scripts and frequent words tell. A text whose words can be of any language counts as usual.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"records"})
    title: ClassVar[str] = "share of texts in unusual languages"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.02, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of texts in unusual languages."""
        before, now = ([None if text is None else language_of(text) for text in one.texts()] for one in (reference, window))
        known = Counter(language for language in before if language)
        usual = {"", *(language for language, count in known.items() if count >= _USUAL * sum(known.values()))}
        sizes = [sum(language is not None for language in one) for one in (now, before)]
        if not all(sizes):
            return Finding.silent(said("texts.none"), sizes[0])
        foreign = [row for row, language in enumerate(now) if language is not None and language not in usual]
        hits = len(foreign), sum(language is not None and language not in usual for language in before)
        share, p = hits[0] / sizes[0], fisher(hits, (sizes[0], sizes[1]))
        low, high = share_interval(hits[0], sizes[0])
        earlier = hits[1] / sizes[1]
        names = sorted(usual - {""}) or [said("language.unknown")]
        why = said("language", share=per_cent(share), languages=names, before=per_cent(earlier), p=write_p(p))
        changed = p < SIGNIFICANT and share - earlier >= self.least
        return Finding(share, low, high, p, changed=changed, why=why, evidence=_evidence(window, now, foreign), n=sizes[0])


def _evidence(window: Window, languages: list[str | None], foreign: list[int]) -> list[dict[str, Any]]:
    """Return the first texts in unusual languages, each with its language."""
    shown: dict[str, Any] = {}
    for row in foreign:
        for example in examples(window, np.array([row])):
            shown.setdefault(example["text"], languages[row])
    return [{"language": language, "text": text} for text, language in list(shown.items())[:MOST_EXAMPLES]]
