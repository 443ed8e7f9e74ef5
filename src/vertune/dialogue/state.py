"""What is known of a conversation between two messages; independent of who stores it and of what is said.

Everything here is JSON, so that any server can go on with a conversation that another one began.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["bot", "waiting", "agent", "closed"]
"""Who answers: the app; nobody yet, because a person was asked for; a person; or nobody, because the conversation is over."""
FrameStage = Literal["collect", "confirm", "change", "act"]
"""Where a flow is: details are collected; the customer is asked to confirm; was asked what to change; an action is being called."""

DEEPEST = 4
"""Largest number of flows inside each other; the oldest is left when one more begins."""
_PENDING = 4
"""Largest number of wishes that wait for their turn."""


class Frame(BaseModel):
    """A flow that has begun, with what is known in it."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    flow: str
    slots: dict[str, Any] = Field(default_factory=dict)
    """The values of slots in their normal forms, by name."""
    asked: str | None = None
    """The slot that the customer was asked for last."""
    stage: FrameStage = "collect"
    misses: int = Field(default=0, ge=0)
    """How often in a row a question of this flow got no usable reply."""


class Conversation(BaseModel):
    """The state of a conversation."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    stage: Stage = "bot"
    language: str | None = None
    """The language in which the customer writes, `en` or `zh`; None before the first message."""
    stack: list[Frame] = Field(default_factory=list, max_length=DEEPEST)
    """The flows that have begun and not ended; the last one is at hand, and the others are returned to."""
    offered: list[str] = Field(default_factory=list, max_length=12)
    """The intents of the last "did you mean"; empty after any other reply."""
    rejected: list[str] = Field(default_factory=list, max_length=50)
    """Intents of which the customer said that they were not meant, since something else was answered."""
    pending: list[str] = Field(default_factory=list, max_length=_PENDING)
    """Wishes of an earlier message that were not yet replied to."""
    answered: str | None = None
    """The intent that was answered last, which "not that" rejects."""
    last: dict[str, Any] | None = None
    """The last reply of the app as JSON, for "say that again"."""
    not_understood: int = Field(default=0, ge=0)
    """How many messages in a row were not understood."""
    angry: int = Field(default=0, ge=0)
    """In how many messages the customer was angry."""
    silences: int = Field(default=0, ge=0)
    """How often in a row the customer wrote nothing for a while."""
    reasons: list[str] = Field(default_factory=list, max_length=12)
    """Why the conversation was handed over; empty while the app answers."""
    returned: int = Field(default=0, ge=0)
    """How often a person has given the conversation back."""
    turns: int = Field(default=0, ge=0)
    """How many requests were replied to."""

    @property
    def frame(self) -> Frame | None:
        """The flow at hand, if there is one."""
        return self.stack[-1] if self.stack else None

    def hand_over(self, reasons: list[str]) -> None:
        """Let a person answer from now on."""
        self.stage, self.reasons, self.offered, self.pending = "waiting", reasons[:12], [], []

    def hand_back(self) -> None:
        """Let the app answer again, with all counters that lead to a person at zero, so that the next message can't hand over at once."""
        self.stage, self.reasons, self.stack, self.offered, self.rejected = "bot", [], [], [], []
        self.not_understood = self.angry = self.silences = 0
        self.answered, self.returned = None, self.returned + 1

    def begin(self, flow: str) -> Frame:
        """Put a flow on the stack and return its frame; a flow that had begun before begins again."""
        frame = Frame(flow=flow)
        self.stack = [*(other for other in self.stack if other.flow != flow), frame][-DEEPEST:]
        return self.stack[-1]

    def end(self) -> None:
        """Take the flow at hand from the stack."""
        self.stack = self.stack[:-1]

    def wait_with(self, wishes: list[str]) -> None:
        """Keep wishes until what is at hand is done."""
        self.pending = [*self.pending, *wishes][:_PENDING]
