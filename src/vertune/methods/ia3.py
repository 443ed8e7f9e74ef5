"""A factor on keys, values and the inside of the feed-forward network, and the head, move (IA3, Liu et al. 2022).

Trained by PEFT; where one map makes query, key and value, all three are scaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.edits import Edit
from vertune.methods._layered import Layered
from vertune.methods._peft import ADAPTER, inject, injected, library, targets

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Ia3(Layered):
    """In which layers factors are trained."""

    learning_rate: ClassVar[float] = 5e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Put factors of 1 on the maps; ConfigError where the roles of a layer's linear maps can't be told."""
        outputs = targets(model, self.layers, ("key", "value", "qkv"))
        inputs = targets(model, self.layers, ("down",))
        inject(model, library().IA3Config(target_modules=outputs + inputs, feedforward_modules=inputs))

    def edits(self, model: Any) -> list[Edit]:
        """The factors at each site, and the head."""
        from vertune.nn import edits

        found = []
        for site, depth, layer in injected(model, "ia3_l"):
            side = "input" if layer.is_feedforward else "output"
            scale = edits.cpu_copy(layer.ia3_l[ADAPTER].flatten())
            found.append(Edit("scale", site, depth, {"scale": scale}, {"side": side}))
        return [*found, *edits.head_edits(model)]
