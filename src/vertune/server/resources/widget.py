"""`/widget.js`: the chat of an app, which pages of other sites load by one tag; does not depend on what it asks the server."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from vertune.server.resource import Resource
from vertune.server.resources.console import CHECKED, File, file_of, respond

resource = Resource("running")
_NAME = "widget.js"
_COMMENT = re.compile(rb"^\s*(/\*.*?\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_INDENT = re.compile(rb"^\s+", re.MULTILINE)
_FOR_ALL_SITES = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


@resource.get("/widget.js", scope=None, include_in_schema=False)
def widget(request: Request) -> Response:
    """Return the module of the chat. Pages of all sites may load it, because it holds nothing secret; a key decides what it may ask."""
    return respond(request, _script(), CHECKED, _FOR_ALL_SITES)


@cache
def _script() -> File:
    """Return the module without lines of comments and without indentation, which every visitor of a page would load."""
    content = (files("vertune.server") / "console" / _NAME).read_bytes()
    return file_of(_NAME, _INDENT.sub(b"", _COMMENT.sub(b"", content)))
