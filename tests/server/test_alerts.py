"""Alerts, silences, rules and measurements over REST: who sees them, what people decide, and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from tests.server.conftest import admin
from tests.server.running import problem
from vertune.core.ids import time_ordered_id
from vertune.core.sentence import said, stored
from vertune.evaluation.monitoring import false_alarms
from vertune.store import alerts, deliveries, measurements, retrainings, schema
from vertune.store.alerts import Alert
from vertune.store.audit import note
from vertune.store.database import format_time
from vertune.store.leases import Lease
from vertune.store.measurements import Measurement

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
NOW = datetime.now(UTC)
SVG = "{http://www.w3.org/2000/svg}"


def at(hours: float = 0) -> str:
    return format_time(NOW - timedelta(hours=hours))


def alert(vertical: str, state="open") -> Alert:
    return Alert(
        time_ordered_id(), vertical, "drift", "text_drift", "warning", state, at(5), at(1), None, 0.81, "AUC 0.81.", [{"word": "refund"}]
    )  # fmt: skip


@pytest.fixture
def running(home, start):
    """A server with measurements and alerts of three verticals; `intent` is used by the bank alone, `spans` by two customers."""
    running = start(home, admin(home), exact=True)
    nothing = {"day": "2030-01-01", "key": "", "requests": 1, "records": 1, "tokens": 1, "cached_tokens": 0, "jobs": 0}
    with running.database.writing() as connection:
        used = [("intent", "bank"), ("spans", "bank"), ("spans", "shop"), ("find", "shop")]
        connection.execute(schema.usage.insert(), [{**nothing, "vertical": name, "customer": who} for name, who in used])
        for name in ("intent", "spans", "find"):
            found = [
                Measurement(name, "text_drift", at(hour + 1), at(hour), 0.5 + hour / 10, 0.4, 0.9, 0.001, 500, verdict, "ROC-AUC.", [])
                for hour, verdict in enumerate(("changed", "quiet", "unknown"))
            ]
            measurements.add(connection, found)
            alerts.add(connection, one := alert(name))
            deliveries.add(connection, one.id, 1, ["hook"], {"evidence": []})
            retrainings.begin(connection, name, {"reason": "labels"})
        alerts.add(connection, alert("intent", "resolved"))
    running.bank = running.stranger
    secret, _ = running.keys.create("bank", ["predict", "feedback"], customer="bank")
    running.bank.headers["Authorization"] = f"Bearer {secret}"
    return running


def ids(client, **query) -> list[str]:
    return [one["vertical"] for one in client.get("/v1/alerts", params=query).json()["alerts"]]


def test_a_customer_sees_what_was_found_of_verticals_that_no_other_customer_uses(running) -> None:
    bank, everything = running.bank, running.ask
    assert ids(everything) == ["intent", "find", "spans", "intent"]
    assert ids(bank) == ["intent", "intent"]
    assert ids(bank, vertical="spans") == ids(bank, vertical="nobody") == []
    hidden = [one["id"] for one in everything.get("/v1/alerts").json()["alerts"] if one["vertical"] != "intent"]
    for id in [*hidden, "0" * 32]:
        assert "no alert" in problem(bank.get(f"/v1/alerts/{id}"), 404)
        for verdict in ("acknowledge", "false"):
            problem(bank.post(f"/v1/alerts/{id}/{verdict}", json={}), 404)
    assert [one["vertical"] for one in bank.get("/v1/monitoring").json()["verticals"]] == ["intent"]
    assert {one["vertical"] for one in bank.get("/v1/retrainings").json()["retrainings"]} == {"intent"}
    for path in ("rules", "monitors/text_drift", "monitors/text_drift/chart"):
        assert bank.get(f"/v1/verticals/intent/{path}").status_code == 200
        problem(bank.get(f"/v1/verticals/spans/{path}"), 404)
    assert {one["vertical"] for one in everything.get("/v1/monitoring").json()["verticals"]} >= {"intent", "spans", "find"}


def test_alerts_come_in_pages_and_by_state(running) -> None:
    first = running.ask.get("/v1/alerts", params={"limit": 3}).json()
    rest = running.ask.get("/v1/alerts", params={"limit": 3, "before": first["next"]}).json()
    assert len({one["id"] for one in first["alerts"] + rest["alerts"]}) == 4
    assert rest["next"] is None
    assert ids(running.ask, state="resolved") == ["intent"]


def test_people_decide_and_the_rule_is_believed_less_in_the_open(running) -> None:
    bank = running.bank
    (open_one,) = bank.get("/v1/alerts", params={"state": "open"}).json()["alerts"]
    path = f"/v1/alerts/{open_one['id']}"
    assert bank.post(f"{path}/acknowledge", json={"comment": "call +44 20 7946 0958"}).json()["state"] == "acknowledged"
    assert "is acknowledged already" in problem(bank.post(f"{path}/acknowledge", json={}), 409)
    found = bank.post(f"{path}/false", json={"comment": "a sale"}).json()
    assert (found["state"], found["comment"], found["actor"]) == ("false", "a sale", running.bank.headers["Authorization"].split("_")[1])
    (rule,) = [one for one in bank.get("/v1/verticals/intent/rules").json() if one["name"] == "drift"]
    assert (rule["weight"], rule["after"], rule["windows"]) == (0.5, 2, 4)
    assert any("0.81" in sentence for sentence in rule["advice"])
    chinese = [one for one in bank.get("/v1/verticals/intent/rules", params={"language": "zh"}).json() if one["name"] == "drift"]
    assert "误报" in chinese[0]["advice"][0]
    noted = running.ask.get("/v1/audit", params={"limit": 1000}).json()["entries"]
    assert [one["details"].get("weight") for one in noted if one["action"] in ("acknowledge", "call false")] == [None, 0.5]


def test_sentences_of_monitors_are_written_in_the_language_that_is_asked_for(running) -> None:
    why = stored(said("shares", share="9.0 %", what=said("errors.failed"), before="1.0 %", p="p = 0.01"))
    with running.database.writing() as connection:
        alerts.add(connection, replace(alert("intent"), why=why))
        measurements.add(connection, [Measurement("intent", "errors", at(1), at(), 0.1, 0.0, 0.2, 0.01, 500, "changed", why, [])])
    for language, words in (("en", "of the requests failed"), ("zh", "的请求失败")):
        asked = {"language": language}
        newest = running.bank.get("/v1/alerts", params=asked).json()["alerts"][0]
        (shown,) = running.bank.get("/v1/verticals/intent/monitors/errors", params=asked).json()["points"]
        (known,) = running.bank.get("/v1/monitoring", params=asked).json()["verticals"]
        found = [newest, running.bank.get(f"/v1/alerts/{newest['id']}", params=asked).json(), shown]
        found.append(next(one["latest"] for one in known["monitors"] if one["name"] == "errors"))
        assert all(words in one["why"] for one in found)


def test_the_expected_number_of_false_alarms_is_stated(running) -> None:
    (known,) = running.bank.get("/v1/monitoring").json()["verticals"]
    assert known["windows"] == 3
    assert known["false_alarms"] == pytest.approx(false_alarms(3, 3, own=1, after=2)), "three verticals with one monitor each are tested"
    (open_one,) = running.bank.get("/v1/alerts", params={"state": "open"}).json()["alerts"]
    running.bank.post(f"/v1/alerts/{open_one['id']}/false", json={})
    (after,) = running.bank.get("/v1/monitoring").json()["verticals"]
    assert after["false_alarms"] < known["false_alarms"] / 10, "the rule now needs four windows in a row"


def test_a_person_begins_a_retraining_that_somebody_leads(running) -> None:
    with running.database.writing() as connection:
        connection.execute(schema.retrainings.update().values(stage="refused", why=stored(said("retraining.no_live"))))
    body = {"vertical": "intent"}
    assert "No process watches" in problem(running.ask.post("/v1/retrainings", json=body), 422)
    assert Lease(running.database, "watch").renew()
    assert "no feedback" in problem(running.ask.post("/v1/retrainings", json=body), 422)
    problem(running.ask.post("/v1/retrainings", json={"vertical": "nobody"}), 404)
    problem(running.bank.post("/v1/retrainings", json=body), 403)
    secret, _ = running.keys.create("trains", ["train", "feedback"], customer="bank")
    asked = {**body, "on": [{"feedback": "intent"}]}
    headers = {"Authorization": f"Bearer {secret}"}
    problem(running.ask.post("/v1/retrainings", json=asked, headers=headers), 403)  # the model was trained on rows of another customer
    begun = running.ask.post("/v1/retrainings", json=asked)
    assert begun.status_code == 201
    assert (begun.json()["stage"], begun.json()["reason"]) == ("assemble", "person")
    assert "goes on already" in problem(running.ask.post("/v1/retrainings", json=asked), 409)
    with running.database.reading() as connection:
        one = retrainings.get(connection, begun.json()["id"])
    assert one.request["on"] == [{"name": "feedback", "vertical": "intent", "customer": None}]
    noted = running.ask.get("/v1/audit", params={"limit": 1000}).json()["entries"]
    assert [entry["details"]["vertical"] for entry in noted if entry["action"] == "retrain"] == ["intent"]


def test_the_stages_of_a_retraining_are_told_with_their_times(running) -> None:
    with running.database.writing() as connection:
        one = retrainings.find(connection, ["intent"], 1)[0]
        wait = {"since": at(1), "labels": 40, "look": 2}
        retrainings.move(connection, one, "waiting", request={**one.request, "wait": wait}, why=stored(said("retraining.no_live")))
        for stage in ("train", "waiting"):
            note(connection, "watch", f"retrain: {stage}", f"retraining {one.id}", {})
    found = running.bank.get(f"/v1/retrainings/{one.id}", params={"language": "zh"}).json()
    assert [stage["stage"] for stage in found["stages"]] == ["assemble", "train", "waiting"]
    assert (found["labels"], found["given"], found["why"]) == (40, 0, "该模型名下已没有线上模型。")
    hidden = next(one for one in running.ask.get("/v1/retrainings").json()["retrainings"] if one["vertical"] == "spans")
    for id in (hidden["id"], "0" * 32, "none"):
        assert "no retraining" in problem(running.bank.get(f"/v1/retrainings/{id}"), 404)


def test_comments_are_stored_without_personal_data(running) -> None:
    (open_one,) = running.bank.get("/v1/alerts", params={"state": "open"}).json()["alerts"]
    said = running.bank.post(f"/v1/alerts/{open_one['id']}/acknowledge", json={"comment": "ask ann@example.com"}).json()
    assert said["comment"] == "ask <MAIL_1>"


def test_an_alert_is_described_in_both_languages_with_messages_for_the_operator_alone(running) -> None:
    (open_one,) = running.bank.get("/v1/alerts", params={"state": "open"}).json()["alerts"]
    path = f"/v1/alerts/{open_one['id']}"
    mine, operators = running.bank.get(path).json(), running.ask.get(path, params={"language": "zh"}).json()
    assert (mine["shown"], mine["deliveries"], mine["evidence"]) == ("0.81", None, [{"word": "refund"}])
    assert "vertune retrain" in mine["advice"][0]
    assert operators["title"] == "文本漂移"
    assert [(one["channel"], one["state"]) for one in operators["deliveries"]] == [("hook", "waiting")]


def test_silences_are_the_operators_and_name_what_there_is(running) -> None:
    problem(running.bank.post("/v1/silences", json={"hours": 1}), 403)
    made = running.ask.post("/v1/silences", json={"vertical": "intent", "rule": "drift", "hours": 2, "reason": "a sale"})
    assert made.status_code == 201
    until = datetime.fromisoformat(made.json()["until"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < until <= timedelta(hours=2)
    running.ask.post("/v1/silences", json={"vertical": "spans", "hours": 2})
    running.ask.post("/v1/silences", json={"hours": 2})
    assert [one["vertical"] for one in running.bank.get("/v1/silences").json()] == [None, "intent"]
    for body, status in [
        ({"vertical": "nobody", "hours": 1}, 404), ({"rule": "drift", "hours": 1}, 404), ({"hours": 0}, 422), ({"hours": 1e9}, 422),
        ({"vertical": "intent", "rule": "nothing", "hours": 1}, 422),
    ]:  # fmt: skip
        problem(running.ask.post("/v1/silences", json=body), status)
    id = made.json()["id"]
    problem(running.bank.delete(f"/v1/silences/{id}"), 403)
    assert running.ask.delete(f"/v1/silences/{id}").status_code == 204
    problem(running.ask.delete(f"/v1/silences/{id}"), 404)


def test_measurements_are_series_and_pictures(running) -> None:
    found = running.bank.get("/v1/verticals/intent/monitors/text_drift").json()
    assert [(one["value"], one["verdict"], one["shown"]) for one in found["points"]] == [
        (0.7, "unknown", "0.7"), (0.6, "quiet", "0.6"), (0.5, "changed", "0.5"),
    ]  # fmt: skip
    problem(running.bank.get("/v1/verticals/intent/monitors/volume"), 404)
    for theme in ("light", "dark"):
        answer = running.bank.get("/v1/verticals/intent/monitors/text_drift/chart", params={"theme": theme, "width": 300})
        assert answer.headers["content-type"].startswith("image/svg+xml")
        picture = ElementTree.fromstring(answer.text)
        assert picture.get("width") == "300"
        assert len(picture.findall(f"{SVG}circle")) == 3
    problem(running.bank.get("/v1/verticals/intent/monitors/text_drift/chart", params={"theme": "pink"}), 422)


def test_a_config_of_a_job_sets_no_channels_and_no_retraining(running) -> None:
    from vertune.core.errors import ConfigError
    from vertune.server.job_requests import Sources

    def config(watch):
        value = {"data": {"source": {"feedback": "intent"}}, "watch": watch}
        return Sources({}).config(value, lambda id: None, lambda scope, name: "bank")

    assert config({"every": "2h"}).watch.every == "2h"
    hook = {"name": "webhook", "url": "https://example.com/"}
    for watch in ({"channels": [hook]}, {"channels": [{"name": "mail"}]}, {"retrain": {"labels": 1, "go_live": "live"}}):
        with pytest.raises(ConfigError, match="the operator of the server decides"):
            config(watch)
