"""Shared by the methods that change either all layers or only the last ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertune.core.kinds import Method

Layers = Literal["all"] | Annotated[int, Field(ge=1)]


class Layered(Method):
    """Option that selects the layers to change."""

    layers: Layers = "all"
    """All layers, or only this many, counted from the last; the outputs of the layers below are computed once."""

    def depth(self, layers: int) -> int:
        """The lowest changed layer; 0 if all layers change."""
        return 0 if self.layers == "all" else layers - self.layers + 1
