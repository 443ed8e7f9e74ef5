"""Candidates: who answers, what is counted, and which of them are rolled back."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.server.conftest import TEXTS, admin
from tests.server.running import problem, same, until
from vertune.answering.call import Call
from vertune.core.errors import NotFound
from vertune.server.rollouts import Comparison
from vertune.steps.deploy import Plan, Versions
from vertune.store import schema
from vertune.store.rollouts import Rollout, Rules

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PATH = "/v1/verticals/intent"


@pytest.fixture
def other(fleet) -> str:
    """The id of the second model of `intent`, whose labels are others."""
    live = fleet.get("models", "intent@live").id
    return next(model.id for model in fleet.shelf("models") if model.manifest_or_empty["name"] == "intent" and model.id != live)


@pytest.fixture
def running(home, start, monkeypatch):
    monkeypatch.setattr("vertune.server.rollouts.INTERVAL", 0.05)
    return start(home, admin(home), exact=True)


def begin(running, other, **about):
    found = running.ask.post(f"{PATH}/rollout", json={"model": other, **about})
    assert found.status_code == 201, found.text
    assert found.json()["loaded"]
    return found.json()


def history(running):
    return running.ask.get(f"{PATH}/history").json()["versions"]


def test_a_canary_answers_its_share_and_always_the_same_requests(running, other, home, alone) -> None:
    live = home.get("models", "intent@live").id
    begin(running, other, share=0.5)
    said = {text: running.predict("intent", text).json() for text in [f"text {number}" for number in range(60)]}
    models = [one["model"] for one in said.values()]
    assert set(models) == {live, other}
    assert 15 <= models.count(other) <= 45
    for text, one in said.items():
        assert running.predict("intent", text).json()["model"] == one["model"]
        assert one["vertical"] == "intent"
        assert same(one["answers"], alone(one["model"], [text]))
    for key in "abcdefgh":
        assert len({running.predict("intent", text, X_Sticky_Key=key).json()["model"] for text in TEXTS}) == 1
    together = running.ask.post("/v1/predict", json={"verticals": ["intent", "spans"], "texts": ["text 1"]}).json()["results"]
    assert [one["model"] for one in together] == [said["text 1"]["model"], home.get("models", "spans").id]


def test_a_candidate_becomes_live_and_is_taken_back(running, other, home) -> None:
    live = home.get("models", "intent@live").id
    begin(running, other, share=0.2, reason="more rows")
    assert running.ask.post(f"{PATH}/promote", json={"reason": "good"}).json() == {"vertical": "intent", "live": other}
    assert {running.predict("intent", text).json()["model"] for text in TEXTS} == {other}
    problem(running.ask.get(f"{PATH}/rollout"), 404)
    assert running.ask.post(f"{PATH}/rollback", json={"reason": "not so good"}).json()["live"] == live
    assert {running.predict("intent", text).json()["model"] for text in TEXTS} == {live}
    told = [(one["action"], one["model"], one["previous"], one["reason"]) for one in history(running)]
    assert told == [
        ("roll back", live, other, "not so good"), ("promote", other, live, "good"), ("canary", other, live, "more rows"),
    ]  # fmt: skip
    actor = running._key.split("_")[1]
    assert {one["actor"] for one in history(running)} == {actor}
    assert running.ask.delete(PATH).status_code == 204
    noted = [
        (one["action"], one["details"]) for one in running.ask.get("/v1/audit").json()["entries"] if one["subject"] == "vertical intent"
    ]
    assert noted == [
        ("canary", {"model": other, "previous": live}), ("promote", {"model": other, "previous": live}),
        ("roll back", {"model": live, "previous": other}), ("retire", {"model": live}),
    ]  # fmt: skip
    assert {one["actor"] for one in running.ask.get("/v1/audit").json()["entries"][1:]} == {actor}


def test_a_rollout_is_ended_by_a_person(running, other, home) -> None:
    live = home.get("models", "intent@live").id
    begin(running, other, share=1.0)
    assert running.predict("intent", "a").json()["model"] == other
    assert running.ask.post(f"{PATH}/rollback", json={}).json()["live"] == live
    assert running.predict("intent", "a").json()["model"] == live
    assert "nothing to go back to" in problem(running.ask.post(f"{PATH}/rollback", json={}), 404)
    problem(running.ask.post(f"{PATH}/promote", json={}), 404)


def test_what_can_not_be_compared(running, other, home) -> None:
    def refused(status, **body):
        return problem(running.ask.post(f"{PATH}/rollout", json={"model": other, **body}), status)

    assert "live already" in refused(409, model=home.get("models", "intent@live").id)
    assert "task" in refused(422, model=home.get("models", "spans@live").id)
    refused(404, model="nobody")
    refused(422, share=0)
    refused(422, share=1.5)
    refused(422, mode="blue-green")
    refused(422, rules={"slower": 0.5})
    refused(422, reason="a\0b")
    problem(running.ask.post("/v1/verticals/nobody/rollout", json={"model": other}), 404)


def test_a_shadow_answers_nobody_and_is_compared(running, other, home) -> None:
    live = home.get("models", "intent@live").id
    begin(running, other, mode="shadow")
    for number in range(20):
        assert running.predict("intent", f"text {number}").json()["model"] == live
    evidence = until(lambda: (found := running.ask.get(f"{PATH}/rollout").json()["evidence"])["compared"] >= 10 and found)
    assert evidence["agreed"] == 0  # they have other labels
    assert evidence["candidate"]["answers"] == evidence["compared"]
    assert evidence["candidate"]["failures"] == 0
    assert running.metric("vertune_rollout_agreement", vertical="intent", model=other, mode="shadow") == 0
    assert running.service.recorder.writer.flush()
    assert {row["model"] for row in _answers(running)} == {live}, "answers that nobody sees are not stored"


def _answers(running):
    from sqlalchemy import select

    with running.database.reading() as connection:
        return [row._asdict() for row in connection.execute(select(schema.answers))]


def test_a_candidate_that_users_call_wrong_is_rolled_back(running, other, home) -> None:
    live = home.get("models", "intent@live").id
    begin(running, other, share=0.5)
    said = [running.predict("intent", f"text {number}").json() for number in range(120)]
    for one in said:
        verdict = "wrong" if one["model"] == other else "right"
        found = running.ask.post("/v1/feedback", json={"answer": one["ids"][0], "verdict": verdict})
        assert found.status_code == 201
    ended = until(lambda: [one for one in history(running) if one["action"] == "cancel"])[0]
    assert ended["actor"] == "this server"
    assert "of the candidate wrong" in ended["reason"]
    chinese = running.ask.get(f"{PATH}/history", params={"language": "zh"}).json()["versions"][0]["reason"]
    assert chinese.startswith("用户认为候选模型的")
    assert ended["evidence"]["candidate"]["wrong"] > 0
    assert {running.predict("intent", f"text {number}").json()["model"] for number in range(20)} == {live}


def test_a_candidate_that_nothing_speaks_against_becomes_live(running, other, home) -> None:
    begin(running, other, share=1.0, rules={"promote_after": 5})
    for number in range(6):
        running.predict("intent", f"text {number}")
    until(lambda: home.aliases()["intent@live"] == other)
    assert history(running)[0]["action"] == "promote"
    until(lambda: running.ask.get(PATH).json()["model"] == other)


def test_another_live_model_ends_the_comparison(running, other, home) -> None:
    begin(running, other, share=0.5)
    home.alias("intent@live", home.aliases()["whole@live"])
    until(lambda: any("another model" in one["reason"] for one in history(running)))


def test_a_promotion_that_was_interrupted_is_finished(running, other, home) -> None:
    """The alias moved, and the process died before its transaction ended."""
    begin(running, other, share=0.5)
    home.alias("intent@live", other)
    until(lambda: history(running)[0]["action"] == "promote")
    assert "interrupted" in history(running)[0]["reason"]
    assert home.aliases()["intent@live"] == other


# ------------------------------------------------------------------ decisions


def comparison(**rules) -> Comparison:
    rollout = Rollout("v", "new", "old", "canary", 0.1, Rules(**rules), "", "0" * 32, "k")
    return Comparison(rollout, SimpleNamespace(model=SimpleNamespace(id="new")))


def feed(compared, draw, answers, fail=(0.0, 0.0), slower=1.0, right=(0.9, 0.9), told=0.05):
    """Let both models answer, a tenth by the candidate; returns why it is worse, looking every now and then."""
    live, counts = SimpleNamespace(), {True: [0, 0], False: [0, 0]}
    for number in range(answers):
        new = draw.random() < compared.rollout.share
        failed = draw.random() < fail[new]
        call = Call()
        call.status = 500 if failed else 200
        call.inference, call.records = draw.lognormvariate(0, 0.3) * 0.01 * (slower if new else 1), [{}]
        compared.count(call, compared.deployment if new else live)
        if not failed and draw.random() < told:
            counts[new][draw.random() >= right[new]] += 1
        if number % 25 == 0:
            compared.renew({"new": {"bank": tuple(counts[True])}, "old": {"bank": tuple(counts[False])}})
            if why := compared.worse():
                return why
    return ""


def test_an_equal_candidate_is_seldom_rolled_back():
    draw = random.Random(1)
    rolled_back = sum(bool(feed(comparison(), draw, 1000, fail=(0.02, 0.02), told=0.5)) for _ in range(80))
    assert rolled_back <= 4  # 5 %


@pytest.mark.parametrize(
    ("bad", "said", "answers"),
    [
        ({"fail": (0.0, 0.01)}, "failed", 60_000), ({"slower": 3.0}, "took longer", 3000),
        ({"right": (0.9, 0.85), "told": 0.05}, "Users called", 1_000_000),
    ],
)  # fmt: skip
def test_a_worse_candidate_is_rolled_back(bad, said, answers):
    draw = random.Random(2)
    compared = comparison()
    if "right" in bad:  # feedback alone, because a million calls take long
        counts = {True: [0, 0], False: [0, 0]}
        for _ in range(answers // 20):
            new = draw.random() < 0.1
            counts[new][draw.random() >= bad["right"][new]] += 1
            if new:
                compared.renew({"new": {"bank": tuple(counts[True])}, "old": {"bank": tuple(counts[False])}})
                if why := compared.worse():
                    break
    else:
        why = feed(compared, draw, answers, **bad)
    assert said in why


def called(customer, **about):
    call = Call(customer=customer)
    call.status, call.inference, call.records = 200, 0.01, [{}]
    for name, value in about.items():
        setattr(call, name, value)
    return call


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("bad", "told"), [({"status": 500}, ""), ({"inference": 5.0}, ""), ({}, "wrong")], ids=["fails", "slow", "wrong"])
def test_no_customer_decides_alone_about_a_shared_vertical(shared, bad, told):
    compared = comparison(promote_after=100)
    compared.shared = shared
    verdicts = {"new": {}, "old": {"bank": (50, 0), "shop": (50, 0)}}

    def look(customers):
        for _ in range(60):
            for customer in ("bank", "shop"):
                compared.count(called(customer), SimpleNamespace())
            for customer in customers:
                compared.count(called(customer, **bad), compared.deployment)
        for customer in customers:
            verdicts["new"][customer] = (0, 60) if told else (60, 0)
        compared.renew(verdicts)
        return compared.worse()

    first = look([])
    assert not first
    failures = "status" in bad  # which are no claim of a customer
    assert bool(look(["bank"])) is (failures or not shared)
    assert look(["bank", "shop"]), "what both of them see is true"


def test_no_customer_alone_makes_a_candidate_of_a_shared_vertical_live():
    compared = comparison(promote_after=100)
    for _ in range(200):
        compared.count(called("bank"), compared.deployment)
    assert compared.answered() == 200
    compared.shared = True
    assert compared.answered() == 0
    for _ in range(60):
        compared.count(called("shop"), compared.deployment)
    assert compared.answered() == 120
    for _ in range(200):
        compared.count(called("shop"), compared.deployment)
    assert compared.answered() == 400


def test_a_vertical_is_shared_where_others_use_it_too(running, other):
    def asked(customer, requests, vertical="intent", days=1):
        day = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"
        row = {"day": day, "customer": customer, "key": "", "vertical": vertical, "requests": requests, "records": 1, "tokens": 1}
        with running.database.writing() as connection:
            connection.execute(schema.usage.insert().values({**row, "cached_tokens": 0}))

    def shared():
        begin(running, other, share=0.5)
        found = running.service.rollouts.comparisons["intent"].shared
        assert running.ask.post(f"{PATH}/rollback", json={}).status_code == 200
        return found

    assert not shared()
    asked("bank", 1000)
    asked("shop", 500, vertical="spans")
    asked("shop", 500, days=40)
    asked("default", 40)
    assert not shared(), "the operator only tried it"
    asked("press", 20)
    assert shared()


def test_customers_do_not_see_what_others_did(running, other, home) -> None:
    key = {"Authorization": f"Bearer {running.keys.create('app', ['predict', 'feedback'], customer='bank')[0]}"}

    def seen():
        found = running.stranger.get(f"{PATH}/rollout", headers=key).json()
        changes = running.stranger.get(f"{PATH}/history", headers=key).json()["versions"]
        assert found["model"] == other
        assert {one["actor"] for one in (found, *changes)} == {"operator"}
        return found["evidence"], [(one["action"], one["reason"], one["evidence"]) for one in changes]

    begin(running, other, share=0.5, reason="the shop complained")
    assert seen() == ({}, [("canary", "", {})]), "nobody uses it yet"
    for _ in range(2):
        assert running.stranger.post(f"{PATH}/predict", json={"texts": ["a"]}, headers=key).status_code == 200
    assert running.service.recorder.writer.flush()
    evidence, changes = seen()
    assert {"candidate", "live"} <= evidence.keys(), "it sees its own requests"
    assert changes == [("canary", "the shop complained", {})]
    assert running.predict("intent", "a").status_code == 200
    assert running.service.recorder.writer.flush()
    assert seen() == ({}, [("canary", "", {})])
    assert history(running)[0]["actor"] == running._key.split("_")[1]
    assert history(running)[0]["reason"] == "the shop complained"


def test_refusals_of_clients_are_no_failures():
    compared = comparison()
    for status, refusal in ((429, "rate"), (503, "deadline"), (422, ""), (499, "gone")):
        call = Call()
        call.status, call.refusal = status, refusal
        compared.count(call, compared.deployment)
    assert compared.candidate.answers == compared.candidate.failures == 0


def test_a_rollout_that_has_ended_is_not_ended_again(running, other, home) -> None:
    """Of two servers that find the same candidate worse, the second must not take the live model back."""
    live = home.get("models", "intent@live").id
    versions = Versions(home, running.database, "a test")
    versions.deploy("intent", other)
    versions.deploy("intent", live)
    rollout = versions.begin("intent", other, Plan())
    assert versions.cancel(rollout, "worse")
    assert not versions.cancel(rollout, "worse")
    again = versions.begin("intent", other, Plan())
    assert not versions.cancel(rollout, "worse")
    with pytest.raises(NotFound):
        versions.promote("intent", expected=rollout)
    assert home.aliases()["intent@live"] == live
    assert versions.promote("intent", expected=again) == other


def test_a_candidate_that_only_fails_does_not_become_live() -> None:
    compared = comparison(promote_after=3)
    for _ in range(4):
        call = Call()
        call.status = 500
        compared.count(call, compared.deployment)
    assert compared.answered() == 0
    assert compared.fails_more()
