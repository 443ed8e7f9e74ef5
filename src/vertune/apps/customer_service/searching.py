"""What search finds for a message, how much it fits, and how it is said; knows nothing of intents and of the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vertune.apps.customer_service.knowledge import ASK_ENTRY, Knowledge, is_valid, pick
from vertune.apps.customer_service.understanding import readable
from vertune.core.app import Ask, Choice, Evidence, Hit
from vertune.core.pack import INTENT, entry_of
from vertune.core.records import Answer

HITS = 8
"""Passages that are asked for and ranked again."""
OFFERED = 3
"""Entries that are offered at most where none is sure."""
_SHOWN = 700
"""Characters of a passage that a reply shows."""


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that was found, and how much it fits, by the slot `match` or else by the score of the search."""

    hit: Hit
    fit: float
    extract: str = ""
    """The part of the passage that answers the message; empty if no model found one."""

    @property
    def intent(self) -> str | None:
        """The intent that was found; None if it is an entry or a passage."""
        return self.hit.id.removeprefix(INTENT) if self.hit.id.startswith(INTENT) else None

    @property
    def entry(self) -> str:
        """The id of the entry, without the language of its passage; of documents and intents, the id of the passage."""
        return entry_of(self.hit.id)


def find(know: Knowledge, text: str, ask: Ask, extracts: bool = True) -> list[Found]:
    """Return what fits a message, the best first and each entry once: ranked again by the slot `match`, if there is one.

    With `extracts`, the slot `extract` finds the parts of documents that answer the message, which changes no rank.
    """
    text = readable(text, ask)
    hits: dict[str, Hit] = {}
    for hit in ask.search(text, HITS):
        if not hit.id.startswith(INTENT) or hit.id.removeprefix(INTENT) in know.intents:
            hits.setdefault(entry_of(hit.id), hit)
    kept = list(hits.values())
    if not kept:
        return []
    questions = {"match": [{"text": text, "text_pair": hit.answer or hit.text} for hit in kept]}
    questions["extract"] = [{"question": text, "context": hit.text} for hit in kept if extracts and _is_document(hit)]
    answers = ask.predict(questions)
    matches = answers.get("match")
    extracted = iter(answers.get("extract") or ())
    parts = ["" if not _is_document(hit) else str(next(extracted, {}).get("text", "")) for hit in kept]
    fits = [_matching(one, know.match_labels) for one in matches] if matches else [hit.score for hit in kept]
    found = [Found(hit, value, part) for hit, value, part in zip(kept, fits, parts, strict=True)]
    return sorted(found, key=lambda one: -one.fit) if matches else found


def _is_document(hit: Hit) -> bool:
    return hit.answer is None and not hit.id.startswith(INTENT)


def _matching(answer: Answer, labels: Sequence[str]) -> float:
    """Return the probability that the slot `match` gives to the labels that mean that two texts belong together."""
    probabilities = answer.get("probabilities") or {}
    return float(sum(probabilities.get(label, 0.0) for label in labels))


def said(know: Knowledge, found: Found, language: str, at: float) -> str:
    """Return the text that answers: the curated answer word for word or, of a document, what was extracted with the passage."""
    entry = know.faq.get(found.entry)
    if entry is not None and is_valid(entry, know.day(at)):
        return pick(entry.answer, language, 0)
    if found.hit.answer is not None:
        return found.hit.answer
    passage = shortened(found.hit.text)
    body = f"{found.extract}\n\n{passage}" if found.extract and found.extract != passage else passage
    return f"{know.say('found', language)} {found.hit.title}\n\n{body}" if found.hit.title else f"{know.say('found', language)}\n\n{body}"


def shortened(text: str) -> str:
    """Return the beginning of a passage, cut between words."""
    if len(text) <= _SHOWN:
        return text
    cut = text[:_SHOWN]
    return (cut[: cut.rfind(" ")] if " " in cut[-80:] else cut) + " …"


def evidence(found: Found) -> Evidence:
    """Return where an answer comes from."""
    kind: Literal["entry", "passage"] = "entry" if found.hit.answer is not None else "passage"
    return Evidence(
        kind=kind,
        id=found.entry[:300],
        title=found.hit.title[:500],
        text=found.hit.text[:4_000],
        score=round(found.fit, 4),
        url=found.hit.url,
    )


def offers(know: Knowledge, found: Sequence[Found], language: str) -> list[Choice]:
    """Return a button for each entry or passage."""
    choices = []
    for one in found[:OFFERED]:
        entry = know.faq.get(one.entry)
        title = know.entry_title(entry, language) if entry else one.hit.title or one.hit.text
        choices.append(Choice(title=title[:200], value=f"{ASK_ENTRY}{one.entry}"[:200]))
    return choices
