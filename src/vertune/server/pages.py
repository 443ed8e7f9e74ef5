"""`/docs`: the OpenAPI document to read and try, without a network; knows no resource."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>vertune</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});'
"""The key that is typed in is forgotten with the page, and no validator elsewhere is asked for a badge."""
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
"""Swagger UI sets styles on its elements; nothing else needs leave."""


def routes() -> list[Route]:
    """The page and the three files that it loads."""
    assets = files("fastapi_offline") / "static"
    texts = {
        "swagger-ui.css": (assets / "swagger-ui.css").read_bytes(),
        "swagger-ui-bundle.js": (assets / "swagger-ui-bundle.js").read_bytes(),
        "start.js": _START.encode(),
    }

    async def page(request: Request) -> Response:
        return Response(_PAGE, headers={"Content-Security-Policy": _POLICY}, media_type="text/html")

    def file(name: str) -> Route:
        async def asset(request: Request) -> Response:
            return Response(texts[name], media_type="text/css" if name.endswith("css") else "text/javascript")

        return Route(f"/docs/{name}", asset)

    return [Route("/docs", page), *map(file, texts)]
