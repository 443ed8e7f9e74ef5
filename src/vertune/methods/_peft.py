"""What the methods that train through PEFT share: where they change a model, and how their layers become edits.

PEFT is needed to train only; a trained model answers with modules of our own.
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
    """The package peft; MissingExtra where it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("Training this method", "train", "peft") from error
    return peft


def targets(model: VerticalModel, layers: Layers, roles: Sequence[str] | None = None) -> list[str]:
    """Names in the backbone of the linear maps with these roles (None: all) in the layers."""
    from vertune.nn import structure

    return [
        f"{name}.{site}"
        for name in structure.top(model.backbone, layers)
        for role, places in structure.sites(model.backbone, name).items()
        if roles is None or role in roles
        for site in places
    ]


def inject(model: VerticalModel, config: Any) -> None:
    """Put PEFT's layers into the backbone; they and the head are all that is trained."""
    from vertune.nn import trainable

    trainable.train_only(model)
    library().inject_adapter_in_model(config, model.backbone, ADAPTER)
    trainable.open_head(model)


def injected(model: VerticalModel, mark: str) -> Iterator[tuple[str, int, Any]]:
    """Site, depth and module of each layer of PEFT, known by an attribute that only its kind has."""
    from vertune.nn import structure

    for name, module in model.named_modules():
        if name.startswith(structure.BACKBONE) and hasattr(module, mark) and hasattr(module, "base_layer"):
            yield name, structure.depth_of(model, name), module


class LowRank(Layered):
    """Options and edits of the methods that add a product of two thin matrices to weights."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the change of each weight."""
    alpha: float = Field(default=16, gt=0)
    """The change is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of a change that are dropped while training."""
    sites: Literal["auto", "attention", "all"] = "auto"
    """Which linear maps change: those of attention, all, or (auto) all but maps of relative positions."""

    def where(self, model: VerticalModel) -> list[str]:
        """Names in the backbone of the maps that change."""
        attention = ("query", "key", "value", "qkv", "attention_output")
        roles = {"attention": attention, "auto": (*attention, "up", "down"), "all": None}[self.sites]
        return targets(model, self.layers, roles)

    def edits(self, model: Any) -> list[Edit]:
        """The factors at each site, and the head."""
        from vertune.nn import edits

        found = []
        for site, depth, layer in injected(model, "lora_magnitude_vector"):
            tensors = {"a": edits.cpu_copy(layer.lora_A[ADAPTER].weight), "b": edits.cpu_copy(layer.lora_B[ADAPTER].weight)}
            if ADAPTER in layer.lora_magnitude_vector:
                tensors["magnitude"] = edits.cpu_copy(layer.lora_magnitude_vector[ADAPTER].weight)
            found.append(Edit("low_rank", site, depth, tensors, {"scaling": float(layer.scaling[ADAPTER])}))
        return [*found, *edits.head_edits(model)]
