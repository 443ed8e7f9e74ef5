"""Sees that more texts contain tokens that the tokenizer does not know."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vertune.core.monitor import Finding, Monitor, Need, Unit, Window
from vertune.core.sentence import said
from vertune.monitors._shares import compare_shares, examples, per_cent


class UnknownTokens(Monitor):
    """The share of texts with unknown tokens, compared by Fisher's exact test; the tokens of one text depend on each other."""

    needs: ClassVar[frozenset[Need]] = frozenset({"records"})
    title: ClassVar[str] = "share of texts with unknown tokens"
    unit: ClassVar[Unit] = "share"
    least: float = Field(default=0.02, ge=0, le=1, description="Rise of the share from which it counts as a change.")

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the share of texts with unknown tokens."""
        before, now = reference.unknown[reference.unknown >= 0], window.unknown[window.unknown >= 0]
        if not len(before) or not len(now):
            return Finding.silent(said("tokens.uncounted"), len(now))
        tokens = window.tokens[(window.unknown >= 0) & (window.tokens > 0)]
        what = said("unknown_tokens.found", share=per_cent(now.sum() / max(1, tokens.sum())))
        return compare_shares(before > 0, now > 0, self.least, what, examples(window, (window.unknown > 0).nonzero()[0]))
