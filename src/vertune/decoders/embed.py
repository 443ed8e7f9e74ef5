"""Decodes embeddings: returns the vectors of the query and the document of each record, and the cosine of the two vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record


def decode(records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], document: str) -> list[Answer]:
    """Return the vector of each record's query; with a document, also the document's vector and the cosine of the two.

    `document` is the name of the field that contains the document. `outputs` must contain vectors of length 1.
    """
    answers: list[Answer] = [{"truncated": flag} for flag in windows.truncated(len(records), features)]
    sides: list[dict[str, NDArray[Any]]] = [{} for _ in records]
    for feature, output in zip(features, outputs, strict=True):
        sides[feature.record][feature.role] = output
    for record, answer, side in zip(records, answers, sides, strict=True):
        answer["vector"] = side["query"].tolist()
        if record.get(document):
            answer["vector_pair"] = side["document"].tolist()
            answer["score"] = float(side["query"].astype(np.float64) @ side["document"])
    return answers
