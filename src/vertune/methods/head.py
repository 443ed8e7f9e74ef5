"""Trains only the head (the output layer): the fastest method, and the smallest model on disk.

The outputs of the pretrained model never change in training, so they are computed only once for each text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Head(Method):
    """The fine-tuning method that trains only the head (the output layer); it has no options."""

    moves: ClassVar[Literal["head", "top", "all"] | None] = "head"
    learning_rate: ClassVar[float] = 3e-3

    def depth(self, layers: int) -> int:
        """Return the number of the lowest part of the model that is trained, which is the head.

        Parts are numbered: 0 for the embeddings, 1 to `layers` for the layers, and `layers` + 1 for the head.
        """
        return layers + 1

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Make only the head trainable; raise ConfigError if it has no weights."""
        from vertune.nn import trainable

        trainable.train_only(model)
        trainable.require_some(model, self.name, "full or lora, because the head of this task has no weights")

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the weights of the head."""
        from vertune.nn import edits

        return edits.head_edits(model)

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
