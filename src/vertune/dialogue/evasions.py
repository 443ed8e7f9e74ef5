"""Replies to the question for a text that give none: they ask back, agree, don't know, or ask to wait; knows no slots."""

from __future__ import annotations

import re

from vertune.dialogue.characters import blanked, plain
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import means_something

_ASKS_BACK = re.compile(
    r"^\s*(?:is|are|do|does|did|can|could|will|would|should|shall|may|must)\s+(?:i|you|we|they|it|there|this|that|these|those|the)(?![a-z])"
    r"|^\s*(?:why|what|how|who|when|where|which)(?![a-z])|^\s*(?:为什么|为何|为啥|怎么|什么|哪|凭什么|干嘛|多少|啥|谁)|[?？]\s*$|[吗嘛]\W*$"
)
"""How a reply asks back."""
_CLAUSE = re.compile(r"[^,.;!?，。；！？\n]+")
_LONGEST_QUESTION = 60
"""Number of characters up to which a reply that asks back is no detail; who describes something may end with a question."""


def gives_nothing(reply: str, lexicon: Lexicon) -> bool:
    """Return whether a reply asks back, agrees, asks to wait, or says that its customer doesn't know, instead of giving a text."""
    folded = plain(reply)
    if len(reply) <= _LONGEST_QUESTION and (_ASKS_BACK.search(folded) or _waits(folded, lexicon)):
        return True
    places = [(one.start, one.end) for kind in ("unsure", "affirm") for one in lexicon.find(kind, folded)]
    return bool(places) and not means_something(blanked(folded, places))


def _waits(folded: str, lexicon: Lexicon) -> bool:
    """Return whether a plain text asks to wait at its beginning, without a number in it, or in a clause that does nothing else."""
    places = lexicon.waits(folded)
    if any(not means_something(folded[:start]) for start, _ in places) and not any(map(str.isdigit, folded)):
        return True
    left = blanked(folded, places)
    clauses = [match.span() for match in _CLAUSE.finditer(folded) if means_something(match.group())]
    return any(not means_something(left[start:end]) for start, end in clauses)
