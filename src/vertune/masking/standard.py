"""The masks that are used where a user names none: all that have a precedence, those of plugins included; knows none by its name."""

from __future__ import annotations

from functools import cache

from vertune.core import part
from vertune.core.mask import Mask
from vertune.masking.masker import Masker


def standard_names() -> list[str]:
    """Return the names of these masks, in the order of their precedence."""
    masks = {name: kind for name in part.names("masks") if issubclass(kind := part.find("masks", name), Mask)}
    ranks = {name: kind.precedence for name, kind in masks.items()}
    return sorted((name for name, rank in ranks.items() if rank is not None), key=lambda name: (ranks[name] or 0, name))


@cache
def standard_masker() -> Masker:
    """Return a masker with these masks and their default options."""
    return Masker([Mask.model_validate(name) for name in standard_names()])
