"""Trains low-rank matrices that are added to the weights of linear modules, and the head (LoRA, Hu et al. 2021).

Uses PEFT; the modules to change are found by the model's structure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Lora(LowRank):
    """LoRA and its options."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the matrices to the model; raise ConfigError if the linear modules to change can't be identified."""
        modules = self.target_modules(model)
        config = library().LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules)
        inject(model, config)
