"""Trains a low-rank change of the direction of weights, a magnitude per row, and the head (DoRA, Liu et al. 2024).

Uses PEFT; the modules to change are found by the model's structure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Dora(LowRank):
    """DoRA and its options."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the matrices and magnitudes to the model; raise ConfigError if the linear modules to change can't be identified."""
        config = library().LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.target_modules(model), use_dora=True
        )
        inject(model, config)
