"""A report on a log, a report and looks at stored traffic, and the reference of a model."""

from __future__ import annotations

import json
import random
import re
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from tests import databases
from tests.conftest import CITIES, FOODS
from vertune.core import part
from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.core.ids import first_id_of
from vertune.core.kinds import Monitor
from vertune.core.parse import build
from vertune.core.sentence import written
from vertune.core.watch import Watch
from vertune.steps.alert import raise_alerts
from vertune.steps.monitor import Plan, look, monitor
from vertune.steps.monitor.log import read_log
from vertune.steps.monitor.reader import Reader
from vertune.steps.monitor.reference import forget_reference, labelled_reference
from vertune.store import alerts, measurements, schema
from vertune.store.database import FILE, Database

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
FAST = tuple(build(Monitor, {"name": name}) for name in ("text_drift", "label_shares", "confidence", "errors", "language"))


def requests(count=900, changed=600, seed=0):
    """A log in which, after a while, texts are about something else."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        new = number >= changed
        words, label = (CITIES, "place") if draw.random() < (0.2 if new else 0.5) else (FOODS, "food")
        text = f"tell me {number} of {draw.choice(words)} and {draw.choice(words)}" + (" with a new menu please" if new else "")
        at = BEGIN + timedelta(minutes=10 * number)
        rows.append({"query": text, "answer": label, "confidence": draw.uniform(0.4, 0.7) if new else draw.uniform(0.7, 1), "time": at})
    return pl.DataFrame(rows)


@pytest.fixture
def model(home):
    return home.get("models", "support")


@pytest.fixture
def log(tmp_path):
    requests().with_columns(pl.col("time").dt.to_string()).write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def span(hours):
    return BEGIN, BEGIN + timedelta(hours=hours)


def findings(report):
    return json.loads((report.folder / "findings.json").read_text())


def test_a_log_is_compared_with_its_first_days(model, home, log):
    report = monitor(model, home, Plan(FAST, span(60), 200), log)
    found = findings(report)
    assert report.manifest["changed"] == ["confidence", "label_shares", "text_drift"]
    by_name = {one["name"]: one for one in found["monitors"]}
    assert [one["verdict"] for one in by_name["text_drift"]["windows"]] == ["quiet", *["changed"] * 3]
    assert [one["confirmed"] for one in by_name["text_drift"]["windows"]] == [False, False, True, True]
    assert {row["word"] for row in by_name["text_drift"]["evidence"]} & {"menu", "please", "new"}
    assert {one["monitor"] for one in found["episodes"]} == {"text_drift", "label_shares", "confidence"}
    assert "360 requests from 2030-01-01 00:00" in found["reference"]
    page = (report.folder / "report.html").read_text()
    assert "3 things have changed." in page
    assert "vertune retrain support" in page
    assert not re.search(r"<script|https?://", page)


def test_an_unchanged_log_is_quiet(model, home, tmp_path):
    requests(700, changed=700).write_parquet(tmp_path / "log.parquet")
    report = monitor(model, home, Plan(FAST, span(50), 200), tmp_path / "log.parquet")
    assert report.manifest["changed"] == []
    assert "Nothing has changed." in (report.folder / "report.html").read_text()


def test_the_validation_rows_are_the_reference_of_a_log_by_default(model, home, log, monkeypatch):
    monkeypatch.setattr("vertune.steps.monitor.reference.FEWEST", 5)
    plan = Plan([build(Monitor, {"name": name}) for name in ("estimated_accuracy", "length", "volume")], None, 250)
    found = findings(monitor(model, home, plan, log))
    assert "validation rows of the dataset" in found["reference"]
    volume = next(one for one in found["monitors"] if one["name"] == "volume")
    assert volume["windows"][-1]["value"] == pytest.approx(6, rel=0.1)  # compared with the first requests, because rows have no times


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(FAST, span(2), 200), "The reference has 12 requests; expected 200 or more"),
        (Plan(FAST, span(100), 5000), "There are 300 requests"),
    ],
)
def test_too_few_requests_are_refused(model, home, log, plan, message):
    if "300" in message:
        requests(300, 300).write_csv(log)
        plan = Plan(FAST, None, 100)
        message = "at least 200 are compared"
    with pytest.raises(DataError, match=message):
        monitor(model, home, plan, log)


def test_windows_can_be_times(model, home, log):
    found = findings(monitor(model, home, Plan(FAST[:2], span(48), timedelta(days=2)), log))
    windows = found["monitors"][0]["windows"]
    assert found["window"] == "172800 s"
    assert {one["n"] for one in windows} == {288}
    assert windows[1]["end"] - windows[0]["end"] == pytest.approx(86_400)


# ── Logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(model, tmp_path, rows, names=None):
    pl.DataFrame(rows).write_csv(tmp_path / "rows.csv")
    return read_log(tmp_path / "rows.csv", Reader(model), names)


def test_columns_of_a_log_are_recognised(model, tmp_path):
    rows = {
        "query": ["b", "a"], "kind": ["food", "place"], "prediction": ["food", "food"], "score": [0.9, 0.8],
        "timestamp": ["2030-01-02", "2030-01-01"], "latency": [0.2, 0.1], "region": ["n", "s"],
    }  # fmt: skip
    log = read(model, tmp_path, rows)
    window = log.window
    assert [record["text"] for record in window.records] == ["a", "b"]
    assert window.right.tolist() == [0, 1]
    assert window.confidences.tolist() == [0.8, 0.9]
    assert window.seconds.tolist() == [0.1, 0.2]
    assert window.at[0] == BEGIN.timestamp()
    assert window.records[0]["region"] == "s"
    assert (window.tokens > 0).all()
    assert log.columns == {"answer": "prediction", "confidence": "score", "time": "timestamp", "seconds": "latency", "right": "kind"}


def test_columns_of_a_log_can_be_named(model, tmp_path):
    rows = {"query": ["a"], "said": ["food"], "ms": [1893456000000], "ok": ["no"], "failure": [""]}
    window = read(model, tmp_path, rows, {"answer": "said", "time": "ms", "verdict": "ok", "error": "failure"}).window
    assert (window.answers[0]["label"], window.right[0], window.at[0]) == ("food", 0.0, BEGIN.timestamp())
    with pytest.raises(UnknownName, match="role of a column"):
        read(model, tmp_path, rows, {"anser": "said"})
    with pytest.raises(UnknownName, match="column"):
        read(model, tmp_path, rows, {"answer": "sad"})


def test_what_predict_wrote_is_read_as_it_is(model, tmp_path):
    from vertune.steps.predict import predict_file

    requests(5).select("query").write_csv(tmp_path / "texts.csv")
    written = predict_file(model, tmp_path / "texts.csv", tmp_path / "answers.csv")
    window = read_log(tmp_path / "answers.csv", Reader(model)).window
    assert [one["label"] for one in window.answers] == [one["label"] for one in written.answers]
    assert window.confidences == pytest.approx([one["probability"] for one in written.answers])


def test_without_answers_the_model_answers(model, tmp_path):
    log = read(model, tmp_path, {"query": ["tell me of rome", "tell me of soup"], "kind": ["place", "food"]})
    assert [set(one) >= {"label", "probability"} for one in log.window.answers] == [True, True]
    assert np.isfinite(log.window.right).all()
    assert "so the model answered its texts" in log.notes[0]
    with pytest.raises(DataError, match="neither texts nor answers"):
        read(model, tmp_path, {"something": ["a"]})


def test_rows_that_can_not_be_read_are_left_out_and_counted(model, tmp_path):
    log = read(model, tmp_path, {"query": ["a", "b", "c"], "answer": ["food", "[1, 2]", "place"]})
    assert [record["text"] for record in log.window.records] == ["a", "c"]
    assert log.notes == ["1 row had an answer that the task 'classify' can't read, and were left out."]
    log = read(model, tmp_path, {"query": ["tell me of rome", None, "tell me of soup"], "region": ["n", "n", "s"]})
    assert [record["region"] for record in log.window.records] == ["n", "s"]
    assert all(answer is not None for answer in log.window.answers)
    assert re.search(r"1 row had inputs that the model can't read \(.+\), and were left out", log.notes[1])
    with pytest.raises(DataError, match="have an answer that the task 'classify' can't read"):
        read(model, tmp_path, {"query": ["a", "b"], "answer": ["[1]", "[2]"]})


def test_lines_that_can_not_be_read_are_counted(model, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"query": "a", "answer": "food"}\n{"query": \n{"query": "b", "answer": "place"}\n')
    log = read_log(tmp_path / "log.jsonl", Reader(model))
    assert [record["text"] for record in log.window.records] == ["a", "b"]
    assert log.notes[0].startswith("1 row of log.jsonl could not be read")


def test_a_field_that_was_read_from_several_columns_is_joined_as_in_training(model, tmp_path):
    config = model.manifest["config"]
    model.update(config={**config, "data": {**config["data"], "fields": {**config["data"]["fields"], "text": ["title", "body"]}}})
    log = read(model, tmp_path, {"title": ["rome"], "body": ["tell me"], "answer": ["place"]})
    assert "rome" in log.window.texts()[0]
    assert "tell me" in log.window.texts()[0]


def test_cells_that_can_not_be_read_count_as_unknown_with_a_note(model, tmp_path):
    rows = {
        "query": ["a", "b", "c", "d"], "answer": ["food"] * 4, "time": ["inf", "soon", "", "1e300"], "confidence": [93.5, -1, 0.9, None],
        "verdict": ["1.0", "0.0", "perhaps", ""],
    }  # fmt: skip
    log = read(model, tmp_path, rows)
    assert np.isnan(log.window.at).all()
    assert np.isfinite(log.window.confidences).tolist() == [False, False, True, False]
    assert log.window.right[:2].tolist() == [1.0, 0.0]
    assert [note.split(" of ")[0] for note in log.notes] == ["3 values", "2 values", "1 value"]


def test_answers_that_a_candidate_gave_to_other_requests_are_not_compared(model, home, tmp_path):
    frame = requests(300, 300).select("query", "answer").with_row_index("n")
    odd = pl.col("n") % 2 == 1
    frame.select(
        "query", pl.when(odd).then("answer").alias("answer"), pl.when(~odd).then("answer").alias("shadow")
    ).write_csv(tmp_path / "log.csv")  # fmt: skip
    plan = Plan([build(Monitor, {"name": "shadow_disagreement"})], None, 200)
    (found,) = findings(monitor(model, home, plan, tmp_path / "log.csv"))["monitors"]
    assert (found["verdict"], found["why"]) == ("unknown", "The window has no answers of a candidate in shadow.")


def test_failed_requests_of_a_log_have_no_answer(model, tmp_path):
    window = read(model, tmp_path, {"query": ["a", "b"], "answer": ["food", "food"], "error": ["", "timeout"]}).window
    assert [one is None for one in window.answers] == [False, True]


# ── The reference and the reader ─────────────────────────────────────────────────────────────────────────────────────────


def test_answers_to_the_reference_are_computed_once(model, home, monkeypatch):
    assert labelled_reference(Reader(model), home)[0] is None  # there are too few
    monkeypatch.setattr("vertune.steps.monitor.reference.FEWEST", 5)
    first, about = labelled_reference(Reader(model), home)
    assert first is not None
    assert np.isfinite(first.right).all()
    assert "validation rows" in about
    assert first.states([0, 1]).shape == (2, 32)
    monkeypatch.setattr(Reader, "answers", lambda *_: pytest.fail("the answers are computed again"))
    again, _ = labelled_reference(Reader(model), home)
    assert again.answers == first.answers
    forget_reference(home.folder, model.id)
    with pytest.raises(pytest.fail.Exception):
        labelled_reference(Reader(model), home)


def test_rows_that_the_final_model_was_trained_on_are_no_reference(model, home, monkeypatch):
    monkeypatch.setattr("vertune.steps.monitor.reference.FEWEST", 1)
    model.update(chosen={**(model.manifest.get("chosen") or {}), "refit": 60})
    window, about = labelled_reference(Reader(model), home)
    assert (window is None) == ("first requests are the reference" in about)
    assert window is None or "these are test rows" in about


def test_a_record_that_the_model_cannot_read_has_no_vector(model):
    from vertune.core.monitor import Window

    reader = Reader(model)
    window = reader.complete(Window.of(reader.task, [{"text": "tell me"}, None, {"other": 1}], [None] * 3))
    assert window.tokens.tolist() == [4, -1, -1]
    assert window.states([0]).shape == (1, 32)
    assert window.states([0, 1]) is None


def test_a_target_that_is_none_of_the_task_says_nothing_of_an_answer(model):
    reader, answer = Reader(model), {"label": "food", "probability": 0.9, "truncated": False}
    record = {"text": "tell me"}
    assert [reader.is_right(record, answer, {"label": label}) for label in ("food", "place")] == [1.0, 0.0]
    for target in ({"kind": "food"}, {}, None):
        assert np.isnan(reader.is_right(record, answer, target))
    assert np.isnan(reader.is_right(None, None, {"label": "food"}))


def test_any_accepted_answer_of_a_question_is_right(model):
    from vertune.core.kinds import Task

    reader = Reader(model)
    reader.task = Task.model_validate({"name": "extract"})
    answer = {"spans": [{"start": 0, "end": 4, "label": "answer"}], "text": "Oslo", "probability": 0.9, "truncated": False}
    record = {"question": "Where?", "context": "Oslo, in Norway"}
    accepted = [{"start": 9, "text": "Norway"}, {"start": 0, "text": "Oslo"}]
    assert reader.is_right(record, answer, {"answers": accepted}) == 1.0
    assert reader.is_right(None, answer, {"answers": accepted[:1]}) == 0.0  # texts are not kept
    assert np.isnan(reader.is_right(record, answer, {"answers": "Oslo"}))


def test_how_far_a_number_is_from_the_right_one_is_read_from_feedback(model):
    from vertune.core.kinds import Task
    from vertune.steps.monitor.traffic import window_of
    from vertune.store.windows import Row

    reader = Reader(model)
    reader.task = Task.model_validate({"name": "regress"})
    said = [
        (3.5, {"score": 4}, None),
        (3.5, {"score": "2.5"}, None),
        (3.5, None, "right"),
        (3.5, {"score": "much"}, None),
        (None, {"score": 1}, None),
    ]
    rows = [
        Row(f"{number}", 0, float(number), 0.1, {"text": "a"}, None if score is None else {"score": score}, None, verdict, target)
        for number, (score, target, verdict) in enumerate(said)
    ]
    window = window_of(reader, rows)
    np.testing.assert_array_equal(window.errors, [0.5, 1.0, np.nan, np.nan, np.nan])
    assert window.judged.tolist() == [True, True, True, False, False]
    assert "feedback" in window.has
    assert np.isnan(Reader(model).error({"label": "food"}, {"label": "food"}))


def test_a_plan_follows_the_config():
    plan = Plan.of(Watch(reference="2030-01-01..2030-01-14", window="1d", column="region"))
    assert plan.span == (BEGIN, BEGIN + timedelta(days=14))
    assert plan.length == timedelta(days=1)
    assert {one.name for one in plan.chosen} == set(part.names("monitors"))
    assert {*part.names("monitors")} - {one.name for one in Plan().chosen} == {"fairness"}
    with pytest.raises(ConfigError):
        Watch(reference="yesterday")


# ── Stored traffic ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def database(home):
    with closing(Database(databases.new(home.folder / FILE))) as opened:
        yield opened


def store(database, model, frame, begin, seed=0):
    draw = random.Random(seed)
    requests, answers, said = [], [], []
    for place, row in enumerate(frame.iter_rows(named=True)):
        id = f"{first_id_of(begin + timedelta(minutes=place))[:12]}7{place:019x}"
        about = {"id": id, "at": "", "customer": "c"}
        requests.append({**about, "resource": "predict", "status": 200, "seconds": 0.01, "records": 1, "tokens": 9, "cached_tokens": 0})
        answer = {"label": row["answer"], "probability": row["confidence"]}
        answers.append({"request": id, "number": 0, "vertical": "support", "model": model.id, "record": json.dumps({"text": row["query"]}),
                        "answer": json.dumps(answer), "confidence": row["confidence"]})  # fmt: skip
        if draw.random() < 0.3:
            said.append({**about, "vertical": "support", "model": model.id, "request": id, "number": 0, "trust": 1.0, "digest": b"",
                         "verdict": "right" if draw.random() < 0.9 else "wrong"})  # fmt: skip
    with database.writing() as connection:
        connection.execute(schema.requests.insert(), requests)
        connection.execute(schema.answers.insert(), answers)
        connection.execute(schema.feedback.insert(), said)


def test_looks_at_stored_traffic_are_kept(model, home, database):
    now = datetime.now(UTC) + timedelta(days=1)  # a model answers after it was made
    plan = Plan((*FAST, build(Monitor, {"name": "feedback_quality"}), build(Monitor, {"name": "calibration"})), None, 200)
    store(database, model, requests(600, 400), now)
    first = look({"support": plan}, home, database, now + timedelta(minutes=390))
    assert {one.vertical for one in first} == {"support"}
    assert not any(one.confirmed for one in first)
    assert look({"support": plan}, home, database, now + timedelta(minutes=395)) == []  # hardly anything is new
    second = look({"support": plan}, home, database, now + timedelta(minutes=500))
    third = look({"support": plan}, home, database, now + timedelta(minutes=600))
    assert {one.monitor.name: one.confirmed for one in third}["text_drift"]
    assert {one.monitor.name: one.verdict for one in second}["text_drift"] == "changed"
    with database.reading() as connection:
        kept = measurements.series(connection, "support", "text_drift", "")
        quality = measurements.latest(connection, "support")["feedback_quality"][0]
    assert [one.verdict for one in kept][-2:] == ["changed", "changed"]
    assert kept[-1].evidence[0].keys() == {"word", "share in the window", "share in the reference"}
    assert quality.value == pytest.approx(0.1, abs=0.06)
    assert quality.p is None


def test_requests_that_a_canary_answers_are_no_fall_of_the_volume(model, home, database):
    now = datetime.now(UTC) + timedelta(days=1)
    store(database, model, requests(1600, 1600), now)
    answers = schema.answers.c
    with database.writing() as connection:  # of the last ones, a canary answers every second
        late = sorted(connection.scalars(select(answers.request).where(answers.request > first_id_of(now + timedelta(minutes=900)))))
        connection.execute(schema.answers.update().where(answers.request.in_(late[::2])).values(model="canary"))
    (found,) = look({"support": Plan((build(Monitor, {"name": "volume"}),), None, 300)}, home, database, now + timedelta(minutes=1590))
    assert found.verdict == "quiet"
    assert found.finding.value == pytest.approx(60, rel=0.05)


def test_no_transaction_is_open_while_a_model_computes(model, home, database, monkeypatch):
    now = datetime.now(UTC) + timedelta(days=1)
    store(database, model, requests(300, 300), now)
    open_ones, computed = [], []

    @contextmanager
    def reading(real=database.reading):
        open_ones.append(1)
        with real() as connection:
            yield connection
        open_ones.pop()

    def watched(real):
        def compute(*given):
            computed.append(len(open_ones))
            return real(*given)

        return compute

    monkeypatch.setattr(database, "reading", reading)
    monkeypatch.setattr("vertune.steps.monitor.reference.FEWEST", 5)
    for name in ("complete", "answers"):
        monkeypatch.setattr(Reader, name, watched(getattr(Reader, name)))
    assert look({"support": Plan(FAST[:2], None, 200)}, home, database, now + timedelta(minutes=290))
    assert len(computed) > 2
    assert set(computed) == {0}


def test_a_report_on_stored_traffic_keeps_its_figures(model, home, database):
    now = datetime.now(UTC) - timedelta(minutes=700)
    model.update(created=(now - timedelta(minutes=1)).isoformat())
    store(database, model, requests(600, 400), now)
    plan = Plan(FAST[:2], (now, now + timedelta(minutes=250)), 200)
    report = monitor(home.get("models", "support"), home, plan, database)
    assert report.manifest["changed"] == ["text_drift"]  # the label shares have changed in one window alone
    with database.reading() as connection:
        kept = measurements.series(connection, "support", "text_drift", "")
    assert [one.verdict for one in kept] == ["changed"] * 2
    assert [one["verdict"] for one in findings(report)["monitors"][0]["windows"]] == ["changed"] * 2


def test_a_vertical_without_traffic_is_left_out(home, database):
    assert look({"support": Plan(FAST)}, home, database) == []


def test_a_report_of_a_person_confirms_no_finding_of_the_schedule(model, home, database):
    now = datetime.now(UTC) - timedelta(minutes=600)
    model.update(created=(now - timedelta(minutes=1)).isoformat())
    store(database, model, requests(600, 400), now)
    plan = Plan(FAST[:1], (now, now + timedelta(minutes=250)), 200)
    monitor(home.get("models", "support"), home, plan, database)
    watch = Watch(monitors=list(FAST[:1]))
    assert raise_alerts(database, "support", watch) == []
    (found,) = look({"support": plan}, home, database)
    assert (found.verdict, found.confirmed) == ("changed", False)
    assert raise_alerts(database, "support", watch) == []
    with database.reading() as connection:
        origins = [one.origin for one in measurements.series(connection, "support", "text_drift", "")]
        assert measurements.tested(connection, "") == {"support": (1, 1)}
    assert sorted(set(origins)) == ["look", "report"]


# ── Times without requests ───────────────────────────────────────────────────────────────────────────────────────────────

MONDAY = datetime(2030, 1, 7, tzinfo=UTC)
VOLUME = Plan((build(Monitor, {"name": "volume"}),), None, 200)


def office_hours(weeks, each=20):
    """Times of requests from eight to six o'clock, from Monday to Friday."""
    days = [MONDAY + timedelta(days=7 * week + day) for week in range(weeks) for day in range(5)]
    return [day + timedelta(hours=hour, minutes=60 * place / each) for day in days for hour in range(8, 18) for place in range(each)]


def ask_at(database, times, model):
    ids = [f"{first_id_of(at)[:12]}7{place:019x}" for place, at in enumerate(times)]
    about = {
        "at": "",
        "customer": "c",
        "resource": "predict",
        "status": 200,
        "seconds": 0.01,
        "records": 1,
        "tokens": 9,
        "cached_tokens": 0,
    }
    answer = {"vertical": "support", "model": model, "number": 0, "answer": '{"label": "food", "probability": 0.9}', "confidence": 0.9}
    with database.writing() as connection:
        connection.execute(schema.requests.insert(), [{"id": id, **about} for id in ids])
        connection.execute(schema.answers.insert(), [{"request": id, **answer, "record": '{"text": "tell me of soup"}'} for id in ids])


def seen(home, database, at):
    """What the volume monitor says at a time, and the alerts that open or end."""
    found = look({"support": VOLUME}, home, database, at)
    changed = raise_alerts(database, "support", Watch(monitors=list(VOLUME.monitors)))
    return [(one.verdict, one.confirmed) for one in found], [one.state for one in changed]


@pytest.mark.parametrize("trickle", [0, 1])
def test_requests_that_stop_are_noticed_and_a_weekend_is_not(model, home, database, trickle):
    ask_at(database, office_hours(4), model.id)
    last = MONDAY + timedelta(days=28)
    assert seen(home, database, last - timedelta(days=2, hours=6)) == ([("quiet", False)], [])
    if trickle:
        ask_at(database, [last + timedelta(hours=hour) for hour in range(8, 14)], model.id)
    assert seen(home, database, last - timedelta(hours=12)) == ([], [])  # Sunday at noon
    assert seen(home, database, last + timedelta(hours=9)) == ([], [])  # few would have come
    assert seen(home, database, last + timedelta(hours=12)) == ([("changed", False)], [])
    assert seen(home, database, last + timedelta(hours=13)) == ([("changed", True)], ["open"])
    with database.reading() as connection:
        newest = measurements.series(connection, "support", "volume", "")[-1]
        (alert,) = alerts.unsolved(connection, "support").values()
    assert (newest.origin, newest.verdict) == ("pause", "changed")
    assert written(alert.why, "en") == f"{3 * trickle} requests within 3 hours, where about 60 are usual (p < 0.0001)."
    ask_at(database, [last + timedelta(hours=14, minutes=3 * number) for number in range(80)], model.id)
    assert seen(home, database, last + timedelta(hours=18)) == ([("quiet", False)], ["resolved"])


def test_a_new_model_that_gets_none_of_the_usual_requests_is_noticed(model, home, database):
    ask_at(database, office_hours(3), "the model before")
    monday = MONDAY + timedelta(days=21)
    assert seen(home, database, monday - timedelta(hours=12)) == ([("quiet", False)], [])
    ask_at(database, [monday + timedelta(hours=8)], "the model before")
    assert seen(home, database, monday + timedelta(hours=12))[0] == [("changed", False)]


def test_nothing_is_said_of_a_pause_while_the_days_of_the_week_are_not_known(model, home, database):
    ask_at(database, office_hours(1), model.id)
    friday = MONDAY + timedelta(days=4, hours=18)
    assert seen(home, database, friday) == ([("quiet", False)], [])
    assert seen(home, database, friday + timedelta(hours=64)) == ([], [])  # Monday morning
    assert seen(home, database, friday + timedelta(hours=90))[0] == [("changed", False)]


def test_a_plan_without_a_monitor_that_sees_pauses_leaves_them_out(model, home, database):
    ask_at(database, office_hours(3), model.id)
    plan = Plan((build(Monitor, {"name": "errors"}),), None, 200)
    assert look({"support": plan}, home, database, MONDAY + timedelta(days=19))
    assert look({"support": plan}, home, database, MONDAY + timedelta(days=24)) == []
