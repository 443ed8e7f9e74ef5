"""`/v1/keys`: keys over REST are those of the command line; a secret is shown once, and the audit tells who changed what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.server.browser import Browser, add_user
from tests.server.running import problem

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
ASKED = {"texts": ["soup"]}


def ask(server, secret: str):
    return server.stranger.post("/v1/verticals/intent/predict", json=ASKED, headers={"Authorization": f"Bearer {secret}"})


def test_a_key_is_created_listed_and_revoked(server) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    body = {"name": "website", "scopes": ["predict", "feedback"], "verticals": ["intent"], "rate": "600/minute", "customer": "bank",
            "expires": ends.isoformat()}  # fmt: skip
    made = server.ask.post("/v1/keys", json=body)
    assert made.status_code == 201, made.text
    shown = made.json()
    secret = shown.pop("secret")
    assert ask(server, secret).status_code == 200
    listed = server.ask.get("/v1/keys")
    assert secret.split("_", 2)[2] not in listed.text
    assert shown in listed.json()["keys"]
    assert (shown["scopes"], shown["verticals"], shown["customer"], shown["state"]) == (["feedback", "predict"], ["intent"], "bank", "live")
    assert datetime.fromisoformat(shown["expires"]) == ends
    assert server.keys.check(secret).rate == "600/minute"
    assert server.ask.delete(f"/v1/keys/{shown['id']}").status_code == 204
    assert "is revoked" in problem(ask(server, secret), 401)
    assert server.ask.delete(f"/v1/keys/{shown['id']}").status_code == 204


def test_a_key_is_rotated(server) -> None:
    first = server.ask.post("/v1/keys", json={"name": "turns", "scopes": ["predict"]}).json()
    second = server.ask.post(f"/v1/keys/{first['id']}/rotate", json={})
    assert second.status_code == 201, second.text
    assert [ask(server, one["secret"]).status_code for one in (first, second.json())] == [200, 200]
    third = server.ask.post(f"/v1/keys/{second.json()['id']}/rotate", json={"overlap": 0}).json()
    assert [ask(server, one["secret"]).status_code for one in (second.json(), third)] == [401, 200]
    assert "already replaced" in problem(server.ask.post(f"/v1/keys/{first['id']}/rotate", json={}), 409)


def test_the_audit_tells_who_did_it(server) -> None:
    add_user(server, "keyholder", "admin")
    with Browser(server) as one:
        one.sign_in("keyholder")
        made = one.send("POST", "/v1/keys", json={"name": "of a person", "scopes": ["predict"]}).json()
        assert one.send("POST", f"/v1/keys/{made['id']}/rotate", json={}).status_code == 201
        assert one.send("DELETE", f"/v1/keys/{made['id']}").status_code == 204
    audit = server.ask.get("/v1/audit", params={"limit": 1000})
    told = [entry["action"] for entry in audit.json()["entries"] if entry["actor"] == "user:keyholder" and entry["subject"] == made["id"]]
    assert told == ["create key", "rotate key", "revoke key"]
    assert made["secret"].split("_", 2)[2] not in audit.text


@pytest.mark.parametrize("scopes", [["predict"], ["train", "label", "review", "feedback"]])
def test_keys_are_for_administrators(server, scopes) -> None:
    secret, key = server.keys.create("other", scopes)
    headers = {"Authorization": f"Bearer {secret}"}
    for method, path in (
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("DELETE", f"/v1/keys/{key.id}"),
        ("POST", f"/v1/keys/{key.id}/rotate"),
    ):
        assert "'admin'" in problem(server.stranger.request(method, path, headers=headers), 403)
    assert ask(server, secret).status_code in (200, 403)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": "a"}, {"name": "a", "scopes": []}, {"name": "a", "scopes": ["king"]}, {"name": " ", "scopes": ["predict"]},
        {"name": "a", "scopes": ["predict"], "verticals": []}, {"name": "a", "scopes": ["predict"], "verticals": ["../etc"]},
        {"name": "a", "scopes": ["admin"], "verticals": ["intent"]}, {"name": "a", "scopes": ["predict"], "expires": "2020-01-01T00:00Z"},
        {"name": "a", "scopes": ["predict"], "expires": "2099-01-01T00:00:00"}, {"name": "a", "scopes": ["predict"], "rate": "often"},
        {"name": "a", "scopes": ["predict"], "secret": "vt_mine"},
    ],
)  # fmt: skip
def test_what_makes_no_key(server, body) -> None:
    before = len(server.keys)
    assert problem(server.ask.post("/v1/keys", json=body), 422)
    assert len(server.keys) == before


def test_ids_that_are_not_there(server) -> None:
    secret, _ = server.keys.create("hidden", ["predict"])
    for id in ("0123456789ab", secret, "x"):
        for method, path, body in (("DELETE", f"/v1/keys/{id}", None), ("POST", f"/v1/keys/{id}/rotate", {})):
            said = problem(server.ask.request(method, path, json=body), 404)
            assert secret.split("_", 2)[2] not in said
