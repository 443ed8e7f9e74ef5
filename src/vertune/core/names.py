"""Names of models, which become folder names, parts of URLs and labels of metrics: letters of any script are allowed."""

from __future__ import annotations

import unicodedata

from vertune.core.errors import ConfigError

LONGEST_NAME = 80
"""Largest number of characters of a name."""
_MOST_BYTES = 180
"""Largest size of a name in UTF-8: with a timestamp and a random number, it must fit into a file name of 255 bytes."""
_MARKS = "-_."
_DEFAULT = "vertical"


def check_name(name: str) -> str:
    """Check a name that becomes a part of folder and file names: return it unchanged, or raise ConfigError if it is not safe."""
    if not is_name(name):
        raise ConfigError(
            f"The name {name!r} can't be used; expected 1 to {LONGEST_NAME} characters (lower-case letters of any script, digits, "
            f"'-', '_', '.'), at most {_MOST_BYTES} bytes in UTF-8, that begin with a letter or digit and do not contain '..'. "
            f"Choose another name, such as {as_name(name)!r}."
        )
    return name


def is_name(name: str, longest: int = LONGEST_NAME, most_bytes: int = _MOST_BYTES) -> bool:
    """Return whether a text is a safe name of at most `longest` characters and `most_bytes` bytes in UTF-8.

    A name has one spelling only: it is in lower case and in the Unicode normal form NFKC, so that two names that look equal are equal.
    """
    if not 0 < len(name) <= longest or ".." in name or not _begins(name[0]):
        return False
    allowed = all(char in _MARKS or _is_letter(char) for char in name)
    return allowed and name == _normal(name) and len(name.encode()) <= most_bytes


def as_name(text: str) -> str:
    """Make a name from a text: other characters than letters, digits and marks become hyphens; `vertical` if nothing is left."""
    kept = "".join(char if _is_letter(char) else " " for char in _normal(text))
    name = "-".join(kept.split())
    while name and not _begins(name[0]):
        name = name[1:]
    name = name[:60]
    while len(name.encode()) > _MOST_BYTES:
        name = name[:-1]
    name = name.rstrip("-")
    return name if is_name(name) else _DEFAULT


def _normal(text: str) -> str:
    """Return a text in lower case and in the normal form NFKC; lone surrogates, which can't be written, become spaces."""
    text = "".join(" " if unicodedata.category(char) == "Cs" else char for char in text)
    for _ in range(3):  # lower case can change the normal form, and the reverse
        text = unicodedata.normalize("NFKC", text.lower())
    return text


def _is_letter(char: str) -> bool:
    """Return whether a character is a letter, a digit, or a mark that is combined with a letter."""
    return unicodedata.category(char)[0] in "LM" or unicodedata.category(char) == "Nd"


def _begins(char: str) -> bool:
    """Return whether a name can begin with a character: a letter or a digit."""
    return _is_letter(char) and unicodedata.category(char)[0] != "M"
