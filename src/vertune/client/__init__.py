"""A client of a vertune server, with type annotations; of vertune itself, it imports only `vertune.core`."""

from vertune.client.client import Client

__all__ = ["Client"]
