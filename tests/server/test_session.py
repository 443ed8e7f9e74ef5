"""Browsers that sign in: cookies, tokens, roles and ends of sessions, as real requests meet them."""

from __future__ import annotations

import time
from datetime import timedelta

import httpx
import pytest
from starlette.requests import Request

from tests.server.browser import PASSWORD, Browser, add_user
from tests.server.conftest import admin
from tests.server.running import problem, until
from vertune.answering.call import Call
from vertune.server import attempts
from vertune.server.access import CALL, Access
from vertune.server.settings import SessionSettings
from vertune.store import schema
from vertune.store.audit import entries
from vertune.store.passwords import Passwords
from vertune.store.user import SCOPES

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
ASKED = {"texts": ["soup"]}


@pytest.fixture
def browser(server):
    """Makes browsers."""
    opened = []

    def make(name: str | None = None, **body: str) -> Browser:
        opened.append(Browser(server))
        if name or body:
            opened[-1].sign_in(name, **body)
        return opened[-1]

    yield make
    for one in opened:
        one.client.close()


@pytest.fixture
def user(server, request):
    """Makes users whose names no other test has."""

    def make(role: str = "annotator", customer: str | None = None) -> str:
        number = len(server.service.people.all())
        return add_user(server, f"user-{number}", role, customer).name

    return make


@pytest.fixture(autouse=True)
def patient(server):
    """Wrong passwords of one test slow down no other."""
    server.service.people._attempts = attempts.Attempts()


def test_a_browser_signs_in_and_out(server, browser, user) -> None:
    name, one = user("manager", "bank"), browser()
    assert "is not signed in" in problem(one.send("GET", "/v1/session"), 401)
    found = one.sign_in(name.upper())
    assert found == {
        "name": name, "role": "manager", "customer": "bank", "scopes": ["predict", "feedback", "train", "label", "review", "chat"],
        "token": one.token, "expires": found["expires"], "password": True, "open": False,
    }  # fmt: skip
    assert len(one.token) == 43
    assert one.send("GET", "/v1/session").json() == found
    assert one.send("POST", "/v1/verticals/intent/predict", json=ASKED).status_code == 200
    gone = one.send("DELETE", "/v1/session")
    assert (gone.status_code, gone.headers["set-cookie"].partition(";")[0]) == (204, "vertune_session=")
    assert not one.client.cookies
    assert problem(one.send("GET", "/v1/session"), 401)


def test_the_cookie_is_for_the_browser_alone(browser, user) -> None:
    one = browser()
    answer = one.client.post("/v1/session", json={"name": user(), "password": PASSWORD})
    value, *about = answer.headers["set-cookie"].split("; ")
    assert value.startswith("vertune_session=")
    assert len(value.partition("=")[2]) == 43
    assert about == ["Path=/", f"Max-Age={7 * 24 * 3600 - 1}", "HttpOnly", "SameSite=Strict"]
    assert value.partition("=")[2] not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_behind_a_proxy_the_cookie_is_bound_to_the_host_and_to_encryption(home, start) -> None:
    running = start(home, admin(home), behind_proxy=True)
    add_user(running, "ann")
    answer = running.stranger.post("/v1/session", json={"name": "ann", "password": PASSWORD})
    cookie, *about = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith("__Host-vertune_session=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(about)
    assert not any(part.startswith("Domain") for part in about)
    running.stranger.cookies.clear()
    for sent, status in ((cookie, 200), (cookie.removeprefix("__Host-"), 401)):
        assert running.stranger.get("/v1/session", headers={"Cookie": sent}).status_code == status


def test_a_user_may_what_the_role_says(server, browser, user) -> None:
    for role, scopes in SCOPES.items():
        one = browser(user(role))
        for method, path, body, scope in (
            ("POST", "/v1/verticals/intent/predict", ASKED, "predict"), ("GET", "/v1/feedback", None, "feedback"),
            ("GET", "/v1/audit", None, "admin"), ("GET", "/v1/users", None, "train"),
        ):  # fmt: skip
            answer = one.send(method, path, json=body)
            allowed = scope in scopes or "admin" in scopes
            assert answer.status_code == (200 if allowed else 403), (role, path, answer.text)
            if not allowed:
                assert f"does not have the permission '{scope}'" in problem(answer, 403)


def test_rows_of_a_user_name_the_user_and_the_customer(server, browser, user) -> None:
    one = browser(name := user("manager", "bank"))
    assert one.send("POST", "/v1/verticals/intent/predict", json=ASKED).status_code == 200
    assert server.service.recorder.writer.flush()
    with server.database.reading() as connection:
        rows = connection.execute(schema.requests.select().where(schema.requests.c.key == f"user:{name}")).all()
    assert {row.customer for row in rows} == {"bank"}


def test_every_request_that_changes_something_needs_the_token(server, browser, user) -> None:
    one = browser(user("admin"))
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x" + one.token[1:]}, {"X-CSRF-Token": b"\xff"}):
        for method, path in (("POST", "/v1/verticals/intent/predict"), ("DELETE", "/v1/session"), ("POST", "/v1/keys")):
            sent = one.client.request(method, path, json=ASKED if method == "POST" else None, headers=headers)
            assert "X-CSRF-Token is missing or wrong" in problem(sent, 403)
    assert one.client.get("/v1/users").status_code == 200
    other = browser(user())
    assert problem(one.send("DELETE", "/v1/session", headers={"X-CSRF-Token": other.token}), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1.evil.example"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
    ],
)  # fmt: skip
def test_a_page_of_another_site_does_nothing(server, browser, user, headers) -> None:
    name = user("admin")
    one = browser(name)
    assert "another site" in problem(one.send("POST", "/v1/verticals/intent/predict", json=ASKED, headers=headers), 403)
    sent = one.client.post("/v1/session", json={"name": name, "password": PASSWORD}, headers=headers)
    assert "another site" in problem(sent, 403)
    same = {"Sec-Fetch-Site": "same-origin", "Origin": "https://name.of.the.proxy"}
    assert one.send("POST", "/v1/verticals/intent/predict", json=ASKED, headers=same).status_code == 200


def test_a_key_in_the_header_counts_more_than_a_cookie(server, browser, user) -> None:
    one = browser(user())
    secret, _ = server.keys.create("app", ["predict"])
    answer = one.client.post("/v1/verticals/intent/predict", json=ASKED, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    assert problem(one.client.get("/v1/users", headers={"Authorization": f"Bearer {secret}"}), 403)
    assert "has an API key" in problem(one.client.get("/v1/session", headers={"Authorization": f"Bearer {secret}"}), 401)
    assert problem(one.client.get("/v1/session", headers={"Authorization": "Bearer vt_x"}), 401)


@pytest.mark.parametrize(
    "cookie",
    ["vertune_session=", "vertune_session=x", "vertune_session=" + "x" * 5000, "vertune_session", "__Host-vertune_session=x", ";;=;"],
)
def test_a_cookie_that_is_none_of_ours(server, cookie) -> None:
    for method, path in (("POST", "/v1/verticals/intent/predict"), ("GET", "/v1/session"), ("DELETE", "/v1/session"), ("GET", "/v1/users")):
        body = {"json": ASKED} if method == "POST" else {}
        assert problem(server.stranger.request(method, path, headers={"Cookie": cookie}, **body), 401)


def test_a_key_signs_in_and_its_session_ends_with_it(server, browser) -> None:
    secret, key = server.keys.create("website", ["predict", "label"], ["intent"], customer="bank")
    one = browser()
    found = one.sign_in(key=secret)
    assert (found["name"], found["role"], found["customer"], found["scopes"]) == ("website", None, "bank", ["predict", "label"])
    assert found["password"] is False
    assert one.send("POST", "/v1/verticals/intent/predict", json=ASKED).status_code == 200
    assert problem(one.send("POST", "/v1/verticals/whole/predict", json=ASKED), 403)
    assert "has no password" in problem(one.send("PUT", "/v1/session/password", json={"old": secret, "new": PASSWORD}), 403)
    server.keys.revoke(key.id)
    assert "is revoked" in problem(one.send("GET", "/v1/session"), 401)
    assert problem(one.send("POST", "/v1/verticals/intent/predict", json=ASKED), 401)
    assert problem(browser().client.post("/v1/session", json={"key": secret}), 401)


def test_wrong_names_and_passwords_look_alike(server, browser, user) -> None:
    one, name, off = browser(), user(), user()
    assert server.ask.patch(f"/v1/users/{off}", json={"disabled": True}).status_code == 200
    said = {
        problem(one.client.post("/v1/session", json={"name": tried, "password": password}), 401)
        for tried, password in ((name, "wrong wrong wrong"), ("nobody", PASSWORD), (off, PASSWORD), ("a b/c", PASSWORD), (name, ""))
    }
    assert len(said) == 1
    assert name not in said.pop()


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "ann"}, {"password": "x"}, {"key": "vt_x", "name": "ann", "password": "x"}, {"key": "vt_x", "name": "ann"}, {"x": 1}],
)
def test_what_is_no_way_to_sign_in(server, body) -> None:
    assert problem(server.stranger.post("/v1/session", json=body), 422)


def test_a_body_of_strangers_is_small(server) -> None:
    assert problem(server.stranger.post("/v1/session", json={"name": "x", "password": "x" * 20_000}), 413)


def test_guessing_is_slowed_down_and_nobody_is_locked_out(server, browser, user, monkeypatch) -> None:
    name, one = user(), browser()
    now = [1000.0]
    server.service.people._attempts = attempts.Attempts(lambda: now[0])
    statuses = [one.client.post("/v1/session", json={"name": name, "password": "wrong wrong wrong"}).status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    refused = one.client.post("/v1/session", json={"name": name, "password": PASSWORD})
    assert "Too many attempts" in problem(refused, 429)
    assert refused.headers["retry-after"] == "1"
    assert one.client.post("/v1/session", json={"name": "another", "password": "wrong wrong wrong"}).status_code == 401
    now[0] += 1.0
    one.sign_in(name)


def test_passwords_of_earlier_costs_are_hashed_again(server, browser, user) -> None:
    name = user()
    stored = Passwords(16, 2).hash(PASSWORD)
    with server.database.writing() as connection:
        connection.execute(schema.users.update().where(schema.users.c.name == name).values(password=stored))
    browser(name)
    with server.database.reading() as connection:
        found = connection.scalar(schema.users.select().with_only_columns(schema.users.c.password).where(schema.users.c.name == name))
    assert found.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    browser(name)


def test_a_new_password_signs_out_all_other_browsers(server, browser, user) -> None:
    name = user()
    one, other = browser(name), browser(name)
    new = "another horse battery"
    assert problem(one.send("PUT", "/v1/session/password", json={"old": "wrong wrong wrong", "new": new}), 401)
    assert "Choose another password" in problem(one.send("PUT", "/v1/session/password", json={"old": PASSWORD, "new": "short"}), 422)
    changed = one.send("PUT", "/v1/session/password", json={"old": PASSWORD, "new": new})
    assert changed.status_code == 200, changed.text
    assert changed.json()["token"] != one.token
    assert one.client.get("/v1/session").json() == changed.json()
    assert problem(other.send("GET", "/v1/session"), 401)
    assert problem(other.client.post("/v1/session", json={"name": name, "password": PASSWORD}), 401)
    other.sign_in(name, new)


@pytest.mark.parametrize("change", [{"role": "reviewer"}, {"password": "another horse battery"}, {"disabled": True}])
def test_a_change_signs_the_user_out_everywhere(server, browser, user, change) -> None:
    name = user()
    one, other = browser(name), browser(name)
    assert server.ask.patch(f"/v1/users/{name}", json=change).status_code == 200
    assert {problem(tab.send("GET", "/v1/session"), 401) for tab in (one, other)}


def test_signing_in_again_ends_the_session_before(server, browser, user) -> None:
    one, name = browser(), user()
    one.sign_in(name)
    before = one.client.cookies["vertune_session"]
    one.sign_in(name)
    assert one.client.cookies["vertune_session"] != before
    assert problem(server.stranger.get("/v1/session", headers={"Cookie": f"vertune_session={before}"}), 401)


def test_a_cookie_is_renewed_after_a_while(server, browser, user, monkeypatch) -> None:
    one = browser(user())
    before, token = one.client.cookies["vertune_session"], one.token
    monkeypatch.setattr("vertune.store.sessions._RENEWED_AFTER", timedelta(0))
    answer = one.send("GET", "/v1/session")
    assert one.client.cookies["vertune_session"] != before
    assert answer.json()["token"] == token
    assert server.stranger.get("/v1/session", headers={"Cookie": f"vertune_session={before}"}).status_code == 200
    assert one.send("POST", "/v1/session/password", json={}).status_code == 405


def test_sessions_end_by_themselves(home, start) -> None:
    costs = {"password_kibibytes": 8, "password_rounds": 1}
    running = start(home, admin(home), sessions=SessionSettings(idle_hours=0.4 / 3600, **costs))
    add_user(running, "ann")
    with Browser(running) as one:
        one.sign_in("ann")
        assert one.send("GET", "/v1/session").status_code == 200
        time.sleep(0.45)
        assert problem(one.send("GET", "/v1/session"), 401)


def test_a_session_of_another_server_works_at_once_and_ends_soon(home, start) -> None:
    secret = admin(home)
    first, second = start(home, secret), start(home, secret)
    add_user(first, "ann")
    with Browser(first) as one, httpx.Client(base_url=second.url, trust_env=False) as there:
        one.sign_in("ann")
        cookie = {"Cookie": f"vertune_session={one.client.cookies['vertune_session']}"}
        assert there.get("/v1/session", headers=cookie).status_code == 200
        one.send("DELETE", "/v1/session")
        until(lambda: there.get("/v1/session", headers=cookie).status_code == 401, 1.0)


def test_signing_in_is_told_without_secrets(server, browser, user, caplog, capfd) -> None:
    caplog.set_level("DEBUG", "vertune")
    one = browser(name := user())
    with server.database.reading() as connection:
        told = [entry for entry in entries(connection, limit=1000) if entry.actor == f"user:{name}"]
        everything = "".join(repr(connection.execute(table.select()).all()) for table in schema.metadata.sorted_tables)
    assert [(entry.action, entry.subject) for entry in told] == [("sign in", f"user:{name}")]
    said = capfd.readouterr()
    for secret in (PASSWORD, one.client.cookies["vertune_session"]):
        assert secret not in everything + caplog.text + said.out + said.err + server.service.metrics.page().decode()


def test_an_open_server_needs_no_sign_in(fleet, start) -> None:
    running = start(fleet, open_scope="predict")
    assert running.ask.get("/v1/session").json() == {
        "name": "local", "role": None, "customer": "default", "scopes": ["predict"], "token": None, "expires": None, "password": False,
        "open": True,
    }  # fmt: skip
    assert running.ask.get("/v1/session/providers").json() == {"openid": False, "open": True}
    assert running.ask.delete("/v1/session").status_code == 204
    assert "without --open" in problem(running.ask.post("/v1/session", json={"name": "a", "password": "b"}), 422)
    assert problem(running.ask.get("/v1/session", headers={"Host": "evil.example"}), 403)
    assert "without --open" in problem(running.ask.put("/v1/session/password", json={"old": "a", "new": "b"}), 422)


def test_an_open_server_for_everything_says_so(fleet, start) -> None:
    running = start(fleet)
    assert running.ask.get("/v1/session").json()["scopes"] == ["predict", "feedback", "train", "label", "review", "chat", "admin"]
    for path in ("/v1/users", "/v1/keys"):
        assert "without --open" in problem(running.ask.get(path), 422)


def test_a_server_without_a_provider(server) -> None:
    assert server.stranger.get("/v1/session/providers").json() == {"openid": False, "open": False}
    for path in ("start", "callback"):
        assert "no provider" in problem(server.stranger.get(f"/v1/session/openid/{path}"), 404)


@pytest.mark.parametrize("meanwhile", [{"password": "another horse battery"}, {"disabled": True}])
def test_a_change_while_a_password_is_verified_ends_the_sign_in(server, browser, user, monkeypatch, meanwhile) -> None:
    one, name = browser(), user()
    verify = Passwords.verify

    def slowly(passwords, stored, password):
        found = verify(passwords, stored, password)
        assert server.ask.patch(f"/v1/users/{name}", json=meanwhile).status_code == 200
        return found

    monkeypatch.setattr(Passwords, "verify", slowly)
    assert problem(one.client.post("/v1/session", json={"name": name, "password": PASSWORD}), 401)
    assert not one.client.cookies


def test_labels_name_the_person(server, browser, user) -> None:
    """The name of a user, the id of a key, also where it signed in with a browser, or `local` without keys."""
    secret, key = server.keys.create("app", ["label"])
    name = user()
    people = server.service.people
    access = Access(server.keys, sessions=people.sessions)
    cookies = {who: {"cookie": f"vertune_session={one.client.cookies['vertune_session']}"} for who, one in
               ((name, browser(name)), (key.id, browser(key=secret)))}  # fmt: skip
    sent = {**cookies, "": {"authorization": f"Bearer {secret}"}}
    for who, headers in sent.items():
        assert access.person(asking(headers)) == (who or key.id)
    assert Access(None).person(asking({})) == "local"


def asking(headers: dict[str, str]) -> Request:
    """A request as an endpoint has it."""
    encoded = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": encoded, "client": ("127.0.0.1", 1), CALL: Call()})
