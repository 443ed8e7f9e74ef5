"""Runs flows: begins, asks for what is missing, corrects, confirms, calls, comes back after a digression; knows no model and no store.

`advance` is called with each message. It returns what a flow does with it, or None if the message has nothing to do with a flow; then the
app replies by itself and asks again with `resume`. What is said besides the texts of the flows is named by ids of the pack's texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vertune.core.reply import ActionCall, Choice
from vertune.dialogue import confirming
from vertune.dialogue.characters import blanked, plain
from vertune.dialogue.details import Reader, alike
from vertune.dialogue.entities import Found, find
from vertune.dialogue.flows import Flow, Flows, Slot, fill, pick
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import Reading, read
from vertune.dialogue.state import Conversation, Frame

TEXTS = ("corrected", "cancelled", "back_to", "not_understood", "what_to_change", "calling", "action_failed")
"""Ids of the texts that steps name; `{flow}` in them is the title of the flow."""
BUTTONS = ("yes", "no", "cancel")
"""Values of buttons that steps name; their titles are the texts `button_yes`, `button_no` and `button_cancel`."""
REASONS = (
    "slot_missing", "slot_invalid", "slot_not_understood", "confirm", "change", "calling", "done", "cancelled", "action_failed", "misses",
)  # fmt: skip
"""Why a step is what it is."""
_MOST_BUTTONS = 9
"""Number of options from which no buttons are shown."""
_COVERED = 0.5
"""Share of a message that details must be for it to be a reply to the question rather than a new wish."""
_WISHES = re.compile(r"^(?:(?:i|want|would|'d|like|to|no|ok|okay|well|just|let's)(?![a-z])[\s,]*|[我想要请帮把还那就是先吧，, ]+)+")
"""What may stand in front of the verb of a wish."""
_CHANGE = re.compile(r"(?<![a-z])(?:change|correct|edit|update|different|another|replace)(?![a-z])|改|换|修正|更正|变更")
_REFUSED = re.compile(
    r"\W*(?:我|那|就|先|还是|都|这个?|暂时|现在)*(?:不|别|甭)(?:要|用|想|必|再|需要)?(?P<what>[\u3400-\u9fff]{1,4}?)(?:了|啦|吧|先)*\W*"
)
"""How a wish is negated in Chinese."""
_BACK_TO = re.compile(r"\s+to(?![a-z])")
"""What follows a word for leaving that goes on with something: `back to the payment`."""
_ASKS_ABOUT = re.compile(r"[钱费]|怎么|多少|多久|(?<![a-z])(?:fees?|costs?|how)(?![a-z])")
"""What a question about cancelling contains, which cancels nothing."""
_CLAUSES = re.compile(r"[，,。.；;！!\s]+")
_SHORT = 30
"""Number of characters up to which a message with a word for cancelling cancels the flow at hand."""
_LONGEST_VALUE = 500
"""Number of characters of a value of a result that a text may contain."""
_ASIDE = ("thanks", "greeting", "goodbye", "small_talk", "repeat")
"""Patterns to which the app replies itself, if a message is nothing else, before the flow goes on."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, or the result of an action, as flows read it."""

    text: str
    language: str
    at: float = 0.0
    """Seconds since 1970."""
    choice: str | None = None
    """The value of the button that was pressed."""
    intent: str | None = None
    """The intent that the decision is sure of; None if it isn't."""
    reading: Reading | None = None
    """What `patterns.read` returned for the text, if it was called already."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What a model found for slots, by name; rules come first."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """What the operator's page knows."""
    result: Mapping[str, Any] | None = None
    """The result of the action that was called."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a flow does."""

    action: Literal["ask", "act", "answer", "handoff"]
    flow: str
    text: str = ""
    """The text of the flow with all details filled in; empty if `before` is all that is said."""
    before: tuple[str, ...] = ()
    """Ids of texts to say first, of `TEXTS`."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What these texts may contain."""
    slots: Mapping[str, Any] = field(default_factory=dict)
    """The details that are known."""
    choices: Sequence[Choice] = ()
    buttons: tuple[str, ...] = ()
    """Further buttons, of `BUTTONS`."""
    call: ActionCall | None = None
    reason: str = "slot_missing"
    """One of `REASONS`."""
    then: Step | None = None
    """The question with which an interrupted flow goes on."""


def advance(flows: Flows, lexicon: Lexicon, state: Conversation, turn: Turn) -> Step | None:
    """Return what a flow does with a message, and change the state; None if no flow has anything to do with it."""
    frame = state.frame
    flow = flows.flow(frame.flow) if frame else None
    if frame is not None and flow is None:  # the pack has changed since
        state.end()
        return advance(flows, lexicon, state, turn)
    run = _Run(flows, lexicon, state, turn, turn.reading or read(turn.text, lexicon))
    if frame is None or flow is None:
        begun = flows.started_by(turn.intent)
        return run.begin(begun) if begun and turn.result is None else None
    if frame.stage == "act" or turn.result is not None:
        return run.finished(flow, frame, turn.result) if frame.stage == "act" and turn.result is not None else None
    return run.go_on(flow, frame)


def begin(flows: Flows, lexicon: Lexicon, state: Conversation, turn: Turn) -> Step | None:
    """Begin the flow of the intent of a turn, whatever flow is at hand; None if it begins none, or while an action is being called."""
    flow, frame = flows.started_by(turn.intent), state.frame
    if flow is None or (frame is not None and frame.stage == "act"):
        return None
    return _Run(flows, lexicon, state, turn, turn.reading or read(turn.text, lexicon)).begin(flow)


def gives_details(flows: Flows, lexicon: Lexicon, state: Conversation, turn: Turn) -> bool:
    """Return whether a message contains a detail of the flow at hand, besides a text that any reply would be."""
    frame = state.frame
    flow = flows.flow(frame.flow) if frame else None
    if frame is None or flow is None:
        return False
    details = _Run(flows, lexicon, state, turn, turn.reading or read(turn.text, lexicon)).details(flow, frame)
    return any(slot.kind != "text" for slot in flow.slots if slot.name in details)


def resume(flows: Flows, lexicon: Lexicon, state: Conversation, language: str) -> Step | None:
    """Return the question with which the flow at hand goes on after something else was replied; None if there is no flow."""
    frame = state.frame
    flow = flows.flow(frame.flow) if frame else None
    if frame is None or flow is None or frame.stage == "act":
        return None
    run = _Run(flows, lexicon, state, Turn("", language), read("", lexicon))
    step = run.next_question(flow, frame)
    return replace(step, before=("back_to", *step.before)) if step else None


@dataclass(frozen=True, slots=True)
class _Run:
    """One message on its way through the flows."""

    flows: Flows
    lexicon: Lexicon
    state: Conversation
    turn: Turn
    reading: Reading

    @property
    def reader(self) -> Reader:
        return Reader(self.flows, self.lexicon, self.turn.text, self.turn.at, self.reading.rest)

    def begin(self, flow: Flow) -> Step:
        """Begin a flow, or go on with it if it was interrupted, with the details that the message contains."""
        begun = next((frame for frame in self.state.stack if frame.flow == flow.name), None)
        slots = self._taken_over(flow) | (begun.slots if begun else {})
        frame = self.state.begin(flow.name)
        known = {slot.name: self.turn.known[slot.known] for slot in flow.slots if slot.known and slot.known in self.turn.known}
        frame.slots = {**known, **slots}
        return self._take(flow, frame, self.details(flow, frame))

    def _taken_over(self, flow: Flow) -> dict[str, Any]:
        """Leave the flow at hand if this one is meant instead of it, and return the details that this one needs too."""
        frame = self.state.frame
        other = self.flows.flow(frame.flow) if frame else None
        if frame is None or other is None or flow.name not in other.instead:
            return {}
        self.state.end()
        same = [slot for slot in flow.slots if slot.name in frame.slots and alike(slot, other.slot(slot.name))]
        return {slot.name: frame.slots[slot.name] for slot in same}

    def go_on(self, flow: Flow, frame: Frame) -> Step | None:
        """Read a message while a flow is at hand."""
        asked = flow.slot(frame.asked) if frame.asked else None
        details = self.details(flow, frame)
        agrees = self._agrees(flow, frame, details)
        if self._leaves(flow, frame, details, agrees):
            return self._cancelled(flow)
        if agrees and all(frame.slots.get(name) == found.value for name, found in details.items()):
            return self._act(flow, frame)
        if self._digresses(flow, asked, details):
            other = self.flows.started_by(self.turn.intent)
            return self.begin(other) if other else None
        if frame.stage in {"confirm", "change"}:
            return self._confirmed(flow, frame, details)
        aside = not self.reading.rest and self.turn.choice is None and any(map(self.reading.has, _ASIDE))
        if aside and (not details or (asked is not None and asked.kind == "text")):
            return None
        if not details and self.turn.intent not in flow.intents:
            wrong = self._called_wrong(flow, frame)
            if wrong is None:
                return self._missed(flow, frame)
            frame.slots.pop(wrong.name)
        return self._take(flow, frame, details)

    def finished(self, flow: Flow, frame: Frame, result: Mapping[str, Any]) -> Step:
        """Say how an action ended, and end the flow."""
        data = result.get("data")
        told = {
            str(name): str(value)[:_LONGEST_VALUE]
            for name, value in (data.items() if isinstance(data, Mapping) else ())
            if isinstance(value, str | int | float) and not isinstance(value, bool)
        }
        slots, values = dict(frame.slots), {**told, **self.reader.shown(flow, frame.slots, self.turn.language)}
        self.state.end()
        if result.get("ok"):
            return self._end(flow, Step("answer", flow.name, fill(self._said(flow.done), values), slots=slots, reason="done"))
        if flow.failed is None:
            return Step("handoff", flow.name, before=("action_failed",), values=self._titles(flow), slots=slots, reason="action_failed")
        return self._end(flow, Step("answer", flow.name, fill(self._said(flow.failed), values), slots=slots, reason="action_failed"))

    def next_question(self, flow: Flow, frame: Frame) -> Step | None:
        """Return the question that a flow is at; None if it has none."""
        missing = flow.missing(frame.slots)
        if missing is not None:
            frame.asked, frame.stage = missing.name, "collect"
            return self._question(flow, frame, missing, missing.ask)
        if flow.confirm is None:
            return None
        frame.stage, frame.asked = "confirm", None
        text = fill(self._said(flow.confirm), self.reader.shown(flow, frame.slots, self.turn.language))
        return Step("ask", flow.name, text, values=self._titles(flow), slots=dict(frame.slots), buttons=("yes", "no"), reason="confirm")

    def details(self, flow: Flow, frame: Frame) -> dict[str, Found]:
        """Return the details of the message by slot: of its button, or by rules, or else as a model tagged them."""
        asked = flow.slot(frame.asked) if frame.asked and frame.stage == "collect" else None
        choice = self.turn.choice
        if choice is not None:
            if asked is None:
                return {}
            found = [one for one in find(asked.kind, choice, self.turn.at, self.reader.options(asked, True)) if one.raw == choice.strip()]
            return {asked.name: found[0]} if found else {}
        corrects = self.reading.has("correct") or frame.stage != "collect"
        if frame.stage == "confirm" and confirming.QUESTION.search(plain(self.turn.text)) and not self.reading.has("correct"):
            asks = self.reader.details(flow, frame.slots, None, True)
            if self.reader.says_more(flow, [(found.start, found.end) for found in asks.values()]):
                return {}  # a question about a fee of 5 dollars is no correction
        details = self.reader.details(flow, frame.slots, asked.name if asked else None, corrects)
        for name, tagged in self.turn.tags.items():
            slot = flow.slot(name)
            if slot is not None and name not in details and (corrects or name not in frame.slots) and not self._is_taken(tagged, details):
                found = find(slot.kind, tagged, self.turn.at, self.reader.options(slot, True))
                details |= {name: found[0]} if found else {}
        return details

    def _is_taken(self, tagged: str, details: Mapping[str, Found]) -> bool:
        """Return whether what a model tagged is, in part, a detail of another slot already."""
        start = self.turn.text.find(tagged)
        return start >= 0 and any(found.start < start + len(tagged) and start < found.end for found in details.values())

    def _digresses(self, flow: Flow, asked: Slot | None, details: Mapping[str, Found]) -> bool:
        """Return whether the message is another wish rather than a reply to the question."""
        if self.turn.intent is None or self.turn.intent in flow.intents or self.turn.choice is not None:
            return False
        if self.reading.has("affirm") or self.reading.has("deny"):
            return False
        if asked is not None and asked.kind == "text":
            return plain(self.turn.text).rstrip().endswith("?")
        covered = sum(found.end - found.start for found in details.values())
        return covered < _COVERED * max(1, len(self.turn.text.strip()))

    def _take(self, flow: Flow, frame: Frame, details: Mapping[str, Found]) -> Step:
        """Put details into their slots, if their checks allow it, and ask for the next one, confirm, or act."""
        changed = False
        wrong: dict[str, Mapping[str, str]] = {}
        for slot in flow.slots:
            found = details.get(slot.name)
            if found is None:
                continue
            problem = self.reader.problem(slot, found.value)
            if problem is not None:
                wrong[slot.name] = problem
                continue
            changed = changed or (slot.name in frame.slots and frame.slots[slot.name] != found.value)
            frame.slots[slot.name] = found.value
        for name, problem in wrong.items():
            return self._refused(flow, frame, details[name], (name, problem))
        frame.misses = 0
        step = self.next_question(flow, frame) or self._act(flow, frame)
        return replace(step, before=("corrected", *step.before)) if changed else step

    def _refused(self, flow: Flow, frame: Frame, found: Found, wrong: tuple[str, Mapping[str, str]]) -> Step:
        """Ask again for a detail that doesn't fulfil its check."""
        frame.slots.pop(wrong[0], None)
        frame.asked, frame.stage, frame.misses = wrong[0], "collect", frame.misses + 1
        slot = flow.slot(wrong[0])
        too_many = self._too_many(flow, frame)
        if too_many is not None or slot is None:
            return too_many or self._cancelled(flow)
        return replace(self._question(flow, frame, slot, wrong[1], value=found.raw), reason="slot_invalid")

    def _confirmed(self, flow: Flow, frame: Frame, details: Mapping[str, Found]) -> Step:
        """Read the reply to the question whether all is right, or what is to be changed."""
        if details:
            return self._take(flow, frame, details)
        reply = {"yes": True, "no": False}.get(self.turn.choice) if self.turn.choice is not None else self._answer(flow, details).value
        if reply is None and frame.stage == "confirm" and confirming.repeats_wish(self.turn.text, flow):
            reply = True
        slot = self._named(flow)
        if slot is not None and reply is not True and (frame.stage == "change" or self._changes(flow)):
            frame.slots.pop(slot.name, None)
            return self._take(flow, frame, {})
        if reply is None:
            return self._missed(flow, frame)
        if reply and frame.stage == "confirm":
            return self._act(flow, frame)
        if not reply and frame.stage == "change":
            return self._cancelled(flow)
        frame.stage = "change"
        choices = [Choice(title=pick(slot.title, self.turn.language), value=slot.name) for slot in flow.slots if slot.name in frame.slots]
        before = ("what_to_change",)
        step = Step("ask", flow.name, before=before, values=self._titles(flow), slots=dict(frame.slots), reason="change")
        return replace(step, choices=choices[:_MOST_BUTTONS], buttons=("cancel",))

    def _answer(self, flow: Flow, details: Mapping[str, Found]) -> confirming.Answer:
        """Return what the message replies to a question for yes or no, besides its details."""
        text = blanked(self.turn.text, [(found.start, found.end) for found in details.values()])
        return confirming.answer(text, self.reading, self.lexicon, flow)

    def _leaves(self, flow: Flow, frame: Frame, details: Mapping[str, Found], agrees: bool) -> bool:
        """Return whether the message leaves the flow: by a button or a phrase, by a short `cancel the transfer`, or by a negated wish.

        A negation that replaces a detail, as `not 200, 300` does, negates no wish.
        Where the flow itself cancels something, the word alone is no reason to leave it; nor is what another flow would cancel.
        """
        if self.turn.choice is not None or agrees:
            return self.turn.choice == "cancel"
        replaces = any(frame.slots.get(name) != found.value for name, found in details.items())
        if (
            self._says_to_leave(flow)
            or self.reading.has("leave")
            or (frame.stage == "confirm" and self.reading.rejected and not self.reading.rest and not replaces)
            or self._refuses_wish(flow)
        ):
            return True
        wish = plain(self.reading.rest)
        wish = _WISHES.sub("", wish if frame.stage == "collect" else confirming.without_yes(wish, self.lexicon))
        if len(wish) > _SHORT or any(map(str.isdigit, wish)) or _ASKS_ABOUT.search(wish):
            return False
        verbs = [found for found in self.lexicon.find("cancel_alone", wish) if found.start == 0 and not _BACK_TO.match(wish, found.end)]
        verbs += [found for found in self.lexicon.find("cancel", wish) if found.start == 0 and confirming.names(flow, wish[found.end :])]
        if not verbs or confirming.does(flow, wish[: verbs[0].end]):
            return False
        other, what = self.flows.started_by(self.turn.intent), wish[verbs[0].end :]
        return other is None or other is flow or confirming.names(flow, what) or not confirming.names(other, what)

    def _says_to_leave(self, flow: Flow) -> bool:
        """Return whether the message has a phrase for cancelling that isn't what the flow does, as `cancel it` is where it cancels."""
        text = plain(self.turn.text)
        phrases = [text[pattern.start : pattern.end] for pattern in self.reading.patterns if pattern.kind == "cancel"]
        return any(not confirming.does(flow, phrase) for phrase in phrases)

    def _refuses_wish(self, flow: Flow) -> bool:
        """Return whether the message negates what the flow does, in its last clause: 不挂了 in a flow whose title is 挂失银行卡."""
        refused = [_REFUSED.fullmatch(clause) for clause in _CLAUSES.split(plain(self.turn.text)) if clause.strip()]
        last = refused[-1] if refused else None
        return last is not None and any(last["what"] in plain(title) for title in flow.title.values())

    def _agrees(self, flow: Flow, frame: Frame, details: Mapping[str, Found]) -> bool:
        """Return whether a message begins with a yes to what is to be confirmed that nothing in it takes back."""
        return frame.stage == "confirm" and self.turn.choice is None and self._answer(flow, details) == (True, True)

    def _changes(self, flow: Flow) -> bool:
        """Return whether the message says that something is wrong or to be changed, or nothing besides the name of a detail."""
        text = plain(self.turn.text)
        return (
            bool(_CHANGE.search(text))
            or any(self.lexicon.find(kind, text) for kind in ("correct", "deny"))
            or not self.reader.says_more(flow, ())
        )

    def _called_wrong(self, flow: Flow, frame: Frame) -> Slot | None:
        """Return the slot with a value that the message calls wrong, and nothing else: 收款人不对."""
        slot, text = self._named(flow), plain(self.turn.text)
        wrong = any(self.lexicon.find(kind, text) for kind in ("correct", "deny")) and not self.reader.says_more(flow, ())
        return slot if wrong and slot is not None and slot.name in frame.slots else None

    def _named(self, flow: Flow) -> Slot | None:
        """Return the slot that the message names, by its button or by its title."""
        text = plain(self.turn.text)
        for slot in flow.slots:
            titles = [plain(title) for title in slot.title.values()]
            if self.turn.choice == slot.name or (self.turn.choice is None and any(title in text for title in titles)):
                return slot
        return None

    def _act(self, flow: Flow, frame: Frame) -> Step:
        """Call the action of a flow, or end the flow if it has none."""
        slots = dict(frame.slots)
        if flow.act is None:
            self.state.end()
            text = fill(self._said(flow.done), self.reader.shown(flow, slots, self.turn.language))
            return self._end(flow, Step("answer", flow.name, text, slots=slots, reason="done"))
        frame.stage, frame.asked = "act", None
        arguments = (
            {argument: slots[name] for argument, name in flow.act.arguments.items() if name in slots} if flow.act.arguments else slots
        )
        call = ActionCall(name=flow.act.action, arguments=arguments)
        return Step("act", flow.name, before=("calling",), values=self._titles(flow), slots=slots, call=call, reason="calling")

    def _cancelled(self, flow: Flow) -> Step:
        self.state.end()
        return self._end(flow, Step("answer", flow.name, before=("cancelled",), values=self._titles(flow), reason="cancelled"))

    def _missed(self, flow: Flow, frame: Frame) -> Step:
        """Ask again after a reply that was of no use, or hand over after too many of them."""
        frame.misses += 1
        too_many = self._too_many(flow, frame)
        if too_many is not None:
            return too_many
        slot = flow.slot(frame.asked) if frame.asked else None
        if slot is not None and frame.stage == "collect":
            step = self._question(flow, frame, slot, slot.again or slot.ask)
        else:
            step = self.next_question(flow, frame) or self._act(flow, frame)
        return replace(step, before=("not_understood", *step.before), reason="slot_not_understood")

    def _too_many(self, flow: Flow, frame: Frame) -> Step | None:
        if frame.misses < self.flows.misses:
            return None
        return Step("handoff", flow.name, values=self._titles(flow), slots=dict(frame.slots), reason="misses")

    def _question(self, flow: Flow, frame: Frame, slot: Slot, texts: Mapping[str, str], **values: str) -> Step:
        options = self.reader.choices(slot)
        choices = [Choice(title=pick(option.title, self.turn.language), value=option.value) for option in options]
        text = fill(self._said(texts), {**self.reader.shown(flow, frame.slots, self.turn.language), **values})
        buttons = ("yes", "no") if slot.kind == "yes_no" else ()
        step = Step("ask", flow.name, text, values=self._titles(flow), slots=dict(frame.slots), buttons=buttons)
        return replace(step, choices=choices) if len(choices) <= _MOST_BUTTONS else step

    def _end(self, flow: Flow, step: Step) -> Step:
        """Return a last step together with the question of the flow that it had interrupted."""
        return replace(step, then=resume(self.flows, self.lexicon, self.state, self.turn.language), values=self._titles(flow))

    def _titles(self, flow: Flow) -> dict[str, str]:
        return {"flow": self._said(flow.title)}

    def _said(self, texts: Mapping[str, str]) -> str:
        return pick(texts, self.turn.language)
