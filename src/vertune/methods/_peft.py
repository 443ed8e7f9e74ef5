"""Code for the fine-tuning methods that use the library PEFT for training.

It selects the modules to change. After training, it converts PEFT's layers to edits (records of trained changes, which
are saved). PEFT is only needed for training; a trained model runs with vertune's own modules.
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
    """Return the names of the linear modules in the selected layers that have one of these roles.

    The role of a module is its function in a layer, such as `query` or `attention_output`; None selects every role. The
    names are relative to the backbone (the pretrained model).
    """
    from vertune.nn import structure

    return [
        f"{name}.{site}"
        for name in structure.top(model.backbone, layers)
        for role, sites in structure.sites(model.backbone, name).items()
        if roles is None or role in roles
        for site in sites
    ]


def inject(model: VerticalModel, config: Any) -> None:
    """Insert PEFT's layers into the backbone (pretrained model), and make only them and the head trainable.

    `config` is the PEFT configuration, which describes these layers.
    """
    from vertune.nn import trainable

    trainable.train_only(model)
    library().inject_adapter_in_model(config, model.backbone, ADAPTER)
    trainable.open_head(model)


def injected(model: VerticalModel, attribute: str) -> Iterator[tuple[str, int, Any]]:
    """Find the PEFT layers of one type in the model; yield the name, layer number and module of each.

    `attribute` is the name of an attribute that only this type of PEFT layer has. The layer number is that of the
    transformer layer (counted from 1) that contains the module.
    """
    from vertune.nn import structure

    for name, module in model.named_modules():
        if name.startswith(structure.BACKBONE) and hasattr(module, attribute) and hasattr(module, "base_layer"):
            yield name, structure.depth_of(model, name), module


class LowRank(Layered):
    """Base class of the fine-tuning methods that add low-rank matrices to weights, such as LoRA.

    It defines their common options, and converts the trained matrices to edits (records of trained changes, which are
    saved).
    """

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the low-rank matrices; a larger rank trains more weights."""
    alpha: float = Field(default=16, gt=0)
    """Strength of the change: the low-rank product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate for the inputs of the low-rank matrices during training."""
    sites: Literal["auto", "attention", "all"] = "auto"
    """Linear modules to change: `attention` means those of attention, `all` every one, `auto` all except those for relative positions."""

    def target_modules(self, model: VerticalModel) -> list[str]:
        """Return the names of the modules to change, as the options `layers` and `sites` select them."""
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

    def start_from(self, model: Any, edits: Sequence[Edit]) -> None:
        """Set the low-rank matrices, and the head, of a prepared model to those of an earlier training."""
        import torch

        from vertune.nn.edits import restore

        earlier = {edit.site: edit for edit in edits if edit.kind == "low_rank"}
        with torch.no_grad():
            for site, _, layer in injected(model, "lora_magnitude_vector"):
                edit = earlier[site]
                layer.lora_A[ADAPTER].weight.copy_(edit.tensors["a"])
                layer.lora_B[ADAPTER].weight.copy_(edit.tensors["b"] * (float(edit.options["scaling"]) / float(layer.scaling[ADAPTER])))
                if "magnitude" in edit.tensors:
                    layer.lora_magnitude_vector[ADAPTER].weight.copy_(edit.tensors["magnitude"])
        restore(model, [edit for edit in edits if edit.kind != "low_rank"])
