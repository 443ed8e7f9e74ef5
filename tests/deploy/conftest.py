"""The fixtures of the server, for the metrics that alerts and the dashboard name."""

from tests.server.conftest import _quick_start, home, start  # noqa: F401
