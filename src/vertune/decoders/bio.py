"""Character spans as BIO tags over the units of a text, and back; knows nothing of models.

A unit is what may carry a tag: an unbroken run of letters and digits where spaces divide words, else one token. The border
is read from the characters, not from the tokenizer, so English word-pieces make one unit and Chinese characters are units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.metrics.words import runs

if TYPE_CHECKING:
    from vertune.core.records import Feature, Span


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a text that a feature, or several windows of one, hold."""

    tokens: NDArray[np.int64]
    """Place of each unit's first token in its feature."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """First character of each unit and the one after its last, code points."""

    def __len__(self) -> int:
        return len(self.tokens)


def inside(text: str) -> NDArray[np.bool_]:
    """Whether each character continues a word that the one before it belongs to."""
    marks = np.zeros(len(text) + 1, bool)
    for start, end in runs(text):
        marks[start + 1 : end] = True
    return marks


def units(text: str, feature: Feature, continues: NDArray[np.bool_]) -> Units:
    """The units that begin in this feature; `continues` is what `inside` says of the text.

    A window that begins in the middle of a word leaves the rest of that word to the window that holds its beginning.
    """
    places: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    reached = 0
    assert feature.places is not None
    offsets = feature.places.offsets
    for place in np.flatnonzero(feature.places.segments >= 0):
        start, end = _visible(text, int(offsets[place, 0]), int(offsets[place, 1]))
        if start >= end:
            continue
        # bytes of one character share its offsets: what begins before the last end belongs to the same unit
        if start >= reached and not continues[start]:
            places.append(int(place))
            starts.append(start)
            ends.append(end + int(np.argmin(continues[end:])))  # to the end of the word, even where a window cuts it
        elif ends and start < ends[-1]:
            ends[-1] = max(ends[-1], end)
        reached = max(reached, end)
    return Units(np.array(places, np.int64), np.array(starts, np.int64), np.array(ends, np.int64))


def _visible(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets without white space, which some tokenizers count to the word."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def longest(spans: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Spans of which no two overlap, in order: the longest are kept, of equals the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span["start"] - span["end"], span["start"])):
        if all(span["end"] <= other["start"] or span["start"] >= other["end"] for other in kept):
            kept.append({"start": int(span["start"]), "end": int(span["end"]), "label": str(span["label"])})
    return sorted(kept, key=lambda span: span["start"])


def tags(spans: Sequence[Mapping[str, Any]], cut: Units, labels: Mapping[str, int]) -> tuple[NDArray[np.int64], list[bool]]:
    """A tag for each unit, and whether each span is exactly a row of units.

    0 is outside, 1 + 2k begins and 2 + 2k continues label k. A span that does not fit marks every unit that it touches.
    """
    tagged = np.zeros(len(cut), np.int64)
    exact = []
    for span in spans:
        first = int(np.searchsorted(cut.ends, span["start"], side="right"))
        last = int(np.searchsorted(cut.starts, span["end"], side="left"))
        exact.append(first < last and bool(cut.starts[first] == span["start"]) and bool(cut.ends[last - 1] == span["end"]))
        if first < last:
            tagged[first:last] = 2 + 2 * labels[span["label"]]
            tagged[first] -= 1
    return tagged, exact


def spans(tagged: NDArray[np.int64], cut: Units, labels: Sequence[str]) -> list[tuple[Span, slice]]:
    """The spans that these tags spell, each with its units; the tags must be valid BIO."""
    first = np.flatnonzero(tagged % 2 == 1)
    last = np.flatnonzero((tagged > 0) & (np.append(tagged[1:], 0) != tagged + tagged % 2))
    return [
        ({"start": int(cut.starts[a]), "end": int(cut.ends[b]), "label": labels[(int(tagged[a]) - 1) // 2]}, slice(int(a), int(b) + 1))
        for a, b in zip(first, last, strict=True)
    ]


def viterbi(scores: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """The best valid tags of each sequence under log-probabilities of shape (units, tags).

    A tag that continues a label may only follow one that begins or continues it. Where the best tag of every unit makes a valid
    sequence, nothing can be better; the others are searched.
    """
    paths = [score.argmax(axis=1).astype(np.int64) if len(score) else np.zeros(0, np.int64) for score in scores]
    hard = [place for place, path in enumerate(paths) if not _valid(path)]
    for place, path in zip(hard, _searched([scores[place] for place in hard]), strict=True):
        paths[place] = path
    return paths


def _valid(path: NDArray[np.int64]) -> bool:
    """Whether every tag that continues a label follows one of that label."""
    before = np.concatenate([[0], path[:-1]])
    continues = (path > 0) & (path % 2 == 0)
    return not bool((continues & (before != path) & (before != path - 1)).any())


def _searched(scores: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """The best valid tags by dynamic programming; all sequences go in step, longest first."""
    lengths = np.array([len(score) for score in scores], dtype=np.int64)
    paths = [np.zeros(length, np.int64) for length in lengths]
    order = np.argsort(-lengths, kind="stable")
    active = int((lengths > 0).sum())
    if not active:
        return paths
    padded = np.zeros((active, int(lengths.max()), scores[order[0]].shape[1]))
    for row, place in enumerate(order[:active]):
        padded[row, : lengths[place]] = scores[place]
    best = padded[:, 0].copy()
    best[:, 2::2] = -np.inf
    before = np.zeros(padded.shape, np.int16)
    for step in range(1, padded.shape[1]):
        alive = int((lengths > step).sum())
        old = best[:alive]
        top = old.argmax(axis=1)
        came = np.repeat(top[:, None], old.shape[1], axis=1)
        reached = np.repeat(np.take_along_axis(old, top[:, None], axis=1), old.shape[1], axis=1)
        goes_on = old[:, 2::2] > old[:, 1::2]
        continued = np.arange(2, old.shape[1], 2)
        came[:, 2::2] = np.where(goes_on, continued, continued - 1)
        reached[:, 2::2] = np.where(goes_on, old[:, 2::2], old[:, 1::2])
        before[:alive, step] = came
        best[:alive] = reached + padded[:alive, step]
    for row, place in enumerate(order[:active]):
        tag = int(best[row].argmax())
        for step in range(int(lengths[place]) - 1, -1, -1):
            paths[place][step] = tag
            tag = int(before[row, step, tag])
    return paths


def merge(cuts: Sequence[Units], windows: Sequence[Feature]) -> tuple[Units, NDArray[np.int64]]:
    """Every unit of the windows of one text once, in order, and the window in which it has the most context."""
    tokens = np.concatenate([cut.tokens for cut in cuts])
    starts = np.concatenate([cut.starts for cut in cuts])
    ends = np.concatenate([cut.ends for cut in cuts])
    window = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])
    if len(cuts) > 1:
        context = np.concatenate(
            [np.minimum(cut.tokens, feature.positions - 1 - cut.tokens) for cut, feature in zip(cuts, windows, strict=True)]
        )
        order = np.lexsort((-context, starts))
        kept = order[np.append(True, np.diff(starts[order]) > 0)] if len(order) else order
        tokens, starts, ends, window = tokens[kept], starts[kept], ends[kept], window[kept]
    return Units(tokens, starts, ends), window
