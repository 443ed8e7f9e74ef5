"""Trains vectors that are inserted in front of every text at each layer, and the head (P-tuning v2, Liu et al. 2022).

Implemented in vertune, because several families of encoders silently ignore the prefix tuning of other libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from vertune.core.edits import Edit
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Prefix(Layered):
    """Prefix tuning and its options."""

    learning_rate: ClassVar[float] = 5e-3
    positions: int = Field(default=16, ge=1, le=256)
    """Number of trained vectors in front of each text, at each layer."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the trainable vectors, initialised with the hidden states of random words."""
        from vertune.nn import prefix, structure, trainable

        trainable.train_only(model)
        layers = structure.top(model.backbone, self.layers)
        _, states = prefix.initial(model.backbone, self.positions)
        prefix.attach_prefix(model.backbone, {name: states[name] for name in layers})

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the trained vectors of each layer, and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]
