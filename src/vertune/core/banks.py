"""What many verticals change in one backbone, side by side: rows of banks; knows nothing of torch or of how they are applied.

A bank is a tensor whose first dimension counts verticals, one for each site and kind of change, named `site:kind`. A sequence
names its vertical by a number, its *slot*; slot 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BankRows = dict[str, "NDArray[np.float32]"]
"""What one vertical puts into each bank."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one slot of each bank."""
SLOTS = "slots"
"""The input of a graph that names the slot of each sequence."""
FRONT = "front"
"""The site of the rows that stand before the embedded tokens."""
POSITIONS = ("rows", "open")
"""Kinds of bank that add positions to a sequence: their states, and at each layer 0 for hidden, 1 for seen, 2 for replaced by them."""


def states(depth: int) -> str:
    """What the graph calls the states that enter the layer above this depth."""
    return f"states_{depth}"


def neutral(name: str) -> float:
    """What a bank holds for a sequence that it does not change."""
    return 1.0 if kind(name) in ("gain", "input") else 0.0


def kind(name: str) -> str:
    """The kind of a bank, by its name."""
    return name.rpartition(":")[2]


def site(name: str) -> str:
    """The site of a bank, by its name."""
    return name.rpartition(":")[0]


def merge_shapes(several: Iterable[BankRows]) -> dict[str, tuple[int, ...]]:
    """The least shapes that hold the rows of all of these verticals."""
    found: dict[str, tuple[int, ...]] = {}
    for given in several:
        for name, array in given.items():
            before = found.get(name, array.shape)
            found[name] = tuple(map(max, before, array.shape))
    front = max((shape[0] for name, shape in found.items() if kind(name) in POSITIONS), default=0)
    return {name: (front, *shape[1:]) if kind(name) in POSITIONS else shape for name, shape in sorted(found.items())}


def fits_into(given: BankRows, shapes: Shapes) -> bool:
    """Whether there is a bank, large enough, for each of these rows."""
    return all(
        name in shapes and all(own <= there for own, there in zip(array.shape, shapes[name], strict=True)) for name, array in given.items()
    )


def write(slot: NDArray[np.float32], name: str, array: NDArray[np.float32] | None) -> None:
    """Fill one slot of a bank, which may be larger than the array; None makes it neutral.

    Added positions are kept at its end, next to the text: some bases attend by distance.
    """
    slot[...] = neutral(name)
    if array is not None:
        front = len(slot) - len(array) if kind(name) in POSITIONS else 0
        slot[(slice(front, front + len(array)), *map(slice, array.shape[1:]))] = array
