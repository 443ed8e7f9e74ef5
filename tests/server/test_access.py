"""Who may ask what: keys are judged at every request, tell no secret, and bind to what they were made for."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.server.running import Running, problem, until
from vertune.core.errors import ConfigError
from vertune.server.discovery import find_routes
from vertune.server.settings import Settings, changed
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
ASKED = {"texts": ["soup"]}


@pytest.fixture
def keys(server):
    """Keys as another process has them."""
    with closing(Keys(Database(server.service.home.folder / "server.db"))) as found:
        yield found


@pytest.fixture
def noticed(monkeypatch) -> None:
    """Changes of another process are noticed at once, so that each request waits for a query."""
    monkeypatch.setattr("vertune.store.cached.REVOCATION_DELAY", 0.0)


@pytest.fixture
def by(server):
    """Ask with another key than the admin's."""

    def ask(secret: str | None, method="POST", path="/v1/verticals/intent/predict", **more) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        body = {"json": ASKED} if method == "POST" and not more else more
        return server.stranger.request(method, path, headers=headers, **body)

    return ask


ROUTES = [(method, route.path.replace("{vertical}", "intent"), route.required_scope) for route in find_routes() for method in route.methods]
OPERATIONS = [(method, path) for method, path, scope in ROUTES if scope is not None]
"""All that need a key."""


SAID = ("", "Bearer", "Basic dnQ6dnQ=", "Bearer vt_0123456789ab_guess", "Bearer vt_", "vt_x", "Bearer \xff")
"""In place of a key."""


@pytest.mark.parametrize(
    ("said", "operations"),
    [
        (None, OPERATIONS),
        *((said, OPERATIONS[place :: len(SAID)]) for place, said in enumerate(SAID)),
        *(pytest.param(said, OPERATIONS, marks=pytest.mark.matrix) for said in SAID),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, list) else repr(value),
)
def test_without_a_key_nothing_is_done(server, said, operations) -> None:
    """Whatever the body is, which is not looked at."""
    headers = {} if said is None else {"Authorization": said.encode("latin-1")}
    broken = {"content": b"{", "headers": {"Content-Type": "text/plain", **headers}}
    for method, path in operations:
        for given in ({"json": ASKED, "headers": headers}, broken):
            found = server.stranger.request(method, path, **given)
            assert "key" in problem(found, 401), (method, path)
            assert found.headers["www-authenticate"] == 'Bearer realm="vertune"', (method, path)


PUBLIC = {
    "/health/live": 200, "/health/ready": 200, "/docs": 200, "/openapi.json": 200, "/": 200, "/console/{file:path}": 404,
    "/try/{name}": 200,
    "/v1/session": 401, "/v1/session/providers": 200, "/v1/session/password": 405, "/v1/session/openid/start": 404,
    "/v1/session/openid/callback": 404, "/widget.js": 200, "/v1/apps/{path:path}": 401, "/v1/apps/{app}/incoming/{adapter}": 405,
}  # fmt: skip
"""What needs no key: health, documentation, the console, signing in, the widget, the question of a browser whether a page may ask, and
signed messages of other software; with the status of a GET without a cookie."""


def test_what_needs_no_key(server) -> None:
    """A route that joins them by mistake is seen here."""
    public = {path for _, path, scope in ROUTES if scope is None}
    assert {path for path in public if not path.startswith("/docs/")} == set(PUBLIC)
    for path in public:
        assert server.stranger.get(path).status_code == PUBLIC.get(path, 200), path


def test_a_key_may_what_it_was_made_for(keys, by) -> None:
    predict, _ = keys.create("asks", ["predict"])
    assert by(predict).status_code == 200
    assert by(predict, "GET", "/metrics").status_code == 200
    theirs, _ = keys.create("asks", ["predict"], customer="bank")
    assert "requests of all" in problem(by(theirs, "GET", "/metrics"), 403)
    for scopes in (["feedback"], ["train"], ["feedback", "train"]):
        secret, key = keys.create("other", scopes)
        for method, path, scope in ROUTES:
            if scope is not None and scope not in scopes:
                assert f"The key {key.id} does not have the permission '{scope}'" in problem(by(secret, method, path), 403)
        assert problem(by(secret), 403)
    for method, body in (("PUT", {"json": {"model": "some"}}), ("DELETE", {})):
        assert "'admin'" in problem(by(predict, method, "/v1/verticals/intent", **body), 403)


def test_a_key_bound_to_verticals_sees_no_others(keys, by) -> None:
    secret, _ = keys.create("bound", ["predict"], ["whole", "absent"])
    assert by(secret, path="/v1/verticals/whole/predict").status_code == 200
    assert [one["name"] for one in by(secret, "GET", "/v1/verticals").json()["verticals"]] == ["whole"]
    both = {"json": {"verticals": ["whole", "intent"], "texts": ["soup"]}}
    for found in (by(secret), by(secret, "POST", "/v1/predict", **both), by(secret, "GET", "/v1/verticals/intent/card")):
        assert "'intent'" in problem(found, 403)
    for found in (by(secret, path="/v1/verticals/absent/predict"), by(secret, "GET", "/v1/verticals/absent")):
        said = problem(found, 404)
        assert not [name for name in ("intent", "find", "spans", "faq") if name in said]
    assert problem(by(secret, path="/v1/verticals/nobody/predict"), 403)  # nor which others there are not
    assert "restricted to some models" in problem(by(secret, "GET", "/metrics"), 403)  # nor what they answer


@pytest.mark.usefixtures("noticed")
def test_a_revoked_key_ends_at_once(keys, by) -> None:
    secret, key = keys.create("leaver", ["predict"])
    assert by(secret).status_code == 200
    keys.revoke(key.id)
    assert "is revoked" in problem(by(secret), 401)


def test_a_key_ends_when_it_was_to(keys, by) -> None:
    secret, _ = keys.create("guest", ["predict"], expires=datetime.now(UTC) + timedelta(seconds=0.4))
    assert by(secret).status_code == 200
    until(lambda: by(secret).status_code == 401)
    assert "is expired" in problem(by(secret), 401)


@pytest.mark.usefixtures("noticed")
def test_a_rotated_key_overlaps_with_its_successor(keys, by) -> None:
    first, key = keys.create("turns", ["predict"])
    second, new = keys.rotate(key.id, timedelta(hours=1))
    assert [by(first).status_code, by(second).status_code] == [200, 200]
    third, _ = keys.rotate(new.id, timedelta(0))
    assert [by(first).status_code, by(second).status_code, by(third).status_code] == [200, 401, 200]


@pytest.mark.parametrize(("path", "body"), [("/v1/verticals/find/predict", ASKED), ("/v1/embeddings", {"model": "find", "input": "soup"})])
def test_a_rate_is_kept_and_told(keys, by, server, path, body) -> None:
    """Each request counts once."""
    secret, _ = keys.create("eager", ["predict"], rate="3/minute")
    before = server.metric("vertune_rejections_total", reason="rate")
    assert [by(secret, "POST", path, json=body).status_code for _ in range(3)] == [200, 200, 200]
    found = by(secret, "POST", path, json=body)
    assert "The rate limit of 3/minute is exceeded for the key" in problem(found, 429)
    assert 1 <= int(found.headers["retry-after"]) <= 60
    assert server.metric("vertune_rejections_total", reason="rate") == before + 1
    other, _ = keys.create("another", ["predict"])
    assert by(other, "POST", path, json=body).status_code == 200


def test_the_servers_rate_holds_for_keys_without_one(home, start) -> None:
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        plain, own = keys.create("plain", ["predict"])[0], keys.create("own", ["predict"], rate="9/minute")[0]
    running = start(home, plain, rate="2/minute")
    assert [running.predict("intent", "a").status_code for _ in range(3)] == [200, 200, 429]
    running.ask.headers["Authorization"] = f"Bearer {own}"
    assert [running.predict("intent", "a").status_code for _ in range(4)] == [200] * 4


def test_the_database_of_keys_gone_is_no_open_door(home, monkeypatch, start) -> None:
    monkeypatch.setattr("vertune.store.writer._CLOSING", 0.1)
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        secret = keys.create("one", ["admin"])[0]
    running = start(home, secret)
    assert running.predict("intent", "a").status_code == 200
    for file in home.folder.glob("server.db*"):
        file.unlink()
    assert running.predict("intent", "a").status_code == 200
    monkeypatch.setattr("vertune.store.cached._MAX_AGE_WHILE_UNREADABLE", 0.0)
    until(lambda: running.predict("intent", "a").status_code != 200)
    found = running.predict("intent", "a")
    assert problem(found, 503)
    assert int(found.headers["retry-after"]) > 0


@pytest.mark.usefixtures("noticed")
def test_no_secret_is_in_logs_or_answers(server, keys, by, caplog, capfd) -> None:
    caplog.set_level("DEBUG")
    secret, key = keys.create("quiet", ["predict"], ["intent"], rate="6/minute")
    hidden = secret.split("_", 2)[2]
    found = [by(secret), by(secret, path="/v1/verticals/whole/predict"), by(secret, path="/v1/verticals/nobody/predict"), by(secret + "x")]
    found += [by(secret, json={"texts": 1}) for _ in range(9)]
    keys.revoke(key.id)
    found.append(by(secret))
    assert {one.status_code for one in found} == {200, 401, 403, 422, 429}
    said = capfd.readouterr()
    for text in (*(one.text + str(one.headers) for one in found), caplog.text, said.out, said.err, server.service.metrics.page().decode()):
        assert hidden not in text
    assert hidden not in server.ask.get("/v1/verticals").text


# ------------------------------------------------------------------ without keys


def test_an_open_server_answers_everybody_on_this_machine(fleet, start) -> None:
    running = start(fleet)
    assert running.predict("intent", "a").status_code == 200
    assert not [one for verbs in running.ask.get("/openapi.json").json()["paths"].values() for one in verbs.values() if "security" in one]


def test_an_open_server_answers_no_page_whose_name_was_made_to_lead_here(home, start) -> None:
    """A browser sends the name of the page; that it resolves to 127.0.0.1 is its owner's doing."""
    running = start(home)
    for host in (
        "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]", "[", "", "localhost.evil.example", "evil.com@localhost",
        "localhost/evil.com", "localhost?x", "localhost:abc", "localhost:999999", "evil.com\\@localhost",
    ):  # fmt: skip
        for method, path, body in (
            ("POST", "/v1/predict", {"verticals": ["intent"], "texts": ["a"]}),
            ("DELETE", "/v1/verticals/intent", None),
        ):
            assert running.ask.request(method, path, json=body, headers={"Host": host}).status_code in (400, 403), host
    assert running.ask.get("/v1/verticals", headers={"Host": "localhost:1234"}).status_code == 200
    assert running.ask.get("/v1/verticals", headers={"Host": "[::1]:1234"}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "*"])
def test_open_is_refused_where_others_reach_it(host) -> None:
    with pytest.raises(ConfigError, match="--open answers requests without a key"):
        Settings(host=host, open=True).check()
    with pytest.raises(ConfigError, match="--open answers requests without a key"):
        changed({"host": "127.0.0.1", "open": True}, [f"host={host}"]).check()
    Settings(host=host, behind_proxy=True).check()


@pytest.mark.parametrize("rate", ["often", "0/minute", "10/minute;1/second", ""])
def test_a_rate_that_is_none_is_refused(rate) -> None:
    with pytest.raises(ConfigError, match="600/minute"):
        Settings(rate=rate).check()


def test_a_server_without_keys_must_be_meant_to_be(fleet) -> None:
    """Whoever starts it: the command line passes `--open` and `--set open=…` by different ways."""
    with pytest.raises(ConfigError, match="open=true"), Running(fleet, open=False):
        pass
    with pytest.raises(ConfigError, match="--open answers requests without a key"), Running(fleet, host="0.0.0.0"):
        pass


# ------------------------------------------------------------------ names and files

NASTY = [
    "../../zz-file",
    "..%2f..%2fzz-file",
    "%2e%2e%2f%2e%2e%2fzz-file",
    "/tmp/zz-file",
    "..zz-file",
    "zz-file%00.txt",
    "..%5czz-file",
    "zz-file",
]
TOUCHED: list[str] | None = None
"""What files were touched, while anybody wants to know: a hook of Python can't be taken away."""


def _hook(event: str, given: tuple) -> None:
    if TOUCHED is not None and event in ("open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect"):
        TOUCHED.append(f"{event} {given[0]!r} {given[1:2]!r}")


@pytest.fixture
def touched(monkeypatch):
    """Every file that this process opens, lists, looks at, moves or removes."""
    global TOUCHED
    if not getattr(sys, "_server_tests_audit", False):
        sys._server_tests_audit = True
        sys.addaudithook(_hook)
    TOUCHED = []
    for name in ("stat", "lstat", "access"):
        own = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *given, own=own, **more: (TOUCHED.append(f"stat {path!r}"), own(path, *given, **more))[1]
        )
    yield TOUCHED
    TOUCHED = None


def test_a_name_of_a_file_reaches_no_file(home, start, touched) -> None:
    running = start(home)
    own = running.service.answers.fleet.get("find").model.id
    for name in NASTY:
        touched.clear()
        answers = [running.ask.get(f"/v1/verticals/{name}{more}") for more in ("", "/versions", "/card")]
        answers.append(running.ask.post(f"/v1/verticals/{name}/predict", json=ASKED))
        answers.append(running.ask.delete(f"/v1/verticals/{name}"))
        answers += [running.ask.put(f"/v1/verticals/{name}", json={"model": model}) for model in ("intent", name, own)]
        answers += [running.ask.put("/v1/verticals/intent", json={"model": name})]
        answers.append(running.ask.post("/v1/embeddings", json={"model": name, "input": "a"}))
        answers.append(running.ask.post("/v1/predict", json={"verticals": [name], "texts": ["a"]}))
        answers.append(running.ask.post("/v1/verticals/intent/predict", json={"records": [{"text": name, name: name, "__file": name}]}))
        answers += [running.ask.get(f"/docs/{name}"), running.ask.get(f"/{name}")]
        plain = name == "zz-file"  # which a vertical may be called
        allowed = {200, 404, 405, 422} | ({202} if plain else set())
        assert {one.status_code for one in answers} <= allowed, [one.text for one in answers if one.status_code not in allowed]
        assert not [one for one in touched if "zz-file" in one and not (plain and ("aliases" in one or "home/models/zz-file" in one))]
        assert not (home.folder / "seen").exists()
        assert any("seen" in one for one in touched), "the hook sees nothing"


@pytest.mark.parametrize(("scope", "status"), [("predict", 403), ("admin", 202)])
def test_without_keys_a_request_may_only_predict_unless_the_operator_says_more(home, start, scope, status) -> None:
    running = start(home, open_scope=scope)
    assert running.ask.post("/v1/verticals/intent/predict", json={"texts": ["soup"]}).status_code == 200
    live = running.service.answers.fleet.get("intent").model.id
    reply = running.ask.put("/v1/verticals/intent", json={"model": live})
    assert reply.status_code == status, reply.text
    if status == 403:
        assert "open_scope=admin" in problem(reply, 403)
