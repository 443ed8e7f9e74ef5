"""A low-rank change whose rank goes where it matters, and the head, move (AdaLoRA, Zhang et al. 2023).

Trained by PEFT; the change is kept as singular values between two nearly orthogonal factors, and values of little
importance are set to zero while the budget shrinks from `rank` to `target`.
"""

from __future__ import annotations

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
    """Rank at the start and at the end, and how hard factors are kept orthogonal."""

    learning_rate: ClassVar[float] = 2e-3
    rank: int = Field(default=12, ge=1, le=1024)
    """Rank of the change of each weight at the start."""
    target: int = Field(default=8, ge=1, le=1024)
    """Mean rank at the end."""
    orthogonal: float = Field(default=0.1, ge=0)
    """Weight of the penalty on factors that are not orthogonal."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Put the factors beside the weights; ConfigError without a number of steps, which the budget is planned by."""
        from peft.tuners.adalora.layer import RankAllocator

        if steps < 1:
            raise ConfigError("method 'adalora' plans its ranks by the number of steps, and got none. Set training.epochs, or choose lora.")
        if self.target >= self.rank:
            raise ConfigError(
                f"target is {self.target}, but ranks fall from rank, which is {self.rank}. Choose a target below it, or lora."
            )
        config = library().AdaLoraConfig(
            init_r=self.rank, target_r=self.target, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=self.where(model),
            total_step=steps, tinit=steps // 10, tfinal=steps * 3 // 10,
        )  # fmt: skip
        inject(model, config)
        model.ranks = RankAllocator(model.backbone, config, ADAPTER)  # type: ignore[no-untyped-call]

    def after_backward(self, model: Any, step: int) -> None:
        """Weigh each singular value by its gradient, and set to zero what the budget of this step leaves out."""
        ranks = model.ranks
        config = ranks.peft_config
        left = config.total_step - config.tfinal - step
        if left < 0:
            if config.rank_pattern:
                ranks.mask_using_rank_pattern(model.backbone, config.rank_pattern)
            return
        weighed = bool(ranks.exp_avg_ipt)  # a run of one step has nothing to choose by
        _, pattern = ranks.update_and_allocate(model.backbone, step, force_mask=left == 0 and weighed)
        config.rank_pattern = pattern or config.rank_pattern
        if left == 0:
            ranks.reset_ipt()

    def penalty(self, model: Any) -> torch.Tensor | None:
        """How far the factors are from orthogonal: the mean squared distance of their products from the identity."""
        import torch

        terms = []
        for _, _, layer in injected(model, "lora_E"):
            a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
            identity = torch.eye(len(a), device=a.device)
            terms += [torch.linalg.matrix_norm(a @ a.T - identity), torch.linalg.matrix_norm(b.T @ b - identity)]
        return self.orthogonal * torch.stack(terms).mean()

    def edits(self, model: Any) -> list[Edit]:
        """The factors at each site with the singular values in `a`, and the head."""
        from vertune.nn import edits

        found = []
        for site, depth, layer in injected(model, "lora_E"):
            tensors = {"a": edits.cpu_copy(layer.lora_A[ADAPTER] * layer.lora_E[ADAPTER]), "b": edits.cpu_copy(layer.lora_B[ADAPTER])}
            scaling = float(layer.scaling[ADAPTER] / (layer.ranknum[ADAPTER] + 1e-5))  # as PEFT's forward has it
            found.append(Edit("low_rank", site, depth, tensors, {"scaling": scaling}))
        return [*found, *edits.head_edits(model)]

    def state(self, model: Any) -> dict[str, torch.Tensor]:
        """The running averages of importance, and which singular values are in use."""
        import torch

        ranks = model.ranks
        averages = {f"{kind}:{name}": value.clone() for kind in _AVERAGES for name, value in getattr(ranks, kind).items()}
        pattern = ranks.peft_config.rank_pattern or {}
        return averages | {f"pattern:{name}": torch.tensor(used) for name, used in pattern.items()}

    def restore(self, model: Any, state: dict[str, torch.Tensor]) -> None:
        """Take the averages and the pattern back."""
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
