"""Makes a tokenizer that adds a prefix to texts by itself, for software that knows nothing of the option `prefix`.

Works on the parsed content of `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vertune.encoders._tokens import Template


def with_prefix(described: Mapping[str, Any], templates: Mapping[int, Template], name_of: Callable[[int], str | None]) -> dict[str, Any]:
    """Return the content of tokenizer.json with a post-processor that puts the tokens of `templates` around texts.

    `templates` has the key 1 for one text and 2 for a pair; `name_of` returns the token with an id.
    """
    used = {token for template in templates.values() for token, _ in (*template.before, *template.between, *template.after)}
    names = {token: str(name_of(token)) for token in used}
    processor = {
        "type": "TemplateProcessing",
        "single": _sequence(templates[1], names),
        "pair": _sequence(templates[2], names),
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]} for token, name in names.items()},
    }
    return {**described, "post_processor": processor}


def _sequence(template: Template, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the tokens of a template and the texts between them, in the form of a TemplateProcessing."""

    def tokens(pairs: tuple[tuple[int, int], ...]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": names[token], "type_id": kind}} for token, kind in pairs]

    texts = [{"Sequence": {"id": name, "type_id": kind}} for name, kind in zip("AB", template.types, strict=False)]
    between = [*tokens(template.between), texts[1]] if len(texts) == 2 else []
    return [*tokens(template.before), texts[0], *between, *tokens(template.after)]
