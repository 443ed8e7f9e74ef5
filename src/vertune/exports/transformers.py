"""transformers: a folder that an AutoModel class loads, for models with native pooling or with one linear layer per token as head.

The class is AutoModelForSequenceClassification, AutoModelForTokenClassification or AutoModelForQuestionAnswering. A model with
`pooling: native` has the head that the transformers class of its pretrained model defines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.errors import ConfigError
from vertune.core.kinds import Export

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel


class Transformers(Export):
    """Export for transformers; it has no options."""

    needs_sequences: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write config, weights, tokenizer and README; raise ConfigError if no transformers class has a head like that of the model."""
        from vertune.exports import _files

        plain = model.plain()
        whole: Any = plain.native if plain.native is not None else _token_head(model, plain)
        names = model.task.output_names
        if names:
            whole.config.id2label = dict(enumerate(names))
            whole.config.label2id = {name: place for place, name in enumerate(names)}
        _files.write_model(whole, folder)
        _files.write_tokenizer(model, folder)
        kind = type(whole).__name__
        _files.write_readme(
            model,
            folder,
            "transformers",
            f"from transformers import AutoTokenizer, {_auto(model)}\n\n"
            f'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\nmodel = {_auto(model)}.from_pretrained("FOLDER")\n'
            'outputs = model(**tokenizer("a text", return_tensors="pt"))',
            f"The folder loads as {kind}, which returns the raw outputs of the head. `task.json` contains the settings to decode them.",
        )

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Load model and tokenizer with transformers; raise ModelError unless the loaded model has the outputs of the trained model."""
        import torch
        import transformers

        from vertune.exports import _files
        from vertune.nn.trained import check_same_outputs

        with _files.quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            loaded = getattr(transformers, _auto(model)).from_pretrained(folder).eval()
        found = []
        with torch.no_grad():
            for fields in model.probes():
                out = loaded(**tokenizer(*fields, return_tensors="pt"))
                logits = torch.stack([out.start_logits, out.end_logits], -1) if "start_logits" in out else out.logits
                found.append(logits[0].float().numpy())
        check_same_outputs(model.outputs(), found, "transformers")


def _auto(model: TrainedModel) -> str:
    """Return the name of the transformers class that loads the exported folder; it depends on the model's task."""
    if model.task.states == "pooled":
        return "AutoModelForSequenceClassification"
    has_answers = any(column.type == "answers" for column in model.task.columns)
    return "AutoModelForQuestionAnswering" if has_answers else "AutoModelForTokenClassification"


def _token_head(model: TrainedModel, plain: Any) -> Any:
    """Return a transformers model with one output vector per token, which contains the trained weights.

    `plain` is the trained model with all its changes merged into the weights. Raises ConfigError unless the trained head is one
    linear layer per token, and the head of the transformers class is a linear layer of the same size.
    """
    import torch
    import transformers

    from vertune.exports import _files

    if plain.pooling != "tokens" or not isinstance(plain.head, torch.nn.Linear):
        raise ConfigError(
            f"The library transformers has no class for a model with '{plain.pooling}' pooling and the head of this model. Train with "
            "encoder.pooling=native to use this export, or choose the export sentence_transformers (for mean or cls pooling) or peft "
            "(for the methods lora, dora, adalora and ia3)."
        )
    encoder: Any = model.encoder
    with _files.quiet():
        whole = getattr(transformers, _auto(model)).from_pretrained(
            encoder.path,
            num_labels=model.task.size,
            dtype=torch.float32,
            local_files_only=True,
        )
    inside = {id(parameter) for parameter in whole.base_model.parameters()}
    own = [module for module in whole.modules() if isinstance(module, torch.nn.Linear) and id(module.weight) not in inside]
    others = sum(parameter.numel() for parameter in whole.parameters() if id(parameter) not in inside)
    if len(own) != 1 or own[0].weight.shape != plain.head.weight.shape or others != own[0].weight.numel() + own[0].out_features:
        raise ConfigError(
            f"The transformers class {type(whole).__name__} has a different head than the trained model, whose head is a single linear "
            "layer. Train with encoder.pooling=native to export to transformers."
        )
    own[0].load_state_dict(plain.head.state_dict())
    whole.base_model.load_state_dict(plain.backbone.state_dict(), strict=False)
    return whole.eval()
