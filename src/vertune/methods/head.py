"""Only the head moves: the fastest, and the least to store.

The backbone gives the same states each time, so that they need to be computed once only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Head(Method):
    """Training the head alone has no options."""

    moves: ClassVar[Literal["head", "top", "all"] | None] = "head"
    learning_rate: ClassVar[float] = 3e-3

    def depth(self, layers: int) -> int:
        """Above all layers."""
        return layers + 1

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Mark the head; ConfigError where it has no weights."""
        from vertune.nn import trainable

        trainable.train_only(model)
        trainable.require_some(model, self.name, "full or lora, because the head of this task has no weights")

    def edits(self, model: Any) -> list[Edit]:
        """The head."""
        from vertune.nn import edits

        return edits.head_edits(model)
