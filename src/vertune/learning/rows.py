"""Updates of only those rows of the word embeddings that a step used; knows nothing of tasks or methods.

A vocabulary has tens to hundreds of thousands of rows, a step uses some hundred of them. AdamW over the whole table
touches its weights, gradient and both moments in every step. Here the used rows are gathered into a small table that the
forward pass reads, updated, and put back.

It differs from AdamW over the whole table where a row is not used: its moments and its decay stand still instead of going
on, and its bias correction counts the steps that used it. With every row used in every step the two are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

Moments = dict[str, Tensor]
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class EmbeddingRows:
    """The word embeddings of a model in training, with AdamW's moments a row."""

    def __init__(self, module: nn.Embedding, peak: float, weight_decay: float) -> None:
        self.module = module
        self.peak = peak
        self.weight_decay = weight_decay
        self.rate = 0.0
        table = module.weight.detach()
        self.first = torch.zeros_like(table)
        self.second = torch.zeros_like(table)
        self.counts = torch.zeros(len(table), device=table.device)
        self.places = torch.zeros(len(table), dtype=torch.long, device=table.device)
        """Where each row of the table lies among the used ones."""
        self.used = torch.empty(0, dtype=torch.long, device=table.device)
        self.rows: Tensor = table[:0]

    @contextmanager
    def gathered(self, ids: Tensor) -> Iterator[Tensor]:
        """Let the model read these rows from a small table that takes gradients, and give that table."""
        self.used = torch.unique(ids.to(self.places.device))
        self.places[self.used] = torch.arange(len(self.used), device=self.places.device)
        self.rows = self.module.weight.detach()[self.used].requires_grad_()
        padding = self.module.padding_idx

        def look_up(input: Tensor) -> Tensor:
            found = functional.embedding(self.places[input], self.rows)
            # torch gives the padding row no gradient; its place among the used rows is not fixed, so the states are cut off
            return found if padding is None else torch.where((input == padding).unsqueeze(-1), found.detach(), found)

        self.module.forward = look_up  # type: ignore[method-assign]
        try:
            yield self.rows
        finally:
            del self.module.forward

    @torch.no_grad()
    def step(self) -> None:
        """AdamW on the gathered rows, put back into the table."""
        gradient = self.rows.grad
        if gradient is None:
            return
        used = self.used
        self.counts[used] += 1
        first = self.first[used].lerp_(gradient, 1 - _BETAS[0])
        second = self.second[used].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        counts = self.counts[used].unsqueeze(-1)
        mean = first / (1 - _BETAS[0] ** counts)
        spread = (second / (1 - _BETAS[1] ** counts)).sqrt_().add_(_EPSILON)
        rows = self.rows.detach() * (1 - self.rate * self.weight_decay)
        rows.addcdiv_(mean, spread, value=-self.rate)
        self.first[used], self.second[used] = first, second
        self.module.weight.data[used] = rows

    def state(self) -> Moments:
        """What a checkpoint keeps."""
        return {"first": self.first, "second": self.second, "counts": self.counts}

    def restore(self, state: Moments) -> None:
        """Take back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
