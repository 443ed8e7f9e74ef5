"""The verticals of the server's tests."""

from __future__ import annotations

from tests.server.conftest import home  # noqa: F401 - a fixture
