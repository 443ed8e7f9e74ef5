"""Writes the files that several export formats have in common: weights, tokenizer and README; independent of any single format."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.config import dump
from vertune.core.errors import MissingExtra
from vertune.core.files import read_json, storage_errors, write_json, write_text

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel


@contextmanager
def quiet() -> Iterator[None]:
    """Return a context manager in which the library transformers shows no progress bars and no log lines below the level ERROR.

    It also suppresses deprecation warnings of all libraries. It is used while a model is loaded or saved.
    """
    logging: Any = importlib.import_module("transformers.utils.logging")
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # libraries use deprecated functions of one another here, and the user can't change that
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def need(package: str, extra: str, form: str) -> Any:
    """Import and return the Python package `package`, which an export needs; raise MissingExtra if it is not installed.

    The error names the export (`form`) and the optional dependency to install: `pip install vertune[EXTRA]`.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"The export {form}", extra, package) from error


def write_model(model: Any, folder: Path) -> None:
    """Write a transformers model into a folder: its weights in the safetensors format, and its config.json."""
    with storage_errors(folder), quiet():
        model.save_pretrained(folder)


def write_tokenizer(model: TrainedModel, folder: Path) -> None:
    """Write the tokenizer that the model was trained with, set to truncate texts at the maximum number of tokens of the training.

    It adds the prefix of the encoder, if there is one, by itself, and is otherwise saved as it is. The tokenizer class of the model family
    might build it differently and so change token ids.
    """
    import transformers

    encoder: Any = model.encoder
    longest = encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens
    inputs = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in model.model.accepted]
    with storage_errors(folder), quiet():
        kind: Any = transformers.PreTrainedTokenizerFast
        tokenizer = kind(
            tokenizer_object=encoder.complete_tokenizer, model_max_length=longest, model_input_names=inputs, **_special(encoder)
        )
        tokenizer.save_pretrained(folder)


def _special(encoder: Any) -> dict[str, str]:
    """Return the tokenizer's special tokens by their use, for example `{"cls_token": "[CLS]"}`.

    They are read from the configuration files of the pretrained model; those that the vocabulary lacks are omitted. `pad_token` is
    always included; if the files don't name it, it is the token with the padding id of the model.
    """
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        names = read_json(encoder.path / name) if (encoder.path / name).exists() else {}
        for use in ("unk_token", "bos_token", "eos_token", "cls_token", "sep_token", "mask_token", "pad_token"):
            token = names.get(use)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and encoder.tokenizer.token_to_id(token) is not None:
                found[use] = token
    return {"pad_token": encoder.tokenizer.id_to_token(encoder.pad), **found}


def write_readme(model: TrainedModel, folder: Path, form: str, code: str, about: str) -> None:
    """Write README.md and task.json; the latter contains the settings with which the model's outputs are converted to predictions.

    `form` is the name of the other software, `code` the Python code that loads the exported folder, and `about` a text for the
    README. The word FOLDER in `code` is replaced by the name of the folder.
    """
    from vertune import __version__

    write_json(folder / "task.json", {"task": dump(model.task), "outputs": list(model.task.output_names), "encoder": dump(model.encoder)})
    if model.companion is not None:
        about += (
            " In vertune, the outputs are mixed with those of the model's companion (scores of words, or a temperature), which this folder "
            "does not contain, so the probabilities differ, and answers may."
        )
    shown = code.replace("FOLDER", folder.name)
    text = f"# {model.name}, for {form}\n\nWritten by vertune {__version__}. {about}\n\n```python\n{shown}\n```\n"
    write_text(folder / "README.md", text)
