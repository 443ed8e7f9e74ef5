"""A typed client of a vertune server; imports no other package of vertune than `vertune.core`."""

from vertune.client.client import Client

__all__ = ["Client"]
