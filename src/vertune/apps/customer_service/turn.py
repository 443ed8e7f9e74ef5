"""One turn of a conversation: what is replied to a message, by patterns, flows, intents and search, in this order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vertune.apps.customer_service import certainty, searching
from vertune.apps.customer_service.knowledge import (
    ASK_ENTRY,
    ASK_INTENT,
    ASK_PERSON,
    NONE_OF_THESE,
    buttons,
    links,
    pick,
)
from vertune.apps.customer_service.replies import MOST_CHOICES, Parts, Wording, joined
from vertune.apps.customer_service.searching import Found
from vertune.apps.customer_service.understanding import OFFERED, Learnt, Understood, tagged, understand
from vertune.core.app import Action, Ask, Attachment, Evidence, Hit, Reply
from vertune.dialogue import engine
from vertune.dialogue.entities import Options, find
from vertune.dialogue.flows import Option, fill
from vertune.dialogue.patterns import Reading, read

_COURTESIES = ("thanks", "goodbye", "greeting")
"""Patterns that are replied to if the message is nothing else, in the order of their weight."""
_MOST_REJECTED = 50
_DECLINED = frozenset({"joke"})
"""Small talk that asks for something the app doesn't do."""
_LIKELY = 3
"""Intents that are offered at most where none is sure enough to be offered by itself."""
_MOST_OFFERED = 6
_EVEN = 0.5
"""Probability below which a message rather belongs to an intent than to none."""
_WORD = re.compile(r"[A-Za-z]{2,}")
_LONGEST_CHOICE = 80
"""Number of characters up to which a message may mean a button."""
_SILENT = 2
"""After how many silences in a row nothing more is asked."""


@dataclass
class Turn(Wording):
    """One request with what is needed to reply to it."""

    learnt: Learnt
    ask: Ask
    tags: Mapping[str, str] = field(default_factory=dict, init=False)
    """What the slot `details` found in the message."""

    def reply(self) -> Reply:
        """Reply, and write into the state what the next turn must know."""
        state = self.state
        if self.request.language:
            state.language = self.request.language
        if self.request.event != "silence":
            state.silences = 0
        if self.request.event == "silence":
            reply = self._silence()
        elif self.request.event == "returned":
            state.hand_back()
            reply = self.say("answer", "returned", choices=self.person())
        elif self.request.event == "acted":
            reply = self._acted()
        elif state.stage in {"waiting", "agent"}:
            reply = self._waiting()
        else:
            reply = self._message()
        state.turns += 1
        state.last = reply.model_dump(mode="json", exclude={"evidence"})
        return reply

    # ── what is not a message ────────────────────────────────────────────────────────────────────────────────────────

    def _silence(self) -> Reply:
        self.state.silences += 1
        if self.state.stage != "bot":
            return self.say("answer", "waiting")
        frame = self.state.frame
        if frame is not None and self.state.silences < _SILENT:
            step = engine.resume(self.know.flows, self.know.lexicon, self.state, self.language)
            if step is not None:
                return self.of_step(step, [self.know.say("silence", self.language)])
        return self.say("answer", "silence" if self.state.silences < _SILENT else "silence_last", choices=self.person())

    def _acted(self) -> Reply:
        step = engine.advance(self.know.flows, self.know.lexicon, self.state, self._turn(None))
        if step is None:
            return self.say("answer", "anything_else", choices=self.person())
        return self._after(self.of_step(step))

    def _waiting(self) -> Reply:
        """A person was asked for: only leaving that wish is heard, everything else waits for the person."""
        reading = read(self.request.text, self.know.lexicon)
        if self.state.stage == "waiting" and reading.has("cancel"):
            self.state.hand_back()
            return self.say("answer", "anything_else", choices=self.person())
        return Reply(action="handoff", text=self.text("waiting"), reasons=list(self.state.reasons), slots=self.slots())

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _message(self) -> Reply:
        state = self.state
        meant = self._button_meant() if self.request.choice is None else None
        if meant is not None:
            self.request = replace(self.request, choice=meant, text="")
        chosen = self._chosen(self.request.choice)
        if chosen is not None:
            return chosen
        text = self.request.text.strip() or self._title_of(self.request.choice)
        state.message = self.request.text.strip() or state.message
        reading = read(text, self.know.lexicon)
        if not self.request.language and reading.language in self.know.languages and (state.language is None or _says_enough(text)):
            state.language = reading.language
        if reading.has("human"):
            return self.hand_over("asked_for")
        if reading.has("sensitive"):
            return self.hand_over("sensitive_topic")
        if reading.has("repeat") and not reading.rest:
            return self._again()
        if reading.has("not_that"):
            self._reject(reading)
        understood = understand(self.know, self.learnt, reading, self.ask, message=text, excluded=state.rejected)
        self.tags = understood.tags
        if reading.has("angry") or understood.angry >= self.know.handoff.anger:
            state.angry += 1
            return self.hand_over("angry")
        reason = self.reason_of(understood.sure)
        if reason is not None and state.frame is None:
            return self.hand_over(reason, intent=understood.sure)
        if state.frame is not None and state.frame.stage == "act":
            return self.say("answer", "calling")
        if len(understood.wishes) < 2 or state.frame is not None:
            before = {frame.flow for frame in state.stack}
            step = engine.advance(self.know.flows, self.know.lexicon, state, self._turn(understood.sure, reading))
            if step is not None:
                reply = self._after(self.of_step(step, intent=understood.sure))
                return self._with_offers(reply if step.flow in before else self._or_instead(reply, step), understood)
        return self._with_offers(self._outside_flows(reading, understood), understood)

    def _reject(self, reading: Reading) -> None:
        """Note that what was answered last was not meant, or the flow that has just begun; a detail, as in `not this one, AB12`, is."""
        state, frame = self.state, self.state.frame
        gone = [state.answered] if state.answered else []
        begun = frame if frame is not None and frame.stage == "collect" and reading.rest else None
        if begun is not None and not engine.gives_details(self.know.flows, self.know.lexicon, state, self._turn(None, reading)):
            flow = self.know.flows.flow(begun.flow)
            gone += flow.intents if flow is not None else []
            state.end()
        state.rejected = list(dict.fromkeys([*state.rejected, *gone]))[-_MOST_REJECTED:]

    def _or_instead(self, reply: Reply, step: engine.Step) -> Reply:
        """Add a button for each flow that the words may mean as well with which this one has begun."""
        flow = self.know.flows.flow(step.flow)
        intents = self._instead(flow.intents[0]) if flow is not None and flow.intents and reply.action == "ask" else []
        return reply.model_copy(update={"choices": [*reply.choices, *self.offers(intents)][:MOST_CHOICES]})

    def _instead(self, intent: str) -> list[str]:
        """Return the intents of the flows that may be meant instead of the one that an intent begins."""
        flow = self.know.flows.started_by(intent)
        others = [self.know.flows.flow(name) for name in flow.instead] if flow is not None else []
        return [one.intents[0] for one in others if one is not None]

    def _with_offers(self, reply: Reply, understood: Understood) -> Reply:
        """Add buttons for what other parts of the message may mean."""
        known = {one.id for one in reply.evidence} | {one.value for one in reply.choices}
        more = [one for one in understood.maybe if one in self.know.intents and not known & {one, f"{ASK_INTENT}{one}"}]
        if not more or reply.action not in {"answer", "ask", "clarify"}:
            return reply
        return reply.model_copy(update={"choices": [*self.offers(more), *reply.choices][:MOST_CHOICES]})

    def _outside_flows(self, reading: Reading, understood: Understood) -> Reply:
        """Reply to a message that has nothing to do with a flow at hand."""
        state = self.state
        decision = understood.decision
        if decision is None:
            return self._not_that(state.others) if reading.has("not_that") else self._courtesy(reading)
        state.others = list(understood.others)
        if understood.wishes:
            return self._answers(list(understood.wishes), decision.confidence)
        if decision.kind == "answer":
            return self._answers([decision.intents[0]], decision.confidence)
        found = [one for one in searching.find(self.know, reading.rest, self.ask) if one.intent not in state.rejected]
        kind = certainty.kind_of(found, self.learnt.search, understood.belief)
        if kind == "answer":
            return self._found(found[0]) if found[0].intent is None else self._answers([found[0].intent], None)
        if decision.kind == "clarify":
            return self._clarify(decision.intents, decision.confidence, found if kind == "several" else [])
        likely = understood.others[:_LIKELY] if understood.belief.outside < _EVEN else ()
        if kind == "several":
            return self._clarify(understood.others[:_LIKELY], decision.confidence, found)
        if reading.has("not_that"):
            return self._not_that(understood.others)
        return self._not_understood(likely)

    def _turn(self, intent: str | None, reading: Reading | None = None) -> engine.Turn:
        return engine.Turn(
            text=self.request.text, language=self.language, at=self.request.at, choice=self.request.choice, intent=intent,
            reading=reading, tags=self.tags, known=self.request.known, result=self.request.result,
        )  # fmt: skip

    # ── buttons ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _chosen(self, choice: str | None) -> Reply | None:
        """Reply to a button of the app itself; None if it is one of a flow or of an answer, or no button was pressed."""
        if choice is None:
            return None
        if choice == ASK_PERSON:
            return self.hand_over("asked_for")
        if choice == NONE_OF_THESE:
            self.state.rejected = list(dict.fromkeys([*self.state.rejected, *self.state.offered]))[-_MOST_REJECTED:]
            return self._not_that([one for one in self.state.others if one not in self.state.offered])
        if choice.startswith(ASK_INTENT) and (intent := choice.removeprefix(ASK_INTENT)) in self.know.intents:
            return self._answers([intent], None)
        if choice.startswith(ASK_ENTRY):
            return self._entry(choice.removeprefix(ASK_ENTRY))
        return None

    def _entry(self, entry: str) -> Reply | None:
        """Reply with an entry of the FAQ, or a passage, that was offered: as it is now, or else as it was then."""
        written = dict(self.state.found.get(entry, {}))
        extract = str(written.pop("extract", ""))
        hit = self.ask.entry(entry, self.language)
        if hit is None and written:
            hit = Hit(**written)
        if hit is not None:
            return self._found(Found(hit, 1.0, extract if extract in hit.text else ""))
        known = self.know.faq.get(entry)
        if known is None:
            return None
        answer = pick(known.answer, self.language, 0)
        return self._found(Found(Hit(entry, self.know.entry_title(known, self.language), answer, 1.0, url=known.url, answer=answer), 1.0))

    def _button_meant(self) -> str | None:
        """Return the button that a message means instead of pressing it: by its title, its place, or a yes if there is no other one."""
        last = self.state.last or {}
        shown = [one for one in last.get("choices", []) if str(one["value"]).startswith((ASK_INTENT, ASK_ENTRY))]
        text = self.request.text.strip()
        if last.get("action") != "clarify" or not shown or not text or len(text) > _LONGEST_CHOICE:
            return None
        buttons = [Option(value=str(one["value"])[:200], title={"en": str(one["title"])}) for one in shown]
        found = find("choice", text, self.request.at, Options(choices=buttons, asked=True))
        if len(found) == 1 and not any(map(str.isalnum, text[: found[0].start] + text[found[0].end :])):
            return str(found[0].value)
        reading = read(text, self.know.lexicon)
        return buttons[0].value if len(buttons) == 1 and reading.has("affirm") and not reading.rest else None

    def _title_of(self, choice: str | None) -> str:
        """Return what was written on the button that was pressed."""
        shown = (self.state.last or {}).get("choices", [])
        return next((str(one["title"]) for one in shown if one["value"] == choice), choice or "")

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answers(self, intents: Sequence[str], confidence: float | None) -> Reply:
        """Answer one or several intents; the first one that begins a flow begins it last, and further flows wait."""
        answered: list[str] = []
        flows = [intent for intent in intents if self.know.flows.started_by(intent) is not None]
        parts = Parts()
        for intent in intents:
            reason = self.reason_of(intent)
            if reason is not None:
                return self.hand_over(reason, intent=intent, before=parts.texts)
            if intent not in flows:
                self._curated(intent, parts)
                answered.append(intent)
        if flows:
            self.state.wait_with(flows[1:])
            reply = self._begin(flows[0], parts, [*answered, *flows])
            return self._understood(reply, flows[0])
        reply = parts.reply("answer", intents[0], confidence)
        if parts.missing and len(parts.missing) == len(answered):
            reply = reply.model_copy(update={"action": "refuse", "choices": self.person()})
        return self._after(self._understood(reply, answered[-1]))

    def _curated(self, intent: str, parts: Parts) -> None:
        """Add the curated answer to an intent, word for word with known details filled in."""
        title, language = self.know.intent_title(intent, self.language), self.language
        answer = self.know.answer(intent, self.facts, self.request.at)
        if answer is None:
            parts.missing.append(intent)
            parts.texts.append(self.know.say("no_answer", language, values={"title": title}))
            return
        parts.texts.append(fill(pick(answer.text, language, self.state.turns), self.facts))
        parts.choices += buttons(answer.choices, language)
        parts.attachments += links(answer.attachments, language)
        parts.evidence.append(Evidence(kind="intent", id=intent, title=title, text=answer.version))

    def _begin(self, intent: str, parts: Parts, named: Sequence[str]) -> Reply:
        """Begin the flow of an intent after what was answered before it."""
        turn = self._turn(intent)
        if self.request.choice is not None:  # the button says what was meant by the message before it
            turn = replace(turn, text=self.state.message, choice=None, tags=tagged(self.state.message, self.ask))
        step = engine.begin(self.know.flows, self.know.lexicon, self.state, turn)
        if step is None:  # the action of another flow is being called
            return self.say("answer", "calling")
        reply = self.of_step(step, parts.texts, intent)
        return reply.model_copy(update={"evidence": [*self.listed(named), *reply.evidence][:50], "attachments": parts.attachments})

    def _understood(self, reply: Reply, intent: str | None) -> Reply:
        """Note that something was understood."""
        self.state.not_understood, self.state.offered, self.state.answered = 0, [], intent
        self.state.rejected = [] if reply.action == "answer" and intent not in self.state.rejected else self.state.rejected
        return reply

    def _found(self, found: Found) -> Reply:
        """Answer with what was found."""
        reply = Reply(
            action="answer", text=searching.said(self.know, found, self.language, self.request.at)[:8_000],
            evidence=[searching.evidence(found)], reasons=["found"], choices=self.person(), slots=self.slots(),
        )  # fmt: skip
        url = found.hit.url or ""
        if url.startswith(("https://", "/")):
            reply = reply.model_copy(update={"attachments": [Attachment(title=(found.hit.title or url)[:300], url=url)]})
        return self._after(self._understood(reply, None))

    def _after(self, reply: Reply) -> Reply:
        """Add what comes next: back to a flow that was interrupted, or the wishes that wait."""
        state = self.state
        if reply.action != "answer":
            return reply
        if state.frame is not None:
            step = engine.resume(self.know.flows, self.know.lexicon, state, self.language)
            return reply if step is None else joined(reply, self.of_step(step)).model_copy(update={"action": "answer"})
        if not state.pending:
            return reply
        intent, *state.pending = state.pending
        lead = self.know.say("next", self.language, values={"title": self.know.intent_title(intent, self.language)})
        following = self._answers([intent], None)
        return joined(reply, following.model_copy(update={"text": f"{lead}\n{following.text}"}))

    # ── asking back ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _clarify(self, intents: Sequence[str], confidence: float | None, found: Sequence[Found]) -> Reply:
        """Ask which of a few intents, or of what was found, is meant."""
        sought = [one.intent for one in found if one.intent is not None and one.intent not in self.state.rejected]
        likely = [other for one in (*intents[:OFFERED], *sought[:_LIKELY]) for other in (one, *self._instead(one))]
        known = list(dict.fromkeys(one for one in likely if one in self.know.intents and one not in self.state.rejected))[:_MOST_OFFERED]
        passages = [one for one in found if one.intent is None]
        if not known and not passages:
            return self._not_understood()
        self.state.offered = known
        self._keep(passages)
        shown = passages[: searching.OFFERED - 1 if known else searching.OFFERED]
        offers = [*self.offers(known), *searching.offers(self.know, shown, self.language)]
        return Reply(
            action="clarify", text=self.text("did_you_mean" if known else "found_several"), choices=self.ended(offers),
            evidence=[*self.listed(known), *map(searching.evidence, shown)], confidence=confidence, slots=self.slots(),
            reasons=["several_intents" if known else "several_passages"],
        )  # fmt: skip

    def _keep(self, found: Sequence[Found]) -> None:
        self.state.found = {
            one.entry: {"id": one.hit.id, "title": one.hit.title, "text": one.hit.text[:1_500], "score": one.hit.score, "url": one.hit.url,
                        "answer": one.hit.answer, "extract": one.extract}
            for one in found[: searching.OFFERED]
        }  # fmt: skip

    def _not_that(self, others: Sequence[str]) -> Reply:
        """The last reply was not what was meant: offer other intents, or hand over if that happens again."""
        self.state.not_understood += 1
        if self.state.not_understood >= self.know.handoff.misunderstood:
            return self.hand_over("not_understood")
        offered = [one for one in others if one not in self.state.rejected and one in self.know.intents][:3]
        self.state.offered = offered
        if not offered:
            return self.say("clarify", "not_that_open", choices=self.person(), reasons=["rejected"])
        reply = self.say("clarify", "not_that", choices=self.ended(self.offers(offered)), reasons=["rejected"])
        return reply.model_copy(update={"evidence": self.listed(offered)})

    def _not_understood(self, likely: Sequence[str] = ()) -> Reply:
        """Nothing fits: offer what is likely, or ask for other words, once, then hand over."""
        self.state.not_understood += 1
        if self.state.not_understood >= self.know.handoff.misunderstood:
            return self.hand_over("not_understood")
        if likely:
            return self._clarify(likely, None, [])
        return self.say("refuse", "not_understood", choices=self.person(), reasons=["not_understood"])

    def _courtesy(self, reading: Reading) -> Reply:
        """Reply to a message that is nothing but a pattern."""
        if reading.has("small_talk"):
            name = f"small_talk_{reading.named('small_talk')}"
            action: Action = "refuse" if reading.named("small_talk") in _DECLINED else "answer"
            return self.say(action, name if self.know.has_text(name) else "small_talk", choices=self.person())
        for kind in _COURTESIES:
            if reading.has(kind):
                return self.say("answer", "hello" if kind == "greeting" else kind)
        if reading.has("cancel") or reading.has("deny"):
            return self.say("answer", "nothing_to_cancel")
        if reading.has("affirm"):
            return self.say("answer", "anything_else")
        return self._not_understood()

    def _again(self) -> Reply:
        """Say the last reply again."""
        if self.state.last is None:
            return self.say("answer", "nothing_to_repeat")
        last = Reply.model_validate(self.state.last)
        return last.model_copy(update={"reasons": ["repeated"], "call": None, "action": "ask" if last.action == "act" else last.action})


def _says_enough(text: str) -> bool:
    """Return whether a message shows its language: not a number of an order, and not a single word such as OK."""
    return not text.isascii() or len(_WORD.findall(text)) > 1
