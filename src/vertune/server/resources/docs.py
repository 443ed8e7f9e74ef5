"""`/docs` and `/openapi.json`: the OpenAPI document and Swagger UI, usable offline; does not depend on other resources."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from vertune.server.resource import Resource

resource = Resource("running")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>vertune</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});'
"""Configures Swagger UI to store no key and to contact no validator on another site."""
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
"""The Content-Security-Policy of the page; inline styles are allowed because Swagger UI needs them."""


@resource.get("/openapi.json", scope=None, include_in_schema=False)
def openapi(request: Request) -> Response:
    """Return the OpenAPI document, which describes all endpoints of the server."""
    return Response(request.app.state.document(), media_type="application/json")


@resource.get("/docs", scope=None, include_in_schema=False)
async def page() -> Response:
    """Return the page that shows the OpenAPI document in Swagger UI."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@resource.get("/docs/start.js", scope=None, include_in_schema=False)
async def start() -> Response:
    """Return the script that starts Swagger UI in the page `/docs`."""
    return Response(_START, media_type="text/javascript")


def _serve_asset(name: str, media_type: str) -> None:
    @cache
    def content() -> bytes:
        return (files("fastapi_offline") / "static" / name).read_bytes()

    def asset() -> Response:
        return Response(content(), media_type=media_type)

    _added: Callable[..., Response] = resource.get(f"/docs/{name}", scope=None, include_in_schema=False)(asset)


_serve_asset("swagger-ui.css", "text/css")
_serve_asset("swagger-ui-bundle.js", "text/javascript")
