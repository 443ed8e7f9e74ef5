"""The torch network of the table encoder: vectors of fields, one linear map, residual layers; knows nothing of records."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TableConfig:
    """What other modules ask of a backbone's config."""

    hidden_size: int
    num_hidden_layers: int


@dataclass(frozen=True, slots=True)
class TableOutput:
    """What the backbone gives."""

    last_hidden_state: Tensor
    """Shape (rows, 1, width)."""


@dataclass(frozen=True, slots=True)
class TableSizes:
    """Sizes of the inputs."""

    numbers: int
    bins: int
    """Entries of each number in a collated batch."""
    categories: int
    values: int
    """Rows of the embedding table of all categories."""


class FieldVectors(nn.Module):
    """A vector for each field: a linear map of each number's bins, and an embedding of each category's value."""

    def __init__(self, sizes: TableSizes, width: int) -> None:
        super().__init__()
        if sizes.numbers:
            self.weight = nn.Parameter(torch.empty(sizes.numbers, sizes.bins, width))
            self.bias = nn.Parameter(torch.empty(sizes.numbers, width))
        if sizes.categories:
            self.table = nn.Embedding(sizes.values, width)
        self.sizes = sizes

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Shape (rows, fields, width)."""
        vectors = []
        if self.sizes.numbers:
            mapped = (numbers.transpose(0, 1) @ self.weight).transpose(0, 1) + self.bias
            vectors.append(torch.relu(mapped))
        if self.sizes.categories:
            vectors.append(self.table(categories))
        return torch.cat(vectors, dim=1)


class Layer(nn.Module):
    """A residual layer: norm, a wider map, its way back."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Shape (rows, 1, width), as it came."""
        changed: Tensor = self.down(self.dropout(torch.relu(self.up(self.norm(states)))))
        return states + changed


class TableBackbone(nn.Module):
    """From the fields of a row to one state."""

    def __init__(self, sizes: TableSizes, config: TableConfig, embedding: int, dropout: float) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.fields = FieldVectors(sizes, embedding)
        self.input = nn.Linear((sizes.numbers + sizes.categories) * embedding, width)
        self.layers = nn.ModuleList([Layer(width, dropout) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(width)

    def get_input_embeddings(self) -> nn.Module:
        """What turns the inputs into vectors."""
        return self.fields

    def forward(self, numbers: Tensor, categories: Tensor) -> TableOutput:
        """The state of each row."""
        states = self.input(self.fields(numbers, categories).flatten(1)).unsqueeze(1)
        for layer in self.layers:
            states = layer(states)
        return TableOutput(torch.relu(self.norm(states)))
