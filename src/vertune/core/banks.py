"""Banks: tensors in which the changes of several verticals to one shared backbone are stacked; independent of torch.

A vertical is a model trained for one task. There is one bank for each site (a module of the backbone) and kind of change, named
`site:kind`. The first dimension of a bank counts *slots*: each slot contains the change of one vertical, and slot 0 changes
nothing. A batch carries one slot number per sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BankRows = dict[str, "NDArray[np.float32]"]
"""The array that one vertical writes into its slot of each bank, by the bank's name."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one slot of each bank, by the bank's name."""
SLOTS = "slots"
"""Name of the graph input with the slot number of each sequence."""
FRONT = "front"
"""Site name of the rows that are inserted in front of the token embeddings."""
POSITIONS = ("rows", "open")
"""Kinds of bank that add positions to a sequence. `rows` contains the states of these positions; `open` contains, for each layer
and position, 0 if it is hidden, 1 if it is visible, or 2 if it is visible and its state is replaced by the row."""


def states(depth: int) -> str:
    """Return the tensor name, in a graph, of the hidden states at this depth, which are the input of the layer above it."""
    return f"states_{depth}"


def neutral(name: str) -> float:
    """Return the value with which a bank changes nothing: 1 for factors, 0 for added values."""
    return 1.0 if kind(name) in ("gain", "input") else 0.0


def kind(name: str) -> str:
    """Return the kind of change in a bank's name, which is `site:kind`."""
    return name.rpartition(":")[2]


def site(name: str) -> str:
    """Return the site in a bank's name, which is `site:kind`."""
    return name.rpartition(":")[0]


def merge_shapes(verticals: Iterable[BankRows]) -> dict[str, tuple[int, ...]]:
    """Return the smallest slot shapes into which the arrays of each of these verticals fit."""
    shapes: dict[str, tuple[int, ...]] = {}
    for rows in verticals:
        for name, array in rows.items():
            shapes[name] = tuple(map(max, shapes.get(name, array.shape), array.shape))
    front = max((shape[0] for name, shape in shapes.items() if kind(name) in POSITIONS), default=0)
    return {name: (front, *shape[1:]) if kind(name) in POSITIONS else shape for name, shape in sorted(shapes.items())}


def fits_into(rows: BankRows, shapes: Shapes) -> bool:
    """Return whether each of these arrays has a bank with large enough slots."""
    return all(
        name in shapes and all(size <= room for size, room in zip(array.shape, shapes[name], strict=True)) for name, array in rows.items()
    )


def write(slot: NDArray[np.float32], name: str, array: NDArray[np.float32] | None) -> None:
    """Write an array into one slot, which may be larger; None fills the slot with values that change nothing.

    Added positions go to the end of the slot, next to the text, because some bases attend by distance.
    """
    slot[...] = neutral(name)
    if array is not None:
        front = len(slot) - len(array) if kind(name) in POSITIONS else 0
        slot[(slice(front, front + len(array)), *map(slice, array.shape[1:]))] = array
