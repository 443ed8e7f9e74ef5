"""PEFT: an adapter for the pretrained model; works for models that were trained with lora, dora, adalora or ia3.

Writes adapter_config.json and adapter_model.safetensors. A model that was trained with lora, dora or adalora becomes a LoRA adapter,
whose rank may differ between modules. A model that was trained with ia3 becomes an IA3 adapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core import base as bases
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.core.files import storage_errors
from vertune.core.kinds import Export

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel

_ADAPTER = "default"
_HEAD = "head.safetensors"
_BACKBONE = "backbone."
_WRAPPED = "base_model.model."


class Peft(Export):
    """Export for PEFT; it has no options."""

    needs_sequences: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the adapter, the tokenizer and a README; write the head to a separate file if the adapter can't contain it.

        Raises ConfigError if PEFT has no adapter for the changes that training made to this model.
        """
        import torch
        from safetensors.torch import save_file

        from vertune.exports import _files

        library = _files.need("peft", "train", "peft")
        changes = _changes(model.edits)
        whole = _load_base(model)
        heads = _native_heads(model, whole)
        with _files.quiet():
            adapted = library.get_peft_model(whole, _config(library, model, changes, _prefix(model, whole), sorted(heads)))
        with torch.no_grad():
            for edit in changes:
                _fill(adapted.get_submodule(_WRAPPED + _prefix(model, whole) + edit.site.removeprefix(_BACKBONE)), edit)
            for name, state in heads.items():
                adapted.get_submodule(_WRAPPED + name).modules_to_save[_ADAPTER].load_state_dict(state, strict=False)
        with storage_errors(folder), _files.quiet():
            adapted.save_pretrained(folder, save_embedding_layers=False)
            if not heads:
                own = model.model.head.state_dict()
                save_file({name: value.contiguous() for name, value in own.items()}, folder / _HEAD)
        _files.write_tokenizer(model, folder)
        _files.write_readme(model, folder, "PEFT", *_usage(model, bool(heads)))

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Load the adapter with PEFT; raise ModelError unless the outputs of the loaded model equal those of the trained model."""
        import torch
        from safetensors.torch import load_file

        from vertune.exports import _files
        from vertune.nn.trained import check_same_outputs
        from vertune.nn.vertical import VerticalModel

        library = _files.need("peft", "train", "peft")
        ours = model.model
        with _files.quiet():
            loaded: Any = library.PeftModel.from_pretrained(_load_base(model), folder).eval()
        if ours.native is not None:
            theirs = VerticalModel(loaded, torch.nn.Identity(), "tokens", native=loaded)
        else:
            head = model.task.head(ours.width)
            head.load_state_dict(load_file(folder / _HEAD))
            theirs = VerticalModel(loaded, head, ours.pooling)
        theirs.accepted = ours.accepted  # the forward of PEFT accepts any argument and passes it on
        check_same_outputs(model.outputs(ours), model.outputs(theirs), "PEFT")


def _changes(edits: Sequence[Edit]) -> list[Edit]:
    """Return the trained changes to the pretrained model's modules, without those that belong to the head.

    Raises ConfigError unless all of them are low-rank changes, or all are scaling changes; PEFT has adapters for these two kinds.
    """
    inside = [edit for edit in edits if edit.kind != "head"]
    kinds = sorted({edit.kind for edit in inside})
    if kinds not in (["low_rank"], ["scale"]):
        changed = ", ".join(kinds) or "the head alone"
        raise ConfigError(
            f"PEFT has no adapter for the kind of change that training made to this model: {changed}. PEFT has adapters for the methods "
            "lora, dora, adalora and ia3. Choose the export transformers or sentence_transformers, or train with method: lora."
        )
    return inside


def _config(library: Any, model: TrainedModel, changes: Sequence[Edit], prefix: str, heads: list[str]) -> Any:
    """Return the configuration of the PEFT adapter: an IA3Config or a LoraConfig.

    It contains the names of the changed modules, each with `prefix` in front, and the names of the modules that PEFT saves with all
    their weights (`heads`). A LoraConfig also contains the most common rank and alpha, and other values for the modules that differ.
    """
    names = [prefix + edit.site.removeprefix(_BACKBONE) for edit in changes]
    common = {
        "target_modules": names,
        "modules_to_save": heads or None,
        "inference_mode": True,
        "base_model_name_or_path": bases.loadable(model.base),
    }
    if changes[0].kind == "scale":
        inputs = [name for name, edit in zip(names, changes, strict=True) if edit.options["side"] == "input"]
        return library.IA3Config(feedforward_modules=inputs, **common)
    ranks = {name: len(edit.tensors["a"]) for name, edit in zip(names, changes, strict=True)}
    # PEFT scales by alpha / rank
    alphas = {name: edit.options["scaling"] * ranks[name] for name, edit in zip(names, changes, strict=True)}
    rank, alpha = (Counter(values).most_common(1)[0][0] for values in (ranks.values(), alphas.values()))
    return library.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        rank_pattern={name: value for name, value in ranks.items() if value != rank},
        alpha_pattern={name: value for name, value in alphas.items() if value != alpha},
        use_dora="magnitude" in changes[0].tensors,
        **common,
    )


def _fill(module: Any, edit: Edit) -> None:
    """Copy the trained change of one module (`edit`) into `module`, the PEFT layer that was created in its place."""
    if edit.kind == "scale":
        module.ia3_l[_ADAPTER].copy_(edit.tensors["scale"].reshape(module.ia3_l[_ADAPTER].shape))
        return
    module.lora_A[_ADAPTER].weight.copy_(edit.tensors["a"])
    module.lora_B[_ADAPTER].weight.copy_(edit.tensors["b"])
    if "magnitude" in edit.tensors:
        module.lora_magnitude_vector[_ADAPTER].weight.copy_(edit.tensors["magnitude"])


def _load_base(model: TrainedModel) -> Any:
    """Load the pretrained model to which the adapter will be applied.

    It is loaded without a head or, if the model was trained with `pooling: native`, with the head that its transformers class
    defines.
    """
    encoder = model.encoder
    return (encoder.model() if model.model.native is None else encoder.native(model.task.states, model.task.size)).eval()


def _prefix(model: TrainedModel, whole: Any) -> str:
    """Return what precedes the names of the pretrained model's modules inside the loaded model `whole`, such as `bert.`.

    The prefix is empty if the model was loaded without a head.
    """
    return "" if model.model.native is None else f"{whole.base_model_prefix}."


def _native_heads(model: TrainedModel, whole: Any) -> dict[str, dict[str, Any]]:
    """Return the trained weights of the head that the transformers class defines; empty if the model has another head.

    The keys are the names of the modules that PEFT must save with all their weights; each value maps the names of a module's weights
    to their tensors.
    """
    heads: dict[str, dict[str, Any]] = {}
    if model.model.native is None:
        return heads
    prefix = _prefix(model, whole)
    for edit in model.edits:
        if edit.kind == "head":
            site = (
                f"{edit.site}.".replace("native.", "", 1)
                if edit.site.startswith("native")
                else prefix + edit.site.removeprefix(_BACKBONE) + "."
            )
            for local, value in edit.tensors.items():
                name = site + local
                steps = 1 + (prefix.count(".") if name.startswith(prefix) else 0)
                top = ".".join(name.split(".")[:steps])
                heads.setdefault(top, {})[name.removeprefix(f"{top}.")] = value
    return heads


def _usage(model: TrainedModel, native: bool) -> tuple[str, str]:
    """Return two texts for the README of the export: Python code that loads the adapter, and a sentence that says where the head is.

    `native` is whether the head is the one that the transformers class defines; the adapter then contains it.
    """
    kind = "AutoModel"
    if native:
        kind = "AutoModelForTokenClassification" if model.task.states == "tokens" else "AutoModelForSequenceClassification"
    count = f", num_labels={model.task.size}" if native else ""
    name = bases.loadable(model.base)
    code = (
        f"from peft import PeftModel\nfrom transformers import {kind}\n\n"
        f'base = {kind}.from_pretrained("{name}"{count})\nmodel = PeftModel.from_pretrained(base, "FOLDER")'
    )
    if native:
        return code, "The head is in the adapter."
    return code, (
        f"The model with the adapter returns the hidden states of the last layer. Pool them by '{model.model.pooling}' and then apply the "
        f"head, whose weights are in `{_HEAD}` because PEFT can't store them."
    )
