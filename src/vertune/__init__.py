"""vertune fine-tunes pretrained models on your own labelled data, and evaluates, compresses and serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertune.api import Vertical, fit, load

__version__ = "0.1.0"
__all__ = ["Vertical", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Import `Vertical`, `fit` or `load` when the name is first used; raise AttributeError for other names.

    `import vertune` alone stays fast, because it does not import their module.
    """
    if name in {"Vertical", "fit", "load"}:
        from vertune import api

        return getattr(api, name)
    raise AttributeError(f"module 'vertune' has no attribute {name!r}")
