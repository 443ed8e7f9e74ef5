"""Trains only the last layers and the head: nearly as accurate as full fine-tuning in a fraction of the time.

The outputs of the layers below never change in training, so they are computed only once for each text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class TopLayers(Method):
    """The fine-tuning method that trains only the head and the last layers; its option `n` is their number."""

    moves: ClassVar[Literal["head", "top", "all"] | None] = "top"
    learning_rate: ClassVar[float] = 1e-4
    learning_rate_few_rows: ClassVar[float | None] = 2e-4
    n: int = Field(default=2, ge=1)
    """Number of layers to train, counted from the last."""

    def depth(self, layers: int) -> int:
        """Return the number, counted from 1, of the lowest trained layer in a model with `layers` layers."""
        return layers - self.n + 1

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Make only the last n layers, a norm that follows them, and the head trainable.

        Raise ConfigError if the model has fewer than n layers, or if its layers share weights.
        """
        from vertune.nn import structure, trainable

        structure.top(model.backbone, self.n)
        trainable.train_only(model, trainable.parameters_from(model, self.depth(structure.count(model.backbone))))

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the weights of the last n layers, and the head."""
        from vertune.nn import edits

        return [*edits.layer_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
