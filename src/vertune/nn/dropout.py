"""Fast dropout for CPUs: one random 64-bit number decides which of four elements are dropped.

torch draws one random number per element, which takes at least a tenth of the time of a training step. Here each
element uses 16 random bits, so the dropout rate is exact to 2^-16 (about 0.000015). With the same seed of torch, the
random numbers are the same. Independent of model families.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 2**16
_NAME = "vertune"


class _Dropped(torch.autograd.Function):
    """Autograd function that multiplies its input by a random mask: 0 with probability p, else 1 / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, p: float) -> Tensor:
        count = states.numel()
        numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.int16)[:count].view(states.shape) >= round(p * _LEVELS) - _LEVELS // 2
        mask = kept.to(states.dtype).mul_(1 / (1 - p))
        ctx.save_for_backward(mask)
        return states * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


class Dropout(nn.Dropout):
    """A replacement for nn.Dropout that is faster in training on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Zero each element with probability p and scale up the others; outside training, return the input unchanged."""
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropped.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> tuple[Tensor, None]:
    """Compute scaled dot-product attention, with the fast dropout if a model is trained on a CPU.

    Query, key and value have shape (rows, heads, tokens, width). Return the result, of shape (rows, tokens, heads,
    width), and None, because transformers expects attention weights as the second value. On a CPU, torch has no fused
    kernel for attention with dropout. All other cases (no dropout, other devices, grouped keys, causal masks, position
    biases) are passed to transformers' own function.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    dropout = options.get("dropout") or 0.0
    special = any(options.get(name) is not None for name in ("position_bias", "cache", "softcap")) or bool(options.get("is_causal"))
    plain = query.device.type == "cpu" and not special and not getattr(module, "is_causal", False) and query.shape[1] == key.shape[1]
    if not 0 < dropout < 1 or not plain:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **options)
        return found
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = (query * scaling) @ key.transpose(-1, -2)
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min)
    if mask is not None:
        scores = scores.add_(mask)
    shares: Tensor = _Dropped.apply(scores.softmax(-1, dtype=torch.float32).to(value.dtype), dropout)  # type: ignore[no-untyped-call]
    return (shares @ value).transpose(1, 2).contiguous(), None


def use_fast_dropout(model: nn.Module) -> None:
    """Make all parts of a model use the fast dropout.

    Every nn.Dropout is replaced, and transformers models compute attention with the function `attention` instead of
    torch's.
    """
    _attend(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                quick = Dropout(child.p)
                quick.training = child.training
                setattr(module, name, quick)


def _attend(model: nn.Module) -> None:
    """Make each transformers model inside `model` use the function `attention` if it uses torch's attention."""
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    for module in model.modules():
        if (
            isinstance(module, PreTrainedModel)
            and getattr(module.config, "_attn_implementation", "") == "sdpa"
            and module._can_set_attn_implementation()
        ):
            module.set_attn_implementation(_NAME)
