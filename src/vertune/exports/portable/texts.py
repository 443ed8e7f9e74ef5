"""Converts texts to token sequences, truncated as in training; does not depend on the task."""

# exports/onnx.py of vertune copies this file into a portable bundle.

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import parts
from tokenizers import Tokenizer

Record = dict[str, Any]
Feature = parts.load("vertune.core.records").Feature
tokens = parts.load("vertune.encoders._tokens")


class Texts:
    """The tokenizer of the model; it truncates texts with the settings that were used in training."""

    def __init__(self, file: Path, settings: Record) -> None:
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        templates = {int(number): tokens.Template(**template) for number, template in settings["templates"].items()}
        self.cutting = tokens.Cutting(settings["max_tokens"], settings["truncation"], settings["stride"], templates)

    def arrays(self, feature: Feature) -> dict[str, np.ndarray]:
        """Return the input arrays of the graph, by name, for one token sequence: a batch of one, without padding."""
        return tokens.collate([feature], 0)

    def encode(self, records: list[Record], views: list[Record]) -> list[Feature]:
        """Return the token sequences of all records, ordered by record, then by view, then by window.

        A view is a group of fields that form one model input; `views` are those in labels.json. A window is one piece of a text that
        is too long for one sequence. If the first field of a view is missing or empty in a record, this view of the record is
        skipped.
        """
        features = []
        for row, record in enumerate(records):
            present = [SimpleNamespace(**view) for view in views if record.get(view["fields"][0])]
            fields = {name: tokens.tokenise(self.tokenizer, [record.get(name) or ""]) for view in present for name in view.fields}
            for feature in tokens.encode([record], present, fields, self.cutting):
                feature.record = row
                features.append(feature)
        return features
