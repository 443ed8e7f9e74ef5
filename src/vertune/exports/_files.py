"""Files that every export writes: weights, tokenizer, the page that says how to load them; knows nothing of any one form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import storage, write_json, write_text
from vertune.core.config import dump
from vertune.core.errors import MissingExtra

if TYPE_CHECKING:
    from vertune.nn.trained import Trained


@contextmanager
def quiet() -> Iterator[None]:
    """Load with transformers without its progress bars and its remarks on unused weights."""
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.utils.logging.enable_progress_bar()


def need(package: str, extra: str, form: str) -> Any:
    """The other software, imported; MissingExtra when it is not installed."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"The export {form}", extra, package) from error


def write_model(model: Any, folder: Path) -> None:
    """Weights as safetensors beside their config.json."""
    with storage(folder), quiet():
        model.save_pretrained(folder)


def write_tokenizer(model: Trained, folder: Path) -> None:
    """The base's tokenizer, cutting where the model was trained to cut."""
    import transformers

    encoder: Any = model.encoder
    with storage(folder), quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.path, local_files_only=True)
        tokenizer.model_max_length = encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens
        tokenizer.save_pretrained(folder)


def write_readme(model: Trained, folder: Path, form: str, code: str, about: str) -> None:
    """How to load the folder, and `task.json` with what turns outputs into answers."""
    from vertune import __version__

    write_json(folder / "task.json", {"task": dump(model.task), "outputs": list(model.task.output_names), "encoder": dump(model.encoder)})
    text = f"# {model.name}, for {form}\n\nWritten by vertune {__version__}. {about}\n\n```python\n{code.replace('FOLDER', str(folder.name))}\n```\n"
    write_text(folder / "README.md", text)
