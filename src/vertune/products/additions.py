"""Entries that people add to a product in use: the passages that they become, and the index that searches them beside those of the product.

The index of a product never changes. What was added since is in an index of its own, in a temporary folder of this process, and both are
searched as one. Knows nothing of where entries are kept.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vertune.core.pack import FaqEntry, Pack, passage_id
from vertune.retrieval import normalise
from vertune.retrieval.index import Index
from vertune.retrieval.passages import Passage
from vertune.retrieval.segment import Vectors
from vertune.store.entries import Entry

ADDED = "added:"
"""What the ids of passages of added entries begin with; the id and the version of the entry follow."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What is searched for a message."""

    index: Index | None
    successors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By customer and id of a passage that is not found any longer: the id of the one that has taken its place."""


def merged(known: Iterable[Entry], newer: Iterable[Entry]) -> list[Entry]:
    """Return entries by their ids, in the order in which they were added; of two versions, the later one."""
    found: dict[str, Entry] = {}
    for one in (*known, *newer):
        if one.id not in found or found[one.id].version <= one.version:
            found[one.id] = one
    return [found[id] for id in sorted(found)]


def is_same_question(one: str, other: str) -> bool:
    """Return whether two questions have the same words in the same order, apart from case, punctuation and how characters are written."""
    return _words(one) == _words(other)


def replaceable(pack: Pack, customer: str) -> dict[str, FaqEntry]:
    """Return the entries of a pack that an entry of a customer may replace, by their ids: those for everybody, and those for it alone."""
    return {id: entry for id, entry in pack.faq.items() if entry.customer in (None, customer)}


def replaced_entry(faq: Mapping[str, FaqEntry], question: str, language: str) -> str | None:
    """Return the id of the entry that has this question in this language; None if there is none."""
    words = _words(question)
    return next((id for id, entry in faq.items() if any(_words(one) == words for one in _ways(entry, language))), None)


def added_passages(entries: Iterable[Entry], pack: Pack) -> list[Passage]:
    """Return the passages of entries that were not withdrawn; one that replaces an entry of the pack is found by its questions too."""
    found = []
    for one in entries:
        if one.question is None or one.answer is None:
            continue
        old = pack.faq.get(one.replaces or "")
        ways = dict.fromkeys([one.question, *(_ways(old, one.language) if old else ())])
        title = (old.title.get(one.language) if old else None) or one.question
        passage = Passage(
            _passage(one, one.version), title[:200], one.answer, url=old.url if old else None, answer=one.answer, customer=one.customer,
            language=one.language, questions=tuple(ways),
        )  # fmt: skip
        found.append(passage)
    return found


class Additions:
    """What was added to one product since it was made; `bring` is called by one thread at a time."""

    def __init__(self, base: Index | None, pack: Pack, kept: Sequence[Entry] = ()) -> None:
        """`base` is the index of the product, and `kept` are the entries that the product was made with."""
        self._base, self._pack, self._kept = base, pack, list(kept)
        self._folder: Path | None = None
        self._own: Index | None = None
        self._held: set[str] = set()
        """The ids of the passages of the own index."""

    def bring(self, entries: Sequence[Entry], vectors: Callable[[Sequence[Passage]], Vectors | None]) -> Searched:
        """Return what is searched from now on: the entries of the product, with later versions and further ones in `entries`.

        Only passages that are new are read and written. `vectors` returns what computes the vectors of passages. If it raises, all stays as
        it was.
        """
        latest = merged(self._kept, entries)
        passages = [one for one in added_passages(latest, self._pack) if self._base is None or not self._base.has(one.id)]
        wanted = {one.id for one in passages}
        self._update([one for one in passages if one.id not in self._held], sorted(self._held - wanted), vectors)
        self._held = wanted
        hidden, successors = _replacements(latest)
        own = self._own if self._held else None
        if self._base is None:
            index = own.joined(None, hidden) if own is not None else None
        else:
            index = self._base.joined(own, hidden) if own is not None or hidden else self._base
        return Searched(index, successors)

    def _update(self, new: list[Passage], gone: list[str], vectors: Callable[[Sequence[Passage]], Vectors | None]) -> None:
        """Add passages to the own index, and remove others."""
        if not (new or gone):
            return
        computed = vectors(new) if self._base is None or self._base.has_vectors else None
        if self._own is not None:
            self._own.update(new, gone, computed)
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="vertune-entries-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._own = Index.build(self._folder / "index", new, computed)


def _replacements(entries: Iterable[Entry]) -> tuple[dict[str | None, list[str]], dict[tuple[str, str], str]]:
    """Return which passages are not found any longer, by customer, and which ones have taken their places."""
    hidden: defaultdict[str | None, list[str]] = defaultdict(list)
    successors: dict[tuple[str, str], str] = {}
    for one in entries:
        withdrawn = one.answer is None
        old = [_passage(one, number) for number in range(1, one.version)]
        hidden[None] += old
        if withdrawn:
            continue
        if one.replaces is not None:
            old.append(passage_id(one.replaces, one.language))
            hidden[one.customer].append(old[-1])
        successors |= {(one.customer, id): _passage(one, one.version) for id in old}
    return {customer: ids for customer, ids in hidden.items() if ids}, successors


def _passage(entry: Entry, version: int) -> str:
    return f"{ADDED}{entry.id}.{version}"


def _ways(entry: FaqEntry, language: str) -> Sequence[str]:
    return entry.questions.get(language, ())


def _words(text: str) -> list[str]:
    """Return the words of a question in normal form; one without any, such as a lone sign, as it is."""
    return normalise.tokens(normalise.forms(text)) or [text.strip()]
