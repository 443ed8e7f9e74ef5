"""Decodes question answering: finds the answer in the context from the scores of each token as start and as end of the answer."""

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
    """Return, for each record, the most probable span of the context as answer, or an empty answer.

    A long context is divided into windows (overlapping pieces), each a model input; the best span of all windows is
    used. `context` is the name of the field with the context, and `longest` the greatest length of a span in code
    points. The answer is empty if the log-probability that there is no answer exceeds that of the best span by more
    than `threshold`. If `threshold` is None, the answer is empty only if no span is possible.
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
    """Return the answer that consists of the part of the context at `span`, without white space at its ends.

    `span` contains the start and end of this part in code points. If it is None, the answer is empty.
    """
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
    """Return three values per record: the log-probability of "no answer", that of the best answer, and this answer's bounds.

    The bounds are start and end in the context, in code points. If a long context was divided into windows (overlapping
    pieces), the log-probability of "no answer" is the lowest in any window, and the best answer is the one with the
    highest log-probability in any window. `count` is the number of records, `longest` the greatest length of an answer
    in code points.
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
    """Return, for one model input, the log-probability of "no answer", that of the best answer, and this answer's start and end.

    The log-probability of an answer is that of its start token plus that of its end token. Each comes from a softmax
    over the tokens of the context and the special token that stands for "no answer". If no answer is possible, the
    value is minus infinity. `longest`, the greatest length of an answer, and the returned start and end are in code
    points of the context.
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
    """Return the index of the token whose scores stand for "no answer".

    It is the first special token, which is [CLS] in most models. Raises ModelError if the tokenizer added no special
    token.
    """
    assert feature.places is not None
    special = np.flatnonzero(feature.places.segments < 0)
    if not len(special):
        raise ModelError(
            "The tokenizer of the base model adds no special token such as [CLS], which the task needs to predict that there is no answer. "
            "Choose a base model whose tokenizer adds one."
        )
    return int(special[0])
