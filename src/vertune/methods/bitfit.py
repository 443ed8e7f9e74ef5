"""The biases and the head move (BitFit, Ben Zaken et al. 2022): a thousandth of the weights.

Bases without biases, such as ModernBERT, can't be trained this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Bitfit(Layered):
    """In which layers biases move."""

    learning_rate: ClassVar[float] = 3e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Mark the biases; ConfigError where the base has none."""
        from vertune.nn import structure, trainable

        backbone = model.backbone
        structure.top(backbone, self.layers)
        wanted = set(map(id, trainable.parameters_from(model, self.depth(structure.count(backbone)))))
        found = [item for name, item in backbone.named_parameters() if name.rpartition(".")[2] == "bias" and id(item) in wanted]
        if not found:
            raise ConfigError(f"method '{self.name}' trains biases, and {type(backbone).__name__} has none. Choose ia3 or lora instead.")
        trainable.train_only(model, found)

    def edits(self, model: Any) -> list[Edit]:
        """The biases, and the head."""
        from vertune.nn import edits

        return [*edits.bias_edits(model), *edits.head_edits(model)]
