"""Replaces labels that are no longer used, in targets and in the answers of models that still know them; independent of where these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.core.kinds import Task
from vertune.core.records import Answer


def renamed_answer(task: Task, answer: Answer, labels: Mapping[str, str]) -> Answer:
    """Return an answer in which the labels that are keys of `labels` are replaced by their values."""
    if not labels:
        return answer
    kinds = {column.name: column.type for column in task.target_columns}
    return {name: rename(value, kinds[name], labels) if name in kinds else value for name, value in answer.items()}


def rename(value: Any, kind: str, labels: Mapping[str, str]) -> Any:
    """Return the value of a target field of this type with retired labels replaced; a set of labels has each label once."""
    if value is None:
        return None
    if kind == "label":
        return labels.get(value, value)
    if kind == "labels":
        return list(dict.fromkeys(labels.get(label, label) for label in value))
    if kind == "spans":
        return [{**span, "label": labels.get(span["label"], span["label"])} for span in value]
    return value
