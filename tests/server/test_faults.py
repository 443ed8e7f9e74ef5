"""Whatever goes wrong, no request hangs, no answer is wrong, and what is at fault fails alone."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.server.conftest import TEXTS, admin
from tests.server.running import LONG, Wire, problem, request, same, together, until
from vertune.core.artifact import Home
from vertune.runtime.backbone import Backbone
from vertune.server.settings import JobSettings
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
BAD = "poison"
"""A text whose tokens no other text has in this order."""


class Engine:
    """What computes batches: it can be held, fails of some texts, and remembers all that it was given."""

    def __init__(self) -> None:
        self.gate, self.held = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.bad = b""
        self.error: BaseException = ValueError("of a text")
        self.seen: list[list[bytes]] = []
        self.asked: list[list[list]] = []
        self.delay = 0.0

    def compute(self, own, executor, payloads):
        batch = [executor.encoder.content(feature) for feature, _ in payloads]
        self.seen.append(batch)
        self.asked.append([list(places) for _, places in payloads])
        if not self.gate.is_set():
            self.held.release()
            assert self.gate.wait(LONG)
        time.sleep(self.delay)
        if self.bad and self.bad in batch:
            raise self.error
        return own(executor, payloads)

    def hold(self) -> None:
        """Let the next batch wait until `gate` is set."""
        self.gate.clear()

    def wait(self) -> None:
        """Wait until a batch is held."""
        assert self.held.acquire(timeout=LONG)


@pytest.fixture
def engine(monkeypatch):
    made, own = Engine(), Backbone.compute
    monkeypatch.setattr(Backbone, "compute", lambda executor, payloads: made.compute(own, executor, payloads))
    yield made
    made.gate.set()


@pytest.fixture(autouse=True)
def _watchful() -> Iterator[None]:
    """Servers notice soon that a worker has ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vertune.queueing.batcher._TICK", 0.05)
        yield


@pytest.fixture
def running(fleet, start, engine):
    """An open server whose engine is in hand."""
    made = start(fleet, exact=True)
    engine.seen.clear()  # of the warm-up
    return made


def encoded(running, text: str):
    """The encoder that the server uses, and its feature of a text."""
    deployment = running.service.answers.fleet.get("intent")
    encoder = deployment.predictor.encoder
    return encoder, encoder.encode([{"text": text}], deployment.task.views(["text"]))[0]


def content(running, text: str) -> bytes:
    """What the model reads of a text."""
    encoder, feature = encoded(running, text)
    return encoder.content(feature)


def cost(running, *texts: str) -> int:
    """The tokens of texts."""
    return sum(encoded(running, text)[1].cost for text in texts)


def held(running, engine) -> threading.Thread:
    """A request that holds the only worker."""
    engine.hold()
    thread = threading.Thread(target=lambda: running.predict("intent", "hold"))
    thread.start()
    engine.wait()
    return thread


def queued(running, tokens: int = 1) -> None:
    until(lambda: running.service.answers.batcher.queued >= tokens)


# ------------------------------------------------------------------ workers


def kill(running) -> None:
    """End a worker from outside, wherever it is."""
    for worker in tuple(running.service.answers.batcher._workers):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.thread.ident), ctypes.py_object(SystemExit))


def test_workers_that_are_killed_leave_no_request_without_an_answer(running, alone, caplog) -> None:
    """One that was just being finished may be answered with an error that says so; no answer is wrong."""
    caplog.set_level(logging.CRITICAL, "vertune")
    expected = alone("intent", TEXTS)
    end = time.monotonic() + 1.0
    lost: list = []

    def ask(place: int) -> int:
        asked = 0
        while time.monotonic() < end:
            found = running.predict("intent", TEXTS[place], TEXTS[place - 1])
            asked += 1
            if found.status_code == 200:
                assert same(found.json()["answers"], [expected[place], expected[place - 1]])
            else:
                assert "SystemExit" in problem(found, 500)
                lost.append(found)
        return asked

    def murder() -> int:
        times = 0
        while time.monotonic() < end:
            kill(running)
            times += 1
            time.sleep(0.05)
        return times

    *asked, times = together([*(lambda place=place: ask(place) for place in range(4)), murder])
    assert len(lost) < times / 2
    assert times > 5
    assert min(asked) > 3
    until(lambda: running.service.answers.batcher.alive)


def test_a_text_that_ends_its_worker_takes_half_a_batch_along_at_most(running, engine, alone) -> None:
    engine.bad, engine.error = content(running, BAD), SystemExit("of a text")
    blocking = held(running, engine)
    texts = [*TEXTS, BAD, "soup of rome"]
    answers: list = [None] * len(texts)

    def ask(place: int) -> None:
        answers[place] = running.predict("intent", texts[place])

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(texts))]
    for thread in threads:
        thread.start()
    queued(running, cost(running, *texts))
    engine.gate.set()
    for thread in (*threads, blocking):
        thread.join(LONG)
        assert not thread.is_alive()
    good = [place for place in range(len(texts)) if answers[place].status_code == 200]
    assert len(good) >= len(texts) // 2
    for place, found in enumerate(answers):
        if place in good:
            assert same(found.json()["answers"], alone("intent", [texts[place]]))
        else:
            assert "died with this request in its batch" in problem(found, 500)
    assert texts.index(BAD) not in good
    assert running.predict("intent", "soup").status_code == 200


def test_a_text_that_breaks_the_model_fails_alone(running, engine, alone) -> None:
    engine.bad = content(running, BAD)
    blocking = held(running, engine)
    twin = BAD[::-1]  # of the same length, so that both are in one batch, in whatever order the requests arrive
    assert cost(running, twin) == cost(running, BAD)
    texts = [*TEXTS, BAD, twin, "soup of rome", "tell me"]
    calls = [lambda text=text: running.predict("intent", text) for text in texts]

    def release():
        queued(running, cost(running, *texts))
        engine.gate.set()

    *answers, _ = together([*calls, release])
    blocking.join(LONG)
    for text, found in zip(texts, answers, strict=True):
        if text == BAD:
            said = problem(found, 500)
            assert "ValueError: of a text" in said
        else:
            assert same(found.json()["answers"], alone("intent", [text])), found.text
    assert any(len(batch) > 1 and engine.bad in batch for batch in engine.seen), "it was in a batch with others"


def test_a_bad_text_among_others_of_its_request_fails_the_request_and_no_other(running, engine) -> None:
    engine.bad = content(running, BAD)
    bad, good = together([lambda: running.predict("intent", "soup", BAD), lambda: running.predict("intent", *TEXTS)])
    assert problem(bad, 500)
    assert good.status_code == 200
    until(lambda: running.service.answers.batcher.queued == 0)


def test_what_fails_in_one_vertical_fails_in_no_other(running, engine, monkeypatch) -> None:
    """Decoding is the task's own."""
    served = running.service.answers.fleet.get("spans")

    def fail(*given, **more):
        raise RuntimeError("of a task")

    monkeypatch.setattr(type(served.task), "decode", fail)
    answers = together([lambda name=name: running.predict(name, "soup") for name in ("intent", "spans", "find", "whole") * 3])
    assert [found.status_code for found in answers] == [200, 500, 200, 200] * 3


def test_a_text_that_comes_twice_is_computed_once_and_answered_twice(running, engine, alone) -> None:
    """Beside those of others, whose rows it must not be taken for."""
    texts = ["soup", "rome", "soup", "soup"]
    names = ["spans", "intent", "find"]
    blocking = held(running, engine)

    def release():
        queued(running, 3 * len(texts))
        engine.gate.set()

    calls = [lambda: running.ask.post("/v1/predict", json={"verticals": names, "texts": texts}), lambda: running.predict("intent", *TEXTS)]
    many, one, _ = together([*calls, release])
    blocking.join(LONG)
    for name, part in zip(names, many.json()["results"], strict=True):
        assert same(part["answers"], alone(name, texts)), name
    assert same(one.json()["answers"], alone("intent", TEXTS))
    assert all(len({id(place) for place in places}) == len(places) for batch in engine.asked for places in batch)
    assert sum(batch.count(content(running, "soup")) for batch in engine.seen) == 2, "once for each request"


# ------------------------------------------------------------------ clients


def asking(name: str, *texts: str) -> bytes:
    return request(f"/v1/verticals/{name}/predict", json.dumps({"texts": texts}).encode())


def test_what_a_client_that_left_asked_is_not_computed(running, engine, caplog) -> None:
    blocking = held(running, engine)
    gone = Wire(running.port, asking("intent", BAD, "soup"))
    queued(running)
    gone.socket.close()
    until(lambda: running.service.answers.batcher.queued == 0)
    engine.gate.set()
    blocking.join(LONG)
    assert running.predict("intent", "rome").status_code == 200
    assert content(running, BAD) not in [one for batch in engine.seen for one in batch]
    assert running.metric("vertune_rejections_total", reason="gone") == 1
    assert running.metric("vertune_requests_total", resource="predict") == 2
    assert not caplog.records, "that a client leaves is no error"


def test_a_client_that_leaves_while_it_is_computed_disturbs_nobody(running, engine, caplog) -> None:
    engine.hold()
    with Wire(running.port, asking("intent", BAD)) as wire:
        engine.wait()
        wire.send(b"")
    other = threading.Thread(target=lambda: running.predict("intent", *TEXTS))
    other.start()
    until(lambda: running.metric("vertune_rejections_total", reason="gone") == 1)
    engine.gate.set()
    other.join(LONG)
    assert running.predict("intent", "soup").status_code == 200
    assert not caplog.records


def test_a_client_that_closes_its_half_leaves_nothing_behind(running, engine) -> None:
    """uvicorn takes the end of what is sent for the end of the connection."""
    import socket

    blocking = held(running, engine)
    with Wire(running.port, asking("intent", BAD)) as wire:
        queued(running)
        wire.socket.shutdown(socket.SHUT_WR)
        until(lambda: running.service.answers.batcher.queued == 0)
        engine.gate.set()
        assert wire.end() == b""
    blocking.join(LONG)


# ------------------------------------------------------------------ time


def test_a_stuck_worker_costs_a_request_its_deadline_and_no_more(running, engine) -> None:
    blocking = held(running, engine)
    began = time.monotonic()
    found = running.predict("intent", "soup", X_Deadline_Ms="300")
    assert "within its deadline of 300 ms" in problem(found, 503)
    assert int(found.headers["retry-after"]) >= 1
    assert 0.25 < time.monotonic() - began < 2
    assert running.service.answers.batcher.queued == 0
    engine.gate.set()
    blocking.join(LONG)
    assert running.predict("intent", "soup").status_code == 200


def test_a_refusal_names_the_deadline_that_was_asked_for(running, engine, monkeypatch) -> None:
    """And not what was left of it when the texts were tokens, which is less on a busy machine."""
    encoder = type(running.service.answers.fleet.get("intent").predictor.encoder)
    encode = encoder.encode

    def slow(self, *given):
        time.sleep(0.05)
        return encode(self, *given)

    monkeypatch.setattr(encoder, "encode", slow)
    blocking = held(running, engine)
    assert "within its deadline of 300 ms" in problem(running.predict("intent", "soup", X_Deadline_Ms="300"), 503)
    engine.gate.set()
    blocking.join(LONG)


def test_overload_is_refused_quickly_and_what_is_taken_is_in_time(fleet, start, engine, alone) -> None:
    running = start(fleet, queued=3000, exact=True)
    engine.delay = 0.1  # a request takes 0.3 s, and all of them together 3.6 s
    running.predict("intent", *TEXTS * 5)  # from now on a rate is known
    expected = alone("intent", TEXTS)
    end = time.monotonic() + 1.2
    deadline = 1.0

    def ask() -> list[tuple[int, float]]:
        found = []
        while time.monotonic() < end:
            began = time.monotonic()
            answer = running.predict("intent", *TEXTS * 8, X_Deadline_Ms=str(deadline * 1000))
            found.append((answer.status_code, time.monotonic() - began))
            if answer.status_code == 200:
                assert same(answer.json()["answers"], expected * 8)
            else:
                assert problem(answer, answer.status_code)
                assert int(answer.headers["retry-after"]) >= 1
        return found

    seen = [one for part in together([ask] * 12) for one in part]
    taken = [seconds for status, seconds in seen if status == 200]
    refused = [seconds for status, seconds in seen if status in (429, 503)]
    assert len(taken) + len(refused) == len(seen)
    assert taken
    assert refused
    assert max(taken) < deadline + 1.0
    assert sorted(refused)[len(refused) // 2] < deadline / 2
    until(lambda: running.service.answers.batcher.queued == 0)


def test_who_floods_does_not_starve_another(home, start, engine) -> None:
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        flood, other = keys.create("flood", ["predict"])[0], keys.create("other", ["predict"])[0]
    running = start(home, flood)
    engine.delay = 0.02
    stop = threading.Event()

    def pour() -> int:
        refused = 0
        while not stop.is_set():
            refused += running.predict("intent", *["tell me of rome and bread"] * 200).status_code != 200
        return refused

    def ask() -> list[float]:
        try:
            queued(running, 1000)
            return [once() for _ in range(7)]
        finally:
            stop.set()

    def once() -> float:
        began = time.monotonic()
        found = running.ask.post("/v1/verticals/intent/predict", json={"texts": ["soup"]}, headers={"Authorization": f"Bearer {other}"})
        assert found.status_code == 200, found.text
        return time.monotonic() - began

    *_, took = together([*[pour] * 8, ask])
    waiting = 8 * 200 * cost(running, "tell me of rome and bread") / 256 * engine.delay  # until what the flood has there is done
    assert sorted(took)[3] < waiting / 2


def test_what_is_kept_is_answered_however_much_waits(fleet, start, engine) -> None:
    running = start(fleet, queued=400, cache=100)
    texts = ["tell me of rome and bread and soup " + letter * 5 for letter in "abcdefghijklmnop"]
    for text in texts:
        assert running.predict("intent", text).status_code == 200
    blocking = held(running, engine)
    fillers = [threading.Thread(target=lambda word=word: running.predict("intent", *[f"{word} of rome"] * 9)) for word in ("me", "tell")]
    for filler in fillers:
        filler.start()
    queued(running, 2 * 9 * 5)
    before = running.metric("vertune_rejections_total", reason="own")
    assert running.predict("intent", *texts).status_code == 200
    assert problem(running.predict("intent", *[text + " and more" for text in [*texts, *texts[:4]]]), 429)
    assert running.metric("vertune_rejections_total", reason="own") == before + 1
    engine.gate.set()
    for thread in (blocking, *fillers):
        thread.join(LONG)


def test_long_texts_that_are_cut_cost_what_is_left_of_them(fleet, start) -> None:
    """What is refused before its tokens are counted would have been refused after."""
    text = "tell me of rome and bread " * 40
    served = start(fleet).service.answers.fleet.get("find")
    encoder = served.predictor.encoder
    (feature,) = encoder.encode([{"text": text}], served.task.views(["text"]))
    assert feature.cost < len(text) / 10
    running = start(fleet, queued=4 * feature.cost)
    assert running.ask.post("/v1/embeddings", json={"model": "find", "input": [text] * 4}).status_code == 200
    assert "Divide it" in problem(running.ask.post("/v1/embeddings", json={"model": "find", "input": [text] * 5}), 422)


# ------------------------------------------------------------------ readiness


def test_not_ready_while_the_worker_is_stuck_and_ready_again_after(running, engine, monkeypatch) -> None:
    monkeypatch.setattr("vertune.server.readiness.MAX_AGE", 0.2)
    monkeypatch.setattr("vertune.server.readiness._PROBE_DEADLINE", 0.4)
    assert running.ask.get("/health/ready").json()["ready"] is True
    blocking = held(running, engine)
    time.sleep(0.3)
    answers = together([lambda: running.ask.get("/health/ready")] * 5)
    assert [found.status_code for found in answers] == [503] * 5
    assert "a test prediction was not answered" in answers[0].json()["why"]
    assert running.service.answers.batcher.queued == 0, "however many ask, one is tried, and nothing is left of it"
    assert len(engine.seen) <= 2
    assert running.ask.get("/health/live").status_code == 200
    engine.gate.set()
    blocking.join(LONG)
    # a probe may be refused first, because the held batch was slow; a second without work later no rate refuses anything
    until(lambda: running.ask.get("/health/ready").status_code == 200, 5)


def test_not_ready_without_a_worker_and_ready_again_with_one(running, monkeypatch) -> None:
    batcher = running.service.answers.batcher
    assert running.ask.get("/health/ready").status_code == 200
    monkeypatch.setattr(type(batcher), "_staff", lambda self: None)
    kill(running)
    batcher.submit(_nothing())  # which wakes it, so that it notices
    until(lambda: not batcher.alive)
    found = running.ask.get("/health/ready")
    assert found.status_code == 503
    assert found.json()["why"] == "no worker thread is running"
    monkeypatch.undo()
    until(lambda: batcher.alive)
    assert running.ask.get("/health/ready").status_code == 200


def _nothing():
    from vertune.queueing.fair_queue import BatchRequest

    return BatchRequest([None], [1], executor=_Executor())


class _Executor:
    def compute(self, payloads):
        return list(payloads)


def test_one_broken_vertical_makes_the_server_not_unready(running, engine, monkeypatch) -> None:
    monkeypatch.setattr("vertune.server.readiness.MAX_AGE", 0.0)
    served = running.service.answers.fleet.deployments
    name = next(name for name in served if name != "whole")  # the first that is tried may be any of them
    running.service.answers.fleet.deployments = {name: served[name], **served}
    engine.bad = content(running, "ready?")
    monkeypatch.setattr("vertune.server.readiness.MAX_AGE", 5.0)
    running.service.answers.batcher.last_success = None
    assert running.ask.get("/health/ready").status_code == 200  # by the one whose graph is its own


def test_one_vertical_whose_answers_fail_makes_the_server_not_unready(running, monkeypatch) -> None:
    first = next(iter(running.service.answers.fleet.deployments.values()))
    monkeypatch.setattr(type(first.task), "decode", lambda *given, **more: 1 / 0)
    running.service.answers.batcher.last_success = None
    assert running.ask.get("/health/ready").status_code == 200


def test_a_trial_is_counted_nowhere(running) -> None:
    running.service.answers.batcher.last_success = None
    assert running.ask.get("/health/ready").status_code == 200
    for name in ("waiting", "tokenizing", "inference"):
        assert running.metric(f"vertune_{name}_seconds_count") == 0


def test_not_ready_without_a_vertical(home, start) -> None:
    running = start(home, admin(home))
    for name in running.service.answers.fleet.deployments:
        running.ask.delete(f"/v1/verticals/{name}")
    found = running.ask.get("/health/ready")
    assert (found.status_code, found.json()["why"]) == (503, "no vertical is served")


def test_ready_without_a_vertical_for_the_job_that_makes_the_first_one(tmp_path, start) -> None:
    empty = Home(tmp_path / "empty")
    empty.folder.mkdir()
    running = start(empty, admin(empty), jobs=JobSettings(cores=1))
    assert running.ask.get("/health/ready").status_code == 200
    assert running.ask.get("/v1/verticals").json()["verticals"] == []


@pytest.mark.parametrize("name", ["intent", "spans", "find", "faq", "whole"])
def test_ready_whatever_the_task(fleet, start, name) -> None:
    running = start(fleet, only=[name])
    assert running.ask.get("/health/ready").json()["ready"] is True


# ------------------------------------------------------------------ memory


def graphs() -> int:
    """Those of models on their own in memory, whoever holds them."""
    from vertune.runtime.graph import Graph

    held = [one for one in gc.get_objects() if type(one) is Graph]
    return sum(one.session._model_path.endswith("model.onnx") for one in held)


def test_graphs_leave_memory_under_a_limit_and_are_loaded_again(home, start, alone) -> None:
    import shutil

    from vertune.runtime.fleet import graph_of

    graph = graph_of(home, home.get("models", "whole"))
    twin = home.folder / "models" / "twin-1"
    shutil.copytree(graph.folder, twin)
    home.alias("twin@live", "twin-1")
    size = (graph.folder / "model.onnx").stat().st_size
    expected = alone("whole", TEXTS)  # whose own graph is in memory from here on
    gc.collect()
    before = graphs()
    running = start(home, memory=size + 1)
    assert graphs() <= before + 1, "a graph is in memory that nobody counts"
    keeper = running.service.answers.fleet._keeper
    loaded = set()
    for name in ("whole", "twin") * 3:
        found = running.predict(name, *TEXTS)
        assert same(found.json()["answers"], expected), found.text
        assert 0 < keeper.bytes <= size + 1
        assert graphs() <= before + 1
        loaded |= {id for id in (graph.id, "twin-1") if id in keeper}
    assert loaded == {graph.id, "twin-1"}
    answers = together([lambda name=name: running.predict(name, *TEXTS) for name in ("whole", "twin") * 6])
    assert all(same(found.json()["answers"], expected) for found in answers)


# ------------------------------------------------------------------ the end


def test_what_was_begun_is_answered_before_the_end(running, engine, alone) -> None:
    """Also what is not queued yet."""
    engine.hold()
    found = []
    threads = [threading.Thread(target=lambda text=text: found.append(running.predict("intent", text))) for text in ("soup", "rome")]
    threads[0].start()
    engine.wait()
    threads[1].start()
    queued(running)
    late = Wire(running.port, asking("intent", "late")[:-5])  # its body is still on its way
    time.sleep(0.05)
    running.stop()
    until(lambda: running.service.draining)
    refused = running.predict("intent", "no more")
    assert "stopping" in problem(refused, 503)
    assert running.ask.get("/health/ready").status_code == 503
    late.send(asking("intent", "late")[-5:])
    engine.gate.set()
    for thread in threads:
        thread.join(LONG)
    assert [one.status_code for one in found] == [200, 200]
    assert late.answer()[0] == 200
    late.socket.close()
    running._thread.join(LONG)
    assert not running._thread.is_alive()
