"""`/v1/apps/{app}/conversations`: what visitors do in their conversations with an app; does not depend on how messages are answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import StreamingResponse

from vertune.core.errors import AccessError
from vertune.server import cross_origin, problems
from vertune.server.access import call_of
from vertune.server.body import TooLarge, json_response
from vertune.server.chat.keeping import Outcome
from vertune.server.chat.messages import Message
from vertune.server.chat.talking import Beginning
from vertune.server.chat.views import VisitorTurn, visitor_turn
from vertune.server.conversing import LONGEST_WAIT, MessageId, chats_of, limit, stream, visitors, wait_for
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.store import actions, conversations
from vertune.store.audit import note
from vertune.store.conversations import Stage
from vertune.store.storable import Storable

resource = Resource("conversations")
_MOST_KNOWN = 50
"""Maximum number of facts that the operator's page may tell."""
_Known = Annotated[str, Field(max_length=2_000)] | Annotated[int, Field(ge=-(1 << 53), le=1 << 53)] | float | bool | None
"""A fact; whole numbers are those that every program reads in the same way."""
_Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
_TOKEN = {
    "parameters": [
        {
            "name": cross_origin.HEADER, "in": "header", "required": False, "schema": {"type": "string", "maxLength": 200},
            "description": "The secret of the conversation.",
        }
    ]
}  # fmt: skip


class ConversationRequest(BaseModel):
    """How a conversation begins."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"language": "en"}]})

    language: _Language | None = None
    """The language that the visitor chose, such as zh; null lets the app judge by the texts."""
    visitor: Short | None = None
    """How the operator calls the visitor; it is stored masked."""
    known: Annotated[dict[Short, _Known], Field(max_length=_MOST_KNOWN)] = {}
    """What the operator knows of the visitor, such as a tariff. A key that web pages show can't set it, because visitors could."""


class Begun(BaseModel):
    """A conversation that has begun."""

    id: str
    token: str
    """The secret of the visitor, for the header X-Conversation-Token; it is in this response alone."""
    app: str
    title: dict[str, str]
    """What the app is called, by language."""
    language: str | None
    stage: Stage
    turn: int
    sequence: int
    """The number of the next message."""
    turns: list[VisitorTurn]
    """What the app says first."""


class MessageRequest(BaseModel):
    """A message of a visitor, or what the visitor does instead of writing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "m1", "sequence": 1, "text": "I lost my card"}]})

    message: MessageId
    """An id of the client. If the message is sent again with the same one, nothing happens twice, and the reply is the same."""
    sequence: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Its number among the messages of the visitor, from 1. One that comes too early waits for the earlier ones."""
    text: Annotated[Storable, Field(min_length=1)] | None = None
    choice: Annotated[Storable, Field(min_length=1, max_length=200)] | None = None
    """The value of the button that was pressed."""
    event: Literal["silence"] | None = None
    """Nothing was written for a while."""

    @model_validator(mode="after")
    def _one(self) -> MessageRequest:
        if sum(value is not None for value in (self.text, self.choice, self.event)) != 1:
            raise ValueError("expected exactly one of the fields 'text', 'choice' and 'event'")
        return self


class PlainRequest(BaseModel):
    """A wish of a visitor that needs no text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "m2", "sequence": 2}]})

    message: MessageId
    """An id of the client, as that of a message."""
    sequence: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Its number among the messages of the visitor."""


class Answered(BaseModel):
    """What follows from a message."""

    stage: Stage
    turn: int
    """The number of the last turn of the conversation."""
    sequence: int
    """The number of the next message."""
    pending: bool
    """Whether an action of the operator runs, whose result will be a further turn."""
    turns: list[VisitorTurn]
    """The message as it is stored, and what answers it; empty if it waits for an earlier one."""


class ConversationInfo(BaseModel):
    """A conversation as its visitor sees it."""

    id: str
    app: str
    title: dict[str, str]
    language: str | None
    stage: Stage
    turn: int
    sequence: int
    """The number of the next message."""
    pending: bool
    position: int | None
    """The place in the queue for a person; null if it does not wait."""
    agent: bool
    """Whether a person answers."""
    satisfaction: int | None
    turns: list[VisitorTurn]


class TurnsQuery(BaseModel):
    """Which turns are asked for."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """The number of the last turn that the client has."""
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0.0
    """Seconds to wait if there is no later one."""


class EventsQuery(BaseModel):
    """Which turns are asked for."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0


class SatisfactionRequest(BaseModel):
    """How satisfied a visitor is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"score": 5}]})

    score: Annotated[int, Field(ge=1, le=5)]
    """From 1 (not at all) to 5."""
    comment: Annotated[Storable, Field(max_length=2_000)] | None = None


@resource.options("/v1/apps/{path:path}", scope=None, include_in_schema=False)
def preflight(path: str, request: Request) -> Response:
    """Tell a browser whether a page of another origin may send requests: if a valid key is bound to this origin."""
    origin = request.headers.get("origin", "")
    if not origin or not request.app.state.access.opens_to(origin):
        return problems.response(
            405, "Method Not Allowed", "No key is bound to this origin; expected one for requests of other sites. Create one.",
            {"Allow": "GET, HEAD, POST"},
        )  # fmt: skip
    return Response(status_code=204, headers=cross_origin.preflight(origin))


@resource.post("/v1/apps/{app}/conversations", scope="chat", status_code=201, responses=problems.documented(404))
async def begin_conversation(app: str, body: ConversationRequest, request: Request) -> Begun:
    """Begin a conversation with an app."""
    chats, call, state = chats_of(request), call_of(request), request.app.state
    if body.known and state.access.is_public(request):
        raise AccessError("A key that web pages show can't tell what is known of a visitor. Send 'known' with a key of your own server.")
    if not state.service.settings.behind_proxy:
        limit(request, chats.settings.beginnings, f"address {request.client.host if request.client else 'local'}")
    call.resource = "conversation"
    beginning = Beginning(app, call.customer, call.key, body.language, visitor=body.visitor, known=body.known)
    found, token, turns = await chats.talking.begin(beginning)
    return Begun(
        id=found.id, token=token, app=app, title=chats.products.get(app).title, language=found.language, stage=found.stage, turn=found.turn,
        sequence=1, turns=[VisitorTurn(**visitor_turn(turn)) for turn in turns],
    )  # fmt: skip


@resource.direct_post(
    "/v1/apps/{app}/conversations/{id}/messages", scope="chat", response_model=Answered, openapi_extra=_TOKEN,
    responses={202: {"model": Answered, "description": "It waits for an earlier message."}, **problems.documented(404, 409)},
)  # fmt: skip
async def send_message(app: str, id: str, body: MessageRequest, request: Request) -> Response:
    """Send a message; the response has the reply of the app, unless a person answers."""
    kind, text = ("text", body.text) if body.text is not None else ("choice", body.choice) if body.choice is not None else ("silence", "")
    if len(text or "") > (most := chats_of(request).settings.characters):
        raise TooLarge(f"The message has {len(text or '')} characters; expected at most {most}. Shorten it.")
    message = Message(body.message, kind, text or "", body.sequence, call=call_of(request).id)  # type: ignore[arg-type]
    return await _say(request, app, id, message)


@resource.direct_post(
    "/v1/apps/{app}/conversations/{id}/handoff", scope="chat", response_model=Answered, openapi_extra=_TOKEN,
    responses={202: {"model": Answered, "description": "It waits for an earlier message."}, **problems.documented(404, 409)},
)  # fmt: skip
async def ask_for_person(app: str, id: str, body: PlainRequest, request: Request) -> Response:
    """Ask for a person; the conversation waits for one from now on."""
    return await _say(request, app, id, Message(body.message, "handoff", sequence=body.sequence, call=call_of(request).id))


@resource.direct_post(
    "/v1/apps/{app}/conversations/{id}/close", scope="chat", response_model=Answered, openapi_extra=_TOKEN,
    responses={202: {"model": Answered, "description": "It waits for an earlier message."}, **problems.documented(404, 409)},
)  # fmt: skip
async def leave_conversation(app: str, id: str, body: PlainRequest, request: Request) -> Response:
    """End a conversation."""
    return await _say(request, app, id, Message(body.message, "close", sequence=body.sequence, call=call_of(request).id))


@resource.get("/v1/apps/{app}/conversations/{id}", scope="chat", openapi_extra=_TOKEN)
async def show_conversation(app: str, id: str, request: Request, query: Annotated[TurnsQuery, Query()]) -> ConversationInfo:
    """Return a conversation with its turns after one; wait for a turn if there is none, at most 25 s."""
    chats = chats_of(request)
    await visitors(request, app, id)
    found, turns, position = await wait_for(chats, id, query.after, query.wait)
    pending = await chats.keeper.read(lambda connection: actions.pending(connection, id))
    return ConversationInfo(
        id=found.id, app=app, title=chats.products.get(app).title, language=found.language, stage=found.stage, turn=found.turn,
        sequence=found.sequence + 1, pending=pending, position=position, agent=found.stage == "agent", satisfaction=found.satisfaction,
        turns=[VisitorTurn(**visitor_turn(turn)) for turn in turns],
    )  # fmt: skip


@resource.get("/v1/apps/{app}/conversations/{id}/events", scope="chat", openapi_extra=_TOKEN, response_class=StreamingResponse)
async def follow_conversation(app: str, id: str, request: Request, query: Annotated[EventsQuery, Query()]) -> Response:
    """Return the turns after one as they come, as server-sent events `turn` and `stage`; ends after a minute."""
    await visitors(request, app, id)
    events = stream(chats_of(request), id, query.after)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})  # a proxy sends them on at once


@resource.post("/v1/apps/{app}/conversations/{id}/satisfaction", scope="chat", status_code=204, openapi_extra=_TOKEN)
async def rate_conversation(app: str, id: str, body: SatisfactionRequest, request: Request) -> Response:
    """Say how satisfied the visitor is; a later request replaces an earlier one."""
    chats, found = chats_of(request), await visitors(request, app, id)
    limit(request, chats.settings.rate, f"conversation {id}")
    comment = chats.talking.texts.remark(found.app, body.comment)
    await chats.keeper.write(id, lambda connection: conversations.rate(connection, id, body.score, comment))
    return Response(status_code=204)


@resource.delete("/v1/apps/{app}/conversations/{id}", scope="chat", status_code=204, openapi_extra=_TOKEN)
async def delete_conversation(app: str, id: str, request: Request) -> Response:
    """Delete a conversation with all that was said, for good; the audit tells that it was."""
    chats = chats_of(request)
    await visitors(request, app, id)
    call = call_of(request)

    def delete(connection: Any) -> None:
        conversations.remove(connection, [id])
        note(connection, call.key or f"address {call.client}", "delete", f"conversation {id}", {"app": app})

    await chats.keeper.write(id, delete)
    chats.keeper.forget(id)
    return Response(status_code=204)


async def _say(request: Request, app: str, id: str, message: Message) -> Response:
    """Give a message to its conversation, and return what follows."""
    chats, call, state = chats_of(request), call_of(request), request.app.state
    await visitors(request, app, id)
    limit(request, chats.settings.rate, f"conversation {id}")
    state.access.check_quota(request, [app])
    call.resource = "chat"
    outcome = await chats.talking.say(id, message, call.key)
    response = json_response(answered(outcome))
    response.status_code = 202 if outcome.waits else 200
    return response


def answered(outcome: Outcome) -> dict[str, Any]:
    """Return what follows from a message, as JSON values."""
    found = outcome.conversation
    return {
        "stage": found.stage, "turn": found.turn, "sequence": found.sequence + 1,
        "pending": any(turn.author == "bot" and turn.action == "act" for turn in outcome.turns),
        "turns": [visitor_turn(turn) for turn in outcome.turns],
    }  # fmt: skip
