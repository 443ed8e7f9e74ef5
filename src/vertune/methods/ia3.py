"""Trains the head and factors that scale keys, values and feed-forward activations (IA3, Liu et al. 2022).

Uses PEFT. If one linear module computes query, key and value together, all three are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.edits import Edit
from vertune.methods._layered import Layered
from vertune.methods._peft import ADAPTER, inject, injected, library, targets

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Ia3(Layered):
    """The fine-tuning method IA3; its option `layers` selects the layers in which activations are scaled."""

    learning_rate: ClassVar[float] = 5e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the factors, which are 1 at first, to the model, and make only them and the head trainable.

        Raise ConfigError if the linear modules to change can't be identified.
        """
        outputs = targets(model, self.layers, ("key", "value", "qkv"))
        inputs = targets(model, self.layers, ("down",))
        inject(model, library().IA3Config(target_modules=outputs + inputs, feedforward_modules=inputs))

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the factors of each changed module, and the head."""
        from vertune.nn import edits

        scales = []
        for site, depth, layer in injected(model, "ia3_l"):
            side = "input" if layer.is_feedforward else "output"
            scale = edits.cpu_copy(layer.ia3_l[ADAPTER].flatten())
            scales.append(Edit("scale", site, depth, {"scale": scale}, {"side": side}))
        return [*scales, *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the factors, and the head, of a prepared model to those of an earlier training."""
        import torch

        from vertune.nn.edits import restore

        earlier = {edit.site: edit.tensors["scale"] for edit in edits if edit.kind == "scale"}
        with torch.no_grad():
            for site, _, layer in injected(model, "ia3_l"):
                vector = layer.ia3_l[ADAPTER]
                vector.copy_(earlier[site].reshape(vector.shape))
        restore(model, [edit for edit in edits if edit.kind != "scale"])
