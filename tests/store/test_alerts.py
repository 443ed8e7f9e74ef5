"""Alerts with their messages, measurements and retrainings: rows as they are written, found, and deleted; in both databases."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from vertune.core.errors import Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.core.parse import build
from vertune.core.watch import Watch
from vertune.steps.alert import decide, raise_alerts
from vertune.store import alerts, deletion, deliveries, measurements, retrainings
from vertune.store.alerts import Alert, Filter, Memory, Silence
from vertune.store.database import format_time
from vertune.store.deletion import Deletion
from vertune.store.leases import WATCH, Lease
from vertune.store.measurements import Measurement
from vertune.store.retention import Retention

NOW = datetime.now(UTC)
QUOTE = [{"word": "refund"}]


def at(days=0.0):
    return format_time(NOW - timedelta(days=days))


def alert(vertical="intent", rule="drift", state="open", age=0.0):
    return Alert(time_ordered_id(), vertical, rule, "text_drift", "warning", state, at(age), at(age), None, 0.7, "0.7 > 0.5", QUOTE)


def measured(vertical="intent", monitor="text_drift", age=0.0, value=0.5, origin="look"):
    return Measurement(vertical, monitor, at(age + 0.1), at(age), value, 0.4, 0.6, 0.01, 500, "changed", "it changed", QUOTE, origin)


@pytest.fixture
def filled(database):
    """Two verticals with an old and a new measurement and alert each, and messages."""
    with database.writing() as connection:
        for vertical in ("intent", "mood"):
            measurements.add(connection, [measured(vertical, age=40), measured(vertical)])
            for one in (alert(vertical, "old", "resolved", 40), alert(vertical, "lasting", "open", 40), alert(vertical)):
                alerts.add(connection, one)
                deliveries.add(connection, one.id, 1, ["hook", "mail"], {"subject": "drift", "text": "refund", "evidence": QUOTE})
            alerts.remember(connection, vertical, "drift", Memory(0.5, {"run": 1}))
    return database


def left(database):
    with database.reading() as connection:
        found = alerts.find(connection, Filter(), 100)
        series = [one for name in ("intent", "mood") for one in measurements.series(connection, name, "text_drift", "")]
        return [(one.vertical, one.rule) for one in reversed(found)], [one.vertical for one in series], [*found, *series]


def test_measurements_are_series_that_a_repeated_run_does_not_lengthen(database):
    with database.writing() as connection:
        measurements.add(connection, [measured(age=age, value=age) for age in (3, 2, 1)])
        measurements.add(connection, [measured(age=2, value=9.0), measured(monitor="volume"), measured("mood")])
    with database.reading() as connection:
        assert [one.value for one in measurements.series(connection, "intent", "text_drift", "")] == [3, 9, 1]
        assert [one.value for one in measurements.series(connection, "intent", "text_drift", "", 2)] == [9, 1]
        assert [one.value for one in measurements.series(connection, "intent", "text_drift", at(1.5))] == [1]
        assert measurements.monitors(connection, "intent") == ["text_drift", "volume"]
        assert measurements.verticals(connection) == ["intent", "mood"]
        latest = measurements.latest(connection, "intent", 2)
        assert {name: [one.value for one in found] for name, found in latest.items()} == {"text_drift": [1, 9], "volume": [0.5]}
        assert latest["volume"] == [measured(monitor="volume")]


def test_measurements_of_reports_are_apart_from_those_of_the_schedule(database):
    with database.writing() as connection:
        measurements.add(connection, [measured(age=3, value=3), measured(age=2, value=2, origin="pause")])
        measurements.add(connection, [measured(age=age, value=10 + age, origin="report") for age in (3, 2, 1)])
    with database.reading() as connection:
        read = [measurements.series(connection, "intent", "text_drift", "", scheduled=only) for only in (False, True)]
        assert [[one.value for one in found] for found in read] == [[3, 2, 11], [3, 2]]
        newest = [measurements.latest(connection, "intent", scheduled=only)["text_drift"][0].value for only in (False, True)]
        assert newest == [11, 2]
        assert measurements.last_end(connection, "intent") == measured(age=3).window_end
        assert measurements.last_end(connection, "nobody") is None
    with database.writing() as connection:
        measurements.add(connection, [measured(age=1, value=1)])
    with database.reading() as connection:
        assert [one.origin for one in measurements.series(connection, "intent", "text_drift", "")] == ["look", "pause", "look"]


def test_alerts_are_found_by_vertical_and_state_in_pages(filled):
    with filled.reading() as connection:
        first = alerts.find(connection, Filter(verticals=["mood"]), 2)
        rest = alerts.find(connection, Filter(verticals=["mood"], before=first[-1].id), 2)
        assert [one.rule for one in [*first, *rest]] == ["drift", "lasting", "old"]
        assert [one.rule for one in alerts.find(connection, Filter(states=["resolved"]), 9)] == ["old", "old"]
        assert set(alerts.unsolved(connection, "intent")) == {"lasting", "drift"}
        assert alerts.get(connection, first[0].id) == first[0]
        assert alerts.memories(connection, "mood") == {"drift": Memory(0.5, {"run": 1})}
        with pytest.raises(NotFound, match="no alert with the id 'none'"):
            alerts.get(connection, "none")


def test_people_acknowledge_alerts_or_call_them_false_and_nobody_overrules_them_by_accident(database):
    one = alert()
    with database.writing() as connection:
        alerts.add(connection, one)
        alerts.decide(connection, one, "acknowledged", "ann", "seen")
        with pytest.raises(Conflict, match="is acknowledged already; expected one that is open"):
            alerts.decide(connection, one, "acknowledged", "bob", "")
        alerts.decide(connection, one, "false", "bob", "a sale")
        found = alerts.get(connection, one.id)
        assert (found.state, found.actor, found.comment) == ("false", "bob", "a sale")
        assert found.ended
        with pytest.raises(Conflict, match="is false already"):
            alerts.decide(connection, one, "false", "ann", "")


@pytest.mark.parametrize(
    ("vertical", "rule", "hours", "covered"),
    [(None, None, 1, True), ("intent", None, 1, True), ("intent", "drift", 1, True), ("mood", None, 1, False),
     (None, "volume", 1, False), (None, None, -1, False)],
)  # fmt: skip
def test_a_silence_covers_what_it_names_until_it_ends(database, vertical, rule, hours, covered):
    with database.writing() as connection:
        alerts.add_silence(connection, Silence(vertical, rule, at(-hours / 24), "ann", "a sale"))
    with database.reading() as connection:
        found = alerts.silences(connection, ["intent"])
    assert any(one.covers("intent", "drift", at()) for one in found) == covered


def test_a_message_is_sent_once_and_tried_again_after_growing_pauses(database):
    one = alert()
    with database.writing() as connection:
        for number in (1, 2, 1):  # a repeated one adds nothing
            deliveries.add(connection, one.id, number, ["hook", "mail"], {"number": number})
    with database.reading() as connection:
        first = deliveries.due(connection, ["hook", "mail"])
        assert [(message.channel, message.number) for message in first] == [("hook", 1), ("mail", 1)], "in order, for each channel"
        assert deliveries.waiting(connection) == 4
    with database.writing() as connection:
        deliveries.sent(connection, first[0].id)
        deliveries.failed(connection, first[1], "no answer")
    with database.reading() as connection:
        (message,) = deliveries.due(connection, ["hook", "mail"])
        assert (message.channel, message.number) == ("hook", 2), "the failed one waits, and what follows it too"
        waits = [sent for sent in deliveries.of_alert(connection, one.id) if sent.channel == "mail"]
        assert [(sent.state, sent.attempts, sent.error) for sent in waits] == [
            ("waiting", 1, "no answer"),
            ("waiting", 0, None),
        ]
        assert waits[0].next > at(-4 / 86_400)
    with database.writing() as connection:
        deliveries.failed(connection, message, "refused", final=True)
    with database.reading() as connection:
        assert [one.state for one in deliveries.of_alert(connection, one.id)] == ["sent", "waiting", "failed", "waiting"]


def test_a_retraining_moves_on_once_and_a_vertical_has_one_at_a_time(database):
    with database.writing() as connection:
        one = retrainings.begin(connection, "intent", {"on": ["labels"]})
        assert retrainings.begin(connection, "intent", {}) is None
        other = retrainings.begin(connection, "mood", {})
        assert retrainings.move(connection, one, "train", dataset="d1", job="j1")
        assert not retrainings.move(connection, one, "failed"), "a second server saw the same stage"
        assert [run.stage for run in retrainings.unfinished(connection)] == ["train", "assemble"]
        one = retrainings.get(connection, one.id)
        assert (one.dataset, one.job, one.model, one.request) == ("d1", "j1", None, {"on": ["labels"]})
        assert retrainings.move(connection, one, "refused", why="two points worse")
        assert retrainings.unfinished(connection, "intent") == []
        assert retrainings.begin(connection, "intent", {}) is not None
        assert [run.stage for run in retrainings.find(connection, ["intent"], 9)] == ["assemble", "refused"]
        assert retrainings.find(connection, None, 9)[1] == other
        with pytest.raises(NotFound, match="no retraining"):
            retrainings.get(connection, "none")


def test_a_vertical_is_forgotten_with_all_that_was_measured_of_it(filled):
    with filled.writing() as connection:
        retrainings.move(connection, retrainings.begin(connection, "mood", {}), "done")
    found = deletion.carry_out(filled, Deletion(vertical="mood"), "k0")
    assert {name: found[name] for name in ("measurements", "alerts", "retrainings")} == {"measurements": 2, "alerts": 3, "retrainings": 1}
    rules, series, _ = left(filled)
    assert {vertical for vertical, _ in rules} == {*series} == {"intent"}
    with filled.reading() as connection:
        assert (alerts.memories(connection, "mood"), deliveries.waiting(connection)) == ({}, 6)


@pytest.mark.parametrize("before", [NOW - timedelta(days=30), (NOW - timedelta(days=30)).replace(tzinfo=None)])
def test_what_is_older_than_a_time_is_forgotten_but_not_what_lasts(filled, before):
    assert deletion.carry_out(filled, Deletion(before=before), "k0").items() >= {"measurements": 2, "alerts": 2}.items()
    rules, series, _ = left(filled)
    assert rules == [("intent", "lasting"), ("intent", "drift"), ("mood", "lasting"), ("mood", "drift")]
    assert series == ["intent", "mood"]


@pytest.mark.parametrize("wanted", [{"customer": "bank"}, {"key": "k1"}, {"records": [{"text": "refund"}]}])
def test_alerts_quote_no_text_that_somebody_had_deleted(filled, wanted):
    with filled.writing() as connection:
        for one in alerts.find(connection, Filter(), 100):
            deliveries.sent(connection, deliveries.of_alert(connection, one.id)[1].id)
    deletion.carry_out(filled, Deletion(vertical="mood", **wanted), "k0")
    _, _, found = left(filled)
    assert {(one.vertical, bool(one.evidence)) for one in found} == {("intent", True), ("mood", False)}
    deletion.carry_out(filled, Deletion(**wanted), "k0")
    with filled.reading() as connection:
        for one in alerts.find(connection, Filter(), 100):
            waiting, sent = (message.payload for message in deliveries.of_alert(connection, one.id))
            assert "refund" not in f"{waiting}{sent}"
            assert (waiting["subject"], sent) == ("drift", {})


def test_measurements_and_alerts_are_kept_as_long_as_requests(filled):
    retention = Retention(filled, days=30, megabytes=1000)
    assert not retention.step()
    rules, series, _ = left(filled)
    assert len(rules) == 4
    assert len(series) == 2


def test_what_a_person_decides_is_not_overwritten_by_the_process_that_watches(database, monkeypatch):
    lease, one, has_read, goes_on = Lease(database, WATCH), alert(), threading.Event(), threading.Event()
    assert lease.renew()
    with database.writing() as connection:
        alerts.add(connection, one)
        measurements.add(connection, [measured()])

    def silences(*given, real=alerts.silences):
        has_read.set()  # the alerts and what the rules remember
        goes_on.wait(5)
        return real(*given)

    def person():
        with database.writing() as connection:
            decide(connection, one, "false", "ann", "")

    monkeypatch.setattr(alerts, "silences", silences)
    watching = threading.Thread(target=raise_alerts, args=(database, "intent", build(Watch, {"rules": [{"name": "drift"}]}), lease.check))
    deciding = threading.Thread(target=person)
    watching.start()
    assert has_read.wait(5)
    deciding.start()
    deciding.join(0.3)
    goes_on.set()
    for thread in (watching, deciding):
        thread.join(10)
    with database.reading() as connection:
        assert alerts.get(connection, one.id).state == "false"
        assert alerts.memories(connection, "intent")["drift"].weight < 1
