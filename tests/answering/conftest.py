"""What the servers of tests need."""

from __future__ import annotations

from tests.server.conftest import _quick_start  # noqa: F401 - a fixture
