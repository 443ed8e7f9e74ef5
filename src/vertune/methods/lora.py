"""Trains the head and low-rank matrices that are added to the weights of linear modules (LoRA, Hu et al. 2021).

Uses PEFT. The linear modules to change are found by the order in which the modules of the pretrained model run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Lora(LowRank):
    """The fine-tuning method LoRA (low-rank adaptation); its fields are options in the config."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the low-rank matrices to the model, and make only them and the head trainable.

        Raise ConfigError if the linear modules to change can't be identified.
        """
        modules = self.target_modules(model)
        config = library().LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules)
        inject(model, config)
