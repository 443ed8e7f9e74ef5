"""`/v1/users`: who may manage whom, and what others see of it."""

from __future__ import annotations

import pytest

from tests.server.browser import PASSWORD, Browser, add_user
from tests.server.running import problem
from vertune.store.audit import entries

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
NEW = {"role": "annotator", "password": PASSWORD}


@pytest.fixture(scope="module")
def people(server):
    """Users of two customers, each signed in with a browser, by their names."""
    roles = {"boss": ("manager", "bank"), "ann": ("annotator", "bank"), "rita": ("reviewer", "bank"), "root": ("admin", "bank"),
             "chief": ("manager", "shop"), "sam": ("annotator", "shop")}  # fmt: skip
    made = {}
    for name, (role, customer) in roles.items():
        add_user(server, name, role, customer)
        made[name] = Browser(server)
        made[name].sign_in(name)
    yield made
    for one in made.values():
        one.client.close()


def names(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [user["name"] for user in answer.json()["users"]]


def test_a_manager_sees_its_own_customer(server, people) -> None:
    assert names(people["boss"].send("GET", "/v1/users")) == ["ann", "boss", "rita", "root"]
    assert names(people["chief"].send("GET", "/v1/users")) == ["chief", "sam"]
    assert set(names(people["root"].send("GET", "/v1/users"))) >= set(people)
    assert names(server.ask.get("/v1/users")) == names(people["root"].send("GET", "/v1/users"))
    shown = people["boss"].send("GET", "/v1/users").json()["users"][0]
    assert shown.keys() == {"name", "role", "customer", "at", "disabled", "openid"}


@pytest.mark.parametrize("name", ["ann", "rita"])
def test_others_manage_nobody(people, name) -> None:
    for method, path in (("GET", "/v1/users"), ("POST", "/v1/users"), ("PATCH", "/v1/users/sam"), ("DELETE", "/v1/users/sam")):
        assert problem(people[name].send(method, path, **({} if method in ("GET", "DELETE") else {"json": {}})), 403)


def test_a_key_that_may_train_manages_nobody(server) -> None:
    secret, _ = server.keys.create("trainer", ["train", "label", "review"], customer="bank")
    headers = {"Authorization": f"Bearer {secret}"}
    for method, path, body in (
        ("GET", "/v1/users", None),
        ("POST", "/v1/users", {"name": "eve", **NEW}),
        ("DELETE", "/v1/users/ann", None),
    ):
        assert "manager or an administrator" in problem(server.stranger.request(method, path, json=body, headers=headers), 403)


def test_a_manager_creates_changes_and_deletes_users_of_its_customer(server, people) -> None:
    boss = people["boss"]
    made = boss.send("POST", "/v1/users", json={"name": "New.Person@bank.example", **NEW})
    assert made.status_code == 201, made.text
    assert {name: made.json()[name] for name in ("name", "role", "customer", "disabled", "openid")} == {
        "name": "new.person@bank.example", "role": "annotator", "customer": "bank", "disabled": False, "openid": False,
    }  # fmt: skip
    with Browser(server) as one:
        assert one.sign_in("new.person@bank.example")["customer"] == "bank"
        changed = boss.send("PATCH", "/v1/users/new.person@bank.example", json={"role": "reviewer"})
        assert (changed.status_code, changed.json()["role"]) == (200, "reviewer")
        assert problem(one.send("GET", "/v1/session"), 401)
        assert one.sign_in("new.person@bank.example")["role"] == "reviewer"
        assert boss.send("DELETE", "/v1/users/new.person@bank.example").status_code == 204
        assert problem(one.send("GET", "/v1/session"), 401)
    assert problem(boss.send("DELETE", "/v1/users/new.person@bank.example"), 404)
    with server.database.reading() as connection:
        told = [entry for entry in entries(connection, limit=1000) if entry.subject == "user:new.person@bank.example"]
    assert {(entry.actor, entry.action) for entry in told} >= {
        ("user:boss", "create user"), ("user:boss", "change user"), ("user:boss", "delete user"),
    }  # fmt: skip
    assert PASSWORD not in repr(told)


def test_a_manager_reaches_no_other_customer(people) -> None:
    boss = people["boss"]
    for method in ("PATCH", "DELETE"):
        body = {"json": {"password": "another horse battery"}} if method == "PATCH" else {}
        for name in ("sam", "chief", "nobody"):
            assert f"no user '{name}'" in problem(boss.send(method, f"/v1/users/{name}", **body), 404)
    assert "own customer" in problem(boss.send("POST", "/v1/users", json={"name": "eve", "customer": "shop", **NEW}), 403)
    assert people["sam"].send("GET", "/v1/session").status_code == 200


def test_a_manager_gains_no_more_than_it_has(people) -> None:
    boss = people["boss"]
    refused = [
        boss.send("POST", "/v1/users", json={"name": "eve", "role": "admin", "password": PASSWORD}),
        boss.send("PATCH", "/v1/users/ann", json={"role": "admin"}), boss.send("PATCH", "/v1/users/boss", json={"role": "admin"}),
        boss.send("PATCH", "/v1/users/root", json={"password": "another horse battery"}),
        boss.send("PATCH", "/v1/users/root", json={"role": "annotator"}), boss.send("PATCH", "/v1/users/root", json={"disabled": True}),
        boss.send("DELETE", "/v1/users/root"),
    ]  # fmt: skip
    assert {problem(one, 403) for one in refused} == {
        "A manager can neither create nor change administrators. Ask an administrator of the server."
    }
    assert people["root"].send("GET", "/v1/session").status_code == 200
    assert problem(boss.send("GET", "/v1/keys"), 403)


def test_an_administrator_manages_users_of_all_customers(server, people) -> None:
    made = people["root"].send("POST", "/v1/users", json={"name": "zoe", "role": "admin", "password": PASSWORD, "customer": "zoo"})
    assert (made.status_code, made.json()["customer"]) == (201, "zoo")
    assert server.ask.patch("/v1/users/zoe", json={"disabled": True}).json()["disabled"] is True
    assert server.ask.delete("/v1/users/zoe").status_code == 204
    default = server.ask.post("/v1/users", json={"name": "zoe", **NEW})
    assert default.json()["customer"] == "default"
    assert server.ask.delete("/v1/users/zoe").status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "ann", **NEW}, 409), ({"name": "SAM", **NEW}, 409), ({"name": "a b", **NEW}, 422), ({"name": "local", **NEW}, 422),
        ({"name": "0123456789ab", **NEW}, 422), ({"name": "eve", "role": "king", "password": PASSWORD}, 422), ({"name": "eve"}, 422),
        ({"name": "eve", "role": "annotator", "password": "short"}, 422), ({"name": "eve", "role": "annotator", "password": "e" * 20}, 422),
        ({"name": "eve", "customer": "../etc", **NEW}, 422), ({"name": "eve", "id": "1", **NEW}, 422),
    ],
)  # fmt: skip
def test_what_makes_no_user(server, body, status) -> None:
    said = problem(server.ask.post("/v1/users", json=body), status)
    assert str(body.get("password", "-")) not in said
    assert "eve" not in names(server.ask.get("/v1/users"))
