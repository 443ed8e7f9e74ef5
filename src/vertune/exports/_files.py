"""Writes the files that several exports share: weights, tokenizer, README; independent of the individual export formats."""

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
    """Suppress progress bars, log lines below the level ERROR and deprecation warnings of transformers while a model is loaded or saved."""
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
    """Import and return the package that an export needs; raise MissingExtra if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"The export {form}", extra, package) from error


def write_model(model: Any, folder: Path) -> None:
    """Write the weights of a transformers model as safetensors, and its config.json."""
    with storage_errors(folder), quiet():
        model.save_pretrained(folder)


def write_tokenizer(model: TrainedModel, folder: Path) -> None:
    """Write the tokenizer that the model was trained with; it truncates at the maximum length of training.

    The tokenizer is written unchanged, not rebuilt by the tokenizer class of its model family, so that token ids stay the same.
    """
    import transformers

    encoder: Any = model.encoder
    longest = encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens
    inputs = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in model.model.accepted]
    with storage_errors(folder), quiet():
        kind: Any = transformers.PreTrainedTokenizerFast
        tokenizer = kind(tokenizer_object=encoder.tokenizer, model_max_length=longest, model_input_names=inputs, **_special(encoder))
        tokenizer.save_pretrained(folder)


def _special(encoder: Any) -> dict[str, str]:
    """Return the special tokens that the files of the pretrained model name, by their use, such as `cls_token`.

    `pad_token` is always included.
    """
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        names = read_json(encoder.path / name) if (encoder.path / name).exists() else {}
        for use in ("unk_token", "bos_token", "eos_token", "cls_token", "sep_token", "mask_token", "pad_token"):
            token = names.get(use)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and encoder.tokenizer.token_to_id(token) is not None:
                found[use] = token
    return {**found, "pad_token": encoder.tokenizer.id_to_token(encoder.pad)}


def write_readme(model: TrainedModel, folder: Path, form: str, code: str, about: str) -> None:
    """Write README.md with the code that loads the folder, and `task.json` with the settings that turn outputs into predictions."""
    from vertune import __version__

    write_json(folder / "task.json", {"task": dump(model.task), "outputs": list(model.task.output_names), "encoder": dump(model.encoder)})
    shown = code.replace("FOLDER", folder.name)
    text = f"# {model.name}, for {form}\n\nWritten by vertune {__version__}. {about}\n\n```python\n{shown}\n```\n"
    write_text(folder / "README.md", text)
