"""The closed vocabulary of what a method may change in a model; knows nothing of methods or torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EditKind = Literal["low_rank", "scale", "bias", "bottleneck", "prefix_states", "prompt_rows", "layers", "head"]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change at one site of a model.

    Saving, merging, export and the depth of the shared trunk read edits and never a method's name.
    """

    kind: EditKind
    site: str
    """Name of the module (or, for `bias` and `layers`, of the parameters' common owner) inside the model."""
    depth: int
    """The lowest stage that the edit touches: 0 for embeddings, 1 for the first layer, layers + 1 for the head."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """The trained tensors by their local name."""
    options: dict[str, Any] = field(default_factory=dict)
    """Plain values that rebuild the change: scaling, activation, which side is multiplied."""
