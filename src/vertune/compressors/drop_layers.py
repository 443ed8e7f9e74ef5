"""Takes whole layers out, and lets the rest recover.

The quickest way to fewer layers where the texts are easy; `distill` with more passes is the thorough one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class DropLayers(Compressor):
    """Options of dropping layers."""

    number: int = Field(default=2, ge=1)
    """How many go."""
    which: Literal["least", "top", "even"] = "least"
    """Those without which the answers change least, found one after another on training texts; the last ones; or every so many."""
    epochs: float = Field(default=2, ge=0)
    """Passes of the recovery, in which the rest learns to say what the whole said; 0 does without."""
    rows: int = Field(default=256, ge=8)
    """Training records that `least` goes by."""

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """The model with fewer layers; ConfigError where none would be left."""
        from vertune.nn import shrink, structure

        count = structure.count(model.body.backbone)
        if self.number >= count:
            raise ConfigError(f"The base has {count} layers, so that {self.number} of them can't go. Choose at most {count - 1}.")
        if self.which == "even":
            kept = shrink.evenly(count, count - self.number)
        elif self.which == "top":
            kept = list(range(count - self.number))
        else:
            kept = self._least(model, bench, count)
        smaller = self._of(model, kept)
        if self.epochs:
            bench.learn(smaller, model, self.epochs)
        return smaller

    @staticmethod
    def _of(model: StandaloneModel, kept: list[int]) -> StandaloneModel:
        from vertune.nn import shrink

        body = shrink.copied(model.body)
        shrink.keep_layers(body, kept)
        return StandaloneModel(model.encoder, model.task, body)

    def _least(self, model: StandaloneModel, bench: CompressionContext, count: int) -> list[int]:
        """The layers that stay when the one that is missed least goes, again and again."""
        import numpy as np

        records = bench.train[: self.rows]
        expected = bench.answer(model, records)

        def change(kept: list[int]) -> float:
            found = bench.answer(self._of(model, kept), records)
            return float(np.mean([np.square(a - b).mean() for a, b in zip(expected, found, strict=True)]))

        kept = list(range(count))
        for _ in range(self.number):
            kept = min(([other for other in kept if other != place] for place in kept), key=change)
        return kept
