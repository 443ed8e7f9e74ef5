"""Trains the head and small bottleneck modules inside the layers (Houlsby et al. 2019; Pfeiffer et al. 2021).

Before training, each bottleneck returns its input unchanged. So training starts from the outputs of the pretrained
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.methods._layered import Layered

if TYPE_CHECKING:
    from vertune.core.kinds import Task


class Adapter(Layered):
    """The fine-tuning method with bottleneck adapters; its fields are options in the config."""

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
        """Add the bottleneck modules to the selected layers, and make only them and the head trainable.

        Raise ConfigError if the linear modules after which the bottlenecks are added can't be identified.
        """
        from vertune.nn import bottleneck, structure, trainable

        trainable.train_only(model)
        for name, layer in structure.top(model.backbone, self.layers).items():
            roles = structure.sites(model.backbone, name)
            outputs = roles.get("attention_output", [])
            if self.placement == "houlsby" and not outputs:
                raise ConfigError(
                    "With the placement 'houlsby', an adapter follows the linear output module of attention, but the "
                    f"layer {name} has no such module. Set placement: pfeiffer."
                )
            for site in [*(outputs if self.placement == "houlsby" else []), *roles["down"]]:
                linear = layer.get_submodule(site)
                added = bottleneck.Bottleneck(linear.out_features, self.size, self.activation)  # type: ignore[arg-type]
                bottleneck.attach(linear, added.to(linear.weight.device))  # type: ignore[arg-type]

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the bottleneck modules and the head."""
        from vertune.nn import edits

        return [*edits.module_edits(model), *edits.head_edits(model)]

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the weights of a prepared model to those of an earlier training."""
        from vertune.nn.edits import restore

        restore(model, edits)
