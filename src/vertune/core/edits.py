"""The closed vocabulary of what a method may change in a model; knows nothing of methods or torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EditKind = Literal["low_rank", "scale", "bias", "bottleneck", "prefix_states", "prompt_rows", "layers", "head"]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change at one site of a model.

    Saving, merging, exporting and sharing read edits; they never ask which method made them.
    """

    kind: EditKind
    site: str
    """Name of the changed module inside the model; for `bias` and `layers`, of the module that holds the parameters."""
    depth: int
    """The lowest stage that the edit touches: 0 for embeddings, 1 for the first layer, layers + 1 for the head."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """The trained tensors, by their name within the edit."""
    options: dict[str, Any] = field(default_factory=dict)
    """Values needed to apply the edit again, such as a scaling factor or an activation's name."""
