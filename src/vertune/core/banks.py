"""Banks: stacked tensors of the changes that several fine-tuned models make to one shared backbone; independent of torch.

A fine-tuned model is called a vertical, the pretrained model that several share a backbone, and a module of it a site. There is
one bank for each site and kind of change, named `site:kind`. The first dimension of a bank is the *slot*: each slot contains the
change of one vertical, and slot 0 changes nothing. A batch contains one slot number per sequence, so that sequences of different
verticals can be computed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BankRows = dict[str, "NDArray[np.float32]"]
"""The arrays of one vertical (fine-tuned model), by bank name `site:kind`: each is written into the vertical's slot of that bank."""
Shapes = Mapping[str, tuple[int, ...]]
"""For each bank name `site:kind`, the shape of one slot: the bank's shape without its first dimension."""
SLOTS = "slots"
"""Name of the ONNX input that contains, for each sequence, the number of its model's slot in the banks."""
FRONT = "front"
"""Site name, in bank names `site:kind`, of the trained vectors that are inserted in front of the token embeddings."""
POSITIONS = ("rows", "open")
"""Kinds of bank that add positions to a sequence. `rows` contains the hidden states of these positions. `open` contains one number
for each layer and added position: 0 if the layer can't attend to it, 1 if it can, 2 if it can and `rows` replaces its state."""


def states(depth: int) -> str:
    """Return the name of the ONNX tensor with the hidden states after the first `depth` layers, which the next layer reads."""
    return f"states_{depth}"


def neutral(name: str) -> float:
    """Return the value that has no effect in the bank `name`: 1 if the model multiplies by the bank's values, 0 if it adds them."""
    return 1.0 if kind(name) in ("gain", "input") else 0.0


def kind(name: str) -> str:
    """Return the part after the last colon of a bank's name `site:kind`: the kind of change."""
    return name.rpartition(":")[2]


def site(name: str) -> str:
    """Return the part before the last colon of a bank's name `site:kind`: the site, which is a module of the backbone."""
    return name.rpartition(":")[0]


def merge_shapes(verticals: Iterable[BankRows]) -> dict[str, tuple[int, ...]]:
    """Return, for each bank name, the smallest slot shape into which the arrays of all these fine-tuned models for this bank fit."""
    shapes: dict[str, tuple[int, ...]] = {}
    for rows in verticals:
        for name, array in rows.items():
            shapes[name] = tuple(map(max, shapes.get(name, array.shape), array.shape))
    front = max((shape[0] for name, shape in shapes.items() if kind(name) in POSITIONS), default=0)
    return {name: (front, *shape[1:]) if kind(name) in POSITIONS else shape for name, shape in sorted(shapes.items())}


def fits_into(rows: BankRows, shapes: Shapes) -> bool:
    """Return whether each array fits into the bank with its name: the bank exists, and its slots are large enough in every dimension."""
    return all(
        name in shapes and all(size <= room for size, room in zip(array.shape, shapes[name], strict=True)) for name, array in rows.items()
    )


def write(slot: NDArray[np.float32], name: str, array: NDArray[np.float32] | None) -> None:
    """Write an array into one slot of the bank `name` and fill the rest of the slot with values that have no effect.

    If `array` is None, the whole slot is filled with such values. If the bank contains positions that are inserted before the text,
    they are written to the end of the slot, so that they are next to the text: in some models, attention depends on distance.
    """
    slot[...] = neutral(name)
    if array is not None:
        front = len(slot) - len(array) if kind(name) in POSITIONS else 0
        slot[(slice(front, front + len(array)), *map(slice, array.shape[1:]))] = array
