"""The verticals of the server's tests."""

from __future__ import annotations

from tests.server.conftest import alone, fleet, home  # noqa: F401 - fixtures
