"""The biases and the head move (BitFit, Ben Zaken et al. 2022): a thousandth of the weights.

Bases without biases, such as ModernBERT, can't be trained this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Bitfit(Method):
    """In which layers biases move."""

    pace: ClassVar[float] = 3e-3
    layers: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """All biases of the base, or those of this many layers, counted from the head."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Mark the biases; ConfigError where the base has none."""
        from vertune.nn import structure, trainable

        backbone = model.backbone
        structure.top(backbone, self.layers)
        depth = 0 if self.layers == "all" else structure.count(backbone) - self.layers + 1
        wanted = set(map(id, trainable.pieces(model, depth)))
        found = [item for name, item in backbone.named_parameters() if name.rpartition(".")[2] == "bias" and id(item) in wanted]
        if not found:
            raise ConfigError(f"method '{self.name}' trains biases, and {type(backbone).__name__} has none. Choose ia3 or lora instead.")
        trainable.only(model, found)

    def edits(self, model: Any) -> list[Edit]:
        """The biases, and the head."""
        from vertune.nn import edits

        return [*edits.biases(model), *edits.heads(model)]
