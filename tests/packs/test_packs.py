"""The packs of vertune hold what they promise: enough sentences of each intent, and none of a behaviour case among those that teach."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from vertune.core.conversation import read_conversations
from vertune.core.pack import Pack, names, open_pack
from vertune.dialogue.flows import Flows

SETS = Path(__file__).resolve().parents[2] / "benchmarks" / "data"
OURS = ("bank_en", "bank_zh", "shop_zh")


@pytest.fixture(scope="module", params=OURS)
def pack(request: pytest.FixtureRequest) -> Pack:
    return open_pack(request.param)


def _rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [(row["text"], row["intent"]) for row in csv.DictReader(opened)]


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


def _behaviour(pack: Pack) -> set[str]:
    lines = (SETS / f"behaviour_{pack.folder.name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {_letters(turn["say"]) for line in lines for turn in json.loads(line)["turns"]}


def test_all_packs_are_found() -> None:
    assert set(OURS) <= set(names())


def test_each_intent_has_enough_sentences_and_a_title(pack: Pack) -> None:
    counts = Counter(intent for _, intent in _rows(pack.path("intents/train.csv")))
    assert len(counts) >= 24
    assert min(counts.values()) >= 25
    assert counts.keys() == pack.intents.keys()


def test_teaching_calibrating_and_behaviour_share_no_text(pack: Pack) -> None:
    taught = {_letters(text) for text, _ in _rows(pack.path("intents/train.csv"))}
    calibrating = {_letters(text) for text, _ in _rows(pack.path("calibration.csv"))}
    for file in (pack.path(config).parent for slot, config in pack.config.slots.items() if slot != "intents"):
        for rows in file.glob("*.csv"):
            with rows.open(encoding="utf-8", newline="") as opened:
                taught |= {_letters(row["text"]) for row in csv.DictReader(opened)}
    assert not taught & calibrating
    assert not (taught | calibrating) & _behaviour(pack)


def test_calibration_has_messages_outside_and_of_every_intent_and_entry(pack: Pack) -> None:
    with pack.path("calibration.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["intent"] for row in rows if row["intent"]} == pack.intents.keys()
    assert {row["entry"] for row in rows if row["entry"]} == pack.faq.keys()
    assert not [row for row in rows if row["intent"] and row["entry"]]
    assert sum(bool(row["entry"]) for row in rows) >= 60
    assert sum(not row["intent"] and not row["entry"] for row in rows) >= 80


def test_behaviour_cases_name_intents_slots_and_actions_of_the_pack(pack: Pack) -> None:
    flows = Flows.model_validate(pack.flows).flows
    slots = {slot.name for flow in flows for slot in flow.slots}
    calls = {flow.act.action for flow in flows if flow.act}
    expected = [turn.expect for one in read_conversations(SETS / f"behaviour_{pack.folder.name}.jsonl") for turn in one.turns]
    assert {name for one in expected for name in (one.intent, *one.also) if name} <= pack.intents.keys()
    assert {name for one in expected for name in one.slots} <= slots
    assert {one.call for one in expected if one.call} <= calls


def test_behaviour_sets_have_enough_cases_of_each_kind() -> None:
    kinds: dict[str, Counter[str]] = {"zh": Counter(), "en": Counter()}
    for name in OURS:
        for one in read_conversations(SETS / f"behaviour_{name}.jsonl"):
            kinds[one.language or ""][one.kind] += 1
    assert sum(kinds["zh"].values()) >= 200
    assert sum(kinds["en"].values()) >= 200
    for counts in kinds.values():
        for kind in ("negation", "not_that", "typos", "two_intents", "person", "smalltalk", "out_of_scope", "flow"):
            assert counts[kind] >= 15, kind


def test_rows_of_others_are_attributed() -> None:
    folder = open_pack("bank_en").folder
    assert "Banking77" in (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert (folder / "LICENSE").read_text(encoding="utf-8").startswith("Attribution 4.0 International")
