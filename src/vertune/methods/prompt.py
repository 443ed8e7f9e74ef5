"""Trains the head and embedding vectors in front of every text (prompt tuning, Lester et al. 2021).

The vectors are inserted once, after the embeddings, pass through all layers, and are removed before the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Prompt(Method):
    """The fine-tuning method prompt tuning; its fields are options in the config."""

    learning_rate: ClassVar[float] = 1e-2
    positions: int = Field(default=20, ge=1, le=256)
    """Number of trained vectors in front of each text."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Insert the vectors in front of the embedded text, and make only them and the head trainable.

        The vectors are initialised with the embeddings of random words.
        """
        from vertune.nn import prefix, trainable

        trainable.train_only(model)
        rows, _ = prefix.initial(model.backbone, self.positions)
        prefix.attach_prompt(model.backbone, rows)

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the trained vectors and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
