"""Converts records of annotation tools whose labels are answers to questions, such as choices, to rows; independent of files.

Each form of a record has one function, which returns None for a record of another form:

- `_of_argilla`: a record of Argilla 2 with the responses to its questions, nested or flat;
- `_of_task`: a task of Label Studio with choices or numbers (JSON export);
- `_of_minimal`: a task of Label Studio with several choices (CSV and JSON-MIN);
- `_of_choices`: a text with its accepted options, as in exports of Prodigy;
- `_of_pair`: a list of a text and its categories, as in the training data of spaCy.

Choices become lists of labels. A text that the form gives no name is read as `text`, and choices without a question as `label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.documents import parse_json

_MOST = 0.5
"""The share of the records of a file that must have one of the forms."""
_YES = 0.5
"""The value from which a category of spaCy is true."""
_RATINGS = ("number", "rating")
"""Names of the values of Label Studio that are numbers."""
_SUBMITTED = ("submitted", "completed", None)
_FLAT = ".responses"
"""The ending of the name of a column with responses, in a flat record of Argilla."""
_ABOUT = ("lead_time", "ground_truth", "created_username")
"""What Label Studio knows about an annotation besides its results."""


@dataclass(slots=True)
class Answered:
    """The row of one record, with its fields and answers by their names."""

    values: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    """The reason why the record can't be used, or None."""


def convert(value: Any) -> list[Answered] | None:
    """Convert one record to rows, one for each annotator; return None if it has none of the forms that this module reads."""
    for form in (_of_argilla, _of_task, _of_minimal, _of_choices, _of_pair):
        found = form(value)
        if found is not None:
            return found
    return None


def convert_all(values: Sequence[Any]) -> list[list[Answered] | None] | None:
    """Convert the records of a file; return None if most have none of the forms that this module reads.

    In CSV and JSON-MIN exports of Label Studio, one choice is a text; if another record has several, the file has choices.
    """
    if any(map(_has_regions, values)):
        return None
    found = [convert(value) for value in values]
    if any(found) and all(isinstance(value, dict) and "annotation_id" in value for value in values):
        return [one or [Answered(_single(value))] for one, value in zip(found, values, strict=True)]
    return found if sum(one is not None for one in found) >= _MOST * len(values) > 0 else None


def rows(found: Iterable[Answered]) -> list[Answered]:
    """Return rows in which a column with a list in one row has lists in all rows, as for a choice that is stored as a text if it is one."""
    every = list(found)
    listed = {name for one in every for name, value in one.values.items() if isinstance(value, list)}
    for one in every:
        one.values = {name: [value] if name in listed and isinstance(value, str) else value for name, value in one.values.items()}
    return every


def _of_argilla(value: Any) -> list[Answered] | None:
    if not isinstance(value, dict):
        return None
    fields, responses = value.get("fields"), value.get("responses")
    if not isinstance(fields, dict) or not isinstance(responses, dict):
        return _of_flat_argilla(value)
    about = {**_single(value.get("metadata")), **_single(fields)}
    answered = {name: given for name, given in responses.items() if isinstance(given, list) and all(isinstance(one, dict) for one in given)}
    people = dict.fromkeys(one.get("user_id") for given in answered.values() for one in given)
    if not people:
        return [Answered(about, "has not been annotated")]
    found = []
    for person in people:
        own = {name: one for name, given in answered.items() for one in given if one.get("user_id") == person}
        status = next((one.get("status") for one in own.values() if one.get("status") not in _SUBMITTED), None)
        values = {name: one.get("value") for name, one in own.items()}
        found.append(Answered({**about, **values}, None if status is None else f"has a response that is {status}"))
    return found


def _of_flat_argilla(value: Mapping[str, Any]) -> list[Answered] | None:
    names = [key.removesuffix(_FLAT) for key in value if key.endswith(_FLAT)]
    if not names:
        return None
    about = {key: item for key, item in _single(value).items() if not any(key.startswith(f"{name}.") for name in names)}
    given = {name: value[name + _FLAT] or [] for name in names}
    states = {name: value.get(f"{name}{_FLAT}.status") or [] for name in names}
    count = max(map(len, given.values()))
    if not count:
        return [Answered(about, "has not been annotated")]
    found = []
    for place in range(count):
        status = next((one[place] for one in states.values() if place < len(one) and one[place] not in _SUBMITTED), None)
        values = {name: items[place] for name, items in given.items() if place < len(items)}
        found.append(Answered({**about, **values}, None if status is None else f"has a response that is {status}"))
    return found


def _of_task(value: Any) -> list[Answered] | None:
    data = value.get("data") if isinstance(value, dict) else None
    annotations = value.get("annotations", value.get("completions")) if isinstance(value, dict) else None
    if not isinstance(data, dict) or not isinstance(annotations, list) or _has_regions(value):
        return None
    found = []
    for annotation in annotations:
        if not isinstance(annotation, dict):
            return None
        answers = answers_of(annotation)
        error = "was skipped by its annotator" if annotation.get("was_cancelled") else None
        values = {**_single(data), **about_annotation(annotation), **answers}
        found.append(Answered(values, error or (None if answers else "has no choice and no number")))
    if not any(one.error is None for one in found):
        return None
    return found


def answers_of(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices and numbers of an annotation of Label Studio, by the names of their controls."""
    return dict(filter(None, map(_answer, _results(annotation))))


def _results(annotation: Any) -> list[Mapping[str, Any]]:
    found = annotation.get("result") if isinstance(annotation, dict) else None
    return [item for item in found or () if isinstance(item, dict) and isinstance(item.get("value"), dict)]


def _has_regions(value: Any) -> bool:
    """Return whether a task of Label Studio has marked spans, which another module reads with its choices."""
    annotations = value.get("annotations", value.get("completions")) if isinstance(value, dict) else None
    return isinstance(annotations, list) and any("start" in item["value"] for one in annotations for item in _results(one))


def about_annotation(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return who made an annotation of Label Studio, how long it took, and whether it is the truth, as far as that is stated."""
    return {name: annotation[name] for name in _ABOUT if isinstance(annotation.get(name), (str, int, float))}


def categories_of(annotations: Mapping[str, Any]) -> list[str] | None:
    """Return the categories of spaCy that are true; None if there are none at all."""
    categories = annotations.get("cats")
    if not isinstance(categories, dict):
        return None
    return [str(name) for name, value in categories.items() if isinstance(value, (int, float)) and value >= _YES]


def _answer(item: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the name of a control of Label Studio and what was chosen or entered; None for a control of another kind."""
    name, value = str(item.get("from_name") or "label"), item["value"]
    if isinstance(value.get("choices"), list):
        return name, [str(choice) for choice in value["choices"]]
    number = next((value[key] for key in _RATINGS if isinstance(value.get(key), (int, float))), None)
    return None if number is None else (name, number)


def _of_minimal(value: Any) -> list[Answered] | None:
    if not isinstance(value, dict) or "annotation_id" not in value:
        return None
    chosen = {name: choices for name, item in value.items() if (choices := _chosen(item)) is not None}
    return [Answered({**_single(value), **chosen})] if chosen else None


def _chosen(item: Any) -> list[str] | None:
    """Return the choices of a value such as {"choices": ["a", "b"]}, or of such a text in a CSV file; None for another value."""
    if isinstance(item, str) and item.lstrip().startswith('{"choices"'):
        try:
            item = parse_json(item)
        except ValueError:
            return None
    choices = item.get("choices") if isinstance(item, dict) else None
    return [str(choice) for choice in choices] if isinstance(choices, list) else None


def _of_choices(value: Any) -> list[Answered] | None:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not isinstance(value.get("accept"), list):
        return None
    answer = value.get("answer", "accept")
    error = None if answer == "accept" else f"has the answer '{answer}' of its annotator"
    return [Answered({**_single(value), **_single(value.get("meta")), "label": [str(label) for label in value["accept"]]}, error)]


def _of_pair(value: Any) -> list[Answered] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not isinstance(value[0], str) or not isinstance(value[1], dict):
        return None
    labels = categories_of(value[1])
    return None if labels is None or "entities" in value[1] else [Answered({"text": value[0], "label": labels})]


def _single(record: Any) -> dict[str, Any]:
    """Return the single values of a record, such as its texts and numbers, without its lists and objects."""
    if not isinstance(record, dict):
        return {}
    return {key: value for key, value in record.items() if isinstance(value, (str, int, float)) and key[:2] != "__"}
