"""The labels of a model, one a line."""

from __future__ import annotations

from vertune.core.errors import ModelError
from vertune.core.kinds import Export


class Words(Export):
    """It has no options."""

    def write(self, model, folder):
        (folder / "labels.txt").write_text("\n".join(model.task.known_labels), encoding="utf-8")

    def check(self, model, folder):
        if (folder / "labels.txt").read_text(encoding="utf-8").split("\n") != list(model.task.known_labels):
            raise ModelError("labels.txt does not hold the model's labels. Export again.")
