"""Every response guards the browser that gets it; the pages need no network; the document fits its own references."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.server.running import Wire, problem, request
from vertune.core.records import Record

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
GUARDS = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}  # fmt: skip


def guarded(headers) -> None:
    assert {name: headers.get(name) for name in GUARDS} == GUARDS
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert not [name for name in headers if name.lower().startswith("access-control") or name.lower() in ("server", "x-powered-by")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200), ("GET", "/docs", 200), ("GET", "/docs/swagger-ui.css", 200), ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200), ("GET", "/v1/verticals", 200), ("GET", "/nothing", 404), ("GET", "/docs/", 404), ("TRACE", "/docs", 405),
        ("POST", "/v1/predict", 415), ("OPTIONS", "/v1/predict", 405), ("GET", "/v1/verticals/none", 404), ("HEAD", "/docs", 200),
    ],
)  # fmt: skip
def test_every_response_is_guarded_and_closed_to_other_sites(server, method, path, status) -> None:
    """A preflight is answered as any other request that is not taken."""
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    found = server.ask.request(method, path, headers=asked)
    assert found.status_code == status
    guarded(found.headers)
    guarded(server.stranger.request(method, path, headers=asked).headers)


def test_an_unforeseen_error_is_a_guarded_problem_that_says_nothing_and_is_logged_once(server, monkeypatch, caplog) -> None:
    def fail(*given):
        raise RuntimeError("something private")

    monkeypatch.setattr("vertune.answering.service.AnswerService.answer", fail)
    before = server.metric("vertune_requests_total", resource="refused", status="500")
    found = server.predict("intent", "a")
    assert "Report this to its operator" in problem(found, 500)
    assert "private" not in found.text
    guarded(found.headers)
    assert server.metric("vertune_requests_total", resource="refused", status="500") == before + 1
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert server.ask.get("/v1/verticals").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        request("/v1/predict", b"5\r\nab", "Transfer-Encoding: chunked") + b"\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000,
    ],
    ids=["no http", "broken chunks", "large header"],
)
def test_a_response_to_what_no_application_sees_is_guarded_too(server, sent) -> None:
    with Wire(server.port, sent) as wire:
        head, _, body = wire.end().partition(b"\r\n\r\n")
    lines = dict(line.decode().lower().split(": ", 1) for line in head.split(b"\r\n")[1:])
    assert lines["content-type"] == "application/problem+json"
    assert lines["connection"] == "close"
    assert int(lines["content-length"]) == len(body)
    assert {name: lines.get(name) for name in GUARDS} == {name: value.lower() for name, value in GUARDS.items()}


# ------------------------------------------------------------------ pages


class Links(HTMLParser):
    """All that a page loads or leads to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        self.inline += "".join(value or "" for name, value in attrs if name.startswith("on") or name == "style")

    def handle_data(self, data: str) -> None:
        self.inline += data if self.lasttag in ("script", "style") else ""


def test_the_docs_load_nothing_from_elsewhere(server) -> None:
    page = server.ask.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = Links(page.text)
    assert len(links.found) == 3
    assert not links.inline.strip(), "the policy lets nothing inline run"
    for link in links.found:
        assert re.fullmatch(r"/docs/[a-z.-]+", link)
        asset = server.ask.get(link)
        assert asset.status_code == 200
        assert asset.headers["content-type"].startswith("text/css" if link.endswith("css") else "text/javascript")
        if link.endswith("css"):
            assert not [url for url in re.findall(r"url\(([^)]*)\)", asset.text) if not url.strip("'\"").startswith("data:")]
    started = server.ask.get("/docs/start.js").text
    assert "http" not in started.replace("/openapi.json", "")
    assert "validatorUrl: null" in started, "else the spec is sent to a validator elsewhere"
    assert "persistAuthorization" not in started, "a key stays in no browser's storage"


def test_the_policy_of_the_docs_names_no_other_place(server) -> None:
    policy = dict(part.strip().split(" ", 1) for part in server.ask.get("/docs").headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert "'unsafe-inline'" not in policy["script-src"]


# ------------------------------------------------------------------ the document


@pytest.fixture(scope="module")
def document(server) -> Record:
    return server.ask.get("/openapi.json").json()


def test_every_reference_of_the_document_leads_somewhere(document) -> None:
    import json

    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names == set(document["components"]["schemas"]), "nothing dangles, and nothing is there for nothing"


SCOPES = {
    "/v1/datasets": "train", "/v1/jobs": "train", "/v1/users": "train", "/v1/keys": "admin", "/v1/parts": "train", "/v1/session": None,
    "/health": None, "/v1/desk": "review", "/v1/apps/{app}/incoming": None, "/v1/apps/{app}/try": "predict",
    "/v1/apps/{app}/unanswered": "review", "/v1/apps/{app}/entries": "review", "/v1/apps/{app}/faq": "review",
    "/v1/apps/{app}/labels": "review", "/v1/apps": "chat",
}  # fmt: skip
"""By the beginning of a path, the scope that all its operations need; None if they need no key."""
MANAGED = [
    ("post", ""),
    ("post", "/{project}/records"),
    ("patch", "/{project}"),
    ("delete", "/{project}"),
    ("post", "/{project}/train"),
    ("get", "/{project}/quality"),
]
REVIEWED = ("/records", "/reviews", "/labels/many", "/labels/undo", "/decisions", "/decisions/{record}", "/export")
"""Operations on labelling projects that need the scope train or review; all others need label."""


def scope_of(verb: str, path: str) -> str | None:
    """The scope that an operation needs."""
    if path.startswith("/v1/projects"):
        about = path.removeprefix("/v1/projects")
        return "train" if (verb, about) in MANAGED else "review" if about.endswith(REVIEWED) else "label"
    if beginning := next((one for one in SCOPES if path.startswith(one)), None):
        return SCOPES[beginning]
    if path.endswith("/nearest"):
        return "train"
    if (verb, path) == ("post", "/v1/retrainings"):
        return "train"
    changes = verb in ("put", "delete") or (verb == "post" and path.endswith(("/rollout", "/promote", "/rollback")))
    administered = changes or path in ("/v1/deletions", "/v1/audit") or path.endswith("/report") or (verb, path) == ("post", "/v1/silences")
    return "feedback" if "/feedback" in path or path.endswith(("/acknowledge", "/false")) else "admin" if administered else "predict"


def test_the_document_says_what_needs_a_key_and_that_errors_are_problems(document) -> None:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            scope = scope_of(verb, path)
            assert operation["security"] == ([] if scope is None else [{"key": [scope]}, {"session": []}]), (verb, path)
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/health/ready":
                    assert list(answer["content"]) == ["application/problem+json"]
            if scope is not None:
                assert {"401", "403", "429", "500", "503"} <= set(operation["responses"]), (verb, path)


def test_the_document_of_an_open_server_needs_no_key(fleet, start) -> None:
    assert "securitySchemes" not in start(fleet).ask.get("/openapi.json").json()["components"]
