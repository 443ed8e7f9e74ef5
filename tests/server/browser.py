"""A browser as the server sees one: it keeps cookies, and its pages send the token of their session; knows nothing of what is asked."""

from __future__ import annotations

from typing import Any

import httpx

from tests.server.running import LONG, Running
from vertune.server.people import Manager
from vertune.store.user import User

PASSWORD = "correct horse battery"


class Browser:
    """One that signs in to a running server; `client` has its cookies, and `token` is that of its session."""

    def __init__(self, running: Running, url: str | None = None) -> None:
        self.client = httpx.Client(base_url=url or running.url, timeout=LONG, trust_env=False, verify=False)
        self.token = ""

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def sign_in(self, name: str | None = None, password: str = PASSWORD, **body: str) -> dict[str, Any]:
        """Sign in, by a name or by what the body has, and return the answer."""
        response = self.client.post("/v1/session", json=body or {"name": name, "password": password})
        assert response.status_code == 201, response.text
        self.token = response.json()["token"]
        return dict(response.json())

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request as a page of the server does."""
        headers = {"X-CSRF-Token": self.token, "Origin": str(self.client.base_url).rstrip("/"), **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


def add_user(running: Running, name: str, role: str = "annotator", customer: str | None = None, password: str | None = PASSWORD) -> User:
    """Create a user as the command line does."""
    assert running.service.people is not None
    return running.service.people.create(name, role, customer, password, Manager("tests"))
