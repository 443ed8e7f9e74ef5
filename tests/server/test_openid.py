"""OpenID Connect: signing in by a real provider on loopback, and what a provider or a stranger may not get away with."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tests.server.conftest import admin
from tests.server.running import problem
from vertune.core.errors import AccessError, Busy, ConfigError
from vertune.server.openid import Provider
from vertune.server.settings import OpenIDSettings, Settings, changed
from vertune.store import schema

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CLIENT, SECRET = "labels", "the secret: of the client"
CLAIMS = {"sub": "42", "preferred_username": "Ann.Lee", "groups": ["staff", "label-team"]}


@functools.cache
def own_keys() -> tuple[RSAKey, ECKey]:
    """Keys of a provider, which take longer to make than a test to sign in."""
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}), ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})


class Realm:
    """A provider that checks what a provider must check, and does what a test changes."""

    def __init__(self) -> None:
        self.keys = [*own_keys()]
        self.signer: Any = self.keys[0]
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.claims: dict[str, Any] = {}
        """Claims of the next token that differ; those with None are left out."""
        self.document: dict[str, Any] = {}
        self.edit: Callable[[str], str] = lambda token: token
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        realm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                realm.answer(self, None)

            def do_POST(self) -> None:
                realm.answer(self, dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode())))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}/realms/bank"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str] | None) -> None:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        status, body = 200, {}
        if path.endswith("/openid-configuration"):
            body = {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/auth", "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys", "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
                    **self.document}  # fmt: skip
        elif path.endswith("/keys"):
            body = KeySet(self.keys).as_dict(private=False)
        elif path.endswith("/token") and form is not None:
            status, body = self.token(handler.headers.get("Authorization", ""), form)
        else:
            status = 404
        content = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def authorize(self, url: str) -> str:
        """Do what the user does in the browser, and return the address to which the browser is sent back."""
        assert url.startswith(f"{self.issuer}/auth?")
        asked = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'state': asked['state'], 'code': code, 'iss': self.issuer})}"

    def token(self, authorization: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form.get("code", ""), None)
        client = base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        right = client == "labels:the%20secret%3A%20of%20the%20client" and form["grant_type"] == "authorization_code"
        if asked is None or not right or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"], **CLAIMS, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(self.header, claims, self.signer, algorithms=[self.header["alg"]])
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.edit(token)}


@pytest.fixture
def realm(monkeypatch) -> Iterator[Realm]:
    monkeypatch.setenv("VERTUNE_OPENID_SECRET", SECRET)
    made = Realm()
    yield made
    made.server.shutdown()
    made.server.server_close()


def settings(realm: Realm, **more: Any) -> OpenIDSettings:
    roles = {"label-team": "annotator", "leads": "manager"}
    return OpenIDSettings(**{"issuer": realm.issuer, "client_id": CLIENT, "url": "http://127.0.0.1:9", "roles": roles, **more})


@pytest.fixture
def running(realm, home, start):
    return start(home, admin(home), openid=settings(realm, default_customer="bank"))


def visit(running, realm) -> httpx.Response:
    """Sign in as a browser does, and return the last answer of the server."""
    begun = running.stranger.get("/v1/session/openid/start")
    assert begun.status_code == 303, begun.text
    back = urlsplit(realm.authorize(begun.headers["location"]))
    return running.stranger.get(f"{back.path}?{back.query}")


def finish(provider: Provider, realm: Realm, **other: str):
    """Sign in at a provider by itself."""
    url, flow = provider.begin()
    back = dict(parse_qsl(urlsplit(realm.authorize(url)).query))
    return provider.finish(flow, {"error": "", **back, **other})


def test_a_person_signs_in_by_the_provider(running, realm) -> None:
    assert running.stranger.get("/v1/session/providers").json() == {"openid": True, "open": False}
    answer = visit(running, realm)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
    cookies = answer.headers.get_list("set-cookie")
    assert any(one.startswith("vertune_session=") and "SameSite=Strict" in one and "HttpOnly" in one for one in cookies)
    assert any(one.startswith("vertune_openid=;") for one in cookies)
    found = running.stranger.get("/v1/session").json()
    assert (found["name"], found["role"], found["customer"], found["password"]) == ("ann.lee", "annotator", "bank", False)
    (user,) = running.ask.get("/v1/users").json()["users"]
    assert (user["name"], user["openid"]) == ("ann.lee", True)
    assert set(realm.asked) == {f"/realms/bank/{name}" for name in (".well-known/openid-configuration", "keys", "token")}


def test_the_way_there_is_bound_to_the_browser(running, realm) -> None:
    begun = running.stranger.get("/v1/session/openid/start")
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("vertune_openid=")
    assert {"HttpOnly", "SameSite=Lax", "Max-Age=600", "Path=/"} <= set(cookie.split("; "))
    asked = {name: value[0] for name, value in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    verifier = cookie.partition(";")[0].split(".")[2]
    assert verifier not in begun.headers["location"]
    assert base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode() == asked["code_challenge"]
    assert asked["redirect_uri"] == "http://127.0.0.1:9/v1/session/openid/callback"
    back = urlsplit(realm.authorize(begun.headers["location"]))
    running.stranger.cookies.clear()
    assert "not begun by this browser" in problem(running.stranger.get(f"{back.path}?{back.query}"), 401)
    running.stranger.get("/v1/session/openid/start")
    assert "not begun by this browser" in problem(running.stranger.get(f"{back.path}?{back.query}"), 401)
    assert "not begun by this browser" in problem(running.stranger.get(f"{back.path}?code=x"), 401)
    assert running.ask.get("/v1/users").json()["users"] == []


def test_a_code_is_used_once(running, realm) -> None:
    begun = running.stranger.get("/v1/session/openid/start")
    back = urlsplit(realm.authorize(begun.headers["location"]))
    cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
    assert running.stranger.get(f"{back.path}?{back.query}", headers=cookie).status_code == 303
    assert "did not confirm" in problem(running.stranger.get(f"{back.path}?{back.query}", headers=cookie), 401)


def test_the_provider_decides_on_roles_at_each_sign_in(running, realm) -> None:
    visit(running, realm)
    before = running.stranger.cookies["vertune_session"]
    realm.claims = {"groups": ["leads", "label-team"]}
    visit(running, realm)
    assert running.stranger.get("/v1/session").json()["role"] == "manager"
    old = {"Cookie": f"vertune_session={before}"}
    running.stranger.cookies.clear()
    assert problem(running.stranger.get("/v1/session", headers=old), 401)
    realm.claims = {"groups": ["others"]}
    assert "no role of yours" in problem(visit(running, realm), 403)


def test_a_disabled_person_and_a_taken_name(running, realm) -> None:
    taken = {"name": "ann.lee", "role": "admin", "password": "correct horse battery"}
    assert running.ask.post("/v1/users", json=taken).status_code == 201
    assert "'ann.lee' is taken" in problem(visit(running, realm), 409)
    assert "vertune_session" not in running.stranger.cookies
    assert running.ask.delete("/v1/users/ann.lee").status_code == 204
    assert visit(running, realm).status_code == 303
    assert "keeps the password" in problem(running.ask.patch("/v1/users/ann.lee", json={"password": "correct horse battery"}), 403)
    assert running.ask.patch("/v1/users/ann.lee", json={"disabled": True}).status_code == 200
    assert "is disabled" in problem(visit(running, realm), 401)
    body = {"name": "ann.lee", "password": "correct horse battery"}
    assert problem(running.stranger.post("/v1/session", json=body), 401)


def test_the_identity_is_that_of_the_issuer(running, realm) -> None:
    visit(running, realm)
    with running.database.reading() as connection:
        (row,) = connection.execute(schema.users.select()).all()
    assert (row.subject, row.password) == (f"{realm.issuer} 42", None)
    realm.claims = {"sub": "43"}
    assert problem(visit(running, realm), 409)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.com"}, {"iss": None}, {"aud": "other"}, {"aud": ["other"]}, {"aud": None}, {"nonce": "x"}, {"nonce": None},
        {"exp": 1}, {"exp": None}, {"iat": 1 << 40}, {"iat": None}, {"nbf": 1 << 40}, {"sub": None}, {"sub": 7},
        {"sub": "x" * 256}, {"exp": "never"},
        {"aud": [CLIENT, "other"]}, {"azp": "other"}, {"aud": [CLIENT, "other"], "azp": "other"},
    ],
)  # fmt: skip
def test_claims_that_are_not_for_this_sign_in(realm, claims) -> None:
    realm.claims = claims
    with pytest.raises(AccessError, match="did not confirm") as refused:
        finish(Provider(settings(realm)), realm)
    assert refused.value.http_status == 401


def test_several_audiences_with_this_party(realm) -> None:
    realm.claims = {"aud": [CLIENT, "other"], "azp": CLIENT}
    assert finish(Provider(settings(realm)), realm).name == "Ann.Lee"


def forged(realm: Realm) -> dict[str, Callable[[], None]]:
    """Tokens that the provider did not sign."""

    def another_key() -> None:
        realm.signer = RSAKey.generate_key(2048, {"kid": "one"})

    def unknown_key() -> None:
        realm.signer, realm.header = RSAKey.generate_key(2048), {"alg": "RS256", "kid": "three"}

    def public_key_as_secret() -> None:
        def edit(token: str) -> str:
            head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
            signed = f"{head}.{token.split('.')[1]}"
            signature = hmac.digest(realm.keys[0].as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

        realm.edit = edit

    def unsigned() -> None:
        def edit(token: str) -> str:
            head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
            return f"{head}.{token.split('.')[1]}."

        realm.edit = edit

    def changed_claims() -> None:
        def edit(token: str) -> str:
            head, body, signature = token.split(".")
            content = json.loads(base64.urlsafe_b64decode(body + "=="))
            other = base64.urlsafe_b64encode(json.dumps({**content, "groups": ["leads"]}).encode()).rstrip(b"=").decode()
            return f"{head}.{other}.{signature}"

        realm.edit = edit

    def nothing() -> None:
        realm.edit = lambda token: ""

    return {one.__name__: one for one in (another_key, unknown_key, public_key_as_secret, unsigned, changed_claims, nothing)}


def test_the_operator_learns_why(realm, caplog) -> None:
    realm.claims = {"aud": "other"}
    provider = Provider(settings(realm))
    for _ in range(3):
        with pytest.raises(AccessError):
            finish(provider, realm)
    (entry,) = caplog.messages
    assert entry == f"Somebody could not sign in by the provider {realm.issuer}: its token is not valid (InvalidClaimError of aud)."


def test_a_slow_provider_holds_up_only_a_few_requests(realm, monkeypatch) -> None:
    provider = Provider(settings(realm))
    for _ in range(8):
        assert provider._waiting.acquire(blocking=False)
    with pytest.raises(Busy, match="does not answer"):
        provider.begin()
    for _ in range(8):
        provider._waiting.release()
    with pytest.raises(Busy):  # nor is it asked again at once
        provider.begin()
    monkeypatch.setattr("vertune.server.openid._RETRY", 0.0)
    assert provider.begin()


@pytest.mark.parametrize("kind", ["another_key", "unknown_key", "public_key_as_secret", "unsigned", "changed_claims", "nothing"])
def test_tokens_that_the_provider_did_not_sign(realm, kind) -> None:
    forged(realm)[kind]()
    with pytest.raises(AccessError, match="did not confirm"):
        finish(Provider(settings(realm)), realm)


def test_keys_of_the_provider_may_change(realm, monkeypatch) -> None:
    provider = Provider(settings(realm))
    assert finish(provider, realm)
    realm.signer = ECKey.generate_key("P-256", {"kid": "new", "use": "sig"})
    realm.header, realm.keys = {"alg": "ES256", "kid": "new"}, [realm.signer]
    with pytest.raises(AccessError):  # not more often than once a minute, whatever a token names
        finish(provider, realm)
    assert realm.asked.count("/realms/bank/keys") == 1
    monkeypatch.setattr("vertune.server.openid._LEAST_AGE", 0.0)
    assert finish(provider, realm)
    assert realm.asked.count("/realms/bank/keys") == 2


@pytest.mark.parametrize(
    "answer", [{"state": "x"}, {"state": ""}, {"error": "access_denied"}, {"code": ""}, {"iss": "https://evil.example"}]
)
def test_answers_that_are_refused_before_the_provider_is_asked(realm, answer) -> None:
    with pytest.raises(AccessError) as refused:
        finish(Provider(settings(realm)), realm, **answer)
    assert refused.value.http_status == 401
    assert "/realms/bank/token" not in realm.asked


@pytest.mark.parametrize("flow", [None, "", ".", "..", "a.b", "a..c"])
def test_cookies_that_are_none_of_ours(realm, flow) -> None:
    state = (flow or "").partition(".")[0]
    with pytest.raises(AccessError, match="not begun by this browser"):
        Provider(settings(realm)).finish(flow, {"state": state, "code": "x", "iss": "", "error": ""})


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x", "http://example.com/x", "file:///etc/passwd", "", "https://169.254.169.254/latest"]
)
def test_the_server_asks_no_other_host(realm, name, address) -> None:
    realm.document = {name: address}
    with pytest.raises(ConfigError, match=r"openid\.hosts"):
        finish(Provider(settings(realm)), realm)


def test_a_host_that_the_operator_named_is_asked(realm) -> None:
    other = Realm()
    other.keys = realm.keys
    realm.document = {"jwks_uri": f"{other.issuer}/keys"}
    hosts = f"login.example.com {urlsplit(other.issuer).netloc}"
    assert finish(Provider(settings(realm, hosts=hosts)), realm)
    other.server.shutdown()
    other.server.server_close()


def test_a_provider_with_another_name_is_refused(realm) -> None:
    realm.document = {"issuer": "https://evil.example"}
    with pytest.raises(ConfigError, match="calls itself by another name"):
        Provider(settings(realm)).begin()


def test_a_provider_that_does_not_answer(running, realm) -> None:
    realm.server.shutdown()
    realm.server.server_close()
    answer = running.stranger.get("/v1/session/openid/start")
    assert "does not answer as it must" in problem(answer, 503)
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("more", "claims", "said"),
    [
        ({"customer": "org", "customers": {"Bank AG": "bank"}}, {"org": "Bank AG"}, None),
        ({"customer": "org", "customers": {"Bank AG": "bank"}}, {"org": "Shop"}, "one customer"),
        ({"customer": "org", "customers": {"a": "bank", "b": "shop"}}, {"org": ["a", "b"]}, "one customer"),
        ({"customer": "org", "customers": {"a": "bank"}}, {}, "one customer"), ({"name": "email"}, {}, "did not name you"),
        ({"name": "email"}, {"email": "a@b.example", "email_verified": False}, "did not name you"),
        ({"name": "email"}, {"email": "a@b.example", "email_verified": True}, None), ({}, {"groups": None}, "no role"),
        ({}, {"groups": {"label-team": 1}}, "no role"), ({}, {"groups": "label-team"}, None),
        ({"default_role": "annotator"}, {"groups": None}, None),
    ],
)  # fmt: skip
def test_claims_become_names_roles_and_customers(realm, more, claims, said) -> None:
    realm.claims = claims
    if said is None:
        found = finish(Provider(settings(realm, **more)), realm)
        assert (found.role, found.customer) == ("annotator", "bank" if "customer" in more else "default")
    else:
        with pytest.raises(AccessError, match=said):
            finish(Provider(settings(realm, **more)), realm)


GOOD = {"issuer": "https://login.example.com", "client_id": "labels", "url": "https://labels.example.com", "default_role": "annotator"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, None), ({"client_id": ""}, "openid.client_id is empty"), ({"url": ""}, "openid.url is empty"),
        ({"issuer": "http://login.example.com"}, "https://"), ({"url": "http://labels.example.com"}, "https://"),
        ({"default_role": None}, "no user could sign in"), ({"customer": "org"}, "openid.customers is empty"),
    ],
)  # fmt: skip
def test_settings_that_can_not_work(more, said) -> None:
    made = Settings(openid=OpenIDSettings(**{**GOOD, **more}))
    if said is None:
        made.check()
    else:
        with pytest.raises(ConfigError, match=said):
            made.check()


def test_settings_of_the_command_line() -> None:
    made = changed({}, ["openid.issuer=https://a.example", 'openid.roles={"a team": "reviewer"}', "sessions.idle_hours=2"])
    assert made.openid.roles == {"a team": "reviewer"}
    assert made.sessions.idle_hours == 2.0
    for wrong in ('openid.roles={"a": "king"}', "openid.roles={", "openid.roles=[1]", "sessions.password_kibibytes=1"):
        with pytest.raises(ConfigError, match="can't be"):
            changed({}, [wrong])
