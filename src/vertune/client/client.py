"""A Python client that calls a vertune server over HTTP, each call within a deadline; independent of models."""

from __future__ import annotations

import json
import math
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
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
from vertune.core.ids import time_ordered_id
from vertune.core.machine import loopback

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import httpx

    from vertune.core.records import Answer

Inputs = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""One text, one record, a sequence of texts, or a sequence of records."""
Body = Mapping[str, Any] | bytes | None
"""The body of a request: fields of a JSON object, or the content of a file."""
T = TypeVar("T")
_MEDIA_TYPES = {".csv": "text/csv", ".jsonl": "application/x-ndjson", ".parquet": "application/vnd.apache.parquet"}
"""By the ending of a file, the media type with which it is uploaded."""
_CHECK_URL = "Check that the URL is that of a vertune server"
_CHECK_VERSION = f"{_CHECK_URL} of the same version as this client."
_RETRY_DELAY = 0.1
"""Seconds before the second attempt if the response of the server names no delay."""
_BY_STATUS: dict[int, type[VertuneError]] = {
    400: DataError, 404: NotFound, 409: Conflict, 413: DataError, 415: DataError, 422: DataError, 507: StorageError,
}  # fmt: skip


class Client:
    """A client of the REST interface of a vertune server; thread-safe. Close it, or use it in a `with` statement."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        deadline: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        *,
        ca: str | Path | None = None,
        cert: str | Path | tuple[str | Path, str | Path] | None = None,
        insecure: bool = False,
    ) -> None:
        """Create a client; raise ConfigError for an invalid argument, and MissingExtra if a package such as httpx is not installed.

        `key` is the API key; it defaults to the environment variable VERTUNE_KEY. `deadline` is the maximum number of seconds per
        call, including a second attempt. It does not limit the time to resolve a host name. `transport` replaces the network
        connections of httpx in tests; such a transport must enforce the deadline itself.

        `ca` is a PEM file, or a folder of them, with the certificates of the authorities that may sign the server's certificate; by
        default those that httpx trusts. `cert` is the certificate of this client: a PEM file that also contains the private key, or
        the files of both. `insecure` allows a URL that begins with `http://` and names another machine: the key and the texts then
        cross the network unencrypted.
        """
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("The client", "serve", "httpx") from error
        from vertune.client import deadline as deadline_module

        if not 0 < deadline < math.inf:
            raise ConfigError(f"The deadline is {deadline}; expected a finite number of seconds over 0. Pass for example deadline=10.")
        checked_url = _checked_url(url)
        local = loopback(checked_url.host)
        if checked_url.scheme == "http" and not local and not insecure:
            raise ConfigError(
                f"The URL {url!r} would send the key and the texts unencrypted to another machine; expected https. Use the https address "
                "of the server, or pass insecure=True if the network is trusted."
            )
        self.url = str(checked_url).rstrip("/")
        self.deadline = deadline
        self.has_key = bool(_headers(os.environ.get("VERTUNE_KEY") if key is None else key))
        """Whether an API key is sent."""
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=_headers(os.environ.get("VERTUNE_KEY") if key is None else key),
                transport=transport,
                verify=_tls_context(ca, cert) if checked_url.scheme == "https" else False,
                trust_env=not local,  # a proxy can't reach the loopback address of this machine
            )
        except ImportError as error:
            raise MissingExtra("A SOCKS proxy", "serve", "socksio") from error
        except (ValueError, httpx.InvalidURL) as error:
            raise ConfigError(
                f"A proxy in the environment can't be used: {error}. Write HTTP_PROXY, HTTPS_PROXY and ALL_PROXY as URLs such as "
                "http://proxy.example:3128, and the hosts in NO_PROXY separated by commas."
            ) from error
        deadline_module.apply_to(self._http)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, vertical: str, inputs: Inputs) -> list[Answer]:
        """Return one prediction per input, made by the model that the server serves under the name `vertical`.

        Raises the error (a class of `vertune.core.errors`) that the server reports, Busy if no server can be reached, and ModelError
        if the response is invalid or does not arrive before the deadline.
        """
        body = _body(inputs)
        return _answers(self._call("POST", f"/v1/verticals/{quote(vertical, safe='')}/predict", body), body)

    def predict_with_ids(self, vertical: str, inputs: Inputs) -> list[tuple[str, Answer]]:
        """Return one prediction per input, each with its id, by which `feedback` can name it; otherwise the same as `predict`."""
        body = _body(inputs)
        result = self._call("POST", f"/v1/verticals/{quote(vertical, safe='')}/predict", body)
        answers = _answers(result, body)
        ids = _field(result, "ids", list)
        if len(ids) != len(answers):
            raise ModelError(f"The server returned {len(answers)} answers and {len(ids)} ids; expected as many. {_CHECK_VERSION}")
        return list(zip(ids, answers, strict=True))

    def feedback(self, *, answer: str | None = None, vertical: str | None = None, **said: Any) -> dict[str, Any]:
        """Send what a user says about an answer, named by its id, or about a `text` or `record` and a `vertical`; return what is stored.

        `said` are the other fields of the request: `verdict` (right or wrong), `target` (the right answer), `comment`, `score` (1 to 5),
        `author`, `trust`. Raises the same errors as `predict`.
        """
        named = {name: value for name, value in (("answer", answer), ("vertical", vertical)) if value is not None}
        once = {"Idempotency-Key": time_ordered_id()}  # so that a second attempt stores nothing twice
        return dict(self._call("POST", "/v1/feedback", {**named, **said}, once))

    def ask(self, verticals: Sequence[str], inputs: Inputs) -> dict[str, list[Answer]]:
        """Predict for the same inputs with several served models, given by name; return one prediction per input for each name.

        Raises the same errors as `predict`.
        """
        body = _body(inputs)
        results = _field(self._call("POST", "/v1/predict", {"verticals": list(verticals), **body}), "results", list)
        return {_field(result, "vertical", str): _answers(result, body) for result in results}

    def embed(self, vertical: str, texts: str | Sequence[str]) -> list[list[float]]:
        """Return one embedding vector per text, in the same order.

        `vertical` is the name of the served model that computes the vectors; its task must be `embed`.

        Raises the same errors as `predict`.
        """
        inputs = [texts] if isinstance(texts, str) else list(texts)
        entries = _field(self._call("POST", "/v1/embeddings", {"model": vertical, "input": inputs}), "data", list)
        vectors = {_field(entry, "index", int): _field(entry, "embedding", list) for entry in entries}
        if sorted(vectors) != list(range(len(inputs))):
            raise ModelError(f"The server sent {len(entries)} vectors. Expected {len(inputs)} vectors, one per text. {_CHECK_VERSION}")
        return [vectors[index] for index in range(len(inputs))]

    def upload(self, file: str | Path, name: str | None = None) -> dict[str, Any]:
        """Send a file with records (.csv, .jsonl or .parquet), for jobs; return its id and what the server found in it.

        `name` is what the file is called on the server, by default its own name. The file must arrive before the deadline of the client.
        Raises DataError for another kind of file, and the same errors as `predict`.
        """
        path = Path(file)
        kind = _MEDIA_TYPES.get(path.suffix.lower())
        if kind is None:
            raise DataError(f"The file '{path}' can't be uploaded; expected one that ends with {', '.join(_MEDIA_TYPES)}. Convert it.")
        query = quote(path.name if name is None else name, safe="")
        return dict(self._call("POST", f"/v1/datasets?name={query}", path.read_bytes(), {"Content-Type": kind}))

    def start_job(self, kind: str, **request: Any) -> dict[str, Any]:
        """Start a job on the server, such as `fit` with a `config`, or `predict` with a `model` and a `dataset`; return it with its id.

        Raises the same errors as `predict`.
        """
        once = {"Idempotency-Key": time_ordered_id()}  # so that a second attempt starts nothing twice
        return dict(self._call("POST", "/v1/jobs", {"kind": kind, **request}, once))

    def job(self, id: str) -> dict[str, Any]:
        """Return a job: its `state` (queued, running, done, failed or cancelled), its `result`, and `why` it failed.

        Raises the same errors as `predict`.
        """
        return dict(self._call("GET", f"/v1/jobs/{quote(id, safe='')}"))

    def wait(self, id: str, interval: float = 1.0) -> dict[str, Any]:
        """Wait until a job has ended, however long that takes, and return it; `interval` is the number of seconds between two looks.

        Raises the same errors as `predict`.
        """
        while (found := self.job(id))["state"] in ("queued", "running"):
            time.sleep(interval)
        return found

    def verticals(self) -> list[dict[str, Any]]:
        """Return a dict for each vertical (a name under which the server serves a model) that the API key may use.

        Each dict contains the name, the id of the model, its task, its precision and more.
        Raises the same errors as `predict`.
        """
        return _field(self._call("GET", "/v1/verticals"), "verticals", list)

    def ready(self) -> bool:
        """Return whether the server accepts requests now, by a single attempt; return False if no server responds."""
        try:
            return _field(self._attempt("GET", "/health/ready", None, {}, time.monotonic() + self.deadline), "ready", bool)
        except (Busy, ModelError):
            return False

    def look(self, path: str) -> tuple[int, dict[str, str], Any]:
        """Return the status, the headers and the content of the response to a GET request, whatever the status, by a single attempt.

        The content is decoded if it is JSON, else a text. Raises Busy if no server responds, ConfigError if no encrypted connection can be
        made, and ModelError if the response does not arrive before the deadline.
        """
        end = time.monotonic() + self.deadline
        request = self._http.build_request("GET", path, timeout=(0.9 * self.deadline, self.deadline, self.deadline, self.deadline))
        response, content = self._exchange(request, end)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = content.decode(errors="replace")
        return response.status_code, dict(response.headers), found

    def _call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a request and return the decoded response.

        If the server is busy or unreachable, the request is sent once more after a delay, which a busy server states in its
        response. If the delay would end after the deadline, Busy is raised at once.
        """
        end = time.monotonic() + self.deadline
        try:
            return self._attempt(method, path, body, headers or {}, end)
        except Busy as busy:
            if time.monotonic() + busy.retry_after >= end:
                raise
            time.sleep(busy.retry_after)
        return self._attempt(method, path, body, headers or {}, end)

    def _attempt(self, method: str, path: str, body: Body, headers: Mapping[str, str], end: float) -> Any:
        """Send a request once and return the decoded response; if the response describes an error, raise that error.

        `end` is the deadline as a monotonic time.
        """
        remaining = max(end - time.monotonic(), 0.001)
        # The timeout for connecting is shorter than the others, so that a missing server is distinguished from a slow one.
        timeouts = (0.9 * remaining, remaining, remaining, remaining)
        headers = {**headers, "X-Deadline-Ms": str(math.ceil(remaining * 1000))}
        try:
            sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            request = self._http.build_request(method, path, headers=headers, timeout=timeouts, **sent)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The inputs contain a value that JSON can't represent: {error}. Send texts, or records of texts and numbers."
            ) from error
        response, content = self._exchange(request, end)
        if not response.is_success:
            raise self._problem(response, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:  # the latter for lists in lists in lists …
            raise ModelError(f"The response of {self.url} is not JSON. {_CHECK_URL}.") from error

    def _exchange(self, request: httpx.Request, end: float) -> tuple[httpx.Response, bytes]:
        """Send a request; return the response and its body. `end` is the deadline as a monotonic time.

        Raises ConfigError if no encrypted connection can be made, for example because of the certificate of the server. Raises Busy
        if the connection fails for another reason before the response begins, and ModelError if it fails later, or if the body is
        not complete at the deadline.
        """
        import httpx

        from vertune.client.deadline import until

        with until(end):
            try:
                response = self._http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if _is_about_tls(error):
                    raise self._tls_error(error) from error
                message = f"No vertune server answers at {self.url} ({error}). Check the URL, or start one: vertune serve"
                raise Busy(message, retry_after=_RETRY_DELAY) from error
            except httpx.TimeoutException as error:
                raise self._timeout() from error
            except httpx.TransportError as error:
                if _is_about_tls(error):
                    raise self._tls_error(error) from error
                message = f"The connection to {self.url} broke before an answer came ({error}). Try again."
                raise Busy(message, retry_after=_RETRY_DELAY) from error
            try:
                return response, response.read()
            except httpx.TimeoutException as error:
                raise self._timeout() from error
            except httpx.RequestError as error:
                raise ModelError(f"The connection to {self.url} was lost in the middle of an answer ({error}). Try again.") from error
            finally:
                response.close()

    def _timeout(self) -> ModelError:
        return ModelError(f"{self.url} did not answer within {self.deadline:g} s. Send fewer inputs per call, or set a longer deadline.")

    def _tls_error(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"No encrypted connection to {self.url} can be made: {error}. Check the URL and the certificate of the server; pass ca=FILE if "
            "your own authority has signed it, and cert=FILE if the server requires a certificate of its clients."
        )

    def _problem(self, response: httpx.Response, content: bytes) -> VertuneError:
        """Convert an error response to an exception, whose class depends on the HTTP status.

        The message of the exception is the one in the response (application/problem+json), if there is one.
        """
        status = response.status_code
        problem = None
        with suppress(ValueError, RecursionError):
            problem = json.loads(content)
        detail = (problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else None
        message = str(detail or f"{self.url} answered with status {status} and without an explanation. {_CHECK_URL}.")
        if status in {401, 403}:
            return AccessError(message, authenticated=status == 403)
        if status in {429, 503}:
            return Busy(message, retry_after=_retry_delay(response.headers), over_limit=status == 429)
        return _BY_STATUS.get(status, ModelError)(message)


def _tls_context(ca: str | Path | None, cert: str | Path | tuple[str | Path, str | Path] | None) -> ssl.SSLContext:
    """Return the settings of encrypted connections: the trusted authorities, and the certificate of this client.

    The arguments are those of `Client`. Raises ConfigError if a file can't be read.
    """
    import httpx

    try:
        if ca is None:
            context = httpx.create_ssl_context()
        elif Path(ca).is_dir():
            context = ssl.create_default_context(capath=str(ca))
        else:
            context = ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise ConfigError(
            f"The certificates in ca={str(ca)!r} can't be read: {error}. Pass a PEM file, or a folder of PEM files."
        ) from error
    if cert is not None:
        files = cert if isinstance(cert, tuple) else (cert,)
        try:
            context.load_cert_chain(*map(str, files))
        except OSError as error:
            raise ConfigError(
                f"The client's certificate in cert={cert!r} can't be read: {error}. Pass a PEM file with the certificate and its private "
                "key, or a tuple of two files."
            ) from error
    return context


def _is_about_tls(error: BaseException) -> bool:
    """Return whether an error, or an error that caused it, is one of encryption, such as a certificate that is not trusted."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return any(isinstance(one, ssl.SSLError) for one in causes)


def _checked_url(url: str) -> httpx.URL:
    import httpx

    if "@" in url:  # the message does not repeat it, because it may contain a password
        raise ConfigError("The URL contains a user name or a password; expected none. Remove it, and set VERTUNE_KEY to the API key.")
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(url)
        usable = parsed.scheme in {"http", "https"} and parsed.host and (parsed.port is None or 0 < parsed.port < 65536)
        if usable and not parsed.query and not parsed.fragment:
            return parsed
    raise ConfigError(f"The URL {url!r} is not valid; expected http or https, a host and no query. Use one such as http://127.0.0.1:8000.")


def _headers(key: str | None) -> dict[str, str]:
    """Return the header Authorization for an API key, or no header if there is no key.

    Raises ConfigError if the key has characters that no API key has; the message does not contain the key.
    """
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("The API key contains characters other than ASCII letters, digits, '-' and '_'. Copy it again completely.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _body(inputs: Inputs) -> dict[str, list[Any]]:
    several = [inputs] if isinstance(inputs, (str, Mapping)) else list(inputs)
    if all(isinstance(one, str) for one in several):
        return {"texts": several}
    if all(isinstance(one, Mapping) for one in several):
        return {"records": [dict(one) for one in several if isinstance(one, Mapping)]}
    types = ", ".join(sorted({type(one).__name__ for one in several}))
    raise DataError(
        f"The inputs have the types {types}. Expected only texts or only records (dicts). Write a text among records as {{'text': …}}."
    )


def _answers(result: Any, body: Mapping[str, list[Any]]) -> list[Answer]:
    """Return the predictions of one model from a decoded response; `body` is the body of the request.

    Raises ModelError if the number of predictions differs from the number of inputs in the request.
    """
    expected = sum(map(len, body.values()))
    answers: list[Answer] = _field(result, "answers", list)
    if len(answers) != expected:
        raise ModelError(f"The server sent {len(answers)} answers; expected {expected}, one per input. {_CHECK_VERSION}")
    return answers


def _field(response: Any, name: str, kind: type[T]) -> T:
    """Return the field `name` of a decoded response; raise ModelError if it is missing or not of the type `kind`."""
    value = response.get(name) if isinstance(response, dict) else None
    if isinstance(value, kind):
        return value
    raise ModelError(f"The response of the server has no valid field '{name}'. {_CHECK_VERSION}")


def _retry_delay(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait before the next attempt, as stated by the response header Retry-After-Ms or Retry-After.

    If neither header has a valid value, this is `_RETRY_DELAY`.
    """
    for name, parts in (("Retry-After-Ms", 1000), ("Retry-After", 1)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) / parts
            if 0 <= seconds < math.inf:
                return seconds
    return _RETRY_DELAY
