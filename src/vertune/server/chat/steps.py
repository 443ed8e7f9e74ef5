"""What a message, a reply or a person changes in a conversation, as rows; decides nothing that an app decides, and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from vertune.core.app import Reply
from vertune.server.chat.messages import KeptTexts, Message
from vertune.store.actions import Call, Finished
from vertune.store.conversations import Change, Conversation, Turn
from vertune.store.database import format_time

Event = Literal["handoff", "taken", "returned", "closed", "acted"]
"""What happens in a conversation apart from what is said."""
ASKED = "asked_for"
"""The reason of a conversation that waits because its visitor asked for a person, whatever the app says."""


def now() -> str:
    """Return the current time as the tables have it."""
    return format_time(datetime.now(UTC))


@dataclass(slots=True)
class Step:
    """A change of a conversation that is being made: its turns so far, and the new values of its columns."""

    conversation: Conversation
    turns: list[Turn]
    values: dict[str, Any]
    call: Call | None = None
    finished: Finished | None = None
    early: int | None = None
    rewritten: Sequence[Turn] = ()

    @classmethod
    def of(cls, conversation: Conversation) -> Step:
        """Return a change that adds nothing yet."""
        return cls(conversation, [], {"changed": now()})

    @property
    def next(self) -> int:
        """The number of the next turn."""
        return self.conversation.turn + len(self.turns) + 1

    @property
    def stage(self) -> str:
        """Who answers after the change."""
        return str(self.values.get("stage", self.conversation.stage))

    def say(self, message: Message, texts: KeptTexts, action: str | None = None, title: str | None = None) -> None:
        """Add the turn of a visitor; `action` is what the app did about it, and `title` what stands on the button that was pressed."""
        written, key = title or (message.text if message.kind in ("text", "choice") else None), texts.key
        turn = Turn(
            self.conversation.id, self.next, "visitor", now(), message.id, text=written, action=action, sequence=message.sequence,
            digest=message.digest(key), call=message.call,
        )  # fmt: skip
        self.turns.append(texts.visitor(self.conversation.app, turn))
        if message.sequence is not None:
            self.values["sequence"] = message.sequence

    def reply(self, reply: Reply, state: dict[str, Any], model: str, message: str | None = None) -> None:
        """Add the turn of an app, keep its new state, and note what it asks for; `message` is an id that only one turn can have."""
        number = self.next
        body = reply.model_dump(mode="json", exclude_defaults=True)
        turn = Turn(self.conversation.id, number, "bot", now(), message, text=reply.text, action=reply.action, reply=body, model=model)
        self.turns.append(turn)
        self.values["state"] = state
        if reply.action == "act" and reply.call is not None:
            self.call = Call(self.conversation.id, number, reply.call.name, reply.call.arguments)

    def wait(self, reasons: Sequence[str], summary: str | None) -> None:
        """Let the conversation wait for a person."""
        self.happen("handoff")
        self.values |= {"stage": "waiting", "queued": now(), "reasons": list(reasons) or [ASKED], "summary": summary, "agent": None}

    def happen(self, event: Event, message: Message | None = None, key: bytes = b"") -> None:
        """Add a turn that says what happens; `message` is what a visitor sent to make it happen."""
        turn = Turn(self.conversation.id, self.next, "system", now(), action=event)
        if message is not None:
            turn = replace(turn, message=message.id, digest=message.digest(key), sequence=message.sequence, call=message.call)
            if message.sequence is not None:
                self.values["sequence"] = message.sequence
        self.turns.append(turn)

    def agent_says(self, message: str, text: str, digest: bytes) -> None:
        """Add what a person writes."""
        self.turns.append(Turn(self.conversation.id, self.next, "agent", now(), message, text=text, digest=digest))

    def result(self, message: str, result: dict[str, Any]) -> None:
        """Add a turn with the result of an action, for the person who answers; `message` is an id that only one turn can have."""
        turn = Turn(self.conversation.id, self.next, "system", now(), message, action="acted", reply={"result": result})
        self.turns.append(turn)

    def end(self, texts: KeptTexts, said: Sequence[Turn]) -> None:
        """End the conversation: keep of `said`, its turns so far, and of its state what may be kept."""
        app = self.conversation.app
        self.values |= {"stage": "closed", "queued": None, "state": {}, "known": {}}
        self.rewritten = [kept for turn in said if turn.author in ("bot", "agent") and (kept := texts.ended(app, turn)) != turn]
        self.turns = [texts.ended(app, turn) if turn.author in ("bot", "agent") else turn for turn in self.turns]

    def change(self) -> Change:
        """Return the change as it is written."""
        return Change(
            self.conversation.id, self.conversation.turn, tuple(self.turns), self.values, call=self.call, finished=self.finished,
            early=self.early, rewritten=self.rewritten,
        )  # fmt: skip

    def after(self) -> Conversation:
        """Return the conversation as it is after the change."""
        return replace(self.conversation, turn=self.conversation.turn + len(self.turns), **self.values)
