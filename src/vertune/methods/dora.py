"""A low-rank change of the direction of weights, a magnitude a row, and the head, move (DoRA, Liu et al. 2024).

Trained by PEFT; sites are found by structure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Dora(LowRank):
    """Rank and sites of the change."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Put factors and magnitudes beside the weights; ConfigError where the roles of a layer's linear maps can't be told."""
        config = library().LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.where(model), use_dora=True
        )
        inject(model, config)
