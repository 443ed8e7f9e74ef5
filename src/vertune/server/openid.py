"""Lets people sign in by a provider of OpenID Connect: the authorization code flow with PKCE; does not depend on users and sessions.

OpenID Connect Core 1.0, RFC 7636 (PKCE) and RFC 9207 (the issuer in the answer). The server talks to the hosts of the provider alone, and
only while somebody signs in. What a sign-in needs to remember is in a cookie of the browser, so that another server can finish it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from vertune.core.errors import AccessError, Busy, ConfigError, MissingExtra
from vertune.core.machine import loopback
from vertune.core.names import check_name
from vertune.server.people import Identity
from vertune.server.settings import OpenIDSettings
from vertune.store.user import ROLES

_log = logging.getLogger("vertune")
FLOW = "vertune_openid"
"""The name of the cookie with a sign-in that has begun, without the prefix."""
LIFETIME = 600.0
"""Seconds for which a browser keeps this cookie."""
CALLBACK = "/v1/session/openid/callback"
_WELL_KNOWN = "/.well-known/openid-configuration"
_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"})
"""The signatures that are accepted: those that only the provider can make."""
_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
_TIMEOUT = 10.0
"""Maximum seconds for each request to the provider."""
_LARGEST = 1 << 20
"""Maximum size of an answer of the provider, in bytes."""
_FRESH = 3600.0
"""Seconds after which the description and the keys of the provider are read again."""
_LEAST_AGE = 60.0
"""Seconds for which they are not read again, whatever key a token names."""
_LEEWAY = 60
"""Seconds by which the clocks may differ."""
_AT_ONCE = 8
"""Maximum number of requests that wait for the provider; further ones are refused, so that a slow provider holds up nothing else."""
_RETRY = 5.0
"""Seconds after which a provider that did not answer is asked again."""
_LONGEST_SUBJECT = 255
"""Maximum length of the subject of an identity, by OpenID Connect Core."""
_WARNING_INTERVAL = 60.0
"""Minimum seconds between two entries of the log, because strangers can cause some."""
_REFUSED = "The provider did not confirm who you are. Sign in again."


@dataclass(frozen=True, slots=True)
class _Description:
    """What a provider says of itself, with its keys."""

    document: Mapping[str, Any]
    keys: Any
    """The keys that verify its tokens, as a `joserfc.jwk.KeySet`."""
    read_at: float


class Provider:
    """One provider of OpenID Connect; safe for use from many threads."""

    def __init__(self, settings: OpenIDSettings) -> None:
        """Raises MissingExtra if the package `joserfc` is not installed."""
        try:
            import joserfc  # noqa: F401
        except ImportError as error:
            raise MissingExtra("Signing in by OpenID Connect", "oidc", "joserfc") from error
        self._settings = settings
        self._secret = os.environ.get(settings.client_secret_env, "")
        self._hosts = {urlsplit(settings.issuer).netloc, *settings.hosts.split()}
        self._reading = threading.Lock()
        self._described: _Description | None = None
        self._failed_at = self._warned_at = -float("inf")
        self._waiting = threading.BoundedSemaphore(_AT_ONCE)
        self._trusted = httpx.create_ssl_context()  # to read the certificates of the machine takes longer than a request

    @property
    def _redirect(self) -> str:
        return self._settings.url.rstrip("/") + CALLBACK

    def begin(self) -> tuple[str, str]:
        """Return the address to which the browser goes, and the value of the cookie that it must bring back."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        query = {
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": self._redirect, "scope": self._settings.scope,
            "state": state, "nonce": nonce, "code_challenge": _base64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }  # fmt: skip
        endpoint = self._endpoint(self._describe().document, "authorization_endpoint", anywhere=True)
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", f"{state}.{nonce}.{verifier}"

    def finish(self, flow: str | None, answer: Mapping[str, str]) -> Identity:
        """Return whom the provider names; `flow` is the cookie, and `answer` the parameters with which the browser comes back.

        Raises AccessError for an answer that does not belong to the cookie, a token that is not valid, or a person without a role, and
        Busy if the provider can't be reached.
        """
        state, _, rest = (flow or "").partition(".")
        nonce, _, verifier = rest.partition(".")
        if not (state and nonce and verifier) or not hmac.compare_digest(state.encode(), answer["state"].encode("utf-8", "surrogatepass")):
            raise AccessError("The sign-in was not begun by this browser, or took too long. Sign in again.", authenticated=False)
        if answer["error"] or not answer["code"] or answer["iss"] not in ("", self._settings.issuer):
            raise AccessError(_REFUSED, authenticated=False)
        token = self._exchange(answer["code"], verifier)
        return self._identity(self._claims(token, nonce))

    def _exchange(self, code: str, verifier: str) -> str:
        """Return the ID token for a code, which the token endpoint of the provider gives."""
        document, settings = self._describe().document, self._settings
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect, "code_verifier": verifier}
        ways = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        auth: httpx.BasicAuth | None = None
        if self._secret and "client_secret_basic" in ways:
            auth = httpx.BasicAuth(quote(settings.client_id, safe=""), quote(self._secret, safe=""))
        else:
            form["client_id"] = settings.client_id
            form |= {"client_secret": self._secret} if self._secret else {}
        answered = self._fetch(self._endpoint(document, "token_endpoint"), form, auth)
        token = answered.get("id_token")
        if not isinstance(token, str):
            self._warn("it gave no ID token; the scope must contain openid")
            raise AccessError(_REFUSED, authenticated=False)
        return token

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token; raise AccessError unless the provider made it now, for this server and this sign-in."""
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        described = self._describe()
        offered = described.document.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = sorted(_ALGORITHMS.intersection(offered))
        wanted = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY, iss={"essential": True, "value": self._settings.issuer}, sub={"essential": True}, exp={"essential": True},
            aud={"essential": True, "value": self._settings.client_id}, iat={"essential": True}, nonce={"essential": True, "value": nonce},
        )  # fmt: skip
        try:
            try:
                claims = jwt.decode(token, described.keys, algorithms).claims
            except InvalidKeyIdError:  # the provider has changed its keys
                claims = jwt.decode(token, self._describe(_LEAST_AGE).keys, algorithms).claims
            wanted.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            claim = getattr(error, "claim", None)
            self._warn(f"its token is not valid ({type(error).__name__}{f' of {claim}' if claim else ''})")
            raise AccessError(_REFUSED, authenticated=False) from error
        audience = claims["aud"]
        party = claims.get("azp", None if isinstance(audience, list) and len(audience) > 1 else self._settings.client_id)
        if party != self._settings.client_id or len(claims["sub"]) > _LONGEST_SUBJECT:
            raise AccessError(_REFUSED, authenticated=False)
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        """Return who is meant by claims, with the role and the customer that the settings map them to."""
        settings = self._settings
        name = claims.get(settings.name)
        if not isinstance(name, str) or (settings.name == "email" and claims.get("email_verified") is False):
            raise AccessError(
                f"The provider did not name you in the claim '{settings.name}'. Ask the operator of the server for another claim "
                "(openid.name)."
            )
        roles = {settings.roles[value] for value in _values(claims.get(settings.role)) if value in settings.roles}
        role = max(roles, key=ROLES.index, default=settings.default_role)
        if role is None:
            raise AccessError("The provider names no role of yours on this server. Ask an administrator for one.")
        customer: str | None = settings.default_customer
        if settings.customer:
            found = {settings.customers[value] for value in _values(claims.get(settings.customer)) if value in settings.customers}
            customer = found.pop() if len(found) == 1 else None
        if customer is None:
            raise AccessError("The provider does not name the one customer that you belong to on this server. Ask an administrator for it.")
        return Identity(f"{settings.issuer} {claims['sub']}", name, role, check_name(customer))

    def _describe(self, oldest: float = _FRESH) -> _Description:
        """Return what the provider says of itself, read again if it is older than so many seconds; raise Busy if it can't be reached."""
        described = self._described
        if described is not None and time.monotonic() - described.read_at < oldest:
            return described
        if time.monotonic() - self._failed_at < _RETRY or not self._reading.acquire(timeout=1.0):
            raise self._unreachable()
        try:
            if self._described is described:  # no other thread was faster
                self._described = self._read()
        except Busy:
            self._failed_at = time.monotonic()
            raise
        finally:
            self._reading.release()
        assert self._described is not None
        return self._described

    def _read(self) -> _Description:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        issuer = self._settings.issuer
        document = self._fetch(issuer.rstrip("/") + _WELL_KNOWN)
        if document.get("issuer") != issuer:
            raise ConfigError(f"The provider at {issuer} calls itself by another name. Write openid.issuer exactly as the provider does.")
        listed = self._fetch(self._endpoint(document, "jwks_uri")).get("keys")
        usable = [key for key in listed or () if isinstance(key, dict) and key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"]
        try:
            return _Description(document, KeySet.import_key_set({"keys": usable}), time.monotonic())
        except (JoseError, ValueError, TypeError) as error:
            raise self._unreachable() from error

    def _endpoint(self, document: Mapping[str, Any], name: str, anywhere: bool = False) -> str:
        """Return an address of the provider; raise ConfigError for one without encryption, or on another host unless it may be `anywhere`.

        A browser may be led anywhere; the server itself talks only to hosts that its operator named.
        """
        address = str(document.get(name, ""))
        parts = urlsplit(address)
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and loopback(parts.hostname or ""))
        if not encrypted or not (anywhere or parts.netloc in self._hosts):
            hosts = ", ".join(sorted(self._hosts))
            raise ConfigError(
                f"The provider names '{address[:200]}' as its {name}; expected https:// and one of the hosts {hosts}. Add the "
                "host to openid.hosts if it belongs to the provider."
            )
        return address

    def _fetch(self, address: str, form: Mapping[str, str] | None = None, auth: httpx.BasicAuth | None = None) -> dict[str, Any]:
        """Return the JSON object at an address; with a form, it is posted there. Raises Busy if it can't be read."""
        method, content = ("GET", None) if form is None else ("POST", form)
        if not self._waiting.acquire(blocking=False):
            raise self._unreachable()
        try:
            accepted = {"Accept": "application/json"}
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=False, verify=self._trusted) as client,
                client.stream(method, address, data=content, auth=auth, headers=accepted) as response,
            ):
                body = _limited(response)
                if form is not None and response.status_code in (400, 401, 403):
                    self._warn(f"its token endpoint answered {response.status_code}; the client, its secret or the code is not right")
                    raise AccessError(_REFUSED, authenticated=False)
                response.raise_for_status()
            found = json.loads(body)
        except (httpx.HTTPError, ValueError) as error:
            self._warn(f"{method} {urlsplit(address).netloc} failed ({type(error).__name__})")
            raise self._unreachable() from error
        finally:
            self._waiting.release()
        if not isinstance(found, dict) or response.status_code != 200:
            raise self._unreachable()
        return found

    def _warn(self, why: str) -> None:
        """Log why nobody could sign in, for the operator; at most once a minute."""
        if time.monotonic() - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = time.monotonic()
            _log.warning("Somebody could not sign in by the provider %s: %s.", self._settings.issuer, why)

    def _unreachable(self) -> Busy:
        issuer = self._settings.issuer
        return Busy(f"The provider {issuer} does not answer as it must. Retry in {_RETRY:g} s, or sign in another way.", _RETRY)


def _limited(response: httpx.Response) -> bytes:
    """Return the body of a response; raise ValueError for one that is too large."""
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _LARGEST:
            raise ValueError("too large")
    return body


def _values(claim: Any) -> Collection[str]:
    """Return the texts that a claim consists of, which is one text or a list."""
    listed = claim if isinstance(claim, list) else [claim]
    return [value for value in listed if isinstance(value, str)]


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
