"""The metrics of conversations that no request counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from vertune.server.chat.metrics import ChatMetrics
from vertune.store.database import format_time

WAIT = "vertune_conversations_longest_wait_seconds"


def test_the_longest_wait_for_a_person_grows_until_nobody_waits() -> None:
    registry, waiting = CollectorRegistry(), {"shop": format_time(datetime.now(UTC) - timedelta(minutes=20))}
    ChatMetrics(registry, dict, lambda: waiting)
    found = registry.get_sample_value(WAIT, {"app": "shop"})
    assert found is not None
    assert 1200 <= found < 1260
    waiting["shop"] = format_time(datetime.now(UTC) + timedelta(seconds=5))  # by the clock of another server
    assert registry.get_sample_value(WAIT, {"app": "shop"}) == 0
    waiting.clear()
    assert registry.get_sample_value(WAIT, {"app": "shop"}) is None
