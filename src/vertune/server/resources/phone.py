"""`/v1/verticals/{vertical}/phone`: the address of a page for a phone in the same network, as a QR code; does not depend on the page."""

from __future__ import annotations

import io
import re
import socket
from urllib.parse import quote, urlsplit

from pydantic import BaseModel
from starlette.requests import Request

from vertune.core.errors import MissingExtra
from vertune.core.machine import loopback
from vertune.server.resource import Resource
from vertune.server.settings import Settings

resource = Resource("running")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_ELSEWHERE = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): connecting to it by UDP sends nothing, but says by which address this machine would send."""


class PhonePage(BaseModel):
    """Where a phone in the same network opens the page that asks a model."""

    url: str | None
    """Null if no other machine can reach the server, because it listens on a loopback address."""
    svg: str | None
    """The address as a QR code: an SVG picture."""


@resource.get("/v1/verticals/{vertical}/phone", scope="predict")
def phone_page(vertical: str, request: Request) -> PhonePage:
    """Return the address of the page that asks a model, for a phone in the same network, and its QR code."""
    origin = _origin(request.app.state.service.settings, request.headers.get("host", ""))
    if origin is None:
        return PhonePage(url=None, svg=None)
    url = f"{origin}/#/try/{quote(vertical, safe='')}"
    return PhonePage(url=url, svg=qr_code(url))


def qr_code(text: str) -> str:
    """Return a text as a QR code (ISO/IEC 18004): an SVG picture with the quiet zone that readers need."""
    try:
        import segno
    except ImportError as error:
        raise MissingExtra("Drawing a QR code", "serve", "segno") from error
    picture = io.BytesIO()
    code = segno.make(text, error="m", micro=False)
    code.save(picture, kind="svg", border=4, dark="#000", light="#fff", xmldecl=False, omitsize=True)
    return picture.getvalue().decode()


def _origin(settings: Settings, host: str) -> str | None:
    """Return the beginning of addresses by which other machines reach the server; `host` is the one that the browser uses now."""
    if settings.openid.url:
        return settings.openid.url.rstrip("/")
    scheme = "https" if settings.secure else "http"
    name, port = _divided(host)
    if name and not loopback(name):
        return f"{scheme}://{host}"
    if loopback(settings.host):
        return None
    found = _own_address() if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104 - it is compared, not listened on
    if found is None or loopback(found):
        return None
    return f"{scheme}://{f'[{found}]' if ':' in found else found}{'' if port is None else f':{port}'}"


def _divided(host: str) -> tuple[str, int | None]:
    """Return the name and the port in a header `Host`; the name is empty if it is not valid."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "", parts.port) if _HOST.fullmatch(host) else ("", None)
    except ValueError:
        return "", None


def _own_address() -> str | None:
    """Return the IP address by which this machine is known in its network; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        try:
            found.connect(_ELSEWHERE)
        except OSError:
            return None
        return str(found.getsockname()[0])
