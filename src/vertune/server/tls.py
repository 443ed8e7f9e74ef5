"""TLS for connections: loads certificates, loads them again when their files change, and does the handshakes; independent of HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any, ClassVar

from uvicorn.protocols.utils import get_remote_addr

from vertune.core.errors import ConfigError
from vertune.server.connections import Connection
from vertune.server.protocol import LimitedProtocol
from vertune.server.settings import TLSFiles

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two looks at whether the files of the certificate have changed."""
_CLOSE_TIMEOUT = 5.0
"""Maximum seconds that a client may take to confirm that a connection is closed."""

_Identity = tuple[tuple[int, ...] | None, ...]


class Certificates:
    """The TLS context of a server, made from the files of its certificate and of its key."""

    def __init__(self, files: TLSFiles) -> None:
        """Load the files; raise ConfigError if they can't be used."""
        self._files = files
        self._identity = self._identify()
        self.context = load_context(files)

    async def watch(self) -> None:
        """Load the files again whenever they change, until the task is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.update()

    def update(self) -> None:
        """Load the files again if they have changed; new connections then use the new certificate, and open connections stay open.

        If the new files can't be used, the previous certificate is used further, and the reason is logged. They are loaded again
        when they change again, because a certificate and its key can't be replaced at the same moment.
        """
        identity = self._identify()
        if identity == self._identity:
            return
        self._identity = identity
        try:
            self.context = load_context(self._files)
        except ConfigError as error:
            _log.warning("The changed TLS certificate is not used yet; the previous one is used further. %s", error)
        else:
            _log.info("The changed TLS certificate %s is used from now on.", self._files.cert)

    def _identify(self) -> _Identity:
        """Return what changes if a file is changed or replaced, for each file; None for a file that does not exist."""
        return tuple(_identify(Path(file)) for file in (self._files.cert, self._files.key, self._files.client_ca) if file)


def load_context(files: TLSFiles) -> ssl.SSLContext:
    """Return a TLS context for a server, with TLS 1.2 or newer; raise ConfigError if its files can't be used.

    If `files.client_ca` is set, clients must have a certificate that one of the authorities in this file has signed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.cert, files.key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The TLS certificate {files.cert} can't be used with the key {files.key}: {error}. Both must be PEM files that belong to each "
            "other. Pass others: --tls-cert FILE --tls-key FILE"
        ) from error
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The authorities of client certificates in {files.client_ca} can't be used: {error}. Pass a PEM file with their "
                "certificates: --tls-client-ca FILE"
            ) from error
    return context


class TLSProtocol(asyncio.Protocol):
    """One new connection until its TLS handshake is complete; then a LimitedProtocol takes it over.

    Handshakes count for the limits of connections and must be complete within the time that limits a request, so a client that never
    completes one takes no more than another.
    """

    protocol: ClassVar[type[LimitedProtocol]]
    certificates: ClassVar[Certificates]

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._next = self.protocol(config, server_state, app_state, _loop)
        self._connections = server_state.connections
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake of a new connection, or close the connection if there are too many."""
        address = get_remote_addr(transport)
        host = address[0] if address else None
        opened = self.protocol.table.open(host, self.shutdown)
        if isinstance(opened, Connection):
            connected = transport.get_extra_info("socket").dup()  # the transport has read nothing yet, so a new one can take over
            self._connections.add(self)
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(opened, connected, host))
        else:
            self.protocol.events.count("address_limit" if opened == "address" else "server_full", host)
        transport.abort()

    def shutdown(self) -> None:
        """End the handshake, because the server stops or needs the connection for another client."""
        if self._handshake is not None:
            self._handshake.cancel()

    async def _shake_hands(self, opened: Connection, connected: socket.socket, host: str | None) -> None:
        connected.setblocking(False)
        self._next.connection = opened
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._take_over, connected, ssl=self.certificates.context,
                ssl_handshake_timeout=self.protocol.limits.reading, ssl_shutdown_timeout=_CLOSE_TIMEOUT,
            )  # fmt: skip
        except OSError:
            self.protocol.events.count("failed_handshake", host)
            self.protocol.table.remove(opened)
        except asyncio.CancelledError:
            self.protocol.table.remove(opened)
        finally:
            self._connections.discard(self)

    def _take_over(self) -> LimitedProtocol:
        return self._next


def _identify(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _refuse_password() -> str:
    raise ValueError("the key is encrypted, but the server can't ask for its password")
