"""Banks: arrays with the changes that several fine-tuned models make to one pretrained model, which they share; independent of torch.

The pretrained model is called the backbone, a module of the backbone a site, and a fine-tuned model a vertical. There is one bank for
each site and kind of change, and its name is `site:kind`. A bank is divided along its first dimension into slots. Each slot contains
the change of one fine-tuned model, and slot 0 changes nothing. A batch contains a slot number for each sequence, so that sequences of
different fine-tuned models can be computed together.
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
    """Return the name of the ONNX tensor that contains the hidden states after the first `depth` layers of the pretrained model."""
    return f"states_{depth}"


def neutral(name: str) -> float:
    """Return the value that changes nothing if it is stored in a bank (array of changes to a shared model); `name` is the bank's name.

    It is 1 for a bank by whose values the model multiplies, and 0 for a bank whose values the model adds.
    """
    return 1.0 if kind(name) in ("gain", "input") else 0.0


def kind(name: str) -> str:
    """Return the kind of change, such as `shift`, from the name `site:kind` of a bank, which is an array of changes to a model."""
    return name.rpartition(":")[2]


def site(name: str) -> str:
    """Return the site, which is the changed module, from the name `site:kind` of a bank, which is an array of changes to a model."""
    return name.rpartition(":")[0]


def merge_shapes(verticals: Iterable[BankRows]) -> dict[str, tuple[int, ...]]:
    """Return how large the slots of each bank (array of changes to a shared model) must be for all these fine-tuned models.

    A slot is the part of a bank for one fine-tuned model. `verticals` contains the arrays of each fine-tuned model, by bank name. The
    result is the shape of one slot by bank name: in each dimension, the largest size of any array. Banks that add positions to
    sequences all get the largest number of added positions.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for rows in verticals:
        for name, array in rows.items():
            shapes[name] = tuple(map(max, shapes.get(name, array.shape), array.shape))
    front = max((shape[0] for name, shape in shapes.items() if kind(name) in POSITIONS), default=0)
    return {name: (front, *shape[1:]) if kind(name) in POSITIONS else shape for name, shape in sorted(shapes.items())}


def fits_into(rows: BankRows, shapes: Shapes) -> bool:
    """Return whether the arrays of a fine-tuned model fit into the banks (arrays of changes to a shared model) with the same names.

    `shapes` contains the shape of one slot (the part for one fine-tuned model) by bank name. An array fits if its bank exists and the
    slot is large enough in every dimension.
    """
    return all(
        name in shapes and all(size <= room for size, room in zip(array.shape, shapes[name], strict=True)) for name, array in rows.items()
    )


def write(slot: NDArray[np.float32], name: str, array: NDArray[np.float32] | None) -> None:
    """Write the array of one fine-tuned model into its part (slot) of the bank `name`; a bank contains the changes of several models.

    The rest of the slot, or the whole slot if `array` is None, is filled with values that change nothing. Positions that are inserted
    before a text are written to the end of the slot, directly before the text, because in some models attention depends on distance.
    """
    slot[...] = neutral(name)
    if array is not None:
        front = len(slot) - len(array) if kind(name) in POSITIONS else 0
        slot[(slice(front, front + len(array)), *map(slice, array.shape[1:]))] = array
