"""The verticals of the server's tests."""

from __future__ import annotations

from tests.server.conftest import _quick_start, alone, fleet  # noqa: F401 - fixtures
