"""The torch network of the encoder `table`, for numbers and categories: field embeddings, a linear layer and residual layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TableConfig:
    """The width and the number of layers of the network, named as in configs of transformers, because other modules read these names."""

    hidden_size: int
    num_hidden_layers: int


@dataclass(frozen=True, slots=True)
class TableOutput:
    """The output of TableBackbone; its attribute has the same name as in the outputs of transformers."""

    last_hidden_state: Tensor
    """The vector of each row, shape (rows, 1, width)."""


@dataclass(frozen=True, slots=True)
class TableSizes:
    """The number and the sizes of the input fields."""

    numbers: int
    """Number of numeric fields."""
    bins: int
    """Number of input values per numeric field: one per quantile bin and one for a missing number."""
    categories: int
    """Number of categorical fields."""
    values: int
    """Rows of the embedding table that all categorical fields share."""


class FieldVectors(nn.Module):
    """Map each field of a row to a vector: with a linear layer and ReLU per numeric field, an embedding per categorical value."""

    def __init__(self, sizes: TableSizes, width: int) -> None:
        super().__init__()
        if sizes.numbers:
            self.weight = nn.Parameter(torch.empty(sizes.numbers, sizes.bins, width))
            self.bias = nn.Parameter(torch.empty(sizes.numbers, width))
        if sizes.categories:
            self.table = nn.Embedding(sizes.values, width)
        self.sizes = sizes

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return the vectors of all fields, shape (rows, fields, width)."""
        vectors = []
        if self.sizes.numbers:
            mapped = (numbers.transpose(0, 1) @ self.weight).transpose(0, 1) + self.bias
            vectors.append(torch.relu(mapped))
        if self.sizes.categories:
            vectors.append(self.table(categories))
        return torch.cat(vectors, dim=1)


class Layer(nn.Module):
    """A residual layer: layer norm, a linear layer to twice the width, ReLU, dropout, and a linear layer back to the width."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return the output vectors of the layer, shape (rows, 1, width) like the input."""
        changed: Tensor = self.down(self.dropout(torch.relu(self.up(self.norm(states)))))
        return states + changed


class TableBackbone(nn.Module):
    """The whole network, which maps the fields of a row to one vector."""

    def __init__(self, sizes: TableSizes, config: TableConfig, embedding: int, dropout: float) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.fields = FieldVectors(sizes, embedding)
        self.input = nn.Linear((sizes.numbers + sizes.categories) * embedding, width)
        self.layers = nn.ModuleList([Layer(width, dropout) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(width)

    def get_input_embeddings(self) -> nn.Module:
        """Return the module that maps the inputs to vectors; the method has the same name in transformers."""
        return self.fields

    def forward(self, numbers: Tensor, categories: Tensor) -> TableOutput:
        """Return one vector per row, shape (rows, 1, width).

        `numbers` has the shape (rows, numeric fields, bins), and `categories` the shape (rows, categorical fields).
        """
        states = self.input(self.fields(numbers, categories).flatten(1)).unsqueeze(1)
        for layer in self.layers:
            states = layer(states)
        return TableOutput(torch.relu(self.norm(states)))
