"""The benchmarks of customer service count what they say: mixtures, cases, details of dialogues, goals of scripted users."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vertune.core.app import Reply
from vertune.core.conversation import Expected
from vertune.products.replay import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # its scripts import one another
import service
import service_dialogues
import service_intents


def _turn(text: str, intent: str, **slots: str) -> dict[str, Any]:
    return {
        "speaker": "USER", "text": text, "intents": {"Payment_1": intent},
        "slots": {"Payment_1": {name: [value] for name, value in slots.items()}},
    }  # fmt: skip


def _outcome(number: int, action: Any, problem: str = "") -> Outcome:
    return Outcome(number, "typos", "en", "text", Expected(intent="a"), Reply(action=action, text="."), problem)


@pytest.mark.parametrize(
    ("name", "gold", "value", "right"),
    [
        ("amount", ["one hundred and sixteen bucks"], "116.00 USD", True),
        ("amount", ["$116", "116 dollars"], "115.00 USD", False),
        ("amount", ["$116"], None, False),
        ("receiver", ["Amelia"], "amelia", True),
        ("receiver", ["Amelia"], "Emma", False),
        ("payment_method", ["app balance"], "app balance", True),
    ],
)
def test_details_are_right_as_numbers_or_but_for_case(name: str, gold: list[str], value: Any, right: bool) -> None:
    assert service_dialogues.is_right(name, gold, value) is right


def test_slots_fit_only_if_none_is_missing_and_none_too_many() -> None:
    gold = {"receiver": ["Amelia"], "amount": ["$5"]}
    assert service_dialogues.fits(gold, {"receiver": "Amelia", "amount": "5.00 USD"})
    assert not service_dialogues.fits(gold, {"receiver": "Amelia"})
    assert not service_dialogues.fits(gold, {"receiver": "Amelia", "amount": "5.00 USD", "payment_method": "credit card"})


def test_a_dialogue_with_two_requests_is_two_tasks_with_their_last_goals() -> None:
    turns = [
        _turn("pay Amelia", "MakePayment", receiver="Amelia"),
        _turn("5 dollars", "MakePayment", receiver="Amelia", amount="5 dollars"),
        _turn("ask Bob for 7 dollars", "RequestPayment", receiver="Bob", amount="7 dollars"),
        _turn("thanks", "NONE", receiver="Bob", amount="7 dollars"),
    ]
    first, second = service_dialogues.tasks_of([{"id": "1", "turns": turns}])
    assert (first.flow, first.goal) == ("make_payment", {"receiver": ["Amelia"], "amount": ["5 dollars"]})
    assert first.said == {"receiver": "pay Amelia", "amount": "5 dollars"}
    assert (second.flow, second.first) == ("request_payment", "ask Bob for 7 dollars")


def test_the_mixture_of_test_rows_has_the_proportions_of_the_validation_rows() -> None:
    valid = {"inside": [("v", "a")] * 30, "in-domain": [("v", None)] * 10, "out-of-domain": [("v", None)] * 5}
    test = {"inside": [("t", "a")] * 60, "in-domain": [("t", None)] * 50, "out-of-domain": [("t", None)] * 100}
    kinds = [kind for kind, _ in service_intents.mixed(test, valid)]  # type: ignore[arg-type]
    assert [kinds.count(kind) for kind in test] == [60, 20, 10]


def test_an_answer_to_a_message_outside_is_false_and_contains_nothing() -> None:
    rows = [("inside", ("x", "a")), ("inside", ("y", "b")), ("in-domain", ("z", None))]
    found = service_intents._shares(rows, {"x": "a", "y": None, "z": "a"}, 0.02)  # type: ignore[arg-type]
    assert (found["answers"], found["false"], found["containment"]) == (2, 1, 0.5)


def test_a_case_is_right_if_all_of_its_turns_are() -> None:
    outcomes = [_outcome(0, "answer"), _outcome(0, "answer", "wrong"), _outcome(1, "clarify"), _outcome(2, "answer")]
    found = service.cases(outcomes)
    assert (found["right"], found["of"], found["at_once"], found["turns_right"]) == (2, 3, 1, 3)


def test_labels_that_contradict_the_source_are_corrected(tmp_path: Path) -> None:
    folder = tmp_path / "banking77_oos"
    for name in ("banking77", "banking77_oos"):
        (tmp_path / name).mkdir()
    files = {
        "train": [("where is my card", "a"), ("close it", "b"), ("my pin", "a")], "valid": [("my card?", "a")], "test": [("a card", "a")],
        "id-oos_valid": [("a pin", "oos")], "id-oos_test": [("b pin", "oos")],
        "ood-oos_valid": [("rain", "oos")], "ood-oos_test": [("sun", "oos")],
    }  # fmt: skip
    for name, rows in files.items():
        (folder / f"{name}.csv").write_text("text,intent\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    (tmp_path / "banking77" / "train.csv").write_text("text,category\nclose it,a\nMy pin!,pin\nwhere is my card,a\n", encoding="utf-8")
    (tmp_path / "banking77" / "test.csv").write_text("text,category\nb pin,b\n", encoding="utf-8")
    data = service_intents.read(folder, few=False)
    assert data.train == [("where is my card", "a"), ("close it", "a")]
    assert data.test["in-domain"] == [("b pin", None)]
    assert data.corrected["inside"] == [("a card", "a"), ("b pin", "b")]
    assert (data.changed["train"], data.changed["id-oos_test"], data.changed["valid"]) == (2, 1, 0)
