"""vertune takes a general pretrained model into one field of work and keeps it good there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertune.api import Vertical, fit, load

__version__ = "0.1.0"
__all__ = ["Vertical", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first asked for, so that `import vertune` stays light."""
    if name in {"Vertical", "fit", "load"}:
        from vertune import api

        return getattr(api, name)
    raise AttributeError(f"module 'vertune' has no attribute {name!r}")
