"""The passages of a product: entries of its FAQ, its documents and its intents; and the vectors by which they are found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.app import Labelled
from vertune.core.pack import FaqEntry, Pack, entry_of, intent_passage, passage_id
from vertune.products.asking import Models
from vertune.retrieval.passages import Passage, passages_of

INDEX = "index"
"""The folder of a product with its index."""
_CHUNK = 256
"""Texts whose vectors are computed together."""
_MESSAGES = 40
"""Training messages of an intent by which search finds it."""
_WAYS = 2
"""Fewest ways to ask an entry, of which one can be held out."""


def pack_passages(pack: Pack) -> Iterator[Passage]:
    """Yield one passage for each language of each entry of the FAQ, then those of the documents."""
    for entry in pack.faq.values():
        yield from entry_passages(entry)
    for name in pack.config.documents:
        yield from passages_of(pack.path(name))


def entry_passages(entry: FaqEntry) -> Iterator[Passage]:
    """Yield the passage of an entry in each language in which it has an answer."""
    for language, answers in entry.answer.items():
        questions = tuple(entry.questions.get(language, ()))
        yield Passage(
            passage_id(entry.id, language), entry.title.get(language) or (questions[0] if questions else entry.id), answers[0],
            url=entry.url, answer=answers[0], customer=entry.customer, language=language, questions=questions,
            valid_from=entry.valid_from.isoformat() if entry.valid_from else None,
            valid_until=entry.valid_until.isoformat() if entry.valid_until else None,
        )  # fmt: skip


def intent_passages(pack: Pack, trained: Sequence[Labelled]) -> Iterator[Passage]:
    """Yield a passage for each intent with some of its training messages, evenly spaced, as ways to ask.

    Search reads typos, homophones and other scripts, which a model of intents may not.
    """
    by_intent: dict[str, list[str]] = {}
    for one in trained:
        by_intent.setdefault(one.intent or "", []).append(one.text)
    for name, entry in pack.intents.items():
        texts = list(dict.fromkeys(by_intent.get(name, [])))
        if texts:
            title = next(iter(entry.title.values()))
            yield Passage(intent_passage(name), title, title, questions=tuple(texts[:: max(1, -(-len(texts) // _MESSAGES))]))


def learnt_from_faq(pack: Pack, known: Collection[str] = ()) -> tuple[list[Labelled], list[Passage]]:
    """Hold one question out of each entry that has several; return these as labelled messages, and all passages without them.

    A question is not held out if it is in `known`, the texts on which the model of the vectors was trained.
    """
    held: list[Labelled] = []
    rest: list[Passage] = []
    for passage in pack_passages(pack):
        entry = entry_of(passage.id)
        unknown = [question for question in passage.questions if question not in known]
        if passage.answer is not None and entry in pack.faq and unknown and len(passage.questions) >= _WAYS:
            kept = tuple(question for question in passage.questions if question != unknown[-1])
            held.append(Labelled(unknown[-1], entry=entry))
            passage = replace(passage, questions=kept, title=passage.title if passage.title != unknown[-1] else kept[0])
        rest.append(passage)
    return held, rest


def vectors_of(models: Models, vertical: str | None, passages: Sequence[Passage]) -> Callable[[Sequence[str]], NDArray[np.float32]] | None:
    """Return a function from texts to vectors, by the vertical that embeds; None without one.

    Ways to ask are embedded as queries, because they are compared with questions, and all other texts as documents.
    """
    if vertical is None:
        return None
    questions = {question for passage in passages for question in passage.questions}

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        found: dict[str, Any] = {}
        for field, part in (
            ("vector", [one for one in texts if one in questions]),
            ("vector_pair", [one for one in texts if one not in questions]),
        ):
            distinct = list(dict.fromkeys(part))
            for start in range(0, len(distinct), _CHUNK):
                chunk = distinct[start : start + _CHUNK]
                # a document needs a query beside it; a single character costs next to nothing
                records = [{"text": text} if field == "vector" else {"text": ".", "text_pair": text} for text in chunk]
                answers = models.ask_together({vertical: records})[vertical]
                found |= {text: one[field] for text, one in zip(chunk, answers, strict=True)}
        return np.asarray([found[text] for text in texts], np.float32)

    return vectors
