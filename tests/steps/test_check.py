"""Behaviour tests of a trained model: from a file, from the home, from feedback, in an evaluation and on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime

import pytest

from vertune.cli import main
from vertune.core import behaviour
from vertune.core.errors import ConfigError, NotFound
from vertune.core.files import read_json
from vertune.core.ids import first_id_of
from vertune.steps import check
from vertune.steps.evaluate import evaluate
from vertune.steps.predict import predict
from vertune.store.database import Database, file_in, format_time
from vertune.store.feedback import add

TEXTS = ["tell me of paris", "tell me of bread and rice", "tell me of oslo and rome"]


@pytest.fixture(scope="module")
def model(fitted):
    return fitted[1].model


@pytest.fixture(scope="module")
def answered(model):
    return [answer["label"] for answer in predict(model, [{"query": text} for text in TEXTS])]


def written(folder, cases, **options):
    """A file with one test of these (text, label) pairs."""
    test = behaviour.Test(name="it stays", cases=[behaviour.Case(input=text, expect=label) for text, label in cases], **options)
    (folder / "tests.yaml").write_text(behaviour.dump([test]), encoding="utf-8")
    return folder / "tests.yaml"


def other(label):
    return "food" if label == "place" else "place"


def test_a_model_is_tested_and_the_command_fails_with_it(home, model, answered, tmp_path, capsys):
    good = written(tmp_path, zip(TEXTS, answered, strict=True))
    with pytest.raises(SystemExit) as left:
        main(["check", "support", str(good), "--save"])
    assert left.value.code == 0
    assert "3 of 3" in capsys.readouterr().out
    bad = written(tmp_path, zip(TEXTS, [other(answered[0]), *answered[1:]], strict=True))
    with pytest.raises(SystemExit) as left:
        main(["check", "support", str(bad)])
    assert left.value.code == 7
    printed = capsys.readouterr()
    assert f"“{TEXTS[0]}” was answered {answered[0]}; expected {other(answered[0])}." in printed.out
    assert "'it stays'" in printed.err
    with pytest.raises(SystemExit) as left:  # the saved ones, which pass
        main(["check", "support", "--json"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)[0]["held"] == 3


def test_an_evaluation_runs_the_saved_tests(home, model, answered, tmp_path):
    check.save("support", home, written(tmp_path, zip(TEXTS, [other(answered[0]), *answered[1:]], strict=True)))
    report = evaluate(home.get("models", "support"), home, "validation")
    [found] = read_json(report.folder / "metrics.json")["tests"]
    assert (found["held"], found["cases"], found["passed"]) == (2, 3, False)
    html = (report.folder / "report.html").read_text(encoding="utf-8")
    assert "1 of 1 behaviour test failed" in html
    assert "Does it behave as it must?" in html


def test_tests_that_do_not_fit_the_model_are_a_note(home, tmp_path):
    file = tmp_path / "tests.yaml"
    file.write_text("tests: [{name: a, cases: [{input: {words: x}, expect: place}]}]", encoding="utf-8")
    check.save("support", home, file)
    measured = read_json(evaluate(home.get("models", "support"), home, "validation").folder / "metrics.json")
    assert "tests" not in measured
    assert any("behaviour tests could not be run" in note for note in measured["notes"])


def test_without_tests_the_command_says_how_to_name_them(home):
    with pytest.raises(NotFound, match=r"vertune check support tests\.yaml"):
        check.check(home.get("models", "support"), home)


def test_only_valid_tests_are_saved(home, tmp_path):
    (tmp_path / "tests.yaml").write_text("tests: 1", encoding="utf-8")
    with pytest.raises(ConfigError):
        check.save("support", home, tmp_path / "tests.yaml")
    assert check.suite_of("support", home) is None


def give(home, text, label, number, trust=1.0):
    about = {"customer": "default", "vertical": "support", "verdict": "right", "trust": trust, "digest": bytes([number])}
    at = datetime(2030, 1, 1, 12, number, tzinfo=UTC)
    target = None if label is None else label if isinstance(label, dict) else {"label": label}
    said = {
        "record": None if text is None else json.dumps({"text": text}), "target": None if target is None else json.dumps(target)
    }  # fmt: skip
    with closing(Database(file_in(home.folder))) as database:
        add(database, {"id": first_id_of(at), "at": format_time(at), **about, **said})


def test_feedback_that_the_model_answers_rightly_is_proposed(home, answered, tmp_path, capsys):
    give(home, TEXTS[0], answered[0], 1)
    give(home, TEXTS[1], other(answered[1]), 2)  # which the model answers otherwise
    give(home, TEXTS[2], answered[2], 3, trust=0.1)
    give(home, "tell me of lima", "unknown label", 4)
    with pytest.raises(SystemExit) as left:
        main(["check", "support", "--propose", str(tmp_path / "proposed.yaml")])
    assert left.value.code == 0
    assert "1 cases in 1 tests" in capsys.readouterr().out
    [test] = behaviour.load(tmp_path / "proposed.yaml").tests
    assert test.name == f"stays {answered[0]}"
    [case] = test.cases
    assert (case.input, case.expect) == (TEXTS[0], answered[0])
    assert str(case.origin).startswith("feedback ")
    check.save("support", home, tmp_path / "proposed.yaml")  # what is tested already is not proposed again
    with closing(Database(file_in(home.folder))) as database, pytest.raises(NotFound, match="can become a test"):
        check.propose(home.get("models", "support"), home, database)


def test_feedback_that_was_not_kept_or_can_not_be_read_is_left_out_and_counted(home, answered, tmp_path, capsys):
    give(home, TEXTS[0], answered[0], 1)
    give(home, None, answered[1], 2)
    give(home, "", answered[2], 3)
    give(home, TEXTS[1], None, 4)
    give(home, TEXTS[2], {"spans": [{"start": 0}]}, 5)
    with pytest.raises(SystemExit) as left:
        main(["check", "support", "--propose", str(tmp_path / "proposed.yaml")])
    assert left.value.code == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "1 cases in 1 tests" in said
    assert "Left out: 1 right answers to texts that were not kept, 2 that the model can't read." in said


def test_feedback_without_any_text_says_so(home, answered):
    give(home, None, answered[0], 1)
    with (
        closing(Database(file_in(home.folder))) as database,
        pytest.raises(NotFound, match=r"of 1 right answers .* 1 are on texts that were not"),
    ):
        check.propose(home.get("models", "support"), home, database)


def test_a_deletion_names_the_tests_that_contain_a_text(home, answered, tmp_path):
    check.save("support", home, written(tmp_path, zip(TEXTS, answered, strict=True)))
    assert check.containing(home, [{"text": TEXTS[1]}]) == ["support"]
    assert check.containing(home, [{"text": "another text"}]) == []
