"""A low-rank change of the linear maps, and the head, move (LoRA, Hu et al. 2021).

Trained by PEFT; sites are found by structure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Lora(LowRank):
    """Rank and sites of the change."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Put the factors beside the weights; ConfigError where the roles of a layer's linear maps can't be told."""
        config = library().LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.where(model))
        inject(model, config)
