"""Sparse AdamW: updates only the rows of the word embeddings that a step used; independent of tasks and methods.

The table of word embeddings has tens to hundreds of thousands of rows, of which a training step uses some hundreds. AdamW over the
whole table reads and writes all weights, gradients and moments in every step. Instead, this module copies the used rows into a small
table that the forward pass reads; after the backward pass, it updates these rows and writes them back.

The result differs from AdamW over the whole table in two ways: a step neither decays the weights nor updates the moments of unused
rows, and the bias correction of a row counts only the steps that used it. If every step uses every row, the results are equal.
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
    """The word embeddings of a model that is being trained, with AdamW's moments for each row of the table."""

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
        """For each row of the full table, its index in the small table of used rows."""
        self.used = torch.empty(0, dtype=torch.long, device=table.device)
        self.rows: Tensor = table[:0]

    @contextmanager
    def gathered(self, ids: Tensor) -> Iterator[Tensor]:
        """Within the `with` block, make the model look up the rows `ids` in a small trainable table; yield that table."""
        self.used = torch.unique(ids.to(self.places.device))
        self.places[self.used] = torch.arange(len(self.used), device=self.places.device)
        self.rows = self.module.weight.detach()[self.used].requires_grad_()
        padding = self.module.padding_idx

        def look_up(input: Tensor) -> Tensor:
            found = functional.embedding(self.places[input], self.rows)
            # torch gives the padding row no gradient; here its index varies, so its states are detached instead
            return found if padding is None else torch.where((input == padding).unsqueeze(-1), found.detach(), found)

        self.module.forward = look_up  # type: ignore[method-assign]
        try:
            yield self.rows
        finally:
            del self.module.forward

    @torch.no_grad()
    def step(self) -> None:
        """Update the word embeddings that this step used with AdamW, and write them back into the full table."""
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
        """Return AdamW's moments and step counts for all rows of the table, for a checkpoint."""
        return {"first": self.first, "second": self.second, "counts": self.counts}

    def restore(self, state: Moments) -> None:
        """Load moments and step counts that `state` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
