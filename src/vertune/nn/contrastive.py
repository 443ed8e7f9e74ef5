"""Contrastive losses, which compare the rows of a batch with each other, and the head of a bi-encoder.

`info_nce` compares queries with documents, `supervised` compares rows by their labels. The code is independent of texts
and of how batches are drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Normalise(nn.Module):
    """A head without parameters that scales vectors to unit length, so that the inner product of two is their cosine similarity."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the vectors scaled to length 1, in the same shape."""
        return functional.normalize(states, dim=-1)


def info_nce(vectors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss (van den Oord et al. 2018) of each row, of shape (rows,); a row is a query or a document.

    `vectors` contains vectors of unit length, shape (rows, width). `targets` contains integers, shape (rows, 4): role
    (0 query, 1 document), id of the query's text, id of the document's text, label (1 relevant, 0 not). The loss of a
    query with label 1 is the cross-entropy of selecting its document among all documents of the batch. Documents with
    label 0 are hard negatives. A document that occurs twice counts once, and other relevant documents of the same query
    are left out. All other rows have loss 0. The losses are scaled so that the mean over all rows equals the mean over
    queries with label 1.
    """
    role, query, document, label = targets.unbind(1)
    asking = torch.nonzero((role == 0) & (label == 1)).flatten()
    candidates = _first(torch.nonzero(role == 1).flatten(), document)
    losses = vectors.sum(1) * 0  # keeps the autograd graph if there is no query with label 1
    if not len(asking):
        return losses
    scores = vectors[asking] @ vectors[candidates].T / temperature
    own = document[asking, None] == document[None, candidates]
    right = torch.nonzero((role == 1) & (label == 1)).flatten()
    same_query = (query[asking, None] == query[None, right]).float()
    same_document = (document[right, None] == document[None, candidates]).float()
    also_fits = same_query @ same_document > 0
    scores = scores.masked_fill(also_fits & ~own, -torch.inf)
    chosen = functional.cross_entropy(scores, own.int().argmax(1), reduction="none")
    return losses.index_add(0, asking, chosen * (len(targets) / len(asking)))


def supervised(vectors: Tensor, likeness: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) of each row, of shape (rows,).

    `vectors` contains vectors of unit length, shape (rows, width). `likeness` contains, for each pair of rows, how alike
    their labels are, from 0 to 1, shape (rows, rows). The loss of a row is the cross-entropy of selecting a similar row
    among all other rows, averaged over the other rows with the weights `likeness`. For one label per row, they are 1 for
    rows with the same label and else 0, as published. A row that is like no other row has loss 0.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    scores = (vectors @ vectors.T / temperature).masked_fill(itself, -torch.inf)
    surprise = -scores.log_softmax(1).masked_fill(itself, 0.0)
    weights = likeness.to(vectors.dtype).masked_fill(itself, 0.0)
    return (weights * surprise).sum(1) / weights.sum(1).clamp(min=torch.finfo(vectors.dtype).tiny)


def _first(rows: Tensor, ids: Tensor) -> Tensor:
    """Remove duplicates from the row indices `rows`: of several rows with the same id, only the first is kept.

    `ids` contains the id of every row of the batch.
    """
    equal = ids[rows, None] == ids[None, rows]
    earlier = torch.tril(equal, diagonal=-1).any(1)
    return rows[~earlier]
