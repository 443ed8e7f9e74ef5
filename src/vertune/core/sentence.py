"""Sentences with figures that can be written in another language: the key of a pattern and what is put into it; knows no monitor.

The patterns of each language are a file in `sentences/`, and a test checks that none lacks one. A text of an error has no key: it is found
by the pattern from which it was written (`error_texts.py`). Any other text without a key, as a person or a monitor of another package may
give it, stays as it is in all languages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from vertune.core.error_texts import translated

Language = Literal["en", "zh"]
FOLDER = Path(__file__).with_name("sentences")
"""The folder with the patterns, a file for each language."""
_AND, _COLUMN = "and", "column."
"""The key of what stands between the items of a list, and the beginning of those of titles of evidence."""


class Sentence(str):
    """A sentence, or a part of one, in English; it also has the key of its pattern and its figures."""

    key: str
    figures: Mapping[str, Any]
    """What is put into the pattern: texts and numbers, further sentences, and lists of these."""

    def __new__(cls, text: str, key: str, figures: Mapping[str, Any]) -> Self:
        """Return a sentence; `said` writes the text."""
        made = super().__new__(cls, text)
        made.key, made.figures = key, figures
        return made

    def __getnewargs__(self) -> tuple[str, str, Mapping[str, Any]]:  # type: ignore[override]  # for copies
        return str(self), self.key, self.figures


def said(key: str, **figures: Any) -> Sentence:
    """Return the sentence with this key and these figures; raise KeyError if there is no such pattern, or if it needs other figures."""
    return Sentence(_filled(key, figures, "en"), key, figures)


def stored(sentence: str) -> str:
    """Return a sentence as databases keep it: with its key and its figures, as JSON; a text without a key as it is."""
    return json.dumps(_plain(sentence), ensure_ascii=False) if isinstance(sentence, Sentence) else sentence


def written(text: str, language: Language) -> str:
    """Return a stored sentence or a text of an error in a language; in English if there is no pattern for it, and another text as it is."""
    found = _read(text)
    return _shown(text if found is None else found, language)


def written_error(error: str, language: Language) -> str:
    """Return what an error says in a language; a text without a pattern, such as that of another library, is quoted as an English one."""
    kept = stored(error)
    found = written(kept, language)
    if language == "en" or not kept or found != kept:
        return found
    return written(stored(said("error.untranslated", text=kept)), language)


def titled(rows: Sequence[Mapping[str, Any]], language: Language) -> list[dict[str, Any]]:
    """Return rows of evidence with the titles of their columns, and of rows where there is such a column, in a language."""
    patterns = _patterns(language)

    def title(name: Any) -> Any:
        return patterns.get(f"{_COLUMN}{name}", name)

    return [{title(name): title(value) if name == "" else value for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """Return a figure as JSON has it."""
    if isinstance(value, Sentence):
        return {"key": value.key, "figures": {name: _plain(one) for name, one in value.figures.items()}, "text": str(value)}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _read(text: str) -> dict[str, Any] | None:
    """Return what `stored` wrote; None for another text, which a person may have written."""
    if not text.startswith('{"key":'):
        return None
    try:
        found: dict[str, Any] = json.loads(text)
        return found if _is_sentence(found) else None
    except (ValueError, RecursionError):
        return None


def _is_sentence(value: Any) -> bool:
    """Return whether JSON has the form that `stored` gives to a sentence, in all its parts."""
    if isinstance(value, list):
        return all(_is_sentence(one) for one in value)
    if not isinstance(value, dict):
        return True
    key, text, figures = (value.get(name) for name in ("key", "text", "figures"))
    return isinstance(key, str) and isinstance(text, str) and isinstance(figures, dict) and all(map(_is_sentence, figures.values()))


def _shown(value: Any, language: Language) -> str:
    """Return a figure as a text."""
    if isinstance(value, Sentence):
        return _shown(_plain(value), language)
    if isinstance(value, dict):
        try:
            return _filled(value["key"], value["figures"], language)
        except KeyError:  # another version wrote it
            return str(value["text"])
    if isinstance(value, list | tuple):
        return _patterns(language)[_AND].join(_shown(one, language) for one in value)
    return translated(value, language) or value if isinstance(value, str) else str(value)


def _filled(key: str, figures: Mapping[str, Any], language: Language) -> str:
    return _patterns(language)[key].format_map({name: _shown(value, language) for name, value in figures.items()})


@cache
def _patterns(language: Language) -> dict[str, str]:
    from vertune.core.bounded_yaml import read_yaml  # which answering with a model does not need

    found: dict[str, str] = read_yaml(FOLDER / f"{language}.yaml")
    return found
