"""The dialogues of Schema-Guided Dialogue about banks and payments: slots turn by turn, and whether scripted users get what they want.

Slots: what the data set's users wrote is given to the pack bank_en turn by turn. Its own questions are replaced by what the other system
said: that decides which detail was asked for, and details that the system proposed count once the user agrees. After each turn of a user
in which a bank or payment service takes part, all details of the service must be right (joint accuracy): names and choices as they are
written, but for case, amounts as numbers. The published baseline is scored more gently: names that are nearly right count in part.

Scripted users: each task of a dialogue becomes a user with a goal, who begins with the data set's words, replies to the product's own
questions with the words in which the data set's user mentions this detail (its value alone if there are none), corrects a detail that is
read back wrongly, presses the button of the task where one is shown and another task was understood, and agrees to what is right. A task
succeeds if the operator's action is called with exactly the details of the goal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertune.core.app import Reply, Request
from vertune.dialogue.details import Reader
from vertune.dialogue.entities import Options, find, same
from vertune.dialogue.flows import Flow
from vertune.metrics.drift import share_interval
from vertune.products.product import Product

BEGIN = 1_893_456_000.0
MOST_TURNS = 14
BASELINE = {"all": 0.254, "single-domain": 0.412}
"""Joint goal accuracy of the baseline of the data set's paper (Rastogi et al. 2020) over all services, and over single-domain dialogues."""
FLOWS = {
    "TransferMoney": "transfer_money", "CheckBalance": "check_balance", "MakePayment": "make_payment", "RequestPayment": "request_payment",
}  # fmt: skip
SLOTS = {"recipient_account_name": "recipient", "recipient_name": "recipient", "transfer_amount": "amount"}
"""Names of slots of the data set that our flows call otherwise."""
ASKED = (
    ("receiver", r"\b(who|whom|name|contact|recipient|beneficiary|person|payee)\b"),
    ("recipient", r"\b(who|whom|name|contact|recipient|beneficiary|person|payee)\b"),
    ("amount", r"\b(how much|amount|sum)\b"),
    ("payment_method", r"\b(card|balance|method|from where|account)\b"),
    ("account_type", r"\b(account|checking|savings?)\b"),
)  # fmt: skip
"""By what a question of another system names the detail that it asks for, in this order."""


@dataclass
class Task:
    """What a user of the data set wants done: the flow, the details, and the words in which each is mentioned."""

    dialogue: str
    flow: str
    goal: dict[str, list[str]]
    first: str
    said: dict[str, str] = field(default_factory=dict)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the dialogues of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def service_of(turn: dict[str, Any]) -> str | None:
    """Return the bank or payment service that takes part in a turn of a user."""
    return next((name for name in turn.get("slots", {}) if name.startswith(("Banks_", "Payment_"))), None)


def gold_of(turn: dict[str, Any], service: str) -> dict[str, list[str]]:
    """Return the right details of a turn under the names of our slots; what the user does not care about is left out."""
    found = {SLOTS.get(name, name): values for name, values in turn["slots"][service].items()}
    return {name: values for name, values in found.items() if values != ["dontcare"]}


def is_right(name: str, gold: Sequence[str], value: Any) -> bool:
    """Return whether a value is one of those that are right: amounts as numbers, all others as written but for case."""
    if name == "amount":
        numbers = {one.value.split()[0] for text in gold for one in find("amount", text, BEGIN, Options(currency="USD", asked=True))}
        return str(value).split()[0] in numbers if value else False
    return any(same(text, value) or str(text).casefold() == str(value).casefold() for text in gold)


def fits(gold: dict[str, list[str]], slots: dict[str, Any]) -> bool:
    """Return whether all details are right, with none missing and none too many."""
    return gold.keys() == slots.keys() and all(is_right(name, values, slots[name]) for name, values in gold.items())


# ── slots, turn by turn ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Tracker:
    """Follows a dialogue of the data set with the product's own state."""

    product: Product
    state: dict[str, Any] = field(default_factory=dict)
    slots: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    """The account of the last flow, as the page of a bank knows which account is open."""
    at: float = BEGIN

    @property
    def frame(self) -> dict[str, Any] | None:
        return self.state["stack"][-1] if self.state.get("stack") else None

    @property
    def flow(self) -> Flow | None:
        knowledge = self.product.app.knowledge  # type: ignore[attr-defined]
        flow: Flow | None = knowledge.flows.flow(self.frame["flow"]) if self.frame else None
        return flow

    def heard(self, text: str) -> None:
        """Note what the other system said: which detail it asks for, and which details it proposes."""
        flow, frame = self.flow, self.frame
        self.offered = {}
        if flow is None or frame is None:
            return
        knowledge = self.product.app.knowledge  # type: ignore[attr-defined]
        found = Reader(knowledge.flows, knowledge.lexicon, text, self.at).details(flow, {}, None, corrects=False)
        self.offered = {name: one.value for name, one in found.items()}
        names = {slot.name for slot in flow.slots}
        missing = [name for name, pattern in ASKED if name in names - set(frame["slots"]) and re.search(pattern, text, re.IGNORECASE)]
        if missing and frame["stage"] == "collect":
            frame["asked"] = missing[0]

    def said(self, text: str, meant: str | None = None) -> None:
        """Give the product what the user said; `meant` is the flow that the user chooses if the product asks which one is meant."""
        self.at += 1
        reply = self._reply(Request(text, "en", at=self.at, known=self.known))
        if reply.action == "clarify" and meant is not None and any(one.value == f"intent:{meant}" for one in reply.choices):
            reply = self._reply(Request("", "en", choice=f"intent:{meant}", at=self.at, known=self.known))
        if reply.action == "clarify" and self.frame is None:
            return
        if reply.action == "act":
            self.slots = {**self.offered, **reply.slots}
            result = {"ok": True, "data": {"balance": "$1", "reference": "1"}}
            self._reply(Request("", "en", event="acted", result=result, at=self.at))
        elif self.frame is not None:
            self.slots = dict(self.frame["slots"])
        self.known |= {name: value for name, value in self.slots.items() if name == "account_type"}
        if self.state.get("stage") != "bot":  # a person would take over; the other system goes on
            self.state = {**self.state, "stage": "bot", "reasons": []}

    def _reply(self, request: Request) -> Reply:
        reply, self.state = self.product.reply(request, self.state)
        return reply


def joint_accuracy(product: Product, dialogues: Sequence[dict[str, Any]], chooses: bool = False) -> dict[str, Any]:
    """Return the joint accuracy of slots over the turns of users in which a bank or payment service takes part.

    If the product asks which intent is meant, the user of the data set doesn't know of it and goes on, or `chooses` the right one if it is
    offered.
    """
    right = {"all": [0, 0], "single-domain": [0, 0]}
    each: dict[str, list[int]] = {}
    for dialogue in dialogues:
        tracker = Tracker(product)
        for turn in dialogue["turns"]:
            if turn["speaker"] == "SYSTEM":
                tracker.heard(turn["text"])
                continue
            service = service_of(turn)
            tracker.said(turn["text"], FLOWS.get(turn.get("intents", {}).get(service, "")) if chooses else None)
            if service is None:
                continue
            gold = gold_of(turn, service)
            whole = fits(gold, tracker.slots)
            for kind in ("all", *(["single-domain"] if len(dialogue["services"]) == 1 else [])):
                right[kind][0] += whole
                right[kind][1] += 1
            for name, values in gold.items():
                counts = each.setdefault(name, [0, 0])
                counts[0] += name in tracker.slots and is_right(name, values, tracker.slots[name])
                counts[1] += 1
    return {
        "joint": {kind: _share(*counts) for kind, counts in right.items()},
        "slots": {name: _share(*counts) for name, counts in sorted(each.items())},
        "dialogues": len(dialogues), "baseline": BASELINE,
    }  # fmt: skip


def _share(hits: int, of: int) -> dict[str, Any]:
    low, high = share_interval(hits, of)
    return {"right": hits, "of": of, "value": hits / of if of else None, "low": low, "high": high}


# ── scripted users ───────────────────────────────────────────────────────────────────────────────────────────────────


def tasks_of(dialogues: Sequence[dict[str, Any]]) -> Iterator[Task]:
    """Yield each task of each dialogue that has an action of the operator, with the goal that its last turn states.

    A user who only agrees to what the other system has proposed to do begins with the name of the task.
    """
    for dialogue in dialogues:
        task: Task | None = None
        before = ""
        for turn in dialogue["turns"]:
            proposed, before = before.rstrip().endswith("?"), turn["text"]
            service = service_of(turn) if turn["speaker"] == "USER" else None
            intent = turn.get("intents", {}).get(service, "NONE")
            if service is None or intent == "NONE":
                continue
            gold = gold_of(turn, service)
            if task is None or FLOWS[intent] != task.flow or _is_another(task.goal, gold):
                if task is not None and task.goal:
                    yield task
                first = f"I want to {FLOWS[intent].replace('_', ' ')}" if proposed else turn["text"]
                task = Task(dialogue["id"], FLOWS[intent], {}, first)
            task.said |= dict.fromkeys(gold.keys() - task.goal.keys(), turn["text"])
            task.goal = gold
        if task is not None and task.goal:
            yield task


def _is_another(goal: dict[str, list[str]], gold: dict[str, list[str]]) -> bool:
    """Return whether details belong to another task than those before: one of them is gone, or the only one has changed."""
    return not goal.keys() <= gold.keys() or (len(goal) == 1 == len(gold) and goal != gold)


class User:
    """A scripted user with a goal."""

    def __init__(self, task: Task, product: Product) -> None:
        self.task, self.product = task, product
        self.state: dict[str, Any] = {}
        self.told: set[str] = set()
        knowledge = product.app.knowledge  # type: ignore[attr-defined]
        flow = knowledge.flows.flow(task.flow)
        self.titles = {slot.name: slot.title["en"] for slot in flow.slots}
        required = {slot.name for slot in flow.slots if slot.required}
        own = {
            name
            for name, text in task.said.items()
            if name in Reader(knowledge.flows, knowledge.lexicon, text, BEGIN).details(flow, {}, None, False)
        }
        self.goal = {name: values for name, values in task.goal.items() if name in required | own}
        """What the user wants; details that the other system added by itself are not part of it."""

    def run(self) -> tuple[bool, int]:
        """Converse until an action is called, a person is asked for, or the patience ends; return whether the goal was reached."""
        reply = self._say(Request(self.task.first, "en", at=BEGIN))
        for number in range(1, MOST_TURNS):
            if reply.action == "act" and reply.call is not None:
                return reply.call.name == self.task.flow and fits(self.goal, reply.call.arguments), number
            request = self._next(reply)
            if request is None:
                return False, number
            reply = self._say(request)
        return False, MOST_TURNS

    def _say(self, request: Request) -> Reply:
        reply, self.state = self.product.reply(request, self.state)
        return reply

    def _next(self, reply: Reply) -> Request | None:
        """Return what the user does about a reply; None for giving up."""
        frame = self.state["stack"][-1] if self.state.get("stack") else None
        if reply.action == "clarify" or (reply.action == "ask" and frame is not None and frame["flow"] != self.task.flow):
            wanted = [one for one in reply.choices if one.value == f"intent:{self.task.flow}"]
            if wanted or reply.action == "clarify":
                return Request("", "en", choice=wanted[0].value, at=BEGIN) if wanted else None
        if reply.action != "ask":
            return None
        if frame is None or frame["flow"] != self.task.flow:
            return Request("never mind", "en", at=BEGIN) if frame else None
        asked = frame.get("asked")
        if frame["stage"] == "collect" and asked:
            if asked not in self.goal:
                return None
            words = self.task.said.get(asked, "") if asked not in self.told else ""
            self.told.add(asked)
            return Request(words if words and words != self.task.first else self._value(asked), "en", at=BEGIN)
        for name, values in self.goal.items():
            if not is_right(name, values, reply.slots.get(name)):
                return Request(f"no, the {self.titles[name]} is {self._value(name)}", "en", at=BEGIN)
        return Request("yes, that's right", "en", at=BEGIN)

    def _value(self, name: str) -> str:
        value = self.goal[name][0]
        return {"True": "private", "False": "public"}.get(value, value)


def success(product: Product, dialogues: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the share of tasks in which scripted users get what they want, by flow, with the number of turns."""
    flows: dict[str, list[int]] = {}
    turns, failed = [], []
    for task in tasks_of(dialogues):
        known = product.app.knowledge.flows.flow(task.flow)  # type: ignore[attr-defined]
        if not {slot.name for slot in known.slots if slot.required} <= task.goal.keys():
            continue  # the user of the data set gave up before all was said
        reached, number = User(task, product).run()
        counts = flows.setdefault(task.flow, [0, 0])
        counts[0] += reached
        counts[1] += 1
        turns.append(number)
        if not reached:
            failed.append({"dialogue": task.dialogue, "flow": task.flow, "first": task.first, "goal": task.goal})
    whole = _share(sum(hits for hits, _ in flows.values()), sum(of for _, of in flows.values()))
    return {
        "success": whole, "flows": {name: _share(*counts) for name, counts in flows.items()},
        "turns": sum(turns) / len(turns) if turns else None, "failed": failed,
    }  # fmt: skip
