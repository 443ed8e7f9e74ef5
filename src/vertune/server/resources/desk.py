"""`/v1/desk`: what people do who answer in the place of an app; does not depend on how conversations are kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from vertune.core.errors import NotFound
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.chat.keeping import Outcome
from vertune.server.chat.labelling import Labelling
from vertune.server.chat.suggesting import suggest
from vertune.server.chat.views import DeskTurn, Listed, desk_turn, listed, slots_of
from vertune.server.conversing import LONGEST_WAIT, MessageId, chats_of, wait_for
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.stored import actor_of, customer_of
from vertune.store import canned, conversations
from vertune.store.conversations import Conversation, Filter, Stage
from vertune.store.storable import Storable

resource = Resource("desk")
_MOST_LISTED = 200
_Text = Annotated[Storable, Field(min_length=1, max_length=8_000)]
_Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\p{L}\p{N}][\p{L}\p{M}\p{N} _.-]*$")]


class ListQuery(BaseModel):
    """Which conversations are asked for."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    mine: bool = False
    """Only those that the sender of the request answers."""
    app: Short | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    """Only older conversations than the one with this id, from `next` of the previous page."""
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED)] = 50


class Counts(BaseModel):
    """How many conversations want attention."""

    waiting: int
    mine: int


class ConversationPage(BaseModel):
    """Some conversations: those that wait in the order of the queue, and others with the latest first."""

    conversations: list[Listed]
    next: str | None
    """The value for `before` to get older ones; null if there are none, and for the queue."""
    counts: Counts


class DeskQuery(BaseModel):
    """Which turns are asked for."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0.0


class DeskConversation(Listed):
    """A conversation as people at the desk see it."""

    slots: dict[str, Any]
    """The details that the app knew in its last reply."""
    position: int | None
    turns: list[DeskTurn]


class Written(BaseModel):
    """What a person writes to a visitor."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "a1", "text": "Hello, I look into it."}]})

    message: MessageId
    """An id of the client; a message that is sent again with the same one is not added again."""
    text: _Text


class Nothing(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")


class DeskAnswer(BaseModel):
    """What follows from a message of a person."""

    stage: Stage
    turn: int
    turns: list[DeskTurn]


class Entry(BaseModel):
    """An entry of an FAQ; one for a question that the FAQ has already replaces its answer."""

    model_config = ConfigDict(extra="forbid")

    question: _Text
    answer: _Text
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    """The language of both; null for that of the conversation, or else the first one of the app."""
    replaces: Short | None = None
    """The id of an entry of the pack whose answer it replaces, though its question is another one."""


class LabelRequest(BaseModel):
    """What would have been right for a message of a visitor."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"turn": 3, "intent": "card_arrival"}]})

    turn: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """The number of the turn."""
    intent: Short | None = None
    """The intent, which may be a new one."""
    entry: Entry | None = None
    """An entry of an FAQ that would have answered it."""

    @model_validator(mode="after")
    def _one(self) -> LabelRequest:
        if (self.intent is None) == (self.entry is None):
            raise ValueError("expected exactly one of the fields 'intent' and 'entry'")
        return self


class LabelInfo(BaseModel):
    """What became of a label."""

    feedback: str | None
    """The id of the feedback from which a model will learn; null if no model learns from it."""
    entry: str | None
    """The id of the entry that was added or corrected; null for an intent."""


class Suggestion(BaseModel):
    """A text that a person may send."""

    kind: str
    """answer (of the app), entry, passage or canned."""
    id: str
    """Its place among the suggestions, from 1."""
    title: str
    """What people call it; empty for an answer without a name."""
    text: str
    confidence: float | None


class Suggestions(BaseModel):
    """Texts that a person may send, the best one first."""

    suggestions: list[Suggestion]


class CannedRequest(BaseModel):
    """The texts of a canned reply."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": {"en": "Thank you, and good bye."}}]})

    texts: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], _Text], Field(min_length=1, max_length=20)]


class CannedInfo(BaseModel):
    """A canned reply."""

    name: str
    texts: dict[str, str]
    changed: str
    actor: str


class CannedList(BaseModel):
    """The canned replies of a customer."""

    canned: list[CannedInfo]


@resource.get("/v1/desk/conversations", scope="review")
async def list_conversations(request: Request, query: Annotated[ListQuery, Query()]) -> ConversationPage:
    """List conversations of the customer of the key or user; with the permission `admin`, those of all customers."""
    chats, access = chats_of(request), request.app.state.access
    own, person = access.verticals(request), access.person(request)
    apps = own if query.app is None else [query.app] if own is None or query.app in own else []
    customer = customer_of(request)
    wanted = Filter(customer, apps, query.stage, person if query.mine else None, before=query.before)

    def read(connection: Any) -> ConversationPage:
        found = conversations.find(connection, wanted, query.limit + 1)
        shown = found[: query.limit]
        last = conversations.last_texts(connection, [one.id for one in shown])
        counts = Counts(
            waiting=conversations.count(connection, Filter(customer, apps, "waiting")),
            mine=conversations.count(connection, Filter(customer, apps, "agent", person)),
        )
        more = len(found) > query.limit and query.stage != "waiting"
        listed_ones = [Listed(**listed(one, last.get(one.id))) for one in shown]
        return ConversationPage(conversations=listed_ones, next=shown[-1].id if more else None, counts=counts)

    return await chats.keeper.read(read)


@resource.get("/v1/desk/conversations/{id}", scope="review")
async def read_conversation(id: str, request: Request, query: Annotated[DeskQuery, Query()]) -> DeskConversation:
    """Return a conversation with its turns after one; wait for a turn if there is none, at most 25 s."""
    await _conversation(request, id)
    found, turns, position = await wait_for(chats_of(request), id, query.after, query.wait)
    earlier = turns if query.after == 0 else await chats_of(request).talking.turns_after(id, 0)
    last = next((turn.text for turn in reversed(earlier) if turn.author == "visitor" and turn.text is not None), None)
    shown = [DeskTurn(**desk_turn(turn)) for turn in turns]
    return DeskConversation(**listed(found, last), slots=slots_of(earlier), position=position, turns=shown)


@resource.post("/v1/desk/conversations/{id}/take", scope="review", responses=problems.documented(409))
async def take_conversation(id: str, body: Nothing, request: Request) -> Listed:
    """Answer a conversation from now on, which no other person answers."""
    await _conversation(request, id)
    return await _listed(request, await chats_of(request).desk.take(id, request.app.state.access.person(request)))


@resource.post("/v1/desk/conversations/{id}/messages", scope="review", responses=problems.documented(409))
async def write_to_visitor(id: str, body: Written, request: Request) -> DeskAnswer:
    """Write to the visitor of a conversation that the sender has taken."""
    await _conversation(request, id)
    outcome = await chats_of(request).desk.write(id, request.app.state.access.person(request), body.message, body.text)
    turns = [DeskTurn(**desk_turn(turn)) for turn in outcome.turns]
    return DeskAnswer(stage=outcome.conversation.stage, turn=outcome.conversation.turn, turns=turns)


@resource.post("/v1/desk/conversations/{id}/return", scope="review", responses=problems.documented(409))
async def return_conversation(id: str, body: Nothing, request: Request) -> Listed:
    """Let the app answer again."""
    await _conversation(request, id)
    return await _listed(request, await chats_of(request).desk.give_back(id, request.app.state.access.person(request)))


@resource.post("/v1/desk/conversations/{id}/close", scope="review", responses=problems.documented(409))
async def close_conversation(id: str, body: Nothing, request: Request) -> Listed:
    """End a conversation; its visitor is asked how satisfied he or she is."""
    await _conversation(request, id)
    return await _listed(request, await chats_of(request).desk.close(id, request.app.state.access.person(request)))


@resource.post("/v1/desk/conversations/{id}/label", scope="review")
async def label_message(id: str, body: LabelRequest, request: Request) -> LabelInfo:
    """Say what would have been right for a message; an intent becomes feedback, and an entry is found from then on."""
    conversation, chats = await _conversation(request, id), chats_of(request)
    entry = None if body.entry is None else body.entry.model_dump()
    labelling = Labelling(chats, request.app.state.service, request.app.state.access.person(request), call_of(request).key)
    found = await labelling.label(conversation, body.turn, {"intent": body.intent, "entry": entry})
    if found.entry is not None:
        await chats.adding.bring()
    return LabelInfo(feedback=found.feedback, entry=None if found.entry is None else found.entry.id)


@resource.get("/v1/desk/conversations/{id}/suggestions", scope="review")
async def list_suggestions(id: str, request: Request) -> Suggestions:
    """Return texts that a person may send now: what the app would answer, what search finds, and canned replies."""
    conversation = await _conversation(request, id)
    found = await suggest(chats_of(request), conversation)
    return Suggestions(suggestions=[Suggestion(**one) for one in found])


@resource.get("/v1/desk/canned", scope="review")
async def list_canned(request: Request) -> CannedList:
    """List the canned replies of the customer."""
    customer = call_of(request).customer
    found = await chats_of(request).keeper.read(lambda connection: canned.of(connection, customer))
    return CannedList(canned=[_canned(one) for one in found])


@resource.put("/v1/desk/canned/{name}", scope="review")
async def put_canned(name: str, body: CannedRequest, request: Request) -> CannedInfo:
    """Add a canned reply, or replace the one with this name."""
    customer, actor = call_of(request).customer, actor_of(request)
    called = _NamedReply(name=name).name
    write = chats_of(request).keeper.write
    return _canned(await write("", lambda connection: canned.put(connection, customer, called, dict(body.texts), actor)))


@resource.delete("/v1/desk/canned/{name}", scope="review", status_code=204)
async def delete_canned(name: str, request: Request) -> None:
    """Delete a canned reply."""
    customer = call_of(request).customer
    if not await chats_of(request).keeper.write("", lambda connection: canned.remove(connection, customer, name)):
        raise NotFound(f"There is no canned reply '{name[:80]}'. List them with GET /v1/desk/canned.")


class _NamedReply(BaseModel):
    """Checks the name of a canned reply, which stands in the path."""

    name: _Name


async def _conversation(request: Request, id: str) -> Conversation:
    """Return a conversation that the sender of a request may see; raise NotFound if there is none."""
    found = await chats_of(request).keeper.get(id)
    if customer_of(request) not in (None, found.customer) or not request.app.state.access.sees(request, found.app):
        raise NotFound(f"There is no conversation '{id[:32]}', or it was deleted. Start a new one.")
    return found


async def _listed(request: Request, outcome: Outcome) -> Listed:
    id = outcome.conversation.id
    last = await chats_of(request).keeper.read(lambda connection: conversations.last_texts(connection, [id]))
    return Listed(**listed(outcome.conversation, last.get(id)))


def _canned(one: canned.Canned) -> CannedInfo:
    return CannedInfo(name=one.name, texts=one.texts, changed=one.changed, actor=one.actor)
