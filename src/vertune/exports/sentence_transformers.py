"""sentence-transformers: a folder that SentenceTransformer loads, for models with mean or cls pooling.

The folder contains the fine-tuned encoder model, its pooling and a module for the head: Dense for one linear layer, Normalize for
normalised vectors. The method `encode` of the loaded model returns the vectors of an embedding model; for a model of any other task,
it returns the raw outputs of the head.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.errors import ConfigError
from vertune.core.files import storage_errors, write_json
from vertune.core.kinds import Export

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel

_MODULES = "sentence_transformers.models"


class SentenceTransformers(Export):
    """Export for sentence-transformers; it has no options."""

    needs_sequences: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the fine-tuned encoder model, its pooling and its head as modules of sentence-transformers, with tokenizer and README.

        Raises ConfigError if sentence-transformers has no module for this pooling or this head.
        """
        from vertune.exports import _files

        plain = model.plain()
        if plain.native is not None or plain.pooling not in {"mean", "cls"}:
            raise ConfigError(
                f"sentence-transformers has no module for pooling '{'native' if plain.native is not None else plain.pooling}'. "
                "It has modules for mean and cls. Choose the export transformers, or train with encoder.pooling=mean to export to "
                "sentence-transformers."
            )
        kind = _module_of(plain.head)
        encoder: Any = model.encoder
        _files.write_model(plain.backbone, folder)
        _files.write_tokenizer(model, folder)
        longest = encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
        modes = {f"pooling_mode_{mode}": mode.startswith(plain.pooling) for mode in ("cls_token", "mean_tokens", "max_tokens")}
        (folder / "1_Pooling").mkdir()
        write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": plain.width, **modes})
        modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
        if kind == "Dense":
            _write_dense(plain.head, folder / "2_Dense")
        if kind:
            (folder / f"2_{kind}").mkdir(exist_ok=True)
            modules.append((f"2_{kind}", kind))
        write_json(
            folder / "modules.json",
            [{"idx": place, "name": str(place), "path": path, "type": f"{_MODULES}.{kind}"} for place, (path, kind) in enumerate(modules)],
        )
        write_json(
            folder / "config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
        )
        gives = "the model's vectors." if kind != "Dense" else "the raw outputs of the head, in the order of their names in `task.json`."
        _files.write_readme(
            model,
            folder,
            "sentence-transformers",
            "from sentence_transformers import SentenceTransformer\n\n"
            'model = SentenceTransformer("FOLDER")\nvectors = model.encode(["a text"])',
            f"`encode` returns {gives}",
        )

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Load the folder with SentenceTransformer; raise ModelError unless its vectors equal the outputs of the trained model."""
        import numpy as np

        from vertune.exports import _files
        from vertune.nn.trained import check_same_outputs

        library = _files.need("sentence_transformers", "sentence-transformers", "sentence_transformers")
        with _files.quiet():
            loaded = library.SentenceTransformer(str(folder), device="cpu")
            given = [fields[0] if len(fields) == 1 else fields for fields in model.probes()]
            found = [np.asarray(loaded.encode([fields], show_progress_bar=False)[0]) for fields in given]
        check_same_outputs(model.outputs(), found, "sentence-transformers")


def _module_of(head: Any) -> str:
    """Return the name of the sentence-transformers module, such as `Dense`, that computes the same as the head of the model.

    The name is empty if the head is an identity, which needs no module. Raises ConfigError if there is no module for the head.
    """
    import torch

    from vertune.nn.contrastive import Normalise

    if isinstance(head, torch.nn.Identity):
        return ""
    if isinstance(head, Normalise):
        return "Normalize"
    if isinstance(head, torch.nn.Linear):
        return "Dense"
    raise ConfigError(
        f"The model's head is {type(head).__name__}, but sentence-transformers can load only one linear layer or a normalisation of "
        "vectors. Train with encoder.pooling=native and choose the export transformers, or copy the model and its pretrained model "
        "into one folder for vertune: vertune bundle MODEL."
    )


def _write_dense(head: Any, folder: Path) -> None:
    """Write the weights of a linear head into a folder, as a Dense module of sentence-transformers without activation function."""
    from safetensors.torch import save_file

    bias = head.bias is not None
    options = {"in_features": head.in_features, "out_features": head.out_features, "bias": bias}
    with storage_errors(folder):
        folder.mkdir()
        save_file(
            {f"linear.{name}": value.detach().contiguous() for name, value in head.state_dict().items()}, folder / "model.safetensors"
        )
    write_json(folder / "config.json", {**options, "activation_function": "torch.nn.modules.linear.Identity"})
