"""The cookie of a signed-in browser, and the proof that a request comes from a page of this server; knows nothing of sessions.

A cookie is sent by the browser alone and never by a script (HttpOnly), and with no request that another site causes (SameSite). With
encrypted connections it has the prefix `__Host-`, so that no other host of the same domain can set it.
"""

from __future__ import annotations

import hmac
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

from vertune.core.errors import AccessError

SESSION = "vertune_session"
"""The name of the cookie with a session, without the prefix."""
TOKEN = "X-CSRF-Token"  # noqa: S105 - the name of a header
"""The header with the token of the session, which requests that change something need."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_LONGEST = 200
"""Maximum length of a cookie of ours."""


def cookie_name(name: str, secure: bool) -> str:
    """Return the name of a cookie as browsers send it; `secure` tells whether they reach the server through encrypted connections."""
    return f"__Host-{name}" if secure else name


def read_cookie(request: Request, name: str, secure: bool) -> str | None:
    """Return the value of a cookie; None if there is none, or it is too long to be ours."""
    header = request.headers.get("cookie")
    if header is None:
        return None
    wanted = cookie_name(name, secure)
    for pair in header.split(";"):
        found, equals, value = pair.strip().partition("=")
        if equals and found == wanted:
            return value if 0 < len(value) <= _LONGEST else None
    return None


def set_cookie(name: str, value: str, secure: bool, seconds: float, same_site: Literal["Strict", "Lax"] = "Strict") -> str:
    """Return the header Set-Cookie that stores a cookie for some seconds; 0 deletes it."""
    parts = [f"{cookie_name(name, secure)}={value}", "Path=/", f"Max-Age={int(seconds)}", "HttpOnly", f"SameSite={same_site}"]
    return "; ".join([*parts, *(["Secure"] if secure else [])])


def check_page(request: Request) -> None:
    """Raise AccessError if a page of another site made the browser send this request.

    Browsers tell it in the header Sec-Fetch-Site, and older ones in the header Origin. Other clients send neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = request.headers.get("host", "")
    foreign = origin is not None and urlsplit(origin).netloc != host if site is None else site != "same-origin"
    if foreign:
        raise AccessError(
            "A page of another site made the browser send this request. Open the pages of this server itself; a proxy before it must pass "
            "the header Host unchanged."
        )


def check_token(request: Request, token: str) -> None:
    """Raise AccessError if a request does not have the token of the session, which only pages of this server can read."""
    sent = request.headers.get(TOKEN, "")
    if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), token.encode()):
        raise AccessError(
            f"The header {TOKEN} is missing or wrong; expected the token of this session. Get it with GET /v1/session, and send it again."
        )
