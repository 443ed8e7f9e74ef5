"""`/v1/apps/{app}/incoming/{adapter}`: signed messages of other channels; does not depend on which channels there are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from vertune.core.webhooks import check_signature
from vertune.server import problems
from vertune.server.access import call_of
from vertune.server.body import TooLarge, check_json, json_response
from vertune.server.chat.messages import Kind, Message
from vertune.server.conversing import MessageId, chats_of, limit
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.resources.conversations import Answered, answered
from vertune.store.storable import Storable

resource = Resource("conversations")


class IncomingMessage(BaseModel):
    """A message of another channel."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"sender": "49151…", "message": "m1", "text": "Hello"}]})

    sender: Short
    """How the channel calls the sender; each sender has one open conversation."""
    message: MessageId
    """The id of the message in the channel; one that is sent again is not answered again."""
    text: Annotated[Storable, Field(min_length=1)] | None = None
    choice: Annotated[Storable, Field(min_length=1, max_length=200)] | None = None
    """The value of the button that was pressed."""

    @model_validator(mode="after")
    def _one(self) -> IncomingMessage:
        if (self.text is None) == (self.choice is None):
            raise ValueError("expected exactly one of the fields 'text' and 'choice'")
        return self


_BODY = {
    "requestBody": {
        "required": True, "content": {"application/json": {"schema": IncomingMessage.model_json_schema()}},
        "description": "Signed as webhooks of this server are.",
    }
}  # fmt: skip


@resource.post(
    "/v1/apps/{app}/incoming/{adapter}", scope=None, response_model=Answered, openapi_extra=_BODY,
    responses={**problems.documented(401, 409, 413, 415), **problems.documented(422, 429, 503, 507)},
)  # fmt: skip
async def take_message(app: str, adapter: str, request: Request) -> Response:
    """Take a message of another channel, which its adapter has signed; answer with the reply, unless the operator has it posted."""
    chats = chats_of(request)
    found = chats.adapters.get(app, adapter)
    content = await request.body()
    check_signature(request.headers, content, found.secret(f"the adapter '{adapter}'"))
    check_json(content)
    body = IncomingMessage.model_validate_json(content, strict=True)
    kind: Kind = "choice" if body.text is None else "text"
    text = body.text or body.choice or ""
    if len(text) > (most := chats.settings.characters):
        raise TooLarge(f"The message has {len(text)} characters; expected at most {most}. Shorten it.")
    limit(request, chats.settings.rate, f"sender {adapter} {body.sender}")
    call = call_of(request)
    call.resource, call.customer = "chat", found.customer
    outcome, posted = await chats.adapters.take(adapter, body.sender, Message(body.message, kind, text, call=call.id))
    given = answered(outcome)
    return json_response({**given, "turns": []} if posted else given)
