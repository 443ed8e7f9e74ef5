"""Edits: the fixed set of changes that a fine-tuning method can make to a model; independent of methods and of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EditKind = Literal["low_rank", "scale", "bias", "bottleneck", "prefix_states", "prompt_rows", "layers", "head"]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change at one site (a module) of a model.

    The code that saves, merges, exports or shares models reads edits and does not depend on the method that made them.
    """

    kind: EditKind
    site: str
    """Name of the changed module inside the model; for `bias` and `layers`, of the module that contains the parameters."""
    depth: int
    """The lowest stage that the edit changes: 0 for embeddings, 1 for the first layer, layers + 1 for the head."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """The trained tensors, by their names within the edit."""
    options: dict[str, Any] = field(default_factory=dict)
    """Values needed to apply the edit again, such as a scaling factor or an activation's name."""
