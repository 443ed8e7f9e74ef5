"""Trains the head, low-rank changes of weight directions, and a magnitude per weight row (DoRA, Liu et al. 2024).

Uses PEFT. The linear modules to change are found by the order in which the modules of the pretrained model run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vertune.methods._peft import LowRank, inject, library

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Dora(LowRank):
    """The fine-tuning method DoRA (weight-decomposed low-rank adaptation); its fields are options in the config."""

    learning_rate: ClassVar[float] = 1e-3

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the low-rank matrices and the magnitudes to the model, and make only them and the head trainable.

        Raise ConfigError if the linear modules to change can't be identified.
        """
        config = library().LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.target_modules(model), use_dora=True
        )
        inject(model, config)
