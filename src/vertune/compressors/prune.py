"""Removes the inner rows of feed-forward networks, and the heads of attention, that matter least on the data.

They are taken out of the matrices, so that the model is smaller and computes less; then the rest learns to say what the whole said.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class Prune(Compressor):
    """Options of pruning."""

    rows: float = Field(default=0.5, ge=0, lt=1)
    """Share of the inner rows that goes, in each layer."""
    heads: float = Field(default=0.0, ge=0, lt=1)
    """Share of the heads that goes, in each layer."""
    epochs: float = Field(default=4, ge=0)
    """Passes of the recovery; 0 does without."""
    sample: int = Field(default=256, ge=8)
    """Training records on which it is measured what matters."""

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """The narrower model; ConfigError where its structure does not allow it."""
        from vertune.nn import shrink, structure

        if structure.shares_layers(model.body.backbone):
            raise ConfigError("The layers of this base share their weights; they can't be pruned one by one. Choose int8 or distill.")
        body = shrink.copied(model.body)
        records = bench.train[: self.sample]

        def feed(seen: Any) -> None:
            bench.answer(StandaloneModel(model.encoder, model.task, seen), records)

        if self.heads:
            weights = shrink.head_weights(body, feed)
            shrink.keep_heads(body, {name: shrink.largest(value, 1 - self.heads) for name, value in weights.items()})
        if self.rows:
            weights = shrink.inner_weights(body, feed)
            shrink.keep_inner(body, {name: shrink.largest(value, 1 - self.rows) for name, value in weights.items()})
        smaller = StandaloneModel(model.encoder, model.task, body)
        if self.epochs:
            bench.learn(smaller, model, self.epochs)
        return smaller
