"""Sparse AdamW: updates only the rows of the word embeddings that a step used; independent of tasks and methods.

A vocabulary has tens to hundreds of thousands of rows, of which a step uses some hundred. AdamW over the whole table reads and
writes its weights, gradient and both moments in every step. Here the used rows are gathered into a small table that the forward
pass reads, updated, and written back.

The difference from AdamW over the whole table: moments and weight decay of an unused row are not updated, and the bias
correction of a row counts only the steps that used it. If every step uses every row, the results are equal.
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
    """The word embeddings of a model in training, with AdamW's moments for each row."""

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
        """Index of each row of the table among the used rows."""
        self.used = torch.empty(0, dtype=torch.long, device=table.device)
        self.rows: Tensor = table[:0]

    @contextmanager
    def gathered(self, ids: Tensor) -> Iterator[Tensor]:
        """Let the model read the rows `ids` from a small table with gradients while the block runs; yield that table."""
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
        """Update the gathered rows with AdamW and write them back into the table."""
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
        """Return the moments and step counts of all rows, for a checkpoint."""
        return {"first": self.first, "second": self.second, "counts": self.counts}

    def restore(self, state: Moments) -> None:
        """Load a state returned by `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
