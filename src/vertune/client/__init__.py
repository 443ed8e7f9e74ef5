"""A typed client of a vertune server; knows nothing of models, and imports `vertune.core` alone."""

from vertune.client.client import Client

__all__ = ["Client"]
