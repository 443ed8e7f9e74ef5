"""Loads models and old tokenizers with the library transformers, which is imported only when one of these functions is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core import base as bases
from vertune.core.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import tokenizers
    import torch


def transformers_library() -> Any:
    """Import and return the library transformers; raise MissingExtra if it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("Building a model with torch", "train", "transformers") from error
    return transformers


def converted_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Load the tokenizer of a model folder that has no tokenizer.json, and convert it for the tokenizers library.

    Raise ConfigError if the tokenizer can't be loaded or converted.
    """
    try:
        tokenizer = transformers_library().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        fast: tokenizers.Tokenizer = tokenizer.backend_tokenizer
        return fast
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The pretrained model in {folder} has no tokenizer that the tokenizers library can read: {str(error).rstrip('.')}. "
            "Choose a model that has a tokenizer.json."
        ) from error


def load_quietly(kind: Any, folder: Path, **options: Any) -> torch.nn.Module:
    """Load a model from safetensors without showing progress bars; code in the folder is never run, and pickle files are never read."""
    import torch

    bases.check_weights(folder)
    transformers = transformers_library()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model: torch.nn.Module = kind.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, **options
        )
    finally:
        transformers.logging.set_verbosity(level)
        transformers.utils.logging.enable_progress_bar()
    return model
