"""Answers in a process of one's own: the same as over HTTP, batched across threads and tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tests.server.conftest import TEXTS, VERTICALS
from tests.server.running import Running, same, together, until
from vertune.answering.call import Call
from vertune.answering.service import AnswerOptions, AnswerService, example_record
from vertune.core.errors import Busy, DataError, ModelError, NotFound
from vertune.queueing.fair_queue import BatchRequest
from vertune.runtime.backbone import Backbone
from vertune.tasks.classify import Classify

pytestmark = pytest.mark.usefixtures("_quick_start")
PAIRS = [{"question": "which one", "context": text} for text in TEXTS]


def records(name: str) -> list:
    return PAIRS if name == "faq" else TEXTS


@pytest.fixture
def service(fleet):
    """All verticals, in float32."""
    with AnswerService.open(fleet, options=AnswerOptions(threads=1, cache=0, exact=True)) as made:
        yield made


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_answers_are_those_over_http(service, fleet):
    with Running(fleet, exact=True) as running:
        for name in VERTICALS:
            asked = {"records": PAIRS} if name == "faq" else {"texts": TEXTS}
            found = running.ask.post(f"/v1/verticals/{name}/predict", json=asked).json()["answers"]
            assert same(service.ask(name, records(name)), found), name


def test_several_models_are_asked_together_in_one_batch(service, alone, monkeypatch):
    batches: list[int] = []
    compute = Backbone.compute

    def counted(self, payloads):
        batches.append(len(payloads))
        return compute(self, payloads)

    monkeypatch.setattr(Backbone, "compute", counted)
    asked = {"intent": TEXTS[:3], "spans": TEXTS[1:4], "find": TEXTS[:1], "faq": PAIRS[:1]}
    found = service.ask_together(asked)
    assert list(found) == list(asked)
    for name, texts in asked.items():
        assert same(found[name], alone(name, texts)), name
    assert sum(batches) <= 6  # a text for several models is one input of the backbone
    finished: list[Call] = []
    service.listeners = (finished.append,)
    with pytest.raises(NotFound):
        service.ask_together({"intent": TEXTS[:1], "nothing": TEXTS[:1]})
    assert [call.status for call in finished] == [404, 404]


def test_many_threads_get_their_own_answers_from_common_batches(service, alone, monkeypatch):
    sizes: list[int] = []
    compute = Backbone.compute

    def counted(self, payloads):
        sizes.append(len(payloads))
        time.sleep(0.005)  # so that others come meanwhile
        return compute(self, payloads)

    monkeypatch.setattr(Backbone, "compute", counted)
    expected = {name: alone(name, records(name)) for name in VERTICALS}

    def ask(name: str, index: int) -> bool:
        return same(service.ask(name, [records(name)[index]]), [expected[name][index]])

    assert all(together([lambda name=name, index=index: ask(name, index) for name in VERTICALS for index in range(6)]))
    assert max(sizes) > 1


def test_tasks_of_any_event_loop_are_answered(service, alone):
    expected = {name: alone(name, records(name)) for name in VERTICALS}

    async def ask_all() -> list:
        return await asyncio.gather(*(service.ask_async(name, records(name)) for name in VERTICALS))

    for _ in range(2):  # each run has a loop of its own
        for name, answers in zip(VERTICALS, asyncio.run(ask_all()), strict=True):
            assert same(answers, expected[name]), name


def test_texts_and_records_may_be_mixed(service, alone):
    assert same(service.ask("intent", ["soup", {"query": "rome"}]), alone("intent", ["soup", "rome"]))
    assert service.ask("intent", []) == []


def test_errors_are_those_of_the_steps(service):
    with pytest.raises(NotFound, match="No model is served under the name 'nobody'"):
        service.ask("nobody", ["a"])
    with pytest.raises(DataError, match="Record 2 can't be answered"):
        service.ask("intent", ["a", " "])
    with pytest.raises(DataError, match="reads the fields question and context"):
        service.ask("faq", ["a"])


def test_what_can_not_be_served_is_an_error_at_once(fleet):
    with pytest.raises(NotFound, match="no live model of 'absent'"):
        AnswerService.open(fleet, ["intent", "absent"])


class Gate:
    """Holds an executor until it is opened."""

    def __init__(self) -> None:
        self.opened, self.entered = threading.Event(), threading.Event()

    def compute(self, payloads):
        self.entered.set()
        assert self.opened.wait(20)
        return list(payloads)


@pytest.fixture
def gate(service):
    """The only worker is held until the gate is opened."""
    made = Gate()
    ticket = service.batcher.submit(BatchRequest([None], [1], made))
    assert made.entered.wait(20)
    yield made
    made.opened.set()
    ticket.result(20)


def test_a_deadline_holds_for_threads_and_tasks(service, gate):
    for ask in (lambda: service.ask("intent", ["a"], 0.2), lambda: asyncio.run(service.ask_async("intent", ["a"], 0.2))):
        began = time.monotonic()
        with pytest.raises(Busy, match="not answered within its deadline of 200 ms"):
            ask()
        assert time.monotonic() - began >= 0.2
        assert service.batcher.queued == 0


def test_a_cancelled_task_leaves_the_queue(service, gate):
    async def leave() -> None:
        asking = asyncio.create_task(service.ask_async("intent", ["a"]))
        while not service.batcher.queued:
            await asyncio.sleep(0.001)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(leave())
    assert service.batcher.queued == 0


def test_listeners_hear_of_every_call(fleet, caplog):
    heard: list[Call] = []

    def fail(call: Call) -> None:
        raise RuntimeError("of a listener")

    service = AnswerService(fleet, AnswerOptions(threads=1), listeners=[fail, heard.append])
    service.fleet.follow(service.fleet.live())
    service.start()
    try:
        service.ask("intent", ["soup"])
        with pytest.raises(DataError):
            service.ask("intent", [""])
        asyncio.run(service.ask_async("intent", ["soup"]))
    finally:
        service.close()
    assert [(call.status, call.resource, call.cache_hits) for call in heard] == [(200, "ask", [0]), (422, "ask", [0]), (200, "ask", [1])]
    first, _, cached = heard
    assert first.answers == cached.answers
    assert first.tokens > 0
    assert first.waiting is not None
    assert first.inference > 0
    assert (cached.tokens, cached.cached_tokens, first.cached_tokens) == (first.tokens, first.tokens, 0)
    assert (cached.waiting, cached.inference) == (None, None)
    assert len({call.id for call in heard}) == 3
    assert "of a listener" in caplog.text


def test_tokens_are_counted_once_where_verticals_share_features(service):
    async def ask(names: list[str], **more) -> Call:
        call = Call(verticals=[service.fleet.get(name) for name in names], records=[{"text": text} for text in TEXTS], **more)
        await service.answer(call)
        return call

    one = asyncio.run(ask(["intent"])).tokens
    encoder = service.fleet.get("intent").predictor.encoder
    views = service.fleet.get("intent").task.views(["text"])
    assert one == sum(feature.cost for feature in encoder.encode([{"text": text} for text in TEXTS], views))
    assert service.fleet.get("intent").shared == service.fleet.get("spans").shared
    assert asyncio.run(ask(["intent", "spans"])).tokens == one


def test_a_call_that_bypasses_the_cache_reads_and_fills_none(fleet):
    with AnswerService.open(fleet, ["intent"], AnswerOptions(threads=1)) as service:

        async def ask(bypass: bool) -> Call:
            call = Call(verticals=[service.fleet.get("intent")], records=[{"text": "soup"}], bypass_cache=bypass)
            await service.answer(call)
            return call

        hits = [asyncio.run(ask(bypass)).cache_hits for bypass in (True, False, True, False)]
        assert hits == [[0], [0], [0], [1]]


def test_a_caller_may_change_its_answers(fleet):
    with AnswerService.open(fleet, ["intent"], AnswerOptions(threads=1)) as service:
        first = service.ask("intent", ["soup"])
        expected = first[0]["probabilities"].copy()
        first[0]["probabilities"].clear()
        assert service.ask("intent", ["soup"])[0]["probabilities"] == expected


def test_an_example_has_what_the_task_needs_in_its_type():
    deployment = SimpleNamespace(task=Classify(inputs={"amount": "number", "kind": "category"}))
    assert example_record(deployment, "a") == {"amount": 0.0, "kind": "a"}


def test_closing_answers_what_waits(fleet):
    service = AnswerService.open(fleet, ["intent"], AnswerOptions(threads=1))
    made = Gate()
    service.batcher.submit(BatchRequest([None], [1], made))
    assert made.entered.wait(20)
    refused: list[BaseException] = []

    def ask() -> None:
        try:
            service.ask("intent", ["a"])
        except Busy as error:
            refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: service.batcher.queued)
    closing = threading.Thread(target=service.close)
    closing.start()
    asking.join(20)
    made.opened.set()
    closing.join(20)
    assert refused


def test_outputs_that_are_no_numbers_fail_their_vertical_alone(service, alone):
    damaged = service.fleet.get("intent")
    damaged.slot.head = {name: np.full_like(array, np.nan) for name, array in damaged.slot.head.items()}
    expected = {name: alone(name, records(name)) for name in VERTICALS}

    def ask(name: str) -> bool:
        if name != "intent":
            return same(service.ask(name, records(name)), expected[name])
        with pytest.raises(ModelError, match="NaN or infinity"):
            service.ask(name, records(name))
        return True

    assert all(together([lambda name=name: ask(name) for name in [*VERTICALS, "intent"] * 3]))
    assert {name for name, one in service.fleet.deployments.items() if one.health.fault} == {"intent"}


def test_the_deadline_covers_reading_long_texts(service):
    """Of a request that takes long to tokenise, nothing is computed after its deadline, and the error names the deadline."""
    long = "tell me of rome and bread " * 4000
    started = time.monotonic()
    with pytest.raises(Busy, match="within its deadline of 20 ms"):
        service.ask("spans", [long] * 200, deadline=0.02)
    assert time.monotonic() - started < 2
    assert service.batcher.queued == 0
