"""Checks that apps and packs obey their contracts; independent of what an app does.

Authors of an app, or of a pack, run the checks:

    for check in CHECKS:
        check(open_pack("my_pack"))
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vertune.core import part
from vertune.core.app import App, Ask, Hit, Reply, Request, Said
from vertune.core.config import load
from vertune.core.errors import VertuneError
from vertune.core.pack import FILE, Pack, entry_of, files_of, passage_id
from vertune.core.parse import build
from vertune.core.records import Answer, Record
from vertune.products.passages import pack_passages
from vertune.products.product import app_class
from vertune.products.training import read_messages
from vertune.retrieval.normalise import terms
from vertune.retrieval.passages import Passage

AT = 1_893_484_800.0
"""The moment of requests: 2030-01-01, 08:00 UTC."""
MESSAGES = (
    "hello",
    "你好",
    "a person please",
    "转人工",
    "asdf qwer",
    "?",
    " ",
    "no",
    "不是",
    "{name}",
    "<b>x</b>",
    "\x00\ud800",
    "ü" * 2_000,
    "thanks, bye!",
)
"""Messages that every app must survive."""
_SHARP = 12.0
_DATA = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")


class Silent:
    """Answers nothing, as if an app had no models and no index."""

    def predict(self, questions: Mapping[str, Sequence[Record]]) -> dict[str, list[Answer]]:
        """Return nothing."""
        return {}

    def search(self, text: str, number: int) -> list[Hit]:
        """Find nothing."""
        return []

    def entry(self, id: str, language: str) -> Hit | None:
        """Know no entry."""
        return None

    def spelled(self, text: str) -> str:
        """Correct nothing."""
        return text


class ByWords:
    """Answers what an app asks without any model: intents and passages by the words that they share with known ones."""

    def __init__(self, pack: Pack, slot: str = "intents") -> None:
        """`slot` is the one whose training rows, in a file train.csv with the columns text and intent, are known."""
        self.slot = slot
        rows = _rows(pack.path(pack.config.slots[slot]).with_name("train.csv"))
        self.known = [(set(terms(row["text"])), row["intent"]) for row in rows]
        self.labels = sorted({label for _, label in self.known})
        self.passages = [
            (one, set().union(*(terms(text) for text in (one.title, one.text, *one.questions)))) for one in pack_passages(pack)
        ]

    def predict(self, questions: Mapping[str, Sequence[Record]]) -> dict[str, list[Answer]]:
        """Return probabilities of intents: the more words a text shares with a known one, the more of its intent."""
        records = questions.get(self.slot)
        return {self.slot: [self._answer(str(one["text"])) for one in records]} if records else {}

    def _answer(self, text: str) -> Answer:
        words = set(terms(text))
        near = dict.fromkeys(self.labels, 0.0)
        for known, label in self.known:
            near[label] = max(near[label], _overlap(words, known))
        weights = np.exp(_SHARP * np.array(list(near.values())))
        probabilities = dict(zip(near, (weights / weights.sum()).tolist(), strict=True))
        return {"label": max(probabilities, key=lambda label: probabilities[label]), "probabilities": probabilities}

    def search(self, text: str, number: int) -> list[Hit]:
        """Return the passages that share most words with a text."""
        words = set(terms(text))
        scored = sorted(((_overlap(words, known), one) for one, known in self.passages), key=lambda pair: -pair[0])
        return [_hit(one, score) for score, one in scored[:number] if score > 0]

    def entry(self, id: str, language: str) -> Hit | None:
        """Return the passage with this id, or of the entry with this id in the language."""
        return next((_hit(one, 1.0) for one, _ in self.passages if one.id in {id, passage_id(id, language)}), None)

    def spelled(self, text: str) -> str:
        """Correct nothing."""
        return text


def _hit(one: Passage, score: float) -> Hit:
    return Hit(one.id, one.title, one.text, score, url=one.url, answer=one.answer)


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one | other))


# ── the contract of apps ─────────────────────────────────────────────────────────────────────────────────────────────


def check_names_what_it_needs(pack: Pack) -> None:
    """Check that the slots of the app are tasks, and that the slots that it names exist."""
    kind = app_class(pack.config.app)
    assert set(kind.needs.values()) <= set(part.names("tasks")), f"{pack.config.app}: a slot needs a task that does not exist"
    assert kind.optional <= set(kind.needs), f"{pack.config.app}: an optional slot is none of its slots"
    for slot in (kind.vectors, kind.learns_from):
        assert not slot or slot in kind.needs, f"{pack.config.app}: '{slot}' is none of its slots"


def check_is_rebuilt(pack: Pack) -> None:
    """Check that an app can be built again from its JSON form, and is the same."""
    one = app_class(pack.config.app).of_pack(pack)
    assert build(App, json.loads(json.dumps(one.model_dump(mode="json")))) == one, f"{one.name}: another app is built from its options"


def check_state_is_json(pack: Pack) -> None:
    """Check that the state of a conversation survives being stored, at every turn."""
    app = app_class(pack.config.app).of_pack(pack)
    for _, state, _ in _conversation(app, Silent()):
        again = app.state.model_validate(json.loads(json.dumps(state.model_dump(mode="json"))))
        assert again == state, f"{app.name}: the state is another one after it was stored"


def check_same_request_same_reply(pack: Pack) -> None:
    """Check that a reply depends on the request, the state and the answers alone."""
    app = app_class(pack.config.app).of_pack(pack)
    first = [reply for reply, _, _ in _conversation(app, Silent())]
    other = [reply for reply, _, _ in _conversation(app_class(pack.config.app).of_pack(Pack(pack.folder)), Silent())]
    assert first == other, f"{app.name}: the same conversation got other replies"


def check_survives_any_message(pack: Pack) -> None:
    """Check that strange messages, buttons that do not exist and events out of place get a reply, or an error of ours."""
    app = app_class(pack.config.app).of_pack(pack)
    requests = [Request("x", choice=choice, at=AT) for choice in ("intent:nothing", "entry:nothing", "yes", "\x00", "9" * 200)]
    requests += [Request("", event="acted", result={"ok": True, "data": {"a": "{b}"}}, at=AT), Request("", event="returned", at=AT)]
    requests += [Request("", event="silence", at=AT)] * 4
    for request in requests:
        state = app.state()
        try:
            reply = app.answer(request, state, Silent())
        except VertuneError:
            continue
        assert reply.text.strip(), f"{app.name}: the reply to {request} has no text"


def check_quotes_no_markup(pack: Pack) -> None:
    """Check that what a customer writes is never taken for a place to fill: `{name}` stays as it is, and so does markup."""
    app = app_class(pack.config.app).of_pack(pack)
    state = app.state()
    reply = app.answer(Request("{secret} <script>alert(1)</script>", at=AT, known={"secret": "4711"}), state, Silent())
    assert "4711" not in reply.text, f"{app.name}: a message was filled like a text of the pack"


def check_summary(pack: Pack) -> None:
    """Check that a summary quotes what the customer wrote, and what no one else did."""
    app = app_class(pack.config.app).of_pack(pack)
    said = [Said("visitor", "My parcel with the blue lamp has not arrived"), Said("bot", "Sorry, what is a zebra?")]
    text = app.summarise(said, app.state())
    assert not text or ("blue lamp" in text and "zebra" not in text), f"{app.name}: the summary is '{text}'"


def _conversation(app: App, ask: Ask) -> Iterator[tuple[Reply, Any, str]]:
    state = app.state()
    for number, text in enumerate(MESSAGES):
        yield app.answer(Request(text, at=AT + number), state, ask), state, text


# ── the contract of packs ────────────────────────────────────────────────────────────────────────────────────────────


def check_pack_fits(pack: Pack) -> None:
    """Check that a pack fits its app, and that it has a text in each of its languages."""
    app_class(pack.config.app).of_pack(pack)
    assert set(pack.config.title) >= set(pack.config.languages), f"{pack.folder.name}: the title lacks a language"


def check_pack_is_data(pack: Pack) -> None:
    """Check that a pack contains no program, and names the licence of its data."""
    files = files_of(pack.folder)
    programs = [file.name for file in files if file.suffix in {".py", ".sh", ".js", ".so"}]
    assert not programs, f"{pack.folder.name}: {programs[0]} is a program, but a pack is data"
    if any(file.suffix in _DATA for file in files):
        notices = [file for file in files if file.stem.upper() in {"LICENSE", "LICENCE", "ATTRIBUTION", "README"}]
        assert notices or "own" in (pack.folder / FILE).read_text(encoding="utf-8"), f"{pack.folder.name}: nothing says whose the data are"


def check_slots_can_be_trained(pack: Pack) -> None:
    """Check that the config of each slot trains the task that the app needs, and that its labels are intents of the pack."""
    kind = app_class(pack.config.app)
    for slot, file in pack.config.slots.items():
        config = load(pack.path(file))
        assert config.task.name == kind.needs[slot], f"{pack.folder.name}: {file} trains another task than '{kind.needs[slot]}'"


def check_calibration_is_new(pack: Pack) -> None:
    """Check that thresholds are learnt on messages of intents that exist, some of which belong to none, and that none is a training row."""
    if pack.config.calibration is None:
        return
    messages = read_messages(pack.path(pack.config.calibration))
    known = {row["text"] for file in (pack.path(one) for one in pack.config.slots.values()) for row in _rows(file.with_name("train.csv"))}
    assert not known & {one.text for one in messages}, f"{pack.folder.name}: a labelled message is a training row too"
    unknown = {one.intent for one in messages if one.intent} - set(pack.intents)
    assert not unknown, f"{pack.folder.name}: answers.yaml lacks the intent '{min(unknown, default='')}' of the labelled messages"
    assert any(one.intent is None and one.entry is None for one in messages), f"{pack.folder.name}: no labelled message belongs to none"


def check_tests_name_what_exists(pack: Pack) -> None:
    """Check that conversations name intents, entries and actions that exist."""
    calls = {flow.get("act", {}).get("action") for flow in pack.flows.get("flows", []) if flow.get("act")}
    for conversation in pack.tests:
        for turn in conversation.turns:
            expected = turn.expect
            for intent in (expected.intent, *expected.also):
                assert intent is None or intent in pack.intents, f"{pack.folder.name}: '{conversation.name}' expects the intent '{intent}'"
            assert expected.entry is None or "#" in expected.entry or entry_of(expected.entry) in pack.faq, (
                f"{pack.folder.name}: '{conversation.name}' expects the entry '{expected.entry}'"
            )
            assert expected.call is None or expected.call in calls, f"{pack.folder.name}: '{conversation.name}' calls '{expected.call}'"


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row.get("text")]


APP_CHECKS: tuple[Callable[[Pack], None], ...] = (
    check_names_what_it_needs,
    check_is_rebuilt,
    check_state_is_json,
    check_same_request_same_reply,
    check_survives_any_message,
    check_quotes_no_markup,
    check_summary,
)
PACK_CHECKS: tuple[Callable[[Pack], None], ...] = (
    check_pack_fits,
    check_pack_is_data,
    check_slots_can_be_trained,
    check_calibration_is_new,
    check_tests_name_what_exists,
)
CHECKS = APP_CHECKS + PACK_CHECKS
