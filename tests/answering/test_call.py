"""A finished call is heard once by every listener, and no listener disturbs it."""

from __future__ import annotations

from vertune.answering.call import Call


def test_listeners_hear_of_a_call_once_and_with_its_outcome() -> None:
    heard: list[tuple[int, float]] = []
    call = Call([lambda one: heard.append((one.status, one.total))])
    call.finish(200)
    call.finish(500)
    ((status, total),) = heard
    assert status == 200
    assert total > 0


def test_a_listener_that_fails_disturbs_nobody(caplog) -> None:
    heard: list[str] = []

    def fail(call: Call) -> None:
        raise RuntimeError("a full disk")

    call = Call([fail, lambda one: heard.append(one.id)])
    call.finish(200)
    assert heard == [call.id]
    assert "a full disk" in caplog.text


def test_calls_have_ids_of_their_own() -> None:
    assert len({Call().id for _ in range(100)}) == 100
