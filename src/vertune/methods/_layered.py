"""What the methods share that change all layers or those next to the head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertune.core.kinds import Method

Layers = Literal["all"] | Annotated[int, Field(ge=1)]


class Layered(Method):
    """In which layers a method works."""

    layers: Layers = "all"
    """All layers, or this many, counted from the head; the layers below are computed once."""

    def depth(self, layers: int) -> int:
        """The lowest of the layers that change; 0 where all do."""
        return 0 if self.layers == "all" else layers - self.layers + 1
