"""Trains the head and low-rank matrices, whose ranks adapt to each weight's importance (AdaLoRA, Zhang et al. 2023).

Uses PEFT. The change of a weight matrix is the product of three matrices: a diagonal matrix of singular values between
two nearly orthogonal matrices. During training, the least important singular values are set to zero, until the mean
rank has shrunk from the option `rank` to the option `target`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.methods._peft import ADAPTER, LowRank, inject, injected, library

if TYPE_CHECKING:
    import torch

    from vertune.core.kinds import Task

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class Adalora(LowRank):
    """The fine-tuning method AdaLoRA; its fields are options in the config."""

    learning_rate: ClassVar[float] = 2e-3
    rank: int = Field(default=12, ge=1, le=1024)
    """Rank of the matrices of every weight at the start of training."""
    target: int = Field(default=8, ge=1, le=1024)
    """Mean rank of the matrices at the end of training; it must be smaller than `rank`."""
    orthogonal: float = Field(default=0.1, ge=0)
    """Weight, in the loss, of a penalty that keeps the matrices nearly orthogonal."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the low-rank matrices to the model, and make only them and the head trainable.

        `steps` is the number of training steps in which the ranks are reduced. Raise ConfigError if it is 0, or if the
        option `target` is not smaller than `rank`.
        """
        from peft.tuners.adalora.layer import RankAllocator

        if steps < 1:
            raise ConfigError(
                f"The method 'adalora' reduces the ranks of its matrices during training, but the training has {steps} "
                "steps. Expected at least 1 step. Increase training.epochs, or choose the method lora."
            )
        if self.target >= self.rank:
            raise ConfigError(
                f"The rank of adalora at the end of training (option 'target') is {self.target}, but must be smaller "
                f"than the rank at the start (option 'rank'), which is {self.rank}. Lower 'target', or choose the "
                "method lora."
            )
        config = library().AdaLoraConfig(
            init_r=self.rank, target_r=self.target, lora_alpha=self.alpha, lora_dropout=self.dropout,
            target_modules=self.target_modules(model), total_step=steps, tinit=steps // 10, tfinal=steps * 3 // 10,
        )  # fmt: skip
        inject(model, config)
        model.ranks = RankAllocator(model.backbone, config, ADAPTER)  # type: ignore[no-untyped-call]

    def after_backward(self, model: Any, step: int) -> None:
        """Reduce the ranks of the matrices to the mean rank that is scheduled for this training step.

        First, the importance of each singular value is updated from its gradient. Then the least important singular
        values are set to zero. After the last scheduled reduction, the same singular values are kept at zero.
        """
        ranks = model.ranks
        config = ranks.peft_config
        steps_left = config.total_step - config.tfinal - step
        if steps_left < 0:
            if config.rank_pattern:
                ranks.mask_using_rank_pattern(model.backbone, config.rank_pattern)
            return
        has_importances = bool(ranks.exp_avg_ipt)  # a run of one step has none yet
        _, pattern = ranks.update_and_allocate(model.backbone, step, force_mask=steps_left == 0 and has_importances)
        config.rank_pattern = pattern or config.rank_pattern
        if steps_left == 0:
            ranks.reset_ipt()

    def penalty(self, model: Any) -> torch.Tensor | None:
        """Return a term for the loss that keeps the low-rank matrices `a` and `b` nearly orthogonal.

        It is the mean Frobenius norm of `a @ a.T - I` and `b.T @ b - I` (I is the identity) over all changed weights,
        times the option `orthogonal`.
        """
        import torch

        terms = []
        for _, _, layer in injected(model, "lora_E"):
            a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
            identity = torch.eye(len(a), device=a.device)
            terms += [torch.linalg.matrix_norm(a @ a.T - identity), torch.linalg.matrix_norm(b.T @ b - identity)]
        return self.orthogonal * torch.stack(terms).mean()

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the low-rank matrices of each changed module, and the head.

        The singular values are multiplied into the matrix `a`, so that the saved change has the same form as that of
        LoRA.
        """
        from vertune.nn import edits

        low_rank = []
        for site, depth, layer in injected(model, "lora_E"):
            tensors = {"a": edits.cpu_copy(layer.lora_A[ADAPTER] * layer.lora_E[ADAPTER]), "b": edits.cpu_copy(layer.lora_B[ADAPTER])}
            scaling = float(layer.scaling[ADAPTER] / (layer.ranknum[ADAPTER] + 1e-5))  # as in PEFT's forward
            low_rank.append(Edit("low_rank", site, depth, tensors, {"scaling": scaling}))
        return [*low_rank, *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the low-rank matrices, and the head, of a prepared model to those of an earlier training.

        Each row of the saved matrix `a` is divided again into its norm, the singular value, and a row of length 1. A row of zeros, whose
        singular value had been set to zero, keeps its initial direction.
        """
        import torch

        from vertune.nn.edits import restore

        earlier = {edit.site: edit for edit in edits if edit.kind == "low_rank"}
        with torch.no_grad():
            for site, _, layer in injected(model, "lora_E"):
                edit, scaling = earlier[site], float(layer.scaling[ADAPTER] / (layer.ranknum[ADAPTER] + 1e-5))
                rows, a = edit.tensors["a"].to(layer.lora_A[ADAPTER]), layer.lora_A[ADAPTER]
                norms = rows.norm(dim=1, keepdim=True)
                a.copy_(torch.where(norms > 0, rows / norms.clamp(min=1e-12), a))
                layer.lora_E[ADAPTER].copy_(norms * (float(edit.options["scaling"]) / scaling))
                layer.lora_B[ADAPTER].copy_(edit.tensors["b"])
        restore(model, [edit for edit in edits if edit.kind != "low_rank"])

    def state(self, model: Any) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must contain, besides the weights, so that training can be resumed.

        This is the running averages of the importance of each singular value, and a mask of the values that are not set
        to zero.
        """
        import torch

        ranks = model.ranks
        averages = {f"{kind}:{name}": value.clone() for kind in _AVERAGES for name, value in getattr(ranks, kind).items()}
        pattern = ranks.peft_config.rank_pattern or {}
        return averages | {f"pattern:{name}": torch.tensor(used) for name, used in pattern.items()}

    def restore(self, model: Any, state: dict[str, torch.Tensor]) -> None:
        """Restore the running averages of importance and the mask of singular values that `state` returned."""
        ranks = model.ranks
        ranks.reset_ipt()
        pattern = {}
        for key, value in state.items():
            kind, _, name = key.partition(":")
            if kind == "pattern":
                pattern[name] = value.tolist()
            else:
                getattr(ranks, kind)[name] = value.clone()
        ranks.peft_config.rank_pattern = pattern or None
