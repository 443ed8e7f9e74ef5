"""Trains the head and vectors in front of every text, separately for each layer (P-tuning v2, Liu et al. 2022).

vertune implements this method itself. With the prefix tuning of other libraries, the vectors silently have no effect in
several families of encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from vertune.core.edits import Edit
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Prefix(Layered):
    """The fine-tuning method prefix tuning (P-tuning v2); its fields are options in the config."""

    learning_rate: ClassVar[float] = 5e-3
    positions: int = Field(default=16, ge=1, le=256)
    """Number of trained vectors in front of each text, at each layer."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Insert the vectors at the input of each selected layer, and make only them and the head trainable.

        The vectors are initialised with the hidden states of random words.
        """
        from vertune.nn import prefix, structure, trainable

        trainable.train_only(model)
        layers = structure.top(model.backbone, self.layers)
        _, states = prefix.initial(model.backbone, self.positions)
        prefix.attach_prefix(model.backbone, {name: states[name] for name in layers})

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the trained vectors of each layer, and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
