"""Trains every weight (full fine-tuning): the most accurate method if there is enough data and time.

It works with every pretrained model. The trained model is as large on disk as the pretrained model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Full(Method):
    """Full fine-tuning, which trains every weight; this method has no options."""

    moves: ClassVar[Literal["head", "top", "all"] | None] = "all"
    learning_rate: ClassVar[float] = 1e-4
    learning_rate_few_rows: ClassVar[float | None] = 2e-4

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Make every weight trainable that affects the head's output.

        Unused poolers stay frozen, and so do position tables that the pretrained model itself never trained.
        """
        from vertune.nn import trainable

        trainable.train_only(model, trainable.parameters_from(model))

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the weights of every layer and of the embeddings, and the head."""
        from vertune.nn import edits

        return [*edits.layer_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
