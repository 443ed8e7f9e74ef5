"""Removes whole layers, and trains the remaining layers to reproduce the outputs of the full model.

This takes less time than the compressor `distill`, which trains for more epochs. For easy texts, the result is good
enough.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class DropLayers(Compressor):
    """Compressor that removes layers; its fields are options in the config."""

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
        """Return a copy of the model with fewer layers, trained to reproduce the outputs of the full model.

        With the option `epochs: 0`, this training is skipped. Raise ConfigError if no layer would remain, or if the
        layers can't be removed, for example because they share weights.
        """
        from vertune.nn import shrink, structure

        count = structure.count(model.body.backbone)
        if self.number >= count:
            raise ConfigError(
                f"The compressor drop_layers can't remove {self.number} layers from a model with {count} layers. At "
                f"least one layer must remain. Set the option `number` to at most {count - 1}."
            )
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
        """Choose the layers whose removal changes the outputs least, and return the indices of all other layers.

        One layer is removed per round: the one without which the outputs for training records differ least from those
        of the full model. `count` is the number of layers of the full model.
        """
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
