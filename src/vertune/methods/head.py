"""Trains only the head (the output layer): the fastest method, and the smallest model on disk.

The outputs of the pretrained model never change, so they are computed only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Head(Method):
    """Training only the head, which has no options."""

    moves: ClassVar[Literal["head", "top", "all"] | None] = "head"
    learning_rate: ClassVar[float] = 3e-3

    def depth(self, layers: int) -> int:
        """Return the depth of the head: one more than the number of layers."""
        return layers + 1

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Make the head trainable; raise ConfigError if it has no weights."""
        from vertune.nn import trainable

        trainable.train_only(model)
        trainable.require_some(model, self.name, "full or lora, because the head of this task has no weights")

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the weights of the head."""
        from vertune.nn import edits

        return edits.head_edits(model)
