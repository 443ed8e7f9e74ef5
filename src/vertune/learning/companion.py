"""Learns the companion of a model: how much of its answers is left to words, and how sure they are; independent of training loops.

Two weights are fitted on validation records, which neither the model nor the words were trained on, so that the log-loss (for numbers:
the squared error) is smallest; for tags, the log-loss of each word, and a third weight for the spans that the training records contain.
A penalty draws the weight of the words to 0, and words that hardly change outputs are left out. If the mix has a worse main metric than
one of its parts alone, by more than one standard error, the best of them answers alone. With many validation records, each output may get
a shift as well, if a cross-validation finds that other records have a smaller loss with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.kinds import Task
from vertune.core.records import Activation, Feature, Record, Targets, texts
from vertune.decoders import tag
from vertune.learning.examples import Examples
from vertune.learning.held_out import HeldOutPredictions, decoded, is_worse
from vertune.learning.training_input import TrainingInput
from vertune.lexical import fitting_tags, tagging
from vertune.lexical.companion import Companion, WordModel, merged
from vertune.lexical.fitting import LabelledTexts, fit
from vertune.lexical.fitting_tags import TaggedTexts
from vertune.lexical.tagging import UnitModel

ROWS = 20
"""Smallest number of different validation records on which a companion is learnt."""
LEAST_WEIGHT = 0.1
"""Least weight of the model if there are no words: a temperature of 10. With 0, all records would get the same answer."""
LEAST_SHARE = 0.02
"""Least share of the words, below which they are left out. There is no test of significance: on draws of 40 to 200 validation records of
Banking77, the fitted weights gave a better mean accuracy and log-loss on other records than a mix that was used only if its gain was
above one standard error, and useless words changed the log-loss by at most 0.002 (benchmarks/mixing.py)."""
ROWS_PER_SHIFT = 100
"""Smallest number of different validation records per output with which shifts are tried. Below, those of Banking77 (13 a label) and
TREC-6 (91) had a larger loss on other records; with 420 a label, ChnSentiCorp had a smaller one (docs/defaults.md)."""
_FOLDS = 5
_OUTPUTS = 65_535


@dataclass(frozen=True, slots=True)
class LearntCompanion:
    """A companion, with the answers that it gives for the validation records."""

    companion: Companion
    mixed: HeldOutPredictions
    """The predictions of the mix; their task has thresholds that are fitted to the mixed outputs."""
    words: HeldOutPredictions | None
    """The predictions of the words alone; None if there is no model of words."""
    figures: dict[str, Any]
    """The weights, and what the model alone, the words alone and the mix are worth on validation, for the report."""


def fit_words(training_input: TrainingInput, held_out: Examples | None) -> WordModel | UnitModel | None:
    """Fit the model of words on the training records; None if no companion is to be learnt, or if the task reads anything but texts."""
    if not held_out or not _is_wanted(training_input, held_out):
        return None
    return _fit(training_input.task, training_input.examples.records, training_input.examples.features)


@dataclass(frozen=True, slots=True)
class HeldOutWords(WordModel):
    """The model of words of a cross-validation, whose scores are those of models that did not see the record."""

    held_out: NDArray[np.float64]
    """The score of each record that was held out, fold after fold, shape (records, outputs)."""

    def scores(self, records: Sequence[Mapping[str, Any]], features: Sequence[Feature] = ()) -> NDArray[np.float64]:
        """Return the scores; `records` must be those that were held out, fold after fold."""
        return self.held_out


def fit_in_folds(training_input: TrainingInput, pool: Examples, folds: Sequence[NDArray[np.int64]]) -> HeldOutWords | None:
    """Fit the model of words without each of the folds of `pool` in turn; None where `fit_words` returns None."""
    if not _is_wanted(training_input, pool):
        return None
    scores, words = [], None
    for held in folds:
        others = training_input.without(pool, held)
        words = _fit(training_input.task, others.records, others.features)
        if not isinstance(words, WordModel):
            return None
        scores.append(words.scores([pool.records[row] for row in held]))
    return HeldOutWords(words.fields, words.vocabulary, words.scorer, np.concatenate(scores)) if isinstance(words, WordModel) else None


def refit(companion: Companion | None, task: Task, records: Sequence[Record], features: Sequence[Feature]) -> Companion | None:
    """Fit the words of a companion to other records, such as all labelled ones; the weights of the mix are kept.

    `features` are the model inputs of these records.
    """
    if companion is None or companion.scorer is None:
        return companion
    scorer = _fit(task, records, features)
    if isinstance(scorer, UnitModel) and isinstance(companion.scorer, UnitModel):
        known = companion.scorer
        scorer = scorer.with_votes(known.votes) if len(known.descriptions) else scorer.votes_alone().with_votes(known.votes)
    return companion if scorer is None else replace(companion, scorer=scorer)


def learn(
    words: WordModel | UnitModel | None, training_input: TrainingInput, held_out: Examples, found: HeldOutPredictions
) -> LearntCompanion | None:
    """Learn the weights of the mix on validation records; `found` are the predictions of the model.

    Without a model of words, only the weight of the model is learnt. Return None if no companion is to be learnt.
    """
    task, records, features, outputs = training_input.task, held_out.records, held_out.features, found.outputs
    if not _is_wanted(training_input, held_out) or (words is None and task.activation == "identity"):
        return None
    activation = task.activation
    assert activation is not None
    started = time.perf_counter()
    scores = [words.scores(records, features)] if words else []
    seconds = time.perf_counter() - started
    own, mixing = _per_word(task, held_out, outputs) if activation == "tags" else _per_record(activation, task, held_out, outputs)
    alone: dict[str, Companion] = {}
    if isinstance(words, UnitModel):
        known = words.votes_alone()
        votes = known.scores(records, features)
        words, scores = _with_votes(words, [own, *scores, votes], mixing)
        alone["known"] = Companion(activation, 0.0, mixing.fit([votes])[0], known)
    if words:
        alone |= {"model": Companion(activation, *mixing.learn([own])), "words": Companion(activation, 0.0, mixing.fit(scores)[0], words)}

    def predicted(companion: Companion) -> HeldOutPredictions:
        spent = (found.seconds if companion.model else 0.0) + (seconds if companion.words else 0.0)
        return decoded(task, held_out, companion.mixed(records, features, outputs), spent)

    weights = mixing.learn([own, *scores])
    companion = Companion(activation, *weights, words if weights[1] else None)
    sides = {"model": found, **{name: predicted(one) for name, one in alone.items() if name != "model"}, "mixed": predicted(companion)}
    better = [name for name in alone if alone[name].decides and is_worse(task, sides["mixed"].units, sides[name].units)]
    if better:
        companion = alone[max(better, key=lambda name: task.goal_sign * sides[name].metrics[task.goal])]
        sides["mixed"] = predicted(companion)
    companion = _shifted(companion, task, held_out, sides["mixed"].outputs)
    if companion.shift:
        sides["mixed"] = predicted(companion)
    share = share_of_words((companion.model, companion.words), [own, *scores]) if words else 0.0
    measured = {side: _measured(predictions) for side, predictions in sides.items()}
    figures = {"model": round(companion.model, 4), "words": round(companion.words, 4), "share": round(share, 4), "validation": measured}
    if companion.shift:
        figures["shift"] = [round(value, 4) for value in companion.shift]
    return LearntCompanion(companion, sides["mixed"], sides.get("words"), figures)


def calibrated_losses(task: Task, held_out: Examples, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the log-loss of each different record, with the temperature at which the sum of all is smallest.

    Records with equal inputs count as one. The result is empty for a task whose outputs are no probabilities of records.
    """
    if task.activation not in ("softmax", "sigmoid"):
        return np.empty(0)
    own, mixing = _per_record(task.activation, task, held_out, outputs)
    weight, _ = mixing.learn([own])
    return np.asarray(np.bincount(_groups(task, held_out.records), mixing.losses(weight * own)), np.float64)


def _shifted(companion: Companion, task: Task, held_out: Examples, mixed: Sequence[NDArray[Any]]) -> Companion:
    """Return the companion with a shift of each output, if there are enough records and it makes the loss of others smaller.

    `mixed` are the outputs that the companion gives without shifts.
    """
    if companion.activation in ("identity", "tags"):  # a number has an intercept of its own; tags would shift words, not records
        return companion
    mix, mixing = _per_record(companion.activation, task, held_out, mixed)
    scale, shift = mixing.shifts(mix, _groups(task, held_out.records))
    return replace(companion, model=scale * companion.model, words=scale * companion.words, shift=shift)


def _with_votes(words: UnitModel, parts: Sequence[NDArray[np.float64]], mixing: Mixing) -> tuple[UnitModel, list[NDArray[np.float64]]]:
    """Return the model of words with the weight of its known spans that fits best, and its scores.

    `parts` are the model's outputs, the scores of the words, and the votes of the known spans.
    """
    _, weight, votes = mixing.fit(parts)
    if not weight:  # without the words, the known spans are told apart by being a model of their own
        return words, [parts[1]]
    return words.with_votes(votes / weight), [parts[1] + votes / weight * parts[2]]


def share_of_words(weights: Sequence[float], parts: Sequence[NDArray[np.float64]]) -> float:
    """Return which share of the differences between records comes from the words: of the standard deviation of the weighted parts."""
    model, words = (weight * float(part.std(axis=0).mean()) for weight, part in zip(weights, parts, strict=True))
    return words / ((model + words) or 1.0)


def _is_wanted(training_input: TrainingInput, held_out: Examples) -> bool:
    """Return whether a companion is to be learnt: the config and the task want one, and there are enough validation records."""
    if training_input.config.companion == "none" or training_input.task.activation is None:
        return False
    return len(set(_groups(training_input.task, held_out.records).tolist())) >= ROWS


def _groups(task: Task, records: Sequence[Record]) -> NDArray[np.int64]:
    """Return the same number for records with equal inputs, shape (records,)."""
    return content.groups(records, [column.name for column in task.input_columns])


def _shared(task: Task, records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the weight of each record with which all records with equal inputs together count as one."""
    group = _groups(task, records)
    weights: NDArray[np.float64] = 1 / np.bincount(group)[group]
    return weights


def _measured(found: HeldOutPredictions) -> dict[str, float]:
    """Return the main metric and, for probabilities, the calibration error."""
    calibration = found.task.details(found.records, found.answers).get("calibration")
    return {found.task.goal: found.metrics[found.task.goal], **({"ece": calibration["ece"]} if calibration else {})}


def _per_record(
    activation: Activation, task: Task, held_out: Examples, outputs: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.float64], Mixing]:
    """Return a model's outputs for each record, shape (records, outputs), and what fits the weights of the mix to the records."""
    truth, weights = _truth(task, held_out.records)
    importance = _shared(task, held_out.records)
    mixing = Mixing(activation, truth, importance if weights is None else importance * weights)
    return merged(activation, len(held_out.records), held_out.features, outputs), mixing


def _per_word(task: Task, held_out: Examples, outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], Mixing]:
    """Return a model's outputs for each word, shape (words, tags), and what fits the weights of the mix to the words."""
    readings = tag.read(held_out.records, held_out.features, task.input_columns[0].name)
    found = np.concatenate([tag.unit_outputs(reading, outputs, task.size) for reading in readings])
    importance = np.repeat(_shared(task, held_out.records), [len(reading.merged) for reading in readings])
    return found.astype(np.float64), Mixing("softmax", np.concatenate(_tags(held_out.targets, readings)), importance)


def _tags(targets: Targets, readings: Sequence[tag.Reading]) -> list[NDArray[np.int64]]:
    """Return the tag of each word, which the targets have at its first token."""
    places = [(reading.owners.tolist(), reading.merged.tokens.tolist()) for reading in readings]
    return [np.array([targets.values[owner][token] for owner, token in zip(*place, strict=True)], np.int64) for place in places]


def _fit(task: Task, records: Sequence[Record], features: Sequence[Feature]) -> WordModel | UnitModel | None:
    """Fit the model of words; None if the task has no activation, or reads anything but one or two texts."""
    columns = [column for column in task.input_columns if any(record.get(column.name) for record in records)]
    readable = 1 <= len(columns) <= 2 and all(column.type == "text" for column in columns)
    if task.activation is None or not readable or not 0 < task.size <= _OUTPUTS:
        return None
    fields = tuple(column.name for column in columns)
    if task.activation == "tags":
        readings = tag.read(records, features, fields[0])
        tagged = TaggedTexts(tagging.units(records, readings, fields[0]), _tags(task.targets(records, features), readings))
        return fitting_tags.fit(tagged, fields[0], task.size)
    truth, importance = _truth(task, records)
    return fit(LabelledTexts(fields, [texts(records, name) for name in fields], truth, importance), task.activation, task.size)


def _truth(task: Task, records: Sequence[Record]) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return the expected value of each record and its weight, as the task's loss reads them; no weights if all have the same."""
    targets = task.targets(records, [Feature(row, "", 1, None) for row in range(len(records))])
    weights = None if targets.weights is None else targets.weights.astype(np.float64)
    return np.array(targets.values), weights


@dataclass(frozen=True, slots=True)
class Mixing:
    """Fits the weights with which scores are added, so that the loss of the sum is smallest."""

    activation: Activation
    truth: NDArray[Any]
    """The class index of each record; 0 or 1 for each label of a record, shape (records, labels); or the number of each record."""
    importance: NDArray[np.float64] | None = None
    """The weight of each record in the loss; None gives all the same."""

    def learn(self, parts: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
        """Return the weights of the model's outputs and, if there are any, of the words' scores, both of shape (records, outputs)."""
        if len(parts) > 1:
            weights = self.fit(parts)
            if weights[1] and share_of_words(weights, parts) >= LEAST_SHARE:
                return weights[0], weights[1]
        return 1.0 if self.activation == "identity" else max(LEAST_WEIGHT, self.fit(parts[:1])[0]), 0.0

    def fit(self, parts: Sequence[NDArray[np.float64]]) -> tuple[float, ...]:
        """Return the weight of each part, not below 0.

        The loss is convex in the weights. A small penalty draws that of the model to 1 and that of the words to 0; it counts as much
        as one record, so that few records that are all right don't make the model infinitely sure.
        """
        from scipy.optimize import minimize

        drawn = np.eye(len(parts))[0]

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            mix = sum(weight * part for weight, part in zip(weights, parts, strict=True))
            slope = self.slopes(np.asarray(mix))
            gradient = np.array([float((slope * part).sum()) for part in parts])
            away = weights - drawn
            return float(self.losses(np.asarray(mix)).sum() + away @ away) / len(slope), (gradient + 2 * away) / len(slope)

        found = minimize(loss, drawn, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(parts))
        return tuple(float(weight) for weight in found.x)

    def shifts(self, mix: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, tuple[float, ...]]:
        """Return by what to multiply mixed outputs, shape (records, outputs), and what to add to each of them: 1 and nothing as a rule.

        Shifts are fitted only with `ROWS_PER_SHIFT` different records per output, and used if the loss of records that were left out, in
        a cross-validation, is smaller with them by more than one standard error. Records with the same number in `groups` stay together.
        """
        number = len(np.unique(groups))
        if number < ROWS_PER_SHIFT * mix.shape[1]:
            return 1.0, ()
        fold = np.random.default_rng(0).permutation(np.arange(groups.max() + 1) % _FOLDS)[groups]
        gains = np.zeros(len(mix))
        for held in (fold == one for one in range(_FOLDS)):
            scale, shift = self._of(~held)._fit_shifts(mix[~held])
            inside = self._of(held)
            gains[held] = inside.losses(mix[held]) - inside.losses(scale * mix[held] + shift)
        by_group = np.bincount(groups, gains)
        if by_group.sum() <= by_group.std() * math.sqrt(number):
            return 1.0, ()
        scale, shift = self._fit_shifts(mix)
        return scale, tuple(float(value) for value in shift)

    def _of(self, rows: NDArray[np.bool_]) -> Mixing:
        """Return the same for some of the records."""
        return Mixing(self.activation, self.truth[rows], None if self.importance is None else self.importance[rows])

    def _fit_shifts(self, mix: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the factor and the shifts with the smallest loss, drawn to 1 and to 0 by a penalty that counts as much as one record."""
        from scipy.optimize import minimize

        drawn = np.eye(1 + mix.shape[1])[0]

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            shifted = weights[0] * mix + weights[1:]
            slope, away = self.slopes(shifted), weights - drawn
            gradient = np.concatenate([[float((slope * mix).sum())], slope.sum(axis=0)])
            return float(self.losses(shifted).sum() + away @ away) / len(mix), (gradient + 2 * away) / len(mix)

        found = minimize(loss, drawn, jac=True, method="L-BFGS-B", bounds=[(0, None)] + [(None, None)] * mix.shape[1])
        return float(found.x[0]), found.x[1:]

    def losses(self, mix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the loss of each record for these mixed outputs."""
        values: NDArray[np.float64]
        if self.activation == "softmax":
            values = np.logaddexp.reduce(mix, axis=1) - mix[np.arange(len(mix)), self.truth]
        elif self.activation == "sigmoid":
            values = (np.logaddexp(0, mix) - mix * self.truth).sum(axis=1)
        else:
            values = 0.5 * (mix[:, 0] - self.truth) ** 2
        return values if self.importance is None else values * self.importance

    def slopes(self, mix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivative of the losses by the mixed outputs, shape (records, outputs)."""
        if self.activation == "softmax":
            slope = np.exp(mix - np.logaddexp.reduce(mix, axis=1, keepdims=True))
            slope[np.arange(len(mix)), self.truth] -= 1
        elif self.activation == "sigmoid":
            slope = 0.5 * (1 + np.tanh(0.5 * mix)) - self.truth
        else:
            slope = mix - self.truth[:, None]
        return slope if self.importance is None else slope * self.importance[:, None]
