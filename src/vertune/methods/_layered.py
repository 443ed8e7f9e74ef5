"""Base class of the fine-tuning methods that have the option `layers`: to change all layers or only the last ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertune.core.kinds import Method

Layers = Literal["all"] | Annotated[int, Field(ge=1)]


class Layered(Method):
    """Base class of fine-tuning methods with the option `layers`, which selects the layers to change."""

    layers: Layers = "all"
    """Layers to change: `all`, or a number of layers, counted from the last. The outputs of the layers below are computed only once."""

    def depth(self, layers: int) -> int:
        """Return the number of the lowest changed layer, counted from 1; 0 if all layers are changed.

        The argument `layers` is the number of layers of the model. The layers below the lowest changed layer always
        have the same outputs, so they are computed only once.
        """
        return 0 if self.layers == "all" else layers - self.layers + 1
