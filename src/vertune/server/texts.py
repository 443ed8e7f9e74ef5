"""Decides in which form the texts of records and answers are stored: as they are, masked, or not at all; does not store them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertune.core.config import KeepText
from vertune.core.records import Answer
from vertune.masking import Masked, standard_masker
from vertune.runtime.fleet import Deployment
from vertune.server.body import json_bytes

_VECTOR = "vector"
"""The key of an answer that is not stored, because it takes more space than all else and can be computed again from the text."""

_QUOTE = "text"
"""The key of a part of the record in a right answer that marks a place."""


@dataclass(frozen=True, slots=True)
class StoredTexts:
    """How the texts of all verticals are stored."""

    keep_text: KeepText | None
    """None leaves it to each vertical: `serve.keep_text` in its config."""

    def kept(self, deployment: Deployment) -> KeepText:
        """Return how texts of a vertical are stored."""
        chosen: KeepText = self.keep_text or deployment.predictor.written.get("serve", {}).get("keep_text", "masked")
        return chosen

    def answered(self, deployment: Deployment, record: Mapping[str, Any], answer: Answer) -> tuple[str | None, str]:
        """Return a record and its answer as they are stored, in JSON; the record is None if texts are not kept."""
        brief = {name: value for name, value in deployment.task.brief(answer).items() if name != _VECTOR}
        keep = self.kept(deployment)
        if keep == "yes":
            return as_json(record), as_json(brief)
        masked = _masked(record)[0] if keep == "masked" else {}
        left = " ".join(str(value) for value in masked.values())
        shown = without_quotes(brief, frozenset(deployment.task.known_labels), left)
        return (as_json(masked) if keep == "masked" else None), as_json(shown)

    def labelled(
        self, deployment: Deployment, record: Mapping[str, Any], target: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return a record and the fields of its right answer as they are stored; spans move with the text that is masked.

        Both have the task's names of fields. The record is None if texts are not kept, and with it a target that quotes it.
        """
        keep, task = self.kept(deployment), deployment.task
        if keep == "yes":
            return dict(record), None if target is None else dict(target)
        if keep == "no":
            return None, None if task.answers_with_places else self.target(deployment, target)
        masked, found, names = _masked(record)
        if target is None or not task.answers_with_places:
            return masked, self.target(deployment, target)
        place, text = names.index(task.marked_input), masked[task.marked_input]
        moved = {name: [_moved(one, found, place, text) for one in value] for name, value in target.items()}
        return masked, self.target(deployment, moved)

    def target(self, deployment: Deployment, target: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a right answer without quotes of the record as it is stored: labels that the model does not know may be texts."""
        if target is None or self.kept(deployment) == "yes":
            return None if target is None else dict(target)
        known = frozenset(deployment.task.known_labels)
        return {name: _masked_labels(value, known) for name, value in target.items()}

    def comment(self, deployment: Deployment, text: str | None) -> str | None:
        """Return a remark of a user as it is stored."""
        return text if text is None or self.kept(deployment) == "yes" else standard_masker().text(text)


def without_quotes(value: Any, labels: frozenset[str], left: str) -> Any:
    """Return an answer without texts that are neither labels nor in what is `left` of the record after masking.

    An answer may quote the record, and a quote of a part of a telephone number would not be recognised as one.
    """
    return with_texts(value, lambda text: text if text in labels or text in left else None)


def _masked_labels(value: Any, known: frozenset[str]) -> Any:
    """Return a value with masked texts, except for known labels and for the quotes of places, which are parts of a masked text."""
    return with_texts(value, lambda text: text if text in known else standard_masker().text(text), unchanged=_QUOTE)


def with_texts(value: Any, change: Callable[[str], str | None], unchanged: str | None = None) -> Any:
    """Return a value in which each text is changed, but for those with the key `unchanged`."""
    if isinstance(value, float | int):  # first and without abstract classes, because most values are probabilities
        return value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: one if name == unchanged else with_texts(one, change, unchanged) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [with_texts(one, change, unchanged) for one in value]
    return value


def masked_name(name: str | None) -> str | None:
    """Return the name of an author as it is stored, however texts are kept, so that one filter fits all verticals."""
    return None if name is None else standard_masker().text(name)


def as_json(value: Any) -> str:
    """Return a value as JSON."""
    return json_bytes(value).decode()


def _masked(record: Mapping[str, Any]) -> tuple[dict[str, Any], Masked, list[str]]:
    """Return a record with masked texts, what was masked, and the names of the fields with texts."""
    # a number may be one of a telephone or of a card, where a field of texts contains numbers
    shown = {name: str(int(value)) if _is_whole(value) else value for name, value in record.items()}
    names = [name for name, value in shown.items() if isinstance(value, str)]
    found = standard_masker().record([shown[name] for name in names])
    masked = {name: text for name, text in zip(names, found.texts, strict=True) if text != shown[name] or isinstance(record[name], str)}
    return {**record, **masked}, found, names


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _moved(one: Mapping[str, Any], found: Masked, place: int, text: str) -> dict[str, Any]:
    """Move a span, or an accepted answer, to its place in the masked text."""
    end = one["end"] if "end" in one else one["start"] + len(one["text"])
    start, stop = found.offset(place, one["start"]), found.offset(place, end, end=True)
    if "end" in one:
        return {**one, "start": start, "end": stop}
    return {**one, "start": start, "text": text[start:stop]}
