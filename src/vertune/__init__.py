"""vertune fine-tunes pretrained models for tasks of one field of work, and evaluates, compresses and serves the fine-tuned models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertune.api import Vertical, fit, load

__version__ = "0.1.0"
__all__ = ["Vertical", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python interface when one of its names is first used, so that `import vertune` is fast."""
    if name in {"Vertical", "fit", "load"}:
        from vertune import api

        return getattr(api, name)
    raise AttributeError(f"module 'vertune' has no attribute {name!r}")
