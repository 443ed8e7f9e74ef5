"""Says in words which language the texts of a dataset are in, and whether a base knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.core import base as bases
from vertune.core.language import listed
from vertune.reports.scales import format_value

UNKNOWN = 0.05
"""Share of unknown tokens above which a base does not know the language or the script of texts."""
_FOREIGN = 0.1
"""Share of texts in languages that a base was not made for, above which there is a warning."""


def sentence(language: Mapping[str, Any] | None, unknown: float | None) -> str:
    """Return a sentence on the language of the training texts and on unknown tokens; empty if the language is not known."""
    if not language:
        return ""
    share = "" if unknown is None else f"; {format_value(unknown, 'share')} of their tokens are unknown to the base"
    return f"Language of the training texts, as detected: {listed(language['shares'])}{share}."


def warning(base: str, language: Mapping[str, Any] | None, unknown: float | None) -> str | None:
    """Return a warning if the base does not know the language or the script of the training texts; else None.

    `language` is the detected language (`core.language.Language`) as a dict, and `unknown` the share of unknown tokens, from 0 to 1. Both
    are None if they were not measured.
    """
    shares = (language or {}).get("shares") or {}
    known = bases.LANGUAGES.get(base)
    foreign = sum(share for name, share in shares.items() if known and name not in known)
    lost = unknown is not None and unknown > UNKNOWN
    if foreign <= _FOREIGN and not lost:
        return None
    advice = "Choose base: e5, which knows about 100 languages." if base != "e5" else "Choose another base."
    about = f"The training texts are {listed(shares)}." if shares else ""
    tokens = f"{format_value(unknown, 'share')} of the tokens are unknown to the base '{base}'" if lost else ""
    if foreign > _FOREIGN:
        made_for = f"The base '{base}' does not know the language of many texts: it was made for {' and '.join(sorted(known or ()))}."
        return " ".join(filter(None, [made_for, about, f"{tokens}." if tokens else "", advice]))
    return " ".join(filter(None, [f"{tokens}: it does not know the language or the script of these texts.", about, advice]))
