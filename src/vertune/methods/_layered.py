"""The option `layers` of the fine-tuning methods that can change all layers or only the last ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertune.core.kinds import Method

Layers = Literal["all"] | Annotated[int, Field(ge=1)]


class Layered(Method):
    """Base class of methods with an option that selects the layers to change."""

    layers: Layers = "all"
    """Layers to change: `all`, or a number of layers, counted from the last. The outputs of the layers below are computed only once."""

    def depth(self, layers: int) -> int:
        """Return the number (from 1) of the lowest changed layer in a model with `layers` layers; 0 if all layers are changed."""
        return 0 if self.layers == "all" else layers - self.layers + 1
