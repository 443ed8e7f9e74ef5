"""What browsers must know before a page of another origin may use this server (CORS); does not depend on which pages may.

A browser asks first, without a key (a preflight), and then sends the request with the key. Neither answer allows cookies.
"""

from __future__ import annotations

HEADER = "X-Conversation-Token"
"""The header with the secret of a conversation."""
_METHODS = "GET, POST, DELETE"
_HEADERS = f"Authorization, Content-Type, {HEADER}"
_SECONDS = 600
"""How long browsers may remember the answer to a preflight; a key that is revoked is refused all the same."""


def headers(origin: str) -> list[tuple[bytes, bytes]]:
    """Return the headers with which a page of this origin may read a response."""
    exposed = b"Retry-After, Retry-After-Ms, X-Request-Id"
    return [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin"), (b"access-control-expose-headers", exposed)]


def preflight(origin: str) -> dict[str, str]:
    """Return the headers of the answer to a preflight from a page of this origin."""
    return {
        "Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Max-Age": str(_SECONDS), "Vary": "Origin",
    }  # fmt: skip
