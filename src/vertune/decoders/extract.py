"""Decodes question answering: scores of each token as start and end of the answer to a span of the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import ModelError
from vertune.decoders import windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record


def decode(
    records: Sequence[Record],
    features: Sequence[Feature],
    outputs: Sequence[NDArray[Any]],
    context: str,
    longest: int,
    threshold: float | None,
) -> list[Answer]:
    """Return the most probable span of the field `context` over all windows, or an empty answer, for each record.

    The answer is empty if the log-probability that there is none exceeds that of the best span by more than `threshold`; never if
    `threshold` is None.
    `longest` is the greatest length of a span in code points.
    """
    none, score, spans = best_spans(len(records), features, outputs, longest)
    refused = np.zeros(len(records), bool) if threshold is None else none - score > threshold
    answers: list[Answer] = []
    for row, flag in enumerate(windows.truncated(len(records), features)):
        refuse = bool(refused[row]) or not np.isfinite(score[row])
        probability = float(np.exp(none[row] if refuse else score[row]))
        answers.append(answer_at(records[row][context], None if refuse else spans[row], probability, flag))
    return answers


def answer_at(context: str, span: tuple[int, int] | None, probability: float = 1.0, truncated: bool = False) -> Answer:
    """Build the answer for a span of the context, without surrounding white space; an empty answer if `span` is None."""
    if span is None:
        return {"spans": [], "text": "", "probability": probability, "truncated": truncated}
    start, end = span
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    spans = [{"start": start, "end": start + len(text), "label": "answer"}]
    return {"spans": spans, "text": text, "probability": probability, "truncated": truncated}


def best_spans(
    count: int, features: Sequence[Feature], outputs: Sequence[NDArray[Any]], longest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[int, int]]]:
    """Return per record the log-probability that there is no answer, that of the best answer, and the start and end of that answer.

    The first is the least value over the windows of the record, the second the greatest.
    """
    none, score = np.zeros(count), np.full(count, -np.inf)
    spans = [(0, 0)] * count
    for feature, output in zip(features, outputs, strict=True):
        row = feature.record
        no_answer, span_score, start, end = best(feature, output, longest)
        none[row] = min(none[row], no_answer)
        if span_score > score[row]:
            score[row], spans[row] = span_score, (start, end)
    return none, score, spans


def best(feature: Feature, output: NDArray[Any], longest: int) -> tuple[float, float, int, int]:
    """Return the log-probability that there is no answer, that of the best answer, and its start and end in code points of the context.

    A log-probability is the sum for start and end, each under a softmax over the tokens of the context and the no-answer token.
    """
    none = nowhere(feature)
    assert feature.places is not None
    offsets = feature.places.offsets
    context = np.flatnonzero((feature.places.segments == 1) & (offsets[:, 1] > offsets[:, 0]))
    if not len(context):
        return 0.0, -np.inf, 0, 0
    logits = output[np.concatenate([[none], context])].astype(np.float64)
    logits -= logits.max(axis=0)
    scores = logits - np.log(np.exp(logits).sum(axis=0))
    starts, ends = offsets[context].T
    length = ends[None, :] - starts[:, None]
    allowed = np.triu(np.ones(length.shape, bool)) & (length <= longest)
    if not allowed.any():
        return float(scores[0].sum()), -np.inf, 0, 0
    joint = np.where(allowed, scores[1:, 0][:, None] + scores[1:, 1][None, :], -np.inf)
    first, last = np.unravel_index(int(joint.argmax()), joint.shape)
    return float(scores[0].sum()), float(joint[first, last]), int(starts[first]), int(ends[last])


def nowhere(feature: Feature) -> int:
    """Return the index of the no-answer token: the first special token, [CLS] in most bases; raise ModelError if there is none."""
    assert feature.places is not None
    special = np.flatnonzero(feature.places.segments < 0)
    if not len(special):
        raise ModelError(
            "The base adds no special token such as [CLS], which extraction needs for no answer. Choose a base whose tokenizer adds one."
        )
    return int(special[0])
