"""Sparse AdamW: updates only the rows of the word embeddings that a step used; independent of tasks and methods.

The table of word embeddings has tens to hundreds of thousands of rows, of which a training step uses some hundreds.
AdamW over the whole table would read and write all weights, gradients and moments in every step. Instead, this module
copies the used rows into a small table, which the forward pass reads. After the backward pass, it updates these rows
and writes them back.

The result differs from AdamW over the whole table in two ways: the weights and moments of unused rows do not change in
a step, and the bias correction of a row counts only the steps that used it. If every step uses every row, the results
are equal.
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
    """Trains the word embeddings of a model with AdamW, but updates only the rows that a step uses."""

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
        """While the `with` block runs, make the model read word embeddings from a small trainable table; yield that table.

        The small table contains the rows of the tokens `ids`.
        """
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
        """Update, by AdamW, the rows of the word embeddings that this step used, and write them back into the full table."""
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
        """Set AdamW's moments and step counts from a checkpoint; `state` is the result of the method `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
