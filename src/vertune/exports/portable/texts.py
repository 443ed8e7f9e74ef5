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
    """The tokenizer of the model, with the truncation settings of its training."""

    def __init__(self, file: Path, settings: Record) -> None:
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        templates = {int(number): tokens.Template(**template) for number, template in settings["templates"].items()}
        self.cutting = tokens.Cutting(settings["max_tokens"], settings["truncation"], settings["stride"], templates)

    def arrays(self, feature: Feature) -> dict[str, np.ndarray]:
        """Convert one token sequence to the inputs of the graph, a batch of one without padding."""
        return tokens.collate([feature], 0)

    def encode(self, records: list[Record], views: list[Record]) -> list[Feature]:
        """Return the token sequences of all records.

        They are ordered by record, then by view (the fields that form one model input), then by window (piece of a long text). A view
        of a record is skipped if the first field of the view is missing or empty.
        """
        features = []
        for row, record in enumerate(records):
            present = [SimpleNamespace(**view) for view in views if record.get(view["fields"][0])]
            fields = {name: tokens.tokenise(self.tokenizer, [record.get(name) or ""]) for view in present for name in view.fields}
            for feature in tokens.encode([record], present, fields, self.cutting):
                feature.record = row
                features.append(feature)
        return features
