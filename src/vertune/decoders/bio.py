"""Converts spans of characters to BIO tags (begin, inside, outside of a span) and back; independent of models.

There is one tag per unit. In scripts that separate words by spaces, a unit is a word: a run of letters and digits. In
other scripts, a unit is a token. The borders of words depend on the characters, not on the tokenizer, so all
word-pieces of an English word belong to one unit.
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
    """The units (words or tokens that get one tag each) in one model input, or in all windows of a text together."""

    tokens: NDArray[np.int64]
    """Index of the first token of each unit, in the model input that contains the unit."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Start and end of each unit in code points of the text, end exclusive."""

    def __len__(self) -> int:
        return len(self.tokens)


def inside(text: str) -> NDArray[np.bool_]:
    """Return, for each character of the text, whether it belongs to the same word as the character before it.

    The bool array has one more element than the text. This last element stands for the end of the text and is False.
    """
    marks = np.zeros(len(text) + 1, bool)
    for start, end in runs(text):
        marks[start + 1 : end] = True
    return marks


def units(text: str, feature: Feature, continues: NDArray[np.bool_]) -> Units:
    """Return the units (words or tokens that get one tag each) that begin in this model input.

    If the input is a window (piece) of a long text that begins within a word, the rest of this word is skipped, because
    the word belongs to the window in which it begins. `continues` is the result of `inside` for the text.
    """
    tokens: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    reached = 0
    assert feature.places is not None
    offsets = feature.places.offsets
    for token in np.flatnonzero(feature.places.segments >= 0):
        start, end = _visible(text, int(offsets[token, 0]), int(offsets[token, 1]))
        if start >= end:
            continue
        # byte tokens of one character share its offsets: a token that begins before the last end belongs to the same unit
        if start >= reached and not continues[start]:
            tokens.append(int(token))
            starts.append(start)
            ends.append(end + int(np.argmin(continues[end:])))  # to the end of the word, even where a window cuts it
        elif ends and start < ends[-1]:
            ends[-1] = max(ends[-1], end)
        reached = max(reached, end)
    return Units(np.array(tokens, np.int64), np.array(starts, np.int64), np.array(ends, np.int64))


def _visible(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the start and end of a token without the white space around it, which some tokenizers include in tokens."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def longest(spans: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Remove overlaps from the spans of one text, and return the remaining spans, sorted by start.

    If spans overlap, the longest is kept; of equally long ones, the one that starts first is kept.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span["start"] - span["end"], span["start"])):
        if all(span["end"] <= other["start"] or span["start"] >= other["end"] for other in kept):
            kept.append({"start": int(span["start"]), "end": int(span["end"]), "label": str(span["label"])})
    return sorted(kept, key=lambda span: span["start"])


def tags(spans: Sequence[Mapping[str, Any]], cut: Units, labels: Mapping[str, int]) -> tuple[NDArray[np.int64], list[bool]]:
    """Convert spans to the BIO tags of all units (words or tokens), and return, for each span, whether its bounds fit the units.

    Tag 0 means outside of spans, 1 + 2k begins a span with label k, and 2 + 2k continues it; `labels` maps each label
    to its number k. The bounds of a span fit if it starts where a unit starts and ends where a unit ends. Otherwise,
    the span is extended to whole units.
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
    """Convert the BIO tags of the units (words or tokens) of a text to spans.

    `tagged` contains a valid sequence of tags, one per unit. Each span is returned with the slice of the units that it
    covers.
    """
    return [
        (
            {"start": int(cut.starts[first]), "end": int(cut.ends[end - 1]), "label": labels[(int(tagged[first]) - 1) // 2]},
            slice(first, end),
        )
        for first, end in bounds(tagged)
    ]


def bounds(tagged: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return, for each span in a valid sequence of tags, its first unit and the unit after its last one."""
    firsts = np.flatnonzero(tagged % 2 == 1)
    lasts = np.flatnonzero((tagged > 0) & (np.append(tagged[1:], 0) != tagged + tagged % 2))
    return list(zip(firsts.tolist(), (lasts + 1).tolist(), strict=True))


def viterbi(scores: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Return the most probable valid sequence of BIO tags for each text.

    `scores` contains one array of log-probabilities per text, of shape (units, tags); a unit is a word or token. In a
    valid sequence, a tag that continues a label follows a tag that begins or continues the same label. If the most
    probable tags of the single units form a valid sequence, this is the result. Otherwise, the Viterbi algorithm finds
    the result.
    """
    paths = [score.argmax(axis=1).astype(np.int64) if len(score) else np.zeros(0, np.int64) for score in scores]
    invalid = [number for number, path in enumerate(paths) if not _valid(path)]
    for number, path in zip(invalid, _searched([scores[number] for number in invalid]), strict=True):
        paths[number] = path
    return paths


def _valid(path: NDArray[np.int64]) -> bool:
    """Return whether every tag in a sequence that continues a label follows a tag of the same label."""
    before = np.concatenate([[0], path[:-1]])
    continues = (path > 0) & (path % 2 == 0)
    return not bool((continues & (before != path) & (before != path - 1)).any())


def _searched(scores: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Find the most probable valid sequence of tags for each array of log-probabilities, with the Viterbi algorithm.

    All sequences are computed together, in one padded array. The results have the order of `scores`.
    """
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
        continues = old[:, 2::2] > old[:, 1::2]
        continued = np.arange(2, old.shape[1], 2)
        came[:, 2::2] = np.where(continues, continued, continued - 1)
        reached[:, 2::2] = np.where(continues, old[:, 2::2], old[:, 1::2])
        before[:alive, step] = came
        best[:alive] = reached + padded[:alive, step]
    for row, place in enumerate(order[:active]):
        tag = int(best[row].argmax())
        for step in range(int(lengths[place]) - 1, -1, -1):
            paths[place][step] = tag
            tag = int(before[row, step, tag])
    return paths


def merge(cuts: Sequence[Units], windows: Sequence[Feature]) -> tuple[Units, NDArray[np.int64]]:
    """Merge the units (words or tokens) of the overlapping windows of one text.

    Returns each unit once, in the order of the text, and for each unit the index of the window whose outputs decide its
    tag. If a unit is in several windows, this is the window where it has the most context: where it is furthest from
    the nearer end of the window.
    """
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
