"""`/` and `/console/…`: the files of the web console, read once; does not depend on what the console asks the server."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from vertune.core.errors import NotFound
from vertune.server.resource import Resource

resource = Resource("running")
_START = "index.html"
_PAGES = (_START, "embed.html")
_STYLES = ("tokens", "base", "layout", "labelling", "records", "serving", "service")
"""The files in styles/, in the order in which later rules replace earlier ones; all pages load them as one file."""
_TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml",
}  # fmt: skip
"""The media type of each kind of file that is served, by the ending of its name."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types 'none'"
)
_RULES = "Content-Security-Policy"
_SCRIPT = re.compile(rb'<script type="module" src="/console/([^"]+)">')
_IMPORT = re.compile(rb'^import [^"]*?from "(\.[^"]+)";', re.MULTILINE)
"""The modules that a script needs from the beginning; those that it imports later are expressions."""
_FOR_EVER = "public, max-age=31536000, immutable"
CHECKED = "no-cache"
"""What browsers do with a file that they have: they ask whether it has changed."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the console: as it is, compressed, and what its response says of it."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


@resource.get("/", scope=None, include_in_schema=False)
def start_page(request: Request) -> Response:
    """Return the page of the console, which loads the files of this version."""
    return response_with(request, _START, policy())


@resource.get("/console/{file:path}", scope=None, include_in_schema=False)
def console_file(file: str, request: Request) -> Response:
    """Return a file of the console. If its path begins with the version, browsers keep it and do not ask again."""
    console = _console(request)
    version, _, rest = file.partition("/")
    current = version == _version()
    # a page of another version, from a server that is being replaced, gets what there is now and does not keep it
    name = rest if current or (file not in console and rest in console) else file
    if name not in console:
        raise NotFound(f"The console has no file '{file[:80]}'. Open the console at the address / and load its page again.")
    return respond(request, console[name], _FOR_EVER if current else CHECKED, {_RULES: policy()})


def policy(ancestors: str = "'none'") -> str:
    """Return the Content-Security-Policy of the console: nothing inline, nothing from elsewhere, and no text that becomes HTML.

    `ancestors` are the origins whose pages may contain it.
    """
    return _POLICY.format(ancestors=ancestors)


def response_with(request: Request, page: str, rules: str) -> Response:
    """Return a page of the console with a Content-Security-Policy; raise NotFound if the console is switched off."""
    return respond(request, _console(request)[page], CHECKED, {_RULES: rules})


def _console(request: Request) -> dict[str, File]:
    """Return the files of the console by path; raise NotFound if the console is switched off."""
    if not request.app.state.service.settings.console:
        raise NotFound("The console is switched off on this server. Start the server without --set console=false, or use the REST API.")
    return _files()


def respond(request: Request, file: File, caching: str, about: dict[str, str]) -> Response:
    """Return a file, compressed if the request allows it, or that it has not changed; `about` are further headers."""
    headers = {"Cache-Control": caching, "ETag": f"W/{file.etag}", "Vary": "Accept-Encoding", **about}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    encodings = {part.split(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",") if "q=0" not in part}
    if "gzip" not in encodings:
        return Response(file.content, headers=headers, media_type=file.media_type)
    return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)


@cache
def _files() -> dict[str, File]:
    """Return all files of the console by path. In the pages, the paths of the others contain the version."""
    contents, prefix = _contents(), f'"/console/{_version()}/'.encode()
    pages = {name: _preloading(contents, name).replace(b'"/console/', prefix) for name in _PAGES}
    return {name: file_of(name, content) for name, content in {**contents, **pages}.items()}


def _preloading(contents: dict[str, bytes], page: str) -> bytes:
    """Return a page that names all modules its script imports, so that the browser loads them at once and not one after another."""
    found = _SCRIPT.search(contents[page])
    assert found is not None
    names = [found[1].decode()]
    for name in names:
        folder = posixpath.dirname(name)
        imported = (posixpath.normpath(posixpath.join(folder, path.decode())) for path in _IMPORT.findall(contents[name]))
        names += [one for one in dict.fromkeys(imported) if one not in names]
    links = "".join(f'<link rel="modulepreload" href="/console/{name}">\n' for name in names[1:])
    return contents[page].replace(found[0], links.encode() + found[0])


@cache
def _version() -> str:
    """Return a hash of all files, which is a part of their addresses, so that no browser mixes the files of two versions."""
    digest = hashlib.sha256()
    for name, content in sorted(_contents().items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@cache
def _contents() -> dict[str, bytes]:
    found = dict(_walk(files("vertune.server") / "console", ""))
    return {**found, "console.css": b"".join(found[f"styles/{name}.css"] for name in _STYLES)}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _ending(entry.name) in _TYPES:
            yield prefix + entry.name, entry.read_bytes()


def _ending(name: str) -> str:
    return f".{name.rpartition('.')[2]}"


def file_of(name: str, content: bytes) -> File:
    """Return what is served for a content under a name, whose ending says its media type."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return File(content, gzip.compress(content, mtime=0), _TYPES[_ending(name)], etag)
