"""Trains small bottleneck modules inside the layers, and the head (Houlsby et al. 2019; Pfeiffer et al. 2021).

Each bottleneck starts as the identity, so training starts from the outputs of the pretrained model.
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
    """Fine-tuning with bottleneck adapters, and its options."""

    learning_rate: ClassVar[float] = 1e-3
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Position of the adapters in each layer: `houlsby` puts one after the attention and one after the feed-forward network, `pfeiffer`
    only one after the feed-forward network.
    """
    size: int = Field(default=32, ge=1, le=4096)
    """Width of the bottleneck; a larger width trains more weights."""
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    """Activation function of the bottleneck."""

    def prepare(self, model: Any, task: Task, steps: int) -> None:
        """Add the bottlenecks to the model; raise ConfigError if the linear modules to change can't be identified."""
        from vertune.nn import bottleneck, structure, trainable

        trainable.train_only(model)
        for name, layer in structure.top(model.backbone, self.layers).items():
            roles = structure.sites(model.backbone, name)
            outputs = roles.get("attention_output", [])
            if self.placement == "houlsby" and not outputs:
                raise ConfigError(
                    f"The placement 'houlsby' needs a linear module after the attention, and {name} has none. Set placement: pfeiffer."
                )
            for site in [*(outputs if self.placement == "houlsby" else []), *roles["down"]]:
                linear = layer.get_submodule(site)
                added = bottleneck.Bottleneck(linear.out_features, self.size, self.activation)  # type: ignore[arg-type]
                bottleneck.attach(linear, added.to(linear.weight.device))  # type: ignore[arg-type]

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the bottlenecks and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]
