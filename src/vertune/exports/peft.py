"""An adapter for PEFT, loaded on the base that the model was trained on: lora, dora, adalora and ia3 have one.

Writes adapter_config.json and adapter_model.safetensors. The first three become a LoRA config
with a rank for each site, the last one an IA3 config.
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
    """It has no options."""

    needs_sequences: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the adapter, and a head that PEFT has no place for beside it; ConfigError where PEFT has no counterpart."""
        import torch
        from safetensors.torch import save_file

        from vertune.exports import _files

        library = _files.need("peft", "train", "peft")
        changes = _changes(model.edits)
        whole = _fresh(model)
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
        _files.write_readme(model, folder, "PEFT", *_said(model, bool(heads)))

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Load the adapter on a fresh base with PEFT; ModelError unless its outputs equal the model's."""
        import torch
        from safetensors.torch import load_file

        from vertune.exports import _files
        from vertune.nn.trained import check_same_outputs
        from vertune.nn.vertical import VerticalModel

        library = _files.need("peft", "train", "peft")
        ours = model.model
        with _files.quiet():
            loaded: Any = library.PeftModel.from_pretrained(_fresh(model), folder).eval()
        if ours.native is not None:
            theirs = VerticalModel(loaded, torch.nn.Identity(), "tokens", native=loaded)
        else:
            head = model.task.head(ours.width)
            head.load_state_dict(load_file(folder / _HEAD))
            theirs = VerticalModel(loaded, head, ours.pooling)
        theirs.accepted = ours.accepted  # PEFT's own forward takes anything and hands it on
        check_same_outputs(model.outputs(ours), model.outputs(theirs), "PEFT")


def _changes(edits: Sequence[Edit]) -> list[Edit]:
    """The edits of the backbone, all of one kind that PEFT has too; ConfigError else."""
    inside = [edit for edit in edits if edit.kind != "head"]
    kinds = sorted({edit.kind for edit in inside})
    if kinds not in (["low_rank"], ["scale"]):
        changed = ", ".join(kinds) or "the head alone"
        raise ConfigError(
            f"PEFT has adapters for low_rank (lora, dora, adalora) and scale (ia3); this model changed {changed}. "
            "Export transformers or sentence_transformers, or train with method: lora."
        )
    return inside


def _config(library: Any, model: TrainedModel, changes: Sequence[Edit], prefix: str, heads: list[str]) -> Any:
    """PEFT's config with every site by its full name, and its own rank and scaling where they are not the common ones."""
    names = [prefix + edit.site.removeprefix(_BACKBONE) for edit in changes]
    common = {
        "target_modules": names,
        "modules_to_save": heads or None,
        "inference_mode": True,
        "base_model_name_or_path": bases.ALIASES.get(model.base, model.base),
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
    """Put an edit's tensors into PEFT's layer."""
    if edit.kind == "scale":
        module.ia3_l[_ADAPTER].copy_(edit.tensors["scale"].reshape(module.ia3_l[_ADAPTER].shape))
        return
    module.lora_A[_ADAPTER].weight.copy_(edit.tensors["a"])
    module.lora_B[_ADAPTER].weight.copy_(edit.tensors["b"])
    if "magnitude" in edit.tensors:
        module.lora_magnitude_vector[_ADAPTER].weight.copy_(edit.tensors["magnitude"])


def _fresh(model: TrainedModel) -> Any:
    """The base as a user of PEFT loads it: the bare model, or the family's own with its head."""
    encoder = model.encoder
    return (encoder.model() if model.model.native is None else encoder.native(model.task.states, model.task.size)).eval()


def _prefix(model: TrainedModel, whole: Any) -> str:
    """What names of the backbone start with inside the loaded base."""
    return "" if model.model.native is None else f"{whole.base_model_prefix}."


def _native_heads(model: TrainedModel, whole: Any) -> dict[str, dict[str, Any]]:
    """The trained weights of the family's own head, by the modules of it that PEFT must save whole."""
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


def _said(model: TrainedModel, native: bool) -> tuple[str, str]:
    """The lines of code that load the adapter, and what to know about it."""
    kind = "AutoModel"
    if native:
        kind = "AutoModelForTokenClassification" if model.task.states == "tokens" else "AutoModelForSequenceClassification"
    count = f", num_labels={model.task.size}" if native else ""
    name = bases.ALIASES.get(model.base, model.base)
    code = (
        f"from peft import PeftModel\nfrom transformers import {kind}\n\n"
        f'base = {kind}.from_pretrained("{name}"{count})\nmodel = PeftModel.from_pretrained(base, "FOLDER")'
    )
    if native:
        return code, "The head is in the adapter."
    return code, (
        f"The adapter gives the states of the last layer; they are pooled by '{model.model.pooling}', and `{_HEAD}` holds the head that "
        "reads them, which PEFT has no place for."
    )
