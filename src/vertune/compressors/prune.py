"""Removes the feed-forward neurons and attention heads that matter least for the training texts (structured pruning).

The matrices become smaller, so the model takes less space and time. The smaller model is then trained to reproduce the outputs
of the full model.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class Prune(Compressor):
    """Compressor that removes feed-forward neurons and attention heads; its fields are options in the config."""

    rows: float = Field(default=0.5, ge=0, lt=1)
    """Fraction of the feed-forward neurons to remove in each layer."""
    heads: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the attention heads to remove in each layer."""
    epochs: float = Field(default=4, ge=0)
    """Number of epochs in which the smaller model is trained to reproduce the outputs of the full one; 0 skips this training."""
    sample: int = Field(default=256, ge=8)
    """Number of training records on which the importance of neurons and heads is measured."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a copy of the model without its least important feed-forward neurons and attention heads.

        The copy is trained to reproduce the outputs of `model`, unless the option `epochs` is 0. Raise ConfigError if
        the structure of the pretrained model does not allow pruning.
        """
        from vertune.nn import shrink, structure

        if structure.shares_layers(model.body.backbone):
            raise ConfigError(
                "The layers of the pretrained model share weights, so they can't be pruned separately. Expected a "
                "model in which each layer has its own weights. Choose the compressor int8 instead."
            )
        body = shrink.copied(model.body)
        records = context.train[: self.sample]

        def run(observed: Any) -> None:
            context.outputs(StandaloneModel(model.encoder, model.task, observed), records)

        if self.heads:
            weights = shrink.head_weights(body, run)
            shrink.keep_heads(body, {name: shrink.largest(value, 1 - self.heads) for name, value in weights.items()})
        if self.rows:
            weights = shrink.inner_weights(body, run)
            shrink.keep_inner(body, {name: shrink.largest(value, 1 - self.rows) for name, value in weights.items()})
        smaller = StandaloneModel(model.encoder, model.task, body)
        if self.epochs:
            context.distil(smaller, model, self.epochs)
        return smaller
