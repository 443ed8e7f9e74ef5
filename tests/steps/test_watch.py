"""The schedule of monitors, reasons to train again, and how a retraining goes on from every stage; nothing is trained here."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests import databases
from vertune.core.artifact import Home
from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import first_id_of, time_ordered_id
from vertune.core.parse import build
from vertune.core.sentence import said, written
from vertune.core.watch import Watch, WatchFile
from vertune.steps.deploy import Versions
from vertune.steps.watch import Watcher, begin, reasons, retraining
from vertune.steps.watch.retraining import Ring
from vertune.store import alerts, deliveries, labels, measurements, projects, retrainings, rollouts, schema
from vertune.store.alerts import Alert
from vertune.store.audit import entries
from vertune.store.database import FILE, Database, format_time
from vertune.store.jobs import Job
from vertune.store.measurements import Measurement
from vertune.store.projects import Project

NOW = datetime.now(UTC)


def model(home, name="intent", **watch):
    """A finished model whose config says how it is watched; it has no weights."""
    config = {"name": name, "task": {"name": "classify"}, "watch": watch}
    return home.finish(home.begin("models", name, step="train", config=config))


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.alias("intent@live", model(made).id)
    return made


@pytest.fixture
def database(home):
    with closing(Database(databases.new(home.folder / FILE))) as opened:
        yield opened


class Surroundings:
    """Jobs and comparisons as a test wants them, in place of a server's."""

    def __init__(self, home, database):
        self.jobs, self.answered, self.queued, self.measured = {}, None, [], []
        self.ring = Ring(home, database, self.queue, self.jobs.get, lambda rollout: self.answered)

    def queue(self, kind, vertical, request, work):
        if work not in self.jobs:
            self.queued.append((kind, request))
            self.jobs[work] = job(work, kind)
        return self.jobs[work]

    def end(self, work, state="done", result=None, why=None):
        self.jobs[work] = replace(self.jobs[work], state=state, result=result, why=why)


def job(id, kind):
    return Job(id, "", "default", kind, "intent", {}, 3, "queued", attempts=0, started=None, ended=None, stop=False, result=None, why=None)


def watcher(home, database, surroundings, written=None, measure=None):
    def measured(due):
        surroundings.measured.append(sorted(due))

    return Watcher(home, database, WatchFile(written), measure or measured, surroundings.ring)


@pytest.fixture
def around(home, database):
    return Surroundings(home, database)


def feedback(database, number, vertical="intent", age=0.0):
    ids = [first_id_of(datetime.now(UTC) - timedelta(days=age))[:12] + time_ordered_id()[12:] for _ in range(number)]
    said = {"at": "", "customer": "a", "vertical": vertical, "record": "{}", "target": "{}", "trust": 1.0, "digest": b""}
    with database.writing() as connection:
        for id in ids:
            connection.execute(schema.feedback.insert().values({"id": id, **said}))


def runs(database):
    with database.reading() as connection:
        return retrainings.find(connection, None, 10)


# ------------------------------------------------------------------ schedule


def test_monitors_of_all_due_verticals_run_together_and_again_after_their_interval(home, database, around):
    home.alias("mood@live", model(home, "mood", every="1w").id)
    one = watcher(home, database, around, {"every": "2h"})
    one.step()
    one.step()
    assert around.measured == [["intent", "mood"]], "once, because nothing is due the second time"
    with database.writing() as connection:
        past = {"ran": format_time(NOW - timedelta(hours=3)), "next": format_time(NOW - timedelta(hours=1))}
        alerts.remember(connection, "mood", ":schedule", alerts.Memory(state=past))
    one.step()
    assert around.measured[1:] == [["mood"]]
    with database.writing() as connection:  # the clock was set back
        future = {"ran": format_time(NOW + timedelta(days=9)), "next": format_time(NOW + timedelta(days=10))}
        alerts.remember(connection, "intent", ":schedule", alerts.Memory(state=future))
    one.step()
    assert around.measured[2:] == [["intent"]]


def test_one_of_several_processes_watches_and_another_one_goes_on(home, database, around):
    one, other = (watcher(home, database, around, {"every": "1h"}) for _ in range(2))
    one.step()
    other.step()
    assert len(around.measured) == 1
    one.stop()
    with database.writing() as connection:
        connection.execute(schema.rules.delete())
    other.step()
    one.step()
    assert len(around.measured) == 2


def test_monitors_that_fail_are_run_again_soon_and_stop_nothing_else(home, database, around, caplog):
    feedback(database, 1)

    def failing(due):
        raise NotFound("There is no reference. Choose one.")

    written = {"every": "1d", "retrain": {"labels": 1}}
    watcher(home, database, around, written, failing).step()
    with database.reading() as connection:
        state = alerts.memories(connection, "intent")[":schedule"].state
    assert datetime.fromisoformat(state["next"]) - datetime.fromisoformat(state["ran"]) == timedelta(minutes=5)
    assert "There is no reference" in caplog.text
    assert [one.stage for one in runs(database)] == ["train"]


def test_a_damaged_model_keeps_no_other_from_being_watched(home, database, around):
    home.alias("mood@live", model(home, "mood").id)
    measured = []

    def failing(due):
        if "mood" in due:
            raise NotFound("A file of mood is gone. Restore it.")
        measured.append(sorted(due))

    watcher(home, database, around, {"every": "1d"}, failing).step()
    assert measured == [["intent"]]
    with database.reading() as connection:
        known = alerts.memories_of(connection, ":schedule")
    waits = {name: datetime.fromisoformat(one.state["next"]) - datetime.fromisoformat(one.state["ran"]) for name, one in known.items()}
    assert waits == {"intent": timedelta(days=1), "mood": timedelta(minutes=5)}


def test_a_model_whose_options_are_wrong_is_left_out_and_named_once(home, database, around, caplog):
    home.alias("broken@live", model(home, "broken", every="soon").id)
    one = watcher(home, database, around)
    one.step()
    one.step()
    assert around.measured == [["intent"]]
    assert caplog.text.count("'broken' is not watched") == 1


def test_alerts_of_a_vertical_that_is_not_live_any_more_are_resolved(home, database, around):
    home.alias("mood@live", model(home, "mood").id)
    home.alias("broken@live", model(home, "broken", every="soon").id)
    (home.folder / "aliases" / "gone@live").write_text("no-such-model\n")
    names = ("intent", "mood", "broken", "gone", "retired")
    opened = {
        name: Alert(
            time_ordered_id(), name, "drift", "text_drift", "warning", state="open", began="2030", changed="2030", ended=None, value=1.0,
            why="", evidence=[], messages=1,
        )
        for name in names
    }  # fmt: skip
    with database.writing() as connection:
        for one in opened.values():
            alerts.add(connection, one)
    home.unalias("mood@live")
    watcher(home, database, around, {"rules": [{"name": "drift"}]}).step()
    with database.reading() as connection:
        found = {name: alerts.get(connection, one.id) for name, one in opened.items()}
    assert {name: one.state for name, one in found.items()} == {
        "intent": "open", "mood": "resolved", "broken": "open", "gone": "open", "retired": "resolved",
    }  # fmt: skip
    assert written(found["mood"].comment, "en") == "No model with this name is live any more."


def test_options_for_a_name_that_is_not_live_are_named_once(home, database, around, caplog):
    one = Watcher(home, database, WatchFile({}, {"intnet": {"every": "1h"}}), lambda due: None, around.ring)
    one.step()
    one.step()
    assert caplog.text.count("'intnet' is not watched: the watch file has options for it, but no model with this name is live") == 1


def test_a_model_whose_windows_are_too_small_for_any_decision_is_named(home, database, around, caplog):
    home.alias("small@live", model(home, "small", window=100).id)
    watcher(home, database, around).step()
    assert around.measured == [["intent"]]
    assert "'small' is not watched: The window is 100 requests; expected 200 or more" in caplog.text


def test_what_is_measured_is_judged_at_once_and_sent(home, database, around, tmp_path):
    def measure(due):
        with database.writing() as connection:
            at, end = format_time(NOW - timedelta(hours=1)), format_time(NOW)
            found = Measurement("intent", "text_drift", at, end, 0.8, None, None, 0.0, 500, "changed", "It changed.", [])
            measurements.add(connection, [found])

    written = {"rules": [{"name": "drift", "after": 1}], "channels": [{"name": "file", "path": str(tmp_path / "alerts.jsonl")}]}
    one = watcher(home, database, around, written, measure)
    one.step()
    assert (one.deliver(), one.deliver()) == (1, 0)
    assert (tmp_path / "alerts.jsonl").read_text(encoding="utf-8").count("\n") == 1


# ------------------------------------------------------------------ reasons to train again


@pytest.mark.parametrize(
    ("retrain", "number", "age", "reason"),
    [({"labels": 5}, 4, 0, None), ({"labels": 5}, 5, 0, "labels"), ({"labels": 5}, 5, 900, None), ({"every": "1d"}, 1, 0, None),
     ({"every": "1s"}, 1, 0, "time"), ({"every": "1s"}, 0, 0, None), ({"on_drift": True}, 1, 0, "drift"), ({"on_drift": True}, 0, 0, None),
     ({}, 100, 0, None)],
)  # fmt: skip
def test_a_vertical_is_trained_again_for_a_reason_and_with_something_new(home, database, retrain, number, age, reason):
    feedback(database, number, age=age)
    feedback(database, 100, "mood")
    with database.writing() as connection:
        for monitor in ("text_drift", "errors"):
            alert = Alert(time_ordered_id(), "intent", monitor, monitor, "warning", "open", "", "", None, 1.0, "", [])
            alerts.add(connection, alert)
        wanted = build(Watch, {"retrain": retrain}).retrain
        later = datetime.now(UTC) + timedelta(seconds=2)
        found = reasons.reason(connection, "intent", wanted, home.get("models", "intent@live"), later)
    assert (found or {}).get("reason") == reason


def test_feedback_of_customers_whose_rows_a_vertical_does_not_learn_is_no_reason(home, database):
    feedback(database, 5)
    live = home.get("models", "intent@live")
    live.update(customer="b")
    wanted, now = build(Watch, {"retrain": {"labels": 5}}).retrain, datetime.now(UTC) + timedelta(seconds=2)
    with database.writing() as connection:
        assert reasons.reason(connection, "intent", wanted, live, now) is None
        connection.execute(schema.feedback.update().values(customer="b"))
        assert reasons.reason(connection, "intent", wanted, live, now)["new"] == 5


def test_failures_are_no_reason_and_two_trainings_are_a_day_apart(home, database, around):
    feedback(database, 3)
    wanted = build(Watch, {"retrain": {"on_drift": True, "labels": 3}}).retrain
    live = home.get("models", "intent@live")
    with database.writing() as connection:
        alerts.add(connection, Alert(time_ordered_id(), "intent", "failures", "errors", "critical", "open", "", "", None, 1.0, "", []))
        assert reasons.reason(connection, "intent", wanted, live, datetime.now(UTC))["reason"] == "labels"
        retrainings.move(connection, retrainings.begin(connection, "intent", {}), "refused")
    feedback(database, 3)
    with database.reading() as connection:
        soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 25))
        assert reasons.reason(connection, "intent", wanted, live, soon) is None
        assert reasons.reason(connection, "intent", wanted, live, later)["new"] == 3


def labelling(database, name, states, held=0):
    """A project whose first records have labels in these states, and whose last `held` ones, which are held out, have decisions."""
    project = Project(time_ordered_id(), "", "default", name, upload="", task={"name": "classify"}, settings={}, state="filling")
    count = len(states) + held
    rows = [
        {"number": number, "record": "{}", "fingerprint": b"", "held": int(number >= len(states)), "places": 1, "rank": number}
        for number in range(count)
    ]
    projects.add(database, project)
    projects.add_records(database, project, [{**row, "suggestion": None, "confidence": None} for row in rows])
    changes = [labels.Change(number, state, {"label": "food"}, None, 1) for number, state in enumerate(states)]
    labels.save(database, project, "ann", changes, datetime.now(UTC))
    for number in range(len(states), count):
        labels.decide(database, project, labels.Decision(number, format_time(datetime.now(UTC)), "bob", {"label": "food"}, ""))
    return project


def test_labels_of_the_project_of_a_vertical_are_learnt_and_no_others(home, database):
    labelling(database, "intent", ("done", "done", "done", "skipped"))
    labelling(database, "other", ("done",) * 4)
    wanted, live = build(Watch, {"retrain": {"labels": 3, "tolerance": 0.02}}).retrain, home.get("models", "intent@live")
    with database.writing() as connection:
        found = reasons.reason(connection, "intent", wanted, live, datetime.now(UTC))
        begun = retrainings.begin(connection, "intent", found)
    assert found == {"reason": "labels", "new": 3, "on": [{"name": "labels", "project": "intent", "customer": None}]}
    asked = retraining.training_request(begun, live, wanted)
    assert (asked["on"], asked["tolerance"]) == (found["on"], 0.02)


# ------------------------------------------------------------------ stages


@pytest.fixture
def leading(home, database, around, monkeypatch):
    """A retraining that has begun, and a function that leads it on and returns its stage."""
    monkeypatch.setattr(retraining, "is_prepared", lambda home, model: True)
    monkeypatch.setattr("vertune.steps.deploy._require_prepared", lambda *_: None)
    with database.writing() as connection:
        retrainings.begin(connection, "intent", {"reason": "labels"})

    def lead(go_live="live", enough=3):
        (one,) = runs(database)
        options = {"retrain": {"labels": 1, "go_live": go_live, "enough": enough}, "channels": [{"name": "file", "path": "x.jsonl"}]}
        retraining.advance(around.ring, one, build(Watch, options))
        return runs(database)[0].stage

    lead.work = f"{runs(database)[0].id}:retrain"
    return lead


def passed(home, verdict="pass"):
    """What the job of a retraining made, with a candidate that the gate compared with the live model."""
    candidate = model(home)
    live = home.get("models", "intent@live")
    report = home.finish(home.begin("reports", "intent", step="gate", parents=[candidate.id, live.id]))
    return {"dataset": "d", "model": candidate.id, "report": report.id, "verdict": verdict, "headline": "It is better."}


def to_shadow(leading, around, home):
    assert leading() == "train"
    around.end(leading.work, result=(made := passed(home)))
    assert [leading(), leading()] == ["gate", "shadow"]
    return made


def running(database):
    with database.reading() as connection:
        return rollouts.running(connection).get("intent")


def test_a_model_that_passes_goes_from_shadow_to_canary_to_live(leading, around, home, database):
    made = to_shadow(leading, around, home)
    ((kind, request),) = around.queued
    assert (kind, request["on"]) == ("retrain", [{"name": "feedback", "vertical": "intent", "customer": None}])
    assert (running(database).mode, running(database).model) == ("shadow", made["model"])
    around.answered = 2
    assert leading() == "shadow", "not enough answers yet"
    around.answered = 3
    assert leading() == "canary"
    assert (running(database).mode, running(database).rules.promote_after) == ("canary", 3)
    Versions(home, database, "this server").promote("intent", "nothing spoke against it")
    assert leading() == "done"
    assert home.aliases()["intent@live"] == made["model"]
    with database.reading() as connection:
        history = rollouts.history(connection, "intent")
    assert [one.action for one in history] == ["promote", "canary", "shadow"]
    assert all(made["report"] in one.reason for one in history[1:])
    (one,) = runs(database)
    assert (one.dataset, one.model, one.report) == ("d", made["model"], made["report"])
    assert told(database) == [("live", "[retraining] intent: a new model is live")]
    with database.reading() as connection:
        said = [one for one in entries(connection) if one.action.startswith("retrain: ")]
        noted = [(one.action.removeprefix("retrain: "), one.details["report"]) for one in said]
    assert noted == [("train", None), *((stage, made["report"]) for stage in ("gate", "shadow", "canary", "done"))]


def test_a_model_that_becomes_live_while_its_retraining_is_looked_at_is_no_refused_one(leading, around, home, database, monkeypatch):
    """The alias was read, and then a server made the candidate live and ended its rollout."""
    made, read = to_shadow(leading, around, home), retraining.read_live

    def read_slowly(home):
        found = read(home)
        Versions(home, database, "a server").promote("intent")
        return found

    monkeypatch.setattr(retraining, "read_live", read_slowly)
    assert leading() == "done"
    assert home.aliases()["intent@live"] == made["model"]
    assert told(database) == [("live", "[retraining] intent: a new model is live")]


@pytest.mark.parametrize(("after", "stage"), [("deploy", "done"), ("roll back", "refused")])
def test_a_model_that_was_live_for_a_moment_is_judged_by_what_ended_that(leading, around, home, database, after, stage):
    to_shadow(leading, around, home)
    versions = Versions(home, database, "a person")
    versions.promote("intent")
    if after == "deploy":
        versions.deploy("intent", model(home).id)
    else:
        versions.roll_back("intent", "too many complaints")
    assert leading() == stage
    assert stage == "done" or runs(database)[0].why == "too many complaints"


@pytest.mark.parametrize("go_live", ["never", "shadow", "canary"])
def test_a_model_goes_no_further_than_wanted(leading, around, home, database, go_live):
    assert leading(go_live) == "train"
    around.end(leading.work, result=passed(home))
    around.answered = 1000
    stages = [leading(go_live) for _ in range(4)]
    assert stages[-1] == {"never": "done", "shadow": "shadow", "canary": "canary"}[go_live]
    if go_live == "canary":
        assert running(database).rules.promote_after is None
    if go_live == "never":
        assert running(database) is None


@pytest.mark.parametrize(("checks", "why"), [(["gold rows", "my own"], "it fails on gold rows and my own."), (None, "It is better.")])
def test_a_model_that_fails_goes_nowhere_and_is_kept(leading, around, home, database, checks, why):
    leading()
    around.end(leading.work, result=(made := {**passed(home, "fail"), "checks": checks}))
    assert leading() == "refused"
    (one,) = runs(database)
    assert written(one.why, "en").endswith(why)
    assert one.model == made["model"]
    assert home.get("models", made["model"])
    assert running(database) is None
    assert told(database) == [("refused", "[retraining] intent: the new model was refused")]


def test_a_job_that_gave_no_reason_is_told_in_the_language_of_who_reads_it(leading, around, home, database):
    leading()
    around.end(leading.work, result={**passed(home, "fail"), "headline": None})
    assert leading() == "refused"
    assert written(runs(database)[0].why, "zh") == "新模型未通过准入检查。"


def undecided(home, needed):
    return {**passed(home, "unknown"), "checks": ["gold rows"], "labels_needed": needed}


def told(database, language="en"):
    with database.reading() as connection:
        found = deliveries.of_alert(connection, runs(database)[0].id)
    return [(one.payload["event"], one.payload["subject"]) for one in found]


def test_a_model_of_which_the_gate_can_not_tell_waits_for_labels_and_is_looked_at_again(leading, around, home, database):
    """Labels of annotators, and decisions on the hold-out, count from the time on at which the job began to read."""
    project = labelling(database, "intent", ("done", "skipped", "skipped"))
    leading()
    started = format_time(datetime.now(UTC) + timedelta(microseconds=1))
    around.jobs[leading.work] = replace(around.jobs[leading.work], started=started)
    around.end(leading.work, result=(made := undecided(home, 3)))
    assert [leading(), leading()] == ["waiting", "waiting"]
    (one,) = runs(database)
    assert "about 3 more labels would decide (gold rows)" in written(one.why, "en")
    assert "再有约 3 个标签即可决定（金标准行）" in written(one.why, "zh")
    assert one.model == made["model"]
    for person in ("bob", "cid", "dan"):
        labels.save(database, project, person, [labels.Change(0, "done", {"label": "food"}, None, 2)], datetime.now(UTC))
    assert leading() == "waiting", "three labels of one record are one row"
    feedback(database, 10)
    assert leading() == "waiting", "nobody was asked for feedback"
    labels.save(database, project, "bob", [labels.Change(row, "done", {"label": "food"}, None, 2) for row in (1, 2)], datetime.now(UTC))
    assert [leading(), leading()] == ["gate", "gate"], "the second look goes on"
    look = leading.work.replace("retrain", "look 2")
    (kind, request) = around.queued[-1]
    assert (kind, request["model"]) == ("retrain", made["model"])
    assert request["on"] == [{"name": "labels", "project": "intent", "customer": None}]
    around.end(look, result={**made, "report": "another", "labels_needed": 50})
    assert leading() == "waiting"
    assert runs(database)[0].request["wait"]["look"] == 3
    assert [event for event, _ in told(database)] == ["waiting", "waiting"]


def test_a_second_look_that_passes_leads_on_with_its_report(leading, around, home, database):
    labelling(database, "intent", ("done",), held=2)
    leading()
    around.end(leading.work, result=(made := undecided(home, 3)))
    assert leading() == "waiting"
    with database.writing() as connection:  # as if the job had begun before the labels
        (one,) = runs(database)
        retrainings.move(
            connection, one, "waiting", request={**one.request, "wait": {**one.request["wait"], "since": "2020-01-01T00:00:00+00:00"}}
        )
    assert leading() == "gate"
    assert [source.get("held") for source in around.queued[-1][1]["on"]] == [True, None]
    live = home.get("models", "intent@live")
    report = home.finish(home.begin("reports", "intent", step="gate", parents=[made["model"], live.id]))
    around.end(leading.work.replace("retrain", "look 2"), result={**made, "verdict": "pass", "report": report.id})
    assert [leading(), leading()] == ["gate", "shadow"]
    assert runs(database)[0].report == report.id


def test_a_model_that_labels_can_not_judge_waits_for_a_person_or_a_newer_training(leading, around, home, database):
    leading()
    around.end(leading.work, result=(made := undecided(home, None)))
    assert [leading(), leading()] == ["waiting", "waiting"]
    assert "labels would hardly decide" in written(runs(database)[0].why, "en")
    assert told(database) == [("waiting", "[retraining] intent: a person has to decide")]
    with database.writing() as connection:
        newer = begin(connection, "intent", {"reason": "labels"}, "watch")
        assert begin(connection, "intent", {"reason": "labels"}, "watch") is None, "one that goes on is not replaced"
    assert [(one.stage, one.model) for one in runs(database)] == [("assemble", None), ("refused", made["model"])]
    assert runs(database)[0].id == newer.id
    assert "newer training" in written(runs(database)[1].why, "en")


@pytest.mark.parametrize(("promoted", "stage"), [(True, "done"), (False, "refused")])
def test_a_person_may_decide_while_a_model_waits(leading, around, home, promoted, stage):
    leading()
    around.end(leading.work, result=(made := undecided(home, 3)))
    assert leading() == "waiting"
    home.alias("intent@live", made["model"] if promoted else model(home).id)
    assert leading() == stage


def test_reasons_to_train_again_replace_a_retraining_that_waits(home, database, around):
    one = watcher(home, database, around, {"every": "1w", "retrain": {"labels": 2}})
    with database.writing() as connection:
        waiting = retrainings.begin(connection, "intent", {"reason": "labels"})
        retrainings.move(connection, waiting, "waiting", request={"reason": "labels"}, model="m")
    one.step()
    assert [run.stage for run in runs(database)] == ["waiting"]
    with database.writing() as connection:  # it began a day ago
        connection.execute(schema.retrainings.update().values(at=format_time(datetime.now(UTC) - timedelta(days=1, hours=1))))
    feedback(database, 2)
    one._reasoned.clear()
    one.step()
    assert [run.stage for run in runs(database)] == ["train", "refused"]


def test_people_are_told_in_their_language_and_only_of_what_was_moved(leading, around, home, database):
    leading()
    around.end(leading.work, result=passed(home, "fail"))
    (one,) = runs(database)
    options = build(Watch, {"language": "zh", "channels": [{"name": "file", "path": "x.jsonl"}]})
    retraining.advance(around.ring, one, options)
    retraining.advance(around.ring, one, options)  # as another process that saw the same stage
    assert told(database) == [("refused", "[再训练] intent：新模型被拒绝")]


def test_how_a_vertical_is_watched_is_read_once_for_a_model(home, database, around, monkeypatch):
    one = watcher(home, database, around, {"every": "1w"})
    read = []
    monkeypatch.setattr(WatchFile, "watch", lambda self, name, own, before=WatchFile.watch: read.append(name) or before(self, name, own))
    for _ in range(3):
        one.step()
        one.deliver()
    assert read == ["intent"]
    home.alias("intent@live", model(home, every="2h").id)
    assert one.watches()["intent"].every == "1w", "what the operator wrote counts more"
    assert read == ["intent", "intent"]


@pytest.mark.parametrize(("state", "why"), [("failed", "There is nothing new to learn."), ("cancelled", None)])
def test_a_job_that_ends_badly_ends_the_retraining(leading, around, database, state, why):
    leading()
    around.end(leading.work, state, why=why)
    assert leading() == "failed"
    assert written(runs(database)[0].why, "en") == (why or "Its job was cancelled.")
    assert told(database) == [("failed", "[retraining] intent: the training failed")]


def test_every_stage_is_begun_again_after_a_crash_and_nothing_twice(leading, around, home, database, monkeypatch):
    """The process dies each time just before the stage is noted."""

    def dying(*_, **__):
        raise KeyboardInterrupt

    def crash():
        with monkeypatch.context() as patched:
            patched.setattr(retrainings, "move", dying)
            with pytest.raises(KeyboardInterrupt):
                leading()

    crash()
    assert leading() == "train"
    around.end(leading.work, result=passed(home))
    crash()
    assert leading() == "gate"
    crash()
    first = running(database).first
    assert leading() == "shadow"
    assert running(database).first == first, "the comparison goes on, and is not begun again"
    around.answered = 3
    crash()
    assert leading() == "canary"
    assert [kind for kind, _ in around.queued] == ["retrain"]
    with database.reading() as connection:
        assert [one.action for one in rollouts.history(connection, "intent")] == ["canary", "shadow"]


def test_a_person_may_promote_cancel_or_replace_the_candidate(leading, around, home, database):
    to_shadow(leading, around, home)
    Versions(home, database, "ann").roll_back("intent", "two points worse on returns")
    assert leading() == "refused"
    assert runs(database)[0].why == "two points worse on returns"


def test_people_are_told_in_their_language_why_a_server_took_a_candidate_back(leading, around, home, database):
    to_shadow(leading, around, home)
    worse = said("rollout.failed", failures=9, answers=50, live_failures=1, live_answers=500)
    Versions(home, database, "this server").roll_back("intent", worse)
    chinese = build(Watch, {"language": "zh", "channels": [{"name": "file", "path": "x.jsonl"}]})
    retraining.advance(around.ring, runs(database)[0], chinese)
    with database.reading() as connection:
        (message,) = deliveries.of_alert(connection, runs(database)[0].id)
    assert "候选模型的 50 个请求中有 9 个失败" in message.payload["text"]


def test_a_candidate_that_was_compared_with_another_live_model_is_refused(leading, around, home, database):
    leading()
    around.end(leading.work, result=passed(home))
    home.alias("intent@live", model(home).id)
    assert [leading(), leading()] == ["gate", "refused"]
    assert "which is live now" in written(runs(database)[0].why, "en")


def test_a_candidate_waits_while_a_person_compares_another_one(leading, around, home, database):
    leading()
    around.end(leading.work, result=passed(home))
    other = Versions(home, database, "ann").begin("intent", model(home).id, retraining.Plan())
    assert [leading(), leading()] == ["gate", "gate"]
    assert running(database) == other


def test_a_candidate_is_prepared_by_a_job_before_it_is_compared(leading, around, home, database, monkeypatch):
    leading()
    around.end(leading.work, result=passed(home))
    leading()
    monkeypatch.setattr(retraining, "is_prepared", lambda home, model: False)
    share = leading.work.replace("retrain", "share")
    assert leading() == "gate"
    assert [kind for kind, _ in around.queued] == ["retrain", "share"]
    around.end(share, "failed", why="It can't be served.")
    assert leading() == "failed"


def test_a_process_that_lost_its_lease_moves_nothing(leading, around, home):
    def lost(connection):
        raise Conflict("Another process does this work now. Wait.")

    around.ring = replace(around.ring, check=lost)
    with pytest.raises(Conflict):
        leading()


def test_a_vertical_that_is_gone_ends_its_retraining(leading, home):
    home.unalias("intent@live")
    assert leading() == "failed"
