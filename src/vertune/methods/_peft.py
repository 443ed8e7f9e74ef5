"""Code for the methods that train with the library PEFT: selects modules, and converts PEFT's layers to edits (changes to save).

PEFT is only needed for training; a trained model runs with vertune's own modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from vertune.core.edits import Edit
from vertune.core.errors import MissingExtra
from vertune.methods._layered import Layered, Layers

if TYPE_CHECKING:
    from vertune.nn.vertical import VerticalModel

ADAPTER = "default"


def library() -> Any:
    """Import the package peft and return it; raise MissingExtra if it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("Training this method", "train", "peft") from error
    return peft


def targets(model: VerticalModel, layers: Layers, roles: Sequence[str] | None = None) -> list[str]:
    """Return the names (in the backbone) of the selected layers' linear modules that have one of these roles; None means any role."""
    from vertune.nn import structure

    return [
        f"{name}.{site}"
        for name in structure.top(model.backbone, layers)
        for role, sites in structure.sites(model.backbone, name).items()
        if roles is None or role in roles
        for site in sites
    ]


def inject(model: VerticalModel, config: Any) -> None:
    """Insert PEFT's layers into the backbone, and make only them and the head trainable."""
    from vertune.nn import trainable

    trainable.train_only(model)
    library().inject_adapter_in_model(config, model.backbone, ADAPTER)
    trainable.open_head(model)


def injected(model: VerticalModel, attribute: str) -> Iterator[tuple[str, int, Any]]:
    """Yield name, depth (layer number) and module of each PEFT layer of one type, recognised by an attribute that only this type has."""
    from vertune.nn import structure

    for name, module in model.named_modules():
        if name.startswith(structure.BACKBONE) and hasattr(module, attribute) and hasattr(module, "base_layer"):
            yield name, structure.depth_of(model, name), module


class LowRank(Layered):
    """Base class of methods that add low-rank matrices to weights: their common options, and the conversion of the matrices to edits."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the low-rank matrices; a larger rank trains more weights."""
    alpha: float = Field(default=16, gt=0)
    """Strength of the change: the low-rank product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate for the inputs of the low-rank matrices during training."""
    sites: Literal["auto", "attention", "all"] = "auto"
    """Linear modules to change: `attention` means those of attention, `all` every one, `auto` all except those for relative positions."""

    def target_modules(self, model: VerticalModel) -> list[str]:
        """Return the names (in the backbone) of the modules to change."""
        attention = ("query", "key", "value", "qkv", "attention_output")
        roles = {"attention": attention, "auto": (*attention, "up", "down"), "all": None}[self.sites]
        return targets(model, self.layers, roles)

    def edits(self, model: Any) -> list[Edit]:
        """Return the trained changes (edits) to save: the low-rank matrices of each changed module, and the head."""
        from vertune.nn import edits

        low_rank = []
        for site, depth, layer in injected(model, "lora_magnitude_vector"):
            tensors = {"a": edits.cpu_copy(layer.lora_A[ADAPTER].weight), "b": edits.cpu_copy(layer.lora_B[ADAPTER].weight)}
            if ADAPTER in layer.lora_magnitude_vector:
                tensors["magnitude"] = edits.cpu_copy(layer.lora_magnitude_vector[ADAPTER].weight)
            low_rank.append(Edit("low_rank", site, depth, tensors, {"scaling": float(layer.scaling[ADAPTER])}))
        return [*low_rank, *edits.head_edits(model)]
