"""Trained word vectors in front of every text, and the head, move (prompt tuning, Lester et al. 2021).

They stand after the embeddings only, and pass all layers; they are gone before any head sees the states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Prompt(Method):
    """How many positions are trained."""

    learning_rate: ClassVar[float] = 1e-2
    positions: int = Field(default=20, ge=1, le=256)
    """Trained vectors in front of a text."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Attach the rows, begun as those of random words."""
        from vertune.nn import prefix, trainable

        trainable.train_only(model)
        rows, _ = prefix.initial(model.backbone, self.positions)
        prefix.attach_prompt(model.backbone, rows)

    def edits(self, model: Any) -> list[Edit]:
        """The rows, and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]
