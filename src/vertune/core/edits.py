"""Describes each change that fine-tuning made to a pretrained model as an `Edit` of one of a few kinds; independent of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EditKind = Literal["low_rank", "scale", "bias", "bottleneck", "prefix_states", "prompt_rows", "layers", "head"]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change that a fine-tuning method made to one module (the site) of a model.

    The code that saves, merges or exports fine-tuned models reads only these objects, so it works for every fine-tuning method.
    """

    kind: EditKind
    site: str
    """Name of the module that is changed, as in `named_modules`; for `bias` and `layers`, the module whose parameters are replaced."""
    depth: int
    """The lowest stage of the model that the edit changes: 0 for embeddings, 1 for the first layer, layers + 1 for the head."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """The trained tensors by name; the names depend on `kind`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Other values that are needed to apply the change to a model, such as a scaling factor or the name of an activation function."""
