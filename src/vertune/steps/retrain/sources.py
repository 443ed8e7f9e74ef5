"""Reads what `--on` names: stored feedback and labels of a vertical, and files; knows nothing of what is done with the rows."""

from __future__ import annotations

from pathlib import Path

from vertune.core import part
from vertune.core.config import source_of
from vertune.core.errors import ConfigError
from vertune.core.kinds import Source
from vertune.core.parse import build

DEFAULT = "feedback"
"""What is learnt if nothing is named."""


def parse_sources(text: str, vertical: str, home: Path | None) -> list[Source]:
    """Return the sources in a list such as `feedback,labels:mails,new.csv`.

    A stored source is called like its part, and may be followed by a colon and what it is about, which is the vertical if nothing follows.
    `home` is the folder of the server's database; None takes the one of this process. Raises ConfigError if nothing is named, or for a file
    that no source reads.
    """
    found = [_source(item.strip(), vertical, home) for item in text.split(",") if item.strip()]
    if not found:
        raise ConfigError("--on names nothing; expected a list of sources. Write for example --on feedback,labels:PROJECT,new.csv")
    return found


def stored_sources() -> dict[str, str]:
    """Return the sources that read what a server stored, each with its option that says what the rows are about."""
    kinds = {name: part.find(Source.folder, name) for name in part.names(Source.folder)}
    found = {}
    for name, kind in kinds.items():
        needed = [field for field, info in kind.model_fields.items() if info.is_required()]
        if "customer" in kind.model_fields and len(needed) == 1:
            found[name] = needed[0]
    return found


def _source(item: str, vertical: str, home: Path | None) -> Source:
    kind, _, about = item.partition(":")
    stored = stored_sources()
    if kind not in stored:
        return build(Source, source_of(item))
    where = {} if home is None else {"home": str(home)}
    return build(Source, {"name": kind, stored[kind]: about or vertical, **where})
