"""Counts the open connections of a server, by client address and by API key, and limits them; does not depend on sockets or HTTP."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

CONNECTION = "vertune.connection"
"""The key under which the ASGI scope of a request contains its Connection."""
_IPV6_NETWORK = 64
"""Number of leading bits of an IPv6 address that identify its network; one client can usually have any address of the network."""

Refusal = Literal["full", "address"]
"""Why a connection is refused: the server has too many connections, or too many of them came from the same address."""


@dataclass(slots=True, eq=False)
class Connection:
    """One open connection, as its limits see it."""

    table: ConnectionTable
    address: str | None
    """The address of the client, or its network in IPv6; None if it is unknown."""
    close: Callable[[], None]
    """Closes the connection."""
    owner: str | None = None
    """The id of the API key that the last request had; None if no request with a valid key has been received."""
    accepted: bool = False
    """Whether the last request was allowed, with a valid key or because the server requires none."""

    def accept(self, owner: str | None) -> bool:
        """Record that a request was allowed that came with the API key `owner`, or with None if the server requires no keys.

        Returns False, and changes nothing, if this key has too many connections already.
        """
        if self.accepted and self.owner == owner:
            return True
        return self.table.move(self, owner)

    def release(self) -> None:
        """Record that the response to a request is complete, if requests of other clients may follow on the same connection."""
        if self.table.behind_proxy and self.accepted:
            self.table.reset(self)


class ConnectionTable:
    """All open connections of a server.

    A connection counts for its address until a request with a valid API key is received, and for that key from then on. So nobody
    without a key can use all connections, and no single key can either. If there are too many connections, the oldest without a valid
    key is closed to make room for a new one.

    Behind a proxy, all connections have the address of the proxy, and each may carry requests of many keys. Connections are then not
    limited by address, none is closed to make room, and a connection counts for a key only during a request.
    """

    def __init__(self, maximum: int, per_address: int, per_key: int | None = None, behind_proxy: bool = False) -> None:
        """`maximum` limits all connections, `per_address` and `per_key` those of one address and of one API key.

        If `per_key` is None, it is half of `maximum`.
        """
        self.maximum, self.per_address = maximum, per_address
        self.per_key = per_key or max(1, maximum // 2)
        self.behind_proxy = behind_proxy
        self._strangers: dict[Connection, None] = {}  # oldest first
        self._accepted = 0
        self._by_address: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._strangers) + self._accepted

    def open(self, host: str | None, close: Callable[[], None]) -> Connection | Refusal:
        """Add a new connection; return it, or the reason why it must be refused.

        `host` is the IP address of the client. The function `close` closes the connection.
        """
        address = None if host is None or self.behind_proxy else network(host)
        if address is not None and self._by_address[address] >= self.per_address:
            return "address"
        if len(self) >= self.maximum and not self._make_room():
            return "full"
        connection = Connection(self, address, close)
        self._add_stranger(connection)
        return connection

    def remove(self, connection: Connection) -> None:
        """Remove a connection that was closed."""
        if connection.accepted:
            self._accepted -= 1
            _decrease(self._by_key, connection.owner)
        elif connection in self._strangers:  # else it was closed to make room
            self._remove_stranger(connection)
        connection.accepted, connection.owner = False, None

    def move(self, connection: Connection, owner: str | None) -> bool:
        """Count a connection for the API key `owner`; return False, and change nothing, if the key has too many connections already.

        If `owner` is None, the connection counts for no key, and is accepted.
        """
        if not connection.accepted and connection not in self._strangers:
            return True  # it is being closed to make room
        if owner is not None and self._by_key[owner] >= self.per_key:
            return False
        self.remove(connection)
        self._accepted += 1
        if owner is not None:
            self._by_key[owner] += 1
        connection.owner, connection.accepted = owner, True
        return True

    def reset(self, connection: Connection) -> None:
        """Count a connection for no API key, until the next request."""
        self.remove(connection)
        self._add_stranger(connection)

    def _make_room(self) -> bool:
        """Close the oldest connection without a valid API key; return False if there is none."""
        oldest = None if self.behind_proxy else next(iter(self._strangers), None)
        if oldest is None:
            return False
        self._remove_stranger(oldest)
        oldest.close()
        return True

    def _add_stranger(self, connection: Connection) -> None:
        self._strangers[connection] = None
        if connection.address is not None:
            self._by_address[connection.address] += 1

    def _remove_stranger(self, connection: Connection) -> None:
        del self._strangers[connection]
        _decrease(self._by_address, connection.address)


@lru_cache(1024)
def network(host: str) -> str:
    """Return what identifies a client: an IPv4 address, or the network of an IPv6 address; other texts are returned unchanged."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))


def _decrease(counter: Counter[str], name: str | None) -> None:
    """Decrease a count by one, and remove it at zero, so that the counter does not grow with every name that it ever had."""
    if name is None:
        return
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
