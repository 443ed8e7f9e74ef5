"""The gate between two trained models: which rows count, what is reported, and how the command ends."""

from __future__ import annotations

import json
from types import SimpleNamespace

import polars as pl
import pytest

from tests.conftest import rows
from vertune.cli import main
from vertune.core.config import load
from vertune.core.errors import ConfigError, Conflict, DataError
from vertune.core.files import read_json
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation.release import Bounds
from vertune.steps.evaluate import evaluate
from vertune.steps.gate import FILE, Terms, gate, read_release
from vertune.steps.gate.answers import Pair
from vertune.steps.predict import predict

QUICK = Terms(speed=False)


@pytest.fixture(scope="module")
def pair(fitted, run_yaml, tmp_path_factory):
    """A home with a live model, and a candidate that was trained on rows with other labels, so that the two differ."""
    import shutil

    from vertune.core.artifact import Home
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    folder = tmp_path_factory.mktemp("gate")
    shutil.copytree(fitted[0].folder, folder / "home")
    home = Home(folder / "home")
    kinds = ["food" if "paris" in row["query"] or "oslo" in row["query"] else row["kind"] for row in rows()]
    pl.DataFrame(rows()).with_columns(pl.Series("kind", kinds)).write_csv(folder / "queries.csv")
    config = load(run_yaml, [f"data.source={folder / 'queries.csv'}"])
    return home, train(config, prepare(config, home), home), home.get("models", "support@live")


def fresh(count=40, start=1000):
    """Rows that no model was trained on, as a file has them."""
    return pl.DataFrame([{**row, "query": f"{row['query']} {start + number}"} for number, row in enumerate(rows(count))])


def labels_of(model, frame):
    """The labels that a model gives rows."""
    return [answer["label"] for answer in predict(model, frame.select("query").to_dicts())]


def as_answered(model, frame):
    """The rows with the labels that a model gives them."""
    return frame.with_columns(pl.Series("kind", labels_of(model, frame)))


def test_the_better_model_passes_and_the_other_fails(pair):
    home, candidate, live = pair
    gold = as_answered(candidate, fresh(60))
    agreed = sum(ours == theirs for ours, theirs in zip(*(labels_of(one, gold) for one in pair[1:]), strict=True))
    assert agreed < 50, "the two models of this test must differ"
    terms = Terms(Bounds(calibration=1.0), speed=False)
    better, worse = gate(candidate, live, home, {"gold": gold}, terms), gate(live, candidate, home, {"gold": gold}, terms)
    assert (better.manifest["verdict"], worse.manifest["verdict"]) == ("pass", "fail")
    assert better.manifest["step"] == "gate"
    assert list(better.parents) == [candidate.id, live.id]
    release = read_release(worse)
    assert release.headline == worse.manifest["headline"]
    assert release.headline.startswith("Don't release it: it fails on gold rows")
    content = read_json(worse.folder / FILE)
    assert content["changed"] == 60 - agreed
    assert content["changes"][0]["right"] == "live"
    table = pl.read_csv(worse.folder / "differences.csv")
    assert table.height == 60 - agreed
    assert table.columns == ["set", "text", "live", "candidate", "right", "confidence"]
    assert "Don&#39;t release it" in (worse.folder / "report.html").read_text(encoding="utf-8")


def test_rows_that_a_model_was_trained_on_are_left_out(pair):
    home, candidate, live = pair
    trained = pl.DataFrame(rows())
    report = gate(candidate, live, home, {"gold": pl.concat([fresh(20), trained])}, QUICK)
    content = read_json(report.folder / FILE)
    assert 20 <= report.manifest["rows"]["gold"] < 50  # validation rows train no model here
    assert "left out, because one of the models was trained on them" in content["notes"][0]
    with_empty = pl.concat([fresh(20), trained]).with_columns(pl.lit(None, pl.String).alias("text_pair"))
    assert gate(candidate, live, home, {"gold": with_empty}, QUICK).manifest["rows"] == report.manifest["rows"]
    with pytest.raises(DataError, match="no gold row"):
        gate(candidate, live, home, {"gold": trained.head(0)}, QUICK)


def test_new_and_probe_rows_are_reported(pair):
    home, candidate, live = pair
    sets = {
        "gold": fresh(20),
        "new": as_answered(candidate, fresh(40, 2000)),
        "probe": [{"query": "tell me of soup"}, {"query": "and rome"}],
    }
    content = read_json(gate(candidate, live, home, sets, QUICK).folder / FILE)
    assert "new rows" in [check["name"] for check in content["checks"]]
    assert content["sets"]["probe"]["rows"] == 2


def test_gold_rows_with_a_label_that_no_model_knows_count_as_wrong(pair):
    home, candidate, live = pair
    gold = pl.concat([fresh(20), fresh(10, 4000).with_columns(kind=pl.lit("drink"))])
    content = read_json(gate(candidate, live, home, {"gold": gold}, QUICK).folder / FILE)
    assert content["sets"]["gold"]["rows"] == 30
    assert "drink" in {group["name"] for group in content["groups"]}
    assert all(one["right"] == "neither" for one in content["changes"] if one["text"].split()[2] >= "4000")


def test_each_larger_gold_set_is_another_look(pair):
    home, candidate, live = pair
    looks = [gate(candidate, live, home, {"gold": fresh(count, 5000)}, QUICK).manifest["look"] for count in (20, 20, 24)]
    assert looks[1] == looks[0]
    assert looks[2] == looks[0] + 1


def test_labels_of_traffic_are_another_look(pair):
    home, candidate, live = pair
    gold, traffic = fresh(20, 9000), as_answered(live, fresh(30, 9500))
    first = gate(candidate, live, home, {"gold": gold, "traffic": traffic.select("query")}, QUICK).manifest
    both = {"gold": gold, "traffic": pl.concat([traffic.select("query"), traffic], how="diagonal")}
    second, again = (gate(candidate, live, home, both, QUICK).manifest for _ in range(2))
    assert first["gold_hash"] != second["gold_hash"]
    assert second["look"] == again["look"] == first["look"] + 1


def test_a_single_text_with_two_right_answers_decides_nothing(pair):
    home, candidate, live = pair
    texts = fresh(40, 12_000)
    pairs = zip(texts["query"], labels_of(candidate, texts), labels_of(live, texts), strict=True)
    text, ours = next((text, ours) for text, ours, theirs in pairs if ours != theirs)
    report = gate(candidate, live, home, {"gold": pl.DataFrame({"query": [text] * 2, "kind": [ours, "neither"]})}, QUICK)
    check = read_release(report).checks[0]
    assert (check.verdict, check.value, check.low, check.high) == ("unknown", 0.5, None, None)  # one unit has no spread
    assert check.labels_needed is None


def test_behaviour_tests_must_be_kept(pair, tmp_path):
    home, candidate, live = pair
    texts = fresh(60)["query"].to_list()
    ours, theirs = (labels_of(one, fresh(60)) for one in (candidate, live))
    place = next(number for number, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    tests = tmp_path / "tests.yaml"
    tests.write_text(f"tests: [{{name: it stays, cases: [{{input: {texts[place]}, expect: {theirs[place]}}}]}}]", encoding="utf-8")
    report = gate(candidate, live, home, {"gold": as_answered(candidate, fresh(60))}, Terms(tests=tests, speed=False))
    [check] = [check for check in read_release(report).checks if check.name == "behaviour tests"]
    assert check.verdict == "fail"
    assert "‘it stays’" in check.why
    assert report.manifest["verdict"] == "fail"


def test_size_and_speed_are_measured(pair):
    home, candidate, live = pair
    release = read_release(gate(candidate, live, home, {"gold": fresh(10)}))
    size, speed = (next(check for check in release.checks if check.name == name) for name in ("size", "speed"))
    assert 0.9 < size.value < 1.1
    assert 0 < speed.low <= speed.value <= speed.high


def test_a_report_of_the_gate_is_no_evaluation(pair):
    from vertune.steps.compare import compare

    home, candidate, live = pair
    for model in (candidate, live):
        evaluate(model, home, frame=fresh(8))
    report = gate(candidate, live, home, {"gold": fresh(10)}, QUICK)
    assert compare(live, candidate)["goal"] == "accuracy"
    with pytest.raises(DataError, match="no verdict"):
        read_release(next(one for one in home.shelf("reports") if one.id != report.id))


def test_a_model_is_not_compared_with_itself(pair):
    home, candidate, _ = pair
    with pytest.raises(Conflict, match="is live already"):
        gate(candidate, candidate, home, {"gold": fresh(10)}, QUICK)


def test_models_of_different_tasks_are_not_compared():
    sides = [
        SimpleNamespace(predictor=SimpleNamespace(task=build(Task, name)), model=SimpleNamespace(id=name)) for name in ("tag", "embed")
    ]
    with pytest.raises(ConfigError, match="The task of tag is tag; expected embed"):
        Pair(*sides).task  # noqa: B018 - a property that checks


@pytest.mark.parametrize(("better", "code"), [(True, 0), (False, 7), (None, 3)])
def test_the_command_ends_with_the_verdict(pair, better, code, tmp_path, monkeypatch, capsys):
    home, candidate, live = pair
    monkeypatch.setattr("vertune.steps.gate.cost.ratios", lambda *_: [1.0])
    gold = fresh(12) if better is None else as_answered(candidate if better else live, fresh(260))
    gold.write_csv(tmp_path / "gold.csv")
    with pytest.raises(SystemExit) as left:
        main(["gate", candidate.id, "--gold", str(tmp_path / "gold.csv"), "--home", str(home.folder), "--tolerance", "0.1"])
    printed = capsys.readouterr()
    assert left.value.code == code, printed.out
    assert ("Release it" if better else "Don't release it" if better is False else "Can't tell") in printed.out


def test_the_command_prints_json(pair, tmp_path, capsys):
    home, candidate, _ = pair
    fresh(12).write_csv(tmp_path / "gold.csv")
    with pytest.raises(SystemExit):
        main(["gate", candidate.id, "--gold", str(tmp_path / "gold.csv"), "--home", str(home.folder), "--json"])
    assert json.loads(capsys.readouterr().out)["candidate"] == candidate.id


def test_traffic_is_labelled_only_where_the_models_differ(pair):
    home, candidate, live = pair
    gold, traffic = fresh(20), fresh(60, 9000).select("query")
    report = gate(candidate, live, home, {"gold": gold, "traffic": traffic}, QUICK)
    wanted = pl.read_csv(report.folder / "to_label.csv")
    assert wanted.columns == ["query", "kind"]
    differ = [ours != theirs for ours, theirs in zip(labels_of(candidate, traffic), labels_of(live, traffic), strict=True)]
    assert wanted["query"].to_list() == traffic.filter(pl.Series(differ))["query"].to_list()
    assert "have no label" in read_json(report.folder / FILE)["notes"][-1]
    labelled = as_answered(candidate, wanted.select("query"))
    again = gate(candidate, live, home, {"gold": gold, "traffic": pl.concat([traffic, labelled], how="diagonal_relaxed")}, QUICK)
    [check] = [check for check in read_release(again).checks if check.name == "gold rows and traffic"]
    assert "80 rows" in check.why
    assert not (again.folder / "to_label.csv").exists()


def test_a_verdict_can_be_shown(pair, capsys):
    home, candidate, live = pair
    report = gate(candidate, live, home, {"gold": fresh(10)}, QUICK)
    with pytest.raises(SystemExit) as left:
        main(["show", report.id, "--home", str(home.folder)])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert report.manifest["headline"] in printed
    assert f"a report of the step gate on {candidate.id} and {live.id}" in printed
