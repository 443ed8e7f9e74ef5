"""Adds the entries of FAQs that people write, corrects and withdraws them, and brings them to the apps of this server; knows no endpoint.

Entries are rows of the database. Each server searches them as soon as it sees that the rows have changed (`live.py`).
"""

from __future__ import annotations

from dataclasses import replace

from vertune.core.errors import UnknownName
from vertune.products.additions import is_same_question, replaceable, replaced_entry
from vertune.server.chat.keeping import Keeper
from vertune.server.chat.live import LiveProducts
from vertune.server.chat.messages import KeptTexts
from vertune.store import entries
from vertune.store.database import Database
from vertune.store.entries import Draft, Entry, Named


class Adding:
    """What people add to the apps of one server; its coroutines are called in the event loop."""

    def __init__(self, keeper: Keeper, products: LiveProducts, texts: KeptTexts) -> None:
        self._keeper, self._products, self._texts = keeper, products, texts

    @property
    def _database(self) -> Database:
        return self._keeper.database

    async def add(self, draft: Draft, actor: str) -> Entry:
        """Store an entry, and return it as it is stored; one for a question that there is already replaces its answer.

        Without a fingerprint it gets the one of its question. Raises UnknownName if it is to replace an entry that the pack does not have.
        Call `bring` afterwards.
        """
        return await self._keeper.compute(self._add, draft, actor)

    async def correct(self, wanted: Named, seen: int, question: str, answer: str, actor: str) -> Entry:
        """Store another version of an entry, and return it; raises NotFound, and Conflict if the version `seen` is no longer the last one.

        Its answer stays as it is written, because somebody has read it again.
        """
        shown = self._texts.written(wanted.app, question)

        def write() -> Entry:
            with self._database.writing() as connection:
                return entries.correct(connection, wanted, seen, question=shown, answer=answer, actor=actor)

        found = await self._keeper.compute(write)
        await self.bring()
        return found

    async def withdraw(self, wanted: Named, actor: str) -> None:
        """Let an entry be found no longer; raises NotFound."""

        def write() -> None:
            with self._database.writing() as connection:
                entries.withdraw(connection, wanted, actor)

        await self._keeper.compute(write)
        await self.bring()

    async def bring(self) -> None:
        """Let the apps of this server search what is stored now; other servers see it within a second or two."""
        await self._keeper.compute(self._products.update)

    def language(self, app: str, wanted: str | None) -> str:
        """Return the language of an entry: the wanted one, or else the first one of the app."""
        product = self._products.products.get(app)
        return wanted or (product.languages[0] if product is not None and product.languages else "en")

    def _add(self, draft: Draft, actor: str) -> Entry:
        product = self._products.products.get(draft.app)
        faq = {} if product is None else replaceable(product.pack, draft.customer)
        if draft.replaces is not None and draft.replaces not in faq:
            raise UnknownName("entry", draft.replaces, faq)
        if draft.replaces is None:
            draft = replace(draft, replaces=replaced_entry(faq, draft.question, draft.language))
        written = self._texts.written
        draft = replace(
            draft, question=written(draft.app, draft.question), answer=written(draft.app, draft.answer),
            fingerprint=draft.fingerprint or self._texts.mark(draft.question),
        )  # fmt: skip
        with self._database.writing() as connection:
            return entries.add(connection, draft, actor, is_same_question)
