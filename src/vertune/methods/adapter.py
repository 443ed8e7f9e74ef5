"""Small bottlenecks inside the layers, and the head, move (Houlsby et al. 2019; Pfeiffer et al. 2021).

Each begins as the identity, so that training starts from what the base answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Adapter(Layered):
    """Where bottlenecks stand, and how wide they are."""

    learning_rate: ClassVar[float] = 1e-3
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """houlsby: after attention and after the feed-forward network of each layer; pfeiffer: after the latter alone."""
    size: int = Field(default=32, ge=1, le=4096)
    """Width of the bottleneck."""
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    """What stands between the way down and the way up."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Attach the bottlenecks; ConfigError where the roles of a layer's linear maps can't be told."""
        from vertune.nn import bottleneck, structure, trainable

        trainable.train_only(model)
        for name, layer in structure.top(model.backbone, self.layers).items():
            roles = structure.sites(model.backbone, name)
            outputs = roles.get("attention_output", [])
            if self.placement == "houlsby" and not outputs:
                raise ConfigError(f"Expected a linear map after the attention of {name}, and there is none. Choose placement: pfeiffer.")
            for site in [*(outputs if self.placement == "houlsby" else []), *roles["down"]]:
                linear = layer.get_submodule(site)
                added = bottleneck.Bottleneck(linear.out_features, self.size, self.activation)  # type: ignore[arg-type]
                bottleneck.attach(linear, added.to(linear.weight.device))  # type: ignore[arg-type]

    def edits(self, model: Any) -> list[Edit]:
        """The bottlenecks, and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]
