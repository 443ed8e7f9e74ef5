"""`/v1/apps/{app}/entries`: the entries of FAQs that people have added to an app; does not depend on how they are searched."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.pack import FaqEntry
from vertune.products.additions import replaceable
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.conversing import chats_of
from vertune.server.resource import Resource
from vertune.server.resources import desk
from vertune.server.stored import customer_of
from vertune.store import entries
from vertune.store.entries import Draft, Entry, Named
from vertune.store.storable import Storable

resource = Resource("entries")
_Text = Annotated[Storable, Field(min_length=1, max_length=8_000)]


class EntryInfo(BaseModel):
    """One version of an entry."""

    id: str
    version: int
    question: str | None
    """Null if the entry was withdrawn, or deleted with the data of a person."""
    answer: str | None
    language: str
    replaces: str | None
    """The id of the entry of the pack whose answer it replaces; null for a new question."""
    customer: str
    """The customer whose conversations alone find it."""
    changed: str
    """When this version was written, in UTC."""
    actor: str
    """Who wrote it."""


class EntryList(BaseModel):
    """The entries that are found at the moment, in the order in which they were added."""

    entries: list[EntryInfo]


class EntryVersions(BaseModel):
    """All versions of an entry, the first one first."""

    versions: list[EntryInfo]


class FaqInfo(BaseModel):
    """An entry of the pack of an app."""

    id: str
    """What `replaces` of an added entry names."""
    title: dict[str, str]
    """What it is about, by language; for one without a title, the first way to ask for it."""
    answer: dict[str, str]
    """The answer, by language; the first one of several with the same meaning."""


class Faq(BaseModel):
    """The entries of the pack of an app, in its order."""

    entries: list[FaqInfo]


class EntriesQuery(BaseModel):
    """Which entries are asked for."""

    model_config = ConfigDict(extra="forbid")

    withdrawn: bool = False
    """With those that were withdrawn."""


class Correction(BaseModel):
    """Another question and answer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": 1, "question": "Do you ship abroad?", "answer": "To all of Europe."}]}
    )

    version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """The version that is corrected; if there is a later one by now, nothing is changed (409)."""
    question: _Text
    answer: _Text


@resource.get("/v1/apps/{app}/faq", scope="review")
async def list_faq(app: str, request: Request) -> Faq:
    """List the entries of the pack of an app, which an added entry may replace: those for everybody, and those for this customer alone."""
    pack = chats_of(request).products.get(app).pack
    found = replaceable(pack, call_of(request).customer)
    return Faq(entries=[_faq_info(id, one) for id, one in found.items()])


@resource.get("/v1/apps/{app}/entries", scope="review")
async def list_entries(app: str, request: Request, query: Annotated[EntriesQuery, Query()]) -> EntryList:
    """List the entries that people have added to an app, of the customer of the key or user; with the permission `admin`, of all."""
    customer = customer_of(request)
    found = await chats_of(request).keeper.read(lambda connection: entries.current(connection, app, customer))
    return EntryList(entries=[_info(one) for one in found if query.withdrawn or one.answer is not None])


@resource.post("/v1/apps/{app}/entries", scope="review", status_code=201)
async def add_entry(app: str, body: desk.Entry, request: Request) -> EntryInfo:
    """Add an entry, which is found within seconds, in conversations of this customer alone.

    If the FAQ has the question already, in the same words, its answer is replaced. Personal data in the texts is masked.
    """
    chats = chats_of(request)
    chats.products.get(app)
    language = chats.adding.language(app, body.language)
    draft = Draft(app, call_of(request).customer, language, body.question, body.answer, replaces=body.replaces)
    added = await chats.adding.add(draft, request.app.state.access.person(request))
    await chats.adding.bring()
    return _info(added)


@resource.get("/v1/apps/{app}/entries/{id}", scope="review")
async def list_versions(app: str, id: str, request: Request) -> EntryVersions:
    """List the versions of an entry: who wrote what, and when."""
    wanted = Named(id, app, customer_of(request))
    found = await chats_of(request).keeper.read(lambda connection: entries.versions(connection, wanted))
    return EntryVersions(versions=[_info(one) for one in found])


@resource.put("/v1/apps/{app}/entries/{id}", scope="review", responses=problems.documented(409))
async def correct_entry(app: str, id: str, body: Correction, request: Request) -> EntryInfo:
    """Correct an entry. The question is masked; the answer stays as it is written here, such as with a telephone number of the shop."""
    adding, person = chats_of(request).adding, request.app.state.access.person(request)
    return _info(await adding.correct(Named(id, app, customer_of(request)), body.version, body.question, body.answer, person))


@resource.delete("/v1/apps/{app}/entries/{id}", scope="review", status_code=204)
async def withdraw_entry(app: str, id: str, request: Request) -> None:
    """Withdraw an entry, which is then found no longer; its versions stay, and say who withdrew it."""
    await chats_of(request).adding.withdraw(Named(id, app, customer_of(request)), request.app.state.access.person(request))


def _faq_info(id: str, one: FaqEntry) -> FaqInfo:
    questions = {language: ways[0] for language, ways in one.questions.items()}
    return FaqInfo(id=id, title={**questions, **one.title}, answer={language: ways[0] for language, ways in one.answer.items()})


def _info(one: Entry) -> EntryInfo:
    values = {name: getattr(one, name) for name in EntryInfo.model_fields if name != "changed"}
    return EntryInfo(**values, changed=one.at)
