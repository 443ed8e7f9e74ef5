"""A thread that calls a function again and again: an error stops no later call, and does not fill the log."""

from __future__ import annotations

import threading

import pytest

from tests.server.running import until
from vertune.core.errors import StorageError
from vertune.server.polling import Polling


def test_errors_are_logged_once_for_each_kind_and_stop_no_later_call(caplog: pytest.LogCaptureFixture) -> None:
    gone, broken = StorageError("The database is gone. Start it."), ValueError("no number")
    plan: list[Exception | None] = [gone, gone, gone, broken, broken, None, None, gone, None]
    ended = threading.Event()

    def step() -> None:
        if not plan:
            ended.set()
        elif (error := plan.pop(0)) is not None:
            raise error

    polling = Polling("usage", step, lambda: 0.001)
    polling.start()
    until(ended.is_set)
    polling.stop()
    messages = [record.getMessage().partition(".")[0] for record in caplog.records]
    failed, again = "The usage could not be followed", "The usage can be followed again"
    assert messages == [failed, failed, again, failed, again]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "WARNING", "WARNING", "WARNING"]
    assert "The database is gone" in caplog.records[0].getMessage()
    assert caplog.records[1].exc_info is not None
