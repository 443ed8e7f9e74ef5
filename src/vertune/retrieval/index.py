"""The index of a product: finds passages by words, by sounds and by vectors that are handed over; knows nothing of models.

An index is a folder: `index.json`, which lists the segments and the SHA-256 of every file, and the segments. An update writes a new segment
and then replaces `index.json`, so that whoever opens the folder sees the old or the new index. Small segments are merged now and then.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.app import Hit
from vertune.core.errors import ConfigError, DataError, StorageError
from vertune.core.files import locked, new_folder, read_json, storage_errors, write_json
from vertune.core.integrity import CHECKSUM, FILES, cached_hash, check_entries, check_files, sealed
from vertune.retrieval import merging, normalise, segment
from vertune.retrieval.passages import Passage
from vertune.retrieval.ranking import Place, Ranker
from vertune.retrieval.segment import ARRAYS, PASSAGES, WORDS, Segment, Vectors, customer_hash, latin_words, text_hash, unit_vector
from vertune.retrieval.spelling import Vocabulary, nearest

FILE, SEGMENTS, FORMAT = "index.json", "segments", 1
_LOCK = ".lock"
_BLOCK = 2_000
"""Number of passages that are read at once while an index is built."""
_MERGED = 10_000
"""Number of units of the largest segment that an update merges with others; larger ones are left to `compact`."""
_DEPTH = 100
"""Number of passages of each ranking that are joined, at least."""
_LONGEST = 1_000
"""Number of characters at the beginning of a question that are read, so that long messages take no more time than others."""
_CORRECTED = 8
"""Number of unknown words of a question that are corrected, for the same reason."""
_REMEDY = "or build the index again"


@dataclass(frozen=True, slots=True)
class Joining:
    """How the ranking by words and the one by vectors become one: a weighted sum of scores (Bruch, Gai and Ingber 2023).

    The score of words is the share of the largest score that is possible for the question. The cosine of vectors is scaled so that the best
    passage has 1, and the last one of the first hundred 0. The weights were chosen on questions that are not for test
    (`benchmarks/searching.py`), where the sum of reciprocal ranks (Cormack, Clarke and Büttcher 2009) was no better than vectors alone.
    """

    words: float = 3.0
    vectors: float = 1.0


@dataclass(frozen=True, slots=True)
class _State:
    """What a process has in memory of an index; replaced as a whole, so that a search sees one state."""

    entries: dict[str, Any]
    ranker: Ranker
    joining: Joining
    vocabularies: dict[str, Vocabulary] = field(default_factory=dict)
    hidden: Mapping[int, Sequence[NDArray[np.int64]]] = field(default_factory=dict)
    """By the hash of a customer: the numbers of the passages of each segment that it does not find."""


class Index:
    """An index that is open. Searching is safe in threads; updates of several processes wait for each other."""

    def __init__(self, folder: Path, state: _State, joined: bool = False) -> None:
        self.folder, self._state, self._joined = folder, state, joined

    @classmethod
    def build(
        cls,
        folder: Path,
        passages: Iterable[Passage],
        vectors: Vectors | None,
        progress: Callable[[int], object] | None = None,
        joining: Joining | None = None,
    ) -> Index:
        """Write an index of passages into a new or empty folder, and open it.

        `vectors` returns one vector for each text; without it, words alone decide. `progress` is called with the number of passages that
        are done. Of passages with the same id, the last one stays. Raises Conflict if the folder has content.
        """
        with new_folder(folder) as target:
            blocks: list[Segment] = []
            newest: dict[int, tuple[int, int]] = {}
            chinese, done = False, 0
            for number, block in enumerate(_blocks(passages)):
                path = target / ".blocks" / str(number)
                segment.write(path, block, vectors)
                chinese = chinese or _is_chinese(block)
                newest.update({text_hash(one.id): (number, place) for place, one in enumerate(block)})
                blocks.append(Segment(path))
                done += len(block)
                if progress is not None:
                    progress(done)
            kept = [Segment(one.folder, _replaced(one, number, newest)) for number, one in enumerate(blocks)]
            name = secrets.token_hex(4)
            if kept:
                merging.merge(target / SEGMENTS / name, kept)
                shutil.rmtree(target / ".blocks")
            segments = [{"name": name, "removed": [], "chinese": chinese}] if kept else []
            _write_entries(target, {"joining": asdict(joining or Joining()), "vectors": vectors is not None, "segments": segments}, {})
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open an index after comparing its files with the hashes in index.json; raise StorageError if one is missing or has changed."""
        while True:
            before = _checksum(folder)
            try:
                return cls(folder, _read(folder))
            except StorageError:
                if _checksum(folder) == before:  # otherwise it was updated meanwhile, and segments that it had are gone
                    raise

    def __len__(self) -> int:
        """Return the number of passages."""
        return sum(int(one.kept.sum()) for one in self._state.ranker.segments)

    @property
    def has_vectors(self) -> bool:
        """Whether the passages have vectors."""
        return bool(self._state.entries["vectors"])

    def is_current(self) -> bool:
        """Return whether nobody has updated the folder since this index was opened or updated."""
        return bool(_checksum(self.folder) == self._state.entries[CHECKSUM])

    def joined(self, other: Index | None, hidden: Mapping[str | None, Iterable[str]] | None = None) -> Index:
        """Return an index that searches this one and another one as if they were one; neither is changed by it, and it can't be updated.

        `hidden` are ids of passages that a customer does not find, or, under None, that nobody does. The joined index stays as it is when
        one of the two is updated. No passage may be in both. Both need vectors of one model, or none.
        """
        parts = [self, *([] if other is None else [other])]
        segments = [one for part in parts for one in part._state.ranker.segments]
        hashes = {
            customer_hash(customer): np.array([text_hash(id) for id in ids], np.uint64) for customer, ids in (hidden or {}).items()
        }  # fmt: skip
        if (gone := hashes.pop(segment.EVERYBODY, None)) is not None:
            segments = [_without(one, gone) for one in segments]
        ranker = Ranker(segments, any(part._state.ranker.chinese for part in parts))
        places = {customer: [np.flatnonzero(np.isin(one.ids, ids)) for one in segments] for customer, ids in hashes.items()}
        return Index(self.folder, _State(self._state.entries, ranker, self._state.joining, hidden=places), joined=True)

    def has(self, id: str) -> bool:
        """Return whether there is a passage with this id, whoever may find it."""
        hashed = np.uint64(text_hash(id))
        return any(bool((one.kept & (one.ids == hashed)).any()) for one in self._state.ranker.segments)

    def get(self, id: str, *, customer: str | None = None, at: str | None = None) -> Hit | None:
        """Return the passage with this id, if `search` may return it for this customer at this time; None otherwise."""
        state, hashed = self._state, np.uint64(text_hash(id))
        for number, (one, allowed) in enumerate(zip(state.ranker.segments, _allowed(state, customer, at), strict=True)):
            for passage in np.flatnonzero(allowed & (one.ids == hashed)):
                return _hit(state.ranker, Place(number, int(passage)), 1.0)
        return None

    def passages(self) -> Iterator[Passage]:
        """Yield all passages in the order in which they were added."""
        for one in self._state.ranker.segments:
            yield from (one.passage(int(number)) for number in np.flatnonzero(one.kept))

    def changes(self, passages: Iterable[Passage]) -> tuple[list[Passage], list[str]]:
        """Return what `update` must add and remove, so that the index holds exactly these passages."""
        old = {one.id: one for one in self.passages()}
        added, seen = [], set()
        for one in passages:
            seen.add(one.id)
            if old.get(one.id) != one:
                added.append(one)
        return added, [name for name in old if name not in seen]

    def update(self, added: Sequence[Passage], removed: Sequence[str], vectors: Vectors | None) -> None:
        """Add passages, and remove those with some ids; a passage replaces one with its id, and an id that is unknown is ignored.

        Raises ConfigError if vectors are handed over for an index without them, or are missing for one that has them.
        """
        if (vectors is not None) != self.has_vectors and added:
            raise ConfigError(
                f"The index in {self.folder} {'has' if self.has_vectors else 'has no'} vectors, and the added passages "
                f"{'have none' if self.has_vectors else 'have some'}; expected the same for all. Build the index again to change that."
            )
        unique = list({one.id: one for one in added}.values())
        self._check_alone()
        with locked(self.folder / _LOCK), storage_errors(self.folder):
            state = self._newest()
            gone = np.array([text_hash(name) for name in dict.fromkeys([*removed, *(one.id for one in unique)])], np.uint64)
            segments = [_without(one, gone) for one in state.ranker.segments]
            chinese = [bool(one["chinese"]) for one in state.entries["segments"]]
            if unique:
                path = self.folder / SEGMENTS / secrets.token_hex(4)
                segment.write(path, unique, vectors)
                merging.shorten(path)
                segments, chinese = self._merged([*segments, Segment(path)], [*chinese, _is_chinese(unique)])
            self._replace(state, segments, chinese)

    def compact(self) -> None:
        """Merge all segments into one and give up what was removed, which takes as long as reading the index once."""
        self._check_alone()
        with locked(self.folder / _LOCK), storage_errors(self.folder):
            state = self._newest()
            if len(state.ranker.segments) > 1 or any(one.removed for one in state.ranker.segments):
                path = self.folder / SEGMENTS / secrets.token_hex(4)
                merging.merge(path, state.ranker.segments)
                self._replace(state, [Segment(path)], [state.ranker.chinese])

    def search(
        self, text: str, number: int, *, vector: NDArray[Any] | None = None, customer: str | None = None, at: str | None = None
    ) -> list[Hit]:
        """Return at most `number` passages that fit a text, the best one first.

        The ranking by words and sounds, and the one by the cosine of `vector` where it is given, are joined (`Joining`). The more of a
        text the index knows by its sound alone, the less its vector counts; so search for the text that `spelled` returns, with its vector.
        Found are the passages of all and of `customer`. `at` is a
        day or moment in ISO 8601, at which the passages must be valid; without it, dates are not looked at.
        """
        state = self._state
        allowed = _allowed(state, customer, at)
        query = state.ranker.query(normalise.forms(_corrected(state, normalise.forms(text[:_LONGEST]), customer)))
        depth = max(_DEPTH, number)
        shares = state.ranker.by_words(query, allowed, depth)
        scores = {place: state.joining.words * share for place, share in shares.items()}
        cosines: dict[Place, float | None] = {}
        direction = None if vector is None else self._direction(state, vector)
        if direction is not None:
            weight, near = state.joining.vectors * (1 - query.misheard), state.ranker.by_vector(direction, allowed, depth)
            for place, share in _scaled(near).items():
                scores[place] = scores.get(place, 0.0) + weight * share
            cosines.update(near)
        best = sorted(scores, key=lambda place: (-scores[place], place))[:number]
        if direction is not None:
            cosines.update({place: state.ranker.cosine(place, direction) for place in best if place not in cosines})
        return [_hit(state.ranker, place, scores[place], shares.get(place, 0.0), cosines.get(place)) for place in best]

    def spelled(self, text: str, customer: str | None = None) -> str:
        """Return the text as the passages that a customer may see would write it, for a model that reads it next.

        Misspelt words in Latin letters are corrected to words of the index. Syllables that the index knows by their sound alone, in pinyin
        or in wrong characters, are written in its characters; the text is then in normal form. All else stays as it is.
        """
        state = self._state
        corrected = _corrected(state, text, customer)
        given = normalise.forms(corrected[:_LONGEST])
        other = state.ranker.rewritten(given, _allowed(state, customer, None))
        return corrected if other == given else other + corrected[_LONGEST:]

    def _check_alone(self) -> None:
        if self._joined:
            raise ConfigError(f"The index in {self.folder} is joined with another one; expected one by itself. Update each of the two.")

    def _direction(self, state: _State, vector: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return the vector with the length 1; None if the index has no vectors, or it has no direction."""
        direction = unit_vector(vector)
        with_vectors = next((one for one in state.ranker.segments if one.vectors is not None), None)
        if with_vectors is None or not np.isfinite(direction).all() or not direction.any():
            return None
        if len(direction) != with_vectors.vectors.shape[1]:
            raise DataError(
                f"The vector of the text has {len(direction)} dimensions, those of the index in {self.folder} have "
                f"{with_vectors.vectors.shape[1]}; expected vectors of one model. Use the model with which the index was built, "
                "or build it again."
            )
        return direction

    def _merged(self, segments: list[Segment], chinese: list[bool]) -> tuple[list[Segment], list[bool]]:
        """Merge the newest segments where they are not much smaller than the one before, so that there are few of them.

        An index to which passages are added one by one thus has about as many small segments as their number has binary digits.
        """
        first = len(segments) - 1
        size = len(segments[first].lengths)
        while first and len(segments[first - 1].lengths) <= min(2 * size, _MERGED):
            first -= 1
            size += len(segments[first].lengths)
        if first == len(segments) - 1:
            return segments, chinese
        path = self.folder / SEGMENTS / secrets.token_hex(4)
        merging.merge(path, segments[first:])
        return [*segments[:first], Segment(path)], [*chinese[:first], any(chinese[first:])]

    def _newest(self) -> _State:
        """Return the state of the folder, which another process may have changed."""
        return self._state if self.is_current() else _read(self.folder, self._state.ranker.segments)

    def _replace(self, state: _State, segments: Sequence[Segment], chinese: Sequence[bool]) -> None:
        """Write index.json with these segments, take them into use, and delete the files of others."""
        listed = [
            {"name": one.folder.name, "removed": sorted(one.removed), "chinese": is_chinese}
            for one, is_chinese in zip(segments, chinese, strict=True)
            if len(one.removed) < len(one.ids)
        ]
        entries = {"joining": state.entries["joining"], "vectors": state.entries["vectors"], "segments": listed}
        _write_entries(self.folder, entries, state.entries[FILES])
        self._state = _read(self.folder, segments)
        names = {one["name"] for one in listed}
        for path in (self.folder / SEGMENTS).iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)


def _blocks(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    iterator = iter(passages)
    while block := list(islice(iterator, _BLOCK)):
        yield block


def _is_chinese(passages: Sequence[Passage]) -> bool:
    return any(normalise.is_ideographic(token) for one in passages for text in segment.units_of(one) for token in normalise.tokens(text))


def _replaced(block: Segment, number: int, newest: Mapping[int, tuple[int, int]]) -> frozenset[int]:
    """Return the numbers of the passages of a block whose ids occur again later."""
    return frozenset(place for place, hashed in enumerate(block.ids.tolist()) if newest[hashed] != (number, place))


def _without(one: Segment, gone: NDArray[np.uint64]) -> Segment:
    """Return the segment without the passages whose ids have these hashes."""
    found = np.flatnonzero(np.isin(one.ids, gone))
    return one.without(one.removed | frozenset(found.tolist()))


def _write_entries(folder: Path, entries: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Write index.json; the hashes of files that are known are taken over, because a segment never changes."""
    files = {}
    for one in entries["segments"]:
        for path in sorted((folder / SEGMENTS / one["name"]).iterdir()):
            name = path.relative_to(folder).as_posix()
            files[name] = known.get(name) or cached_hash(path)
    write_json(folder / FILE, sealed({"format": FORMAT, **entries, FILES: files}))


def _read(folder: Path, known: Sequence[Segment] = ()) -> _State:
    """Read index.json and check all files; what is mapped of segments that are known is taken over."""
    entries = read_json(folder / FILE)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        found = entries.get("format") if isinstance(entries, dict) else type(entries).__name__
        raise StorageError(f"{folder / FILE} has the format {found!r}; expected {FORMAT}. Remove the folder, and build the index again.")
    check_entries(entries, folder / FILE, _REMEDY)
    mapped = {one.folder: one for one in known}
    segments = []
    for one in entries["segments"]:
        path = folder / SEGMENTS / one["name"]
        segments.append(mapped.get(path, Segment(path)).without(frozenset(one["removed"])))
    required = [f"{name}.npy" for name in ARRAYS if name not in segment.OPTIONAL] + [PASSAGES, WORDS]
    names = {f"{SEGMENTS}/{one.folder.name}/{name}" for one in segments for name in required} | set(entries[FILES])
    check_files(folder, entries, sorted(names), _REMEDY)
    for each in segments:
        each.load()
    return _State(entries, Ranker(segments, any(one["chinese"] for one in entries["segments"])), Joining(**entries["joining"]))


def _checksum(folder: Path) -> Any:
    """Return the checksum of index.json, which every update changes."""
    entries = read_json(folder / FILE)
    return entries.get(CHECKSUM) if isinstance(entries, dict) else None


def _allowed(state: _State, customer: str | None, at: str | None) -> list[NDArray[np.bool_]]:
    """Return which passages of each segment may be found."""
    mine, moment = np.uint64(customer_hash(customer)), None if at is None else segment.seconds(at)
    hidden = state.hidden.get(int(mine))
    found = []
    for number, one in enumerate(state.ranker.segments):
        allowed: NDArray[np.bool_] = one.kept & ((one.customers == segment.EVERYBODY) | (one.customers == mine))
        if moment is not None:
            allowed &= (one.valid[:, 0] <= moment) & (moment <= one.valid[:, 1])
        if hidden is not None:
            allowed[hidden[number]] = False
        found.append(allowed)
    return found


def _corrected(state: _State, text: str, customer: str | None) -> str:
    """Return the text with misspelt words in Latin letters corrected, unless they may be pinyin in an index with Chinese passages."""
    words = dict.fromkeys(latin_words(normalise.forms(text)))
    unknown = [
        word
        for word in words
        if not (state.ranker.chinese and normalise.is_pinyin(word)) and not state.ranker.frequency(normalise.stem(word))
    ]
    if not unknown:
        return text
    vocabularies = [_vocabulary(state, one) for one in dict.fromkeys((None, customer))]
    corrected = {word: nearest(word, vocabularies) for word in unknown[:_CORRECTED]}
    return normalise.replace_words(text, {word: other for word, other in corrected.items() if word != other})


def _vocabulary(state: _State, customer: str | None) -> Vocabulary:
    """Return the words of the passages of a customer, or of those that all may see; kept for the next question."""
    key = f"{customer_hash(customer):016x}"
    if key not in state.vocabularies:
        counted = [words for one in state.ranker.segments if (words := one.words(key))]
        if not counted:
            return Vocabulary(())  # customers without passages are not kept, because there may be any number of them
        state.vocabularies[key] = Vocabulary(counted)
    return state.vocabularies[key]


def _scaled(cosines: Mapping[Place, float]) -> dict[Place, float]:
    """Return cosines, the largest one first, so that it is 1 and the one at the rank `_DEPTH` is 0; equal ones are 1."""
    values = list(islice(cosines.values(), _DEPTH))
    if not values or values[0] == values[-1]:
        return dict.fromkeys(cosines, 1.0)
    return {place: max(0.0, (cosine - values[-1]) / (values[0] - values[-1])) for place, cosine in cosines.items()}


def _hit(ranker: Ranker, place: Place, score: float, words: float | None = None, meaning: float | None = None) -> Hit:
    one = ranker.segments[place.segment].passage(place.passage)
    return Hit(one.id, one.title, one.text, score, url=one.url, answer=one.answer, words=words, meaning=meaning)
