"""Calls of a vertune server over HTTP, each within one deadline; knows nothing of what the server does with them."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from vertune.core.errors import (
    AccessError,
    Busy,
    ConfigError,
    Conflict,
    DataError,
    MissingExtra,
    ModelError,
    NotFound,
    StorageError,
    VertuneError,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import httpx

    from vertune.core.records import Answer

Inputs = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""One text, one record, or several of either."""
T = TypeVar("T")
_VERSIONS = "See that the URL is a vertune server's, of this client's version."
_PAUSE = 0.1
"""Seconds before the second try where the server names none."""
_BY_STATUS: dict[int, type[VertuneError]] = {
    400: DataError, 404: NotFound, 409: Conflict, 413: DataError, 415: DataError, 422: DataError, 507: StorageError,
}  # fmt: skip


class Client:
    """A vertune server, asked by its REST interface; safe for many threads, and best closed by `with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        deadline: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key` is VERTUNE_KEY of the environment where none is given; `deadline` is seconds for a whole call, a second try included.

        `transport` is how httpx reaches the server, where that is not by its own sockets. Raises ConfigError, MissingExtra.
        """
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("The client", "serve", "httpx") from error
        if not 0 < deadline < math.inf:
            raise ConfigError(f"The deadline of a call is a number of seconds over 0; got {deadline}.")
        place = _checked_url(url)
        self.url = str(place).rstrip("/")
        self.deadline = deadline
        self._http = httpx.Client(
            base_url=self.url,
            headers=_headers(os.environ.get("VERTUNE_KEY") if key is None else key),
            transport=transport,
            trust_env=place.host not in {"127.0.0.1", "::1", "localhost"},  # a proxy is no way to this machine itself
        )

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def predict(self, vertical: str, inputs: Inputs) -> list[Answer]:
        """One answer an input; every error of vertune.core.errors that the server knows, and Busy where no server answers."""
        body = _body(inputs)
        return _answers(self._call("POST", f"/v1/verticals/{quote(vertical, safe='')}/predict", body), body)

    def ask(self, verticals: Sequence[str], inputs: Inputs) -> dict[str, list[Answer]]:
        """The same inputs to several verticals in one call: one answer an input, by vertical; errors as of `predict`."""
        body = _body(inputs)
        results = _part(self._call("POST", "/v1/predict", {"verticals": list(verticals), **body}), "results", list)
        return {_part(result, "vertical", str): _answers(result, body) for result in results}

    def embed(self, vertical: str, texts: str | Sequence[str]) -> list[list[float]]:
        """One vector a text; errors as of `predict`."""
        wanted = [texts] if isinstance(texts, str) else list(texts)
        found = _part(self._call("POST", "/v1/embeddings", {"model": vertical, "input": wanted}), "data", list)
        vectors = {_part(entry, "index", int): _part(entry, "embedding", list) for entry in found}
        if sorted(vectors) != list(range(len(wanted))):
            raise ModelError(f"Expected {len(wanted)} vectors, one a text; the server sent {len(found)}. {_VERSIONS}")
        return [vectors[place] for place in range(len(wanted))]

    def verticals(self) -> list[dict[str, Any]]:
        """What the server serves and this key may see: name, model, task, precision …; errors as of `predict`."""
        return _part(self._call("GET", "/v1/verticals"), "verticals", list)

    def ready(self) -> bool:
        """Whether the server takes requests now; False too where none answers. Asks once."""
        try:
            return _part(self._once("GET", "/health/ready", None, time.monotonic() + self.deadline), "ready", bool)
        except (Busy, ModelError):
            return False

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the server answers, with a second try where the first one was not taken up and time is left for the wait."""
        end = time.monotonic() + self.deadline
        try:
            return self._once(method, path, body, end)
        except Busy as busy:
            if time.monotonic() + busy.retry_after >= end:
                raise
            time.sleep(busy.retry_after)
        return self._once(method, path, body, end)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None, end: float) -> Any:
        """What the server answers, or its error as one of ours; Busy alone is worth a second try."""
        left = max(end - time.monotonic(), 0.001)
        try:
            deadline = {"X-Deadline-Ms": str(math.ceil(left * 1000))}
            # A connection is given up a little before the whole, so that a server that is not there is told from a slow one.
            limits = (0.9 * left, left, left, left)
            request = self._http.build_request(method, path, json=body, headers=deadline, timeout=limits)
        except (TypeError, ValueError) as error:
            raise DataError(f"Expected texts, or records of texts and numbers; got what JSON can't hold: {error}.") from error
        response, content = self._exchange(request, end)
        if not response.is_success:
            raise self._problem(response, content)
        try:
            return json.loads(content)
        except ValueError as error:
            raise ModelError(f"Expected JSON from {self.url}, and something else came. See that the URL is a vertune server's.") from error

    def _exchange(self, request: httpx.Request, end: float) -> tuple[httpx.Response, bytes]:
        """The response and its body, waited for until `end` and no longer.

        It is made in a thread of its own, because httpx counts from one piece to the next: names, addresses or the bytes of a head
        that come one by one may take any time. One that is given up ends with its connection, and keeps no process from its end.
        """
        call: Future[tuple[httpx.Response, bytes]] = Future()

        def run() -> None:
            try:
                response = self._send(request)
                call.set_result((response, self._read(response, end)))
            except BaseException as error:
                call.set_exception(error)

        threading.Thread(target=run, name="vertune.client", daemon=True).start()
        try:
            return call.result(max(end - time.monotonic(), 0))
        except TimeoutError as error:
            raise self._late() from error

    def _send(self, request: httpx.Request) -> httpx.Response:
        """The head of the response."""
        import httpx

        try:
            return self._http.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Busy(f"No vertune server answers at {self.url} ({error}); start one: vertune serve", retry_after=_PAUSE) from error
        except httpx.TimeoutException as error:
            raise self._late() from error
        except httpx.TransportError as error:
            raise Busy(f"The connection to {self.url} broke before an answer came ({error}). Ask again.", retry_after=_PAUSE) from error

    def _read(self, response: httpx.Response, end: float) -> bytes:
        """The body of the response; the deadline holds for all of it, where httpx counts from one piece to the next."""
        import httpx

        parts = []
        try:
            with closing(response):
                for part in response.iter_bytes():
                    if time.monotonic() > end:
                        raise self._late()
                    parts.append(part)
        except httpx.TimeoutException as error:
            raise self._late() from error
        except httpx.RequestError as error:
            raise ModelError(f"The connection to {self.url} broke in the middle of an answer ({error}). Ask again.") from error
        return b"".join(parts)

    def _late(self) -> ModelError:
        return ModelError(f"{self.url} did not answer within {self.deadline:g} s. Send less at once, or give the client a longer deadline.")

    def _problem(self, response: httpx.Response, content: bytes) -> VertuneError:
        """The error of ours that a response of application/problem+json stands for."""
        status = response.status_code
        told = None
        with suppress(ValueError):
            told = json.loads(content)
        found = (told.get("detail") or told.get("title")) if isinstance(told, dict) else None
        text = str(found or f"{self.url} answered with status {status} and said no more. See that the URL is a vertune server's.")
        if status in {401, 403}:
            return AccessError(text, authenticated=status == 403)
        if status in {429, 503}:
            return Busy(text, retry_after=_pause(response.headers), over_limit=status == 429)
        return _BY_STATUS.get(status, ModelError)(text)


def _checked_url(url: str) -> httpx.URL:
    import httpx

    if "@" in url:  # not repeated, for a password may stand in it
        raise ConfigError("The URL of a server holds no name or password, and one came. Leave it out; the key is given as VERTUNE_KEY.")
    with suppress(httpx.InvalidURL):
        found = httpx.URL(url)
        usable = found.scheme in {"http", "https"} and found.host and (found.port is None or 0 < found.port < 65536)
        if usable and not found.query and not found.fragment:
            return found
    raise ConfigError(f"Expected the URL of a server, such as http://127.0.0.1:8000; got {url!r}.")


def _headers(key: str | None) -> dict[str, str]:
    """What says who asks; a key that no header can carry is refused here, because httpx would repeat it in its own error."""
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("A key is letters, digits, '-' and '_' in one piece; what came holds something else. Copy it again, whole.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _body(inputs: Inputs) -> dict[str, list[Any]]:
    several = [inputs] if isinstance(inputs, (str, Mapping)) else list(inputs)
    if all(isinstance(one, str) for one in several):
        return {"texts": several}
    if all(isinstance(one, Mapping) for one in several):
        return {"records": [dict(one) for one in several if isinstance(one, Mapping)]}
    kinds = ", ".join(sorted({type(one).__name__ for one in several}))
    raise DataError(f"Expected texts alone or records (mappings) alone in one call; got {kinds}. Write a text as a record: {{'text': …}}.")


def _answers(told: Any, body: Mapping[str, list[Any]]) -> list[Answer]:
    """The answers, after seeing that there is one an input."""
    asked = sum(map(len, body.values()))
    found: list[Answer] = _part(told, "answers", list)
    if len(found) != asked:
        raise ModelError(f"Expected {asked} answers, one an input; the server sent {len(found)}. {_VERSIONS}")
    return found


def _part(told: Any, name: str, kind: type[T]) -> T:
    found = told.get(name) if isinstance(told, dict) else None
    if isinstance(found, kind):
        return found
    raise ModelError(f"Expected '{name}' in what the server sent, and it is not there. {_VERSIONS}")


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds to wait, to the millisecond where the server says so; a header that says no number, or a date, is a short pause."""
    for name, parts in (("Retry-After-Ms", 1000), ("Retry-After", 1)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) / parts
            if 0 <= seconds < math.inf:
                return seconds
    return _PAUSE
