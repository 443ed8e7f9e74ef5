"""`/v1/apps`: the apps of the server, one question to try, and messages that they could not answer; does not depend on how apps work."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from vertune.core import app as core
from vertune.core.errors import DataError, NotFound, StorageError
from vertune.core.ids import first_id_of
from vertune.core.pack import INTENT, entry_of
from vertune.core.reply import Reply
from vertune.products.product import Product
from vertune.server.access import call_of
from vertune.server.chat.chats import Chats
from vertune.server.chat.labelling import Labelling
from vertune.server.chat.unanswered import Cluster, clusters
from vertune.server.conversing import chats_of
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.resources.desk import Entry
from vertune.server.stored import customer_of
from vertune.store import conversations
from vertune.store.conversations import Conversation, Filter, Turn
from vertune.store.storable import Storable

resource = Resource("apps")
_MOST_MESSAGES = 1_000
_MOST_CLUSTERS = 50
_EXAMPLES = 10
_MOST_STATE = 64 << 10
"""Maximum size of a state that is sent, in bytes."""


class AppInfo(BaseModel):
    """An app of the server."""

    name: str
    title: dict[str, str]
    languages: list[str]
    product: str | None
    """The id of the live product; null if it can't be used at the moment."""
    waiting: int
    """Number of conversations that wait for a person."""


class AppList(BaseModel):
    """The apps that a request may see."""

    apps: list[AppInfo]


class AppDetails(AppInfo):
    """An app with what it consists of."""

    intents: list[str]
    """The intents that it can answer."""
    slots: dict[str, str]
    """By slot, the id of the model with which the product was made."""
    error: float
    """The share of answers given that may be wrong."""


class TryRequest(BaseModel):
    """A message to try."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "Where is my parcel?"}]})

    text: Annotated[Storable, Field(max_length=4_000)] = ""
    choice: Annotated[Storable, Field(min_length=1, max_length=200)] | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    state: dict[str, Any] = {}
    """The state from the response before, to go on with a conversation."""

    @model_validator(mode="after")
    def _one(self) -> TryRequest:
        if bool(self.text) == (self.choice is not None):
            raise ValueError("expected exactly one of the fields 'text' and 'choice'")
        return self


class TryResponse(BaseModel):
    """What the app replies; nothing is stored."""

    reply: Reply
    state: dict[str, Any]


class Place(BaseModel):
    """A message of a visitor."""

    model_config = ConfigDict(extra="forbid")

    conversation: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    turn: Annotated[int, Field(ge=1, le=1_000_000_000)]


class Example(Place):
    """A message that the app could not answer."""

    text: str
    action: str | None
    at: str


class Proposal(BaseModel):
    """What messages may become."""

    kind: Literal["intent", "entry"]
    name: str | None
    """The intent or entry that is nearest; null for a new one."""


class ClusterInfo(BaseModel):
    """Messages that are alike."""

    id: str
    size: int
    words: list[str]
    examples: list[Example]
    proposal: Proposal


class Unanswered(BaseModel):
    """Messages that the app could not answer and that nobody has dealt with."""

    days: float
    messages: int
    clusters: list[ClusterInfo]


class UnansweredQuery(BaseModel):
    """Which messages are asked for."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[float, Field(gt=0, le=3660)] = 7.0


class Dealt(BaseModel):
    """What becomes of messages that the app could not answer."""

    model_config = ConfigDict(extra="forbid")

    examples: Annotated[list[Place], Field(min_length=1, max_length=500)]
    intent: Short | None = None
    """The intent, which may be a new one."""
    entry: Entry | None = None
    """An entry of an FAQ that answers them."""
    dismiss: bool = False
    """They need no answer."""

    @model_validator(mode="after")
    def _one(self) -> Dealt:
        if (self.intent is not None) + (self.entry is not None) + self.dismiss != 1:
            raise ValueError("expected exactly one of the fields 'intent', 'entry' and 'dismiss'")
        return self


class DealtWith(BaseModel):
    """How many messages were labelled."""

    labels: int
    entries: list[str]
    """The ids of the entries that were added or corrected, one for each customer to whom the messages belong."""


class Labels(BaseModel):
    """Messages with what people say would have been right."""

    labels: list[dict[str, Any]]
    next: str | None
    """The value for `after` to get what follows; null if nothing does."""


class LabelsQuery(BaseModel):
    """Which labels are asked for."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(max_length=43, pattern=r"^([0-9a-f]{32}-\d{1,9})?$")] = ""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


@resource.get("/v1/apps", scope="chat")
async def list_apps(request: Request) -> AppList:
    """List the apps that the key or user may use."""
    chats, access = chats_of(request), request.app.state.access
    names = [name for name in {**chats.products.products, **chats.products.errors} if access.sees(request, name)]
    waiting = await _waiting(request, names)
    return AppList(apps=[_info(chats, name, waiting[name]) for name in sorted(names)])


@resource.get("/v1/apps/{app}", scope="chat")
async def describe_app(app: str, request: Request) -> AppDetails:
    """Describe an app."""
    chats = chats_of(request)
    product = chats.products.get(app)
    info = _info(chats, app, (await _waiting(request, [app]))[app])
    return AppDetails(
        **info.model_dump(), intents=sorted(product.pack.intents), slots=product.content.slots, error=product.pack.config.error
    )


@resource.post("/v1/apps/{app}/try", scope="predict")
async def try_app(app: str, body: TryRequest, request: Request) -> TryResponse:
    """Return what an app would reply to a message, by the same code as in a conversation; nothing is stored."""
    chats, call = chats_of(request), call_of(request)
    product = chats.products.get(app)
    call.resource = "try"
    asked = core.Request(body.text, body.language, choice=body.choice, at=time.time())
    reply, state = await chats.keeper.compute(_reply, product, asked, body.state, call.customer)
    return TryResponse(reply=reply, state=state)


@resource.get("/v1/apps/{app}/unanswered", scope="review")
async def list_unanswered(app: str, request: Request, query: Annotated[UnansweredQuery, Query()]) -> Unanswered:
    """Return groups of similar messages that an app could not answer in the last days and that nobody has dealt with."""
    chats = chats_of(request)
    first, wanted = first_id_of(datetime.now(UTC) - timedelta(days=query.days)), Filter(customer_of(request), [app])
    turns = await chats.keeper.read(lambda connection: conversations.unanswered(connection, wanted, first, _MOST_MESSAGES))
    grouped = await chats.keeper.compute(clusters, [turn.text or "" for turn in turns])
    product = chats.products.products.get(app)
    shown = grouped[:_MOST_CLUSTERS]
    firsts = [turns[one.members[0]].text or "" for one in shown]
    proposals = await chats.keeper.compute(_proposals, product, firsts, customer_of(request))
    infos = [_cluster(one, turns, proposal) for one, proposal in zip(shown, proposals, strict=True)]
    return Unanswered(days=query.days, messages=len(turns), clusters=infos)


@resource.post("/v1/apps/{app}/unanswered", scope="review")
async def deal_with_unanswered(app: str, body: Dealt, request: Request) -> DealtWith:
    """Give messages an intent, which becomes feedback, or an entry of an FAQ, which is found from then on; or dismiss them."""
    chats = chats_of(request)
    labelling = Labelling(chats, request.app.state.service, request.app.state.access.person(request), call_of(request).key)
    value: dict[str, Any] = {"intent": body.intent, "entry": None if body.entry is None else body.entry.model_dump()}
    if body.dismiss:
        value["dismissed"] = True
    added: dict[str, None] = {}
    for place in body.examples:
        conversation = await _own(request, app, place.conversation)
        if (entry := (await labelling.label(conversation, place.turn, value)).entry) is not None:
            added[entry.id] = None
        await asyncio.sleep(0)
    if added:
        await chats.adding.bring()
    return DealtWith(labels=len(body.examples), entries=list(added))


@resource.get("/v1/apps/{app}/labels", scope="review")
async def list_app_labels(app: str, request: Request, query: Annotated[LabelsQuery, Query()]) -> Labels:
    """List messages of visitors with what people say would have been right, in the order of their conversations."""
    id, _, number = query.after.partition("-")
    after, wanted = (id, int(number or 0)), Filter(customer_of(request), [app])
    found = await chats_of(request).keeper.read(lambda connection: conversations.labelled(connection, wanted, after, query.limit + 1))
    shown = found[: query.limit]
    labels = [{"conversation": turn.conversation, "turn": turn.number, "text": turn.text, **(turn.label or {})} for turn in shown]
    return Labels(labels=labels, next=f"{shown[-1].conversation}-{shown[-1].number}" if len(found) > query.limit else None)


async def _waiting(request: Request, names: list[str]) -> dict[str, int]:
    customer = customer_of(request)

    def read(connection: Any) -> dict[str, int]:
        return {name: conversations.count(connection, Filter(customer, [name], "waiting")) for name in names}

    return await chats_of(request).keeper.read(read)


async def _own(request: Request, app: str, id: str) -> Conversation:
    """Return a conversation of an app that the sender of a request may see; raise NotFound if there is none."""
    found = await chats_of(request).keeper.get(id)
    if found.app != app or customer_of(request) not in (None, found.customer):
        raise NotFound(f"There is no conversation '{id[:32]}' of the app '{app[:80]}'. List them with GET /v1/desk/conversations.")
    return found


def _info(chats: Chats, name: str, waiting: int) -> AppInfo:
    product = chats.products.products.get(name)
    if product is None:
        return AppInfo(name=name, title={}, languages=[], product=None, waiting=waiting)
    return AppInfo(name=name, title=product.title, languages=product.languages, product=product.artifact.id, waiting=waiting)


def _reply(product: Product, request: core.Request, state: dict[str, Any], customer: str) -> tuple[Reply, dict[str, Any]]:
    """Return what an app replies; raise DataError for a state that it did not make."""
    try:
        if len(orjson.dumps(state)) > _MOST_STATE:
            raise DataError(f"The state has more than {_MOST_STATE} bytes; expected one from an earlier response. Leave it out.")
        reply, after = product.reply(request, state, customer=customer)
        orjson.dumps([after, reply.slots])  # numbers of more than 64 bits can't be sent
        return reply, after
    except (TypeError, StorageError) as error:
        raise DataError("The state is none of this app; expected one from an earlier response. Leave it out.") from error


def _proposals(product: Product | None, texts: list[str], customer: str | None) -> list[Proposal]:
    """Return, for the first message of each group, the entry or intent that search finds first, or a new intent."""
    found = []
    for text in texts:
        hits = [] if product is None else product.asking(customer).search(text, 1)
        if hits and hits[0].answer is not None:
            found.append(Proposal(kind="entry", name=entry_of(hits[0].id)))
        else:
            intent = hits[0].id.removeprefix(INTENT) if hits and hits[0].id.startswith(INTENT) else None
            found.append(Proposal(kind="intent", name=intent))
    return found


def _cluster(cluster: Cluster, turns: list[Turn], proposal: Proposal) -> ClusterInfo:
    members = [turns[place] for place in cluster.members]
    examples = [
        Example(conversation=one.conversation, turn=one.number, text=one.text or "", action=one.action, at=one.at)
        for one in members[:_EXAMPLES]
    ]
    id = f"{members[0].conversation}-{members[0].number}"
    return ClusterInfo(id=id, size=len(members), words=cluster.words, examples=examples, proposal=proposal)
