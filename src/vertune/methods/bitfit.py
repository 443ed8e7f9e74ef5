"""Trains the head and the biases, which are about a thousandth of all weights (BitFit, Ben Zaken et al. 2022).

Does not work with pretrained models that have no biases, such as ModernBERT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Bitfit(Layered):
    """The fine-tuning method BitFit; its option `layers` selects the layers whose biases are trained."""

    learning_rate: ClassVar[float] = 3e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Make only the head and the biases of the selected layers trainable.

        Raise ConfigError if these layers have no biases.
        """
        from vertune.nn import structure, trainable

        backbone = model.backbone
        structure.top(backbone, self.layers)
        selected = set(map(id, trainable.parameters_from(model, self.depth(structure.count(backbone)))))
        biases = [item for name, item in backbone.named_parameters() if name.rpartition(".")[2] == "bias" and id(item) in selected]
        if not biases:
            raise ConfigError(
                f"The pretrained model {type(backbone).__name__} has no biases, but the method '{self.name}' trains "
                "only biases. Choose ia3 or lora instead."
            )
        trainable.train_only(model, biases)

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the trained biases and the head."""
        from vertune.nn import edits

        return [*edits.bias_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
