"""Banks: the changes that many verticals make to one backbone, stacked into tensors; knows nothing of torch or of their use.

There is one bank for each site and kind of change, named `site:kind`. Its first dimension counts *slots*: each slot holds the
change of one vertical, and slot 0 changes nothing. Each sequence of a batch gives the number of the slot that applies to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BankRows = dict[str, "NDArray[np.float32]"]
"""The content of one vertical's slot in each bank."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one slot of each bank."""
SLOTS = "slots"
"""Name of the graph input that holds the slot number of each sequence."""
FRONT = "front"
"""The site of the rows that are put in front of the embedded tokens."""
POSITIONS = ("rows", "open")
"""Kinds of bank that add positions to a sequence: `rows` are their states; `open` says for each layer whether a position is hidden
(0), visible (1), or visible with its state replaced by the row (2)."""


def states(depth: int) -> str:
    """Name, in a graph, of the states that enter the layer above this depth."""
    return f"states_{depth}"


def neutral(name: str) -> float:
    """The value that makes a bank change nothing: 1 for factors, 0 for anything that is added."""
    return 1.0 if kind(name) in ("gain", "input") else 0.0


def kind(name: str) -> str:
    """The kind of change in a bank's name."""
    return name.rpartition(":")[2]


def site(name: str) -> str:
    """The site in a bank's name."""
    return name.rpartition(":")[0]


def merge_shapes(verticals: Iterable[BankRows]) -> dict[str, tuple[int, ...]]:
    """The smallest slot shapes that hold the rows of every one of these verticals."""
    shapes: dict[str, tuple[int, ...]] = {}
    for rows in verticals:
        for name, array in rows.items():
            shapes[name] = tuple(map(max, shapes.get(name, array.shape), array.shape))
    front = max((shape[0] for name, shape in shapes.items() if kind(name) in POSITIONS), default=0)
    return {name: (front, *shape[1:]) if kind(name) in POSITIONS else shape for name, shape in sorted(shapes.items())}


def fits_into(rows: BankRows, shapes: Shapes) -> bool:
    """Whether each of these rows has a bank with slots that are large enough."""
    return all(
        name in shapes and all(size <= room for size, room in zip(array.shape, shapes[name], strict=True)) for name, array in rows.items()
    )


def write(slot: NDArray[np.float32], name: str, array: NDArray[np.float32] | None) -> None:
    """Write an array into one slot, which may be larger; None makes the slot neutral.

    Added positions go to the end of the slot, next to the text, because some bases attend by distance.
    """
    slot[...] = neutral(name)
    if array is not None:
        front = len(slot) - len(array) if kind(name) in POSITIONS else 0
        slot[(slice(front, front + len(array)), *map(slice, array.shape[1:]))] = array
