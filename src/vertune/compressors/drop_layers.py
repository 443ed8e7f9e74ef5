"""Removes whole layers and trains the others to compensate.

Faster than `distill`, which trains for more epochs, and sufficient for easy texts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class DropLayers(Compressor):
    """Removal of layers and its options."""

    number: int = Field(default=2, ge=1)
    """Number of layers to remove."""
    which: Literal["least", "top", "even"] = "least"
    """Layers to remove: `least` removes those that change the outputs least, measured on training texts; `top` removes the last
    layers; `even` removes evenly spaced layers.
    """
    epochs: float = Field(default=2, ge=0)
    """Number of epochs in which the smaller model is trained to reproduce the outputs of the full one; 0 skips this training."""
    rows: int = Field(default=256, ge=8)
    """Number of training records on which `which: least` measures how much the outputs change."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return the model with fewer layers; raise ConfigError if no layer would remain."""
        from vertune.nn import shrink, structure

        count = structure.count(model.body.backbone)
        if self.number >= count:
            raise ConfigError(f"Can't remove {self.number} of {count} layers: at least one must remain. Set number to at most {count - 1}.")
        if self.which == "even":
            kept = shrink.evenly(count, count - self.number)
        elif self.which == "top":
            kept = list(range(count - self.number))
        else:
            kept = self._least(model, context, count)
        smaller = self._with_layers(model, kept)
        if self.epochs:
            context.distil(smaller, model, self.epochs)
        return smaller

    @staticmethod
    def _with_layers(model: StandaloneModel, kept: list[int]) -> StandaloneModel:
        from vertune.nn import shrink

        body = shrink.copied(model.body)
        shrink.keep_layers(body, kept)
        return StandaloneModel(model.encoder, model.task, body)

    def _least(self, model: StandaloneModel, context: CompressionContext, count: int) -> list[int]:
        """Return the indices of the layers to keep: repeatedly remove the layer whose removal changes the outputs least."""
        import numpy as np

        records = context.train[: self.rows]
        expected = context.outputs(model, records)

        def change(kept: list[int]) -> float:
            outputs = context.outputs(self._with_layers(model, kept), records)
            return float(np.mean([np.square(a - b).mean() for a, b in zip(expected, outputs, strict=True)]))

        kept = list(range(count))
        for _ in range(self.number):
            kept = min(([other for other in kept if other != layer] for layer in kept), key=change)
        return kept
