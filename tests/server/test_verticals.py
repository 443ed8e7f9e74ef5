"""What is served is told, changed by an admin or by an alias without a request lost, and never half."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.server.conftest import TEXTS, VERTICALS, admin
from tests.server.running import problem, same, together, until
from vertune.core.artifact import Artifact, Home
from vertune.core.files import write_json, write_text
from vertune.runtime.fleet import Fleet

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def running(home, start):
    """A server on a home of its own."""
    return start(home, admin(home), exact=True)


@pytest.fixture
def other(fleet) -> str:
    """The id of the second model of `intent`, whose labels are others."""
    live = fleet.get("models", "intent@live").id
    return next(model.id for model in fleet.shelf("models") if model.manifest_or_empty["name"] == "intent" and model.id != live)


def labels(response) -> set[str]:
    assert response.status_code == 200, response.text
    return {label for answer in response.json()["answers"] for label in answer["probabilities"]}


def test_all_verticals_are_told(server, fleet) -> None:
    found = {one["name"]: one for one in server.ask.get("/v1/verticals").json()["verticals"]}
    assert list(found) == sorted(VERTICALS)
    for name, one in found.items():
        assert one["task"] == VERTICALS[name][0]
        assert one["model"] == fleet.get("models", name).id
        assert one["shared"] is (name != "whole")
        assert one["precision"] == ("int8" if name == "whole" else "float32")
        assert one["why"]
        assert one["coming"] is None
        assert server.ask.get(f"/v1/verticals/{name}").json() == one
        chinese = server.ask.get(f"/v1/verticals/{name}", params={"language": "zh"}).json()
        assert re.search(r"[\u4e00-\u9fff]", chinese["why"])
        assert {**chinese, "why": one["why"]} == one
    assert found["intent"]["labels"] == ["food", "place"]
    assert found["find"]["labels"] is None
    assert list(found["faq"]["fields"]) == ["question", "context"]


def test_the_models_of_a_vertical_are_told(server, fleet, other) -> None:
    found = server.ask.get("/v1/verticals/intent/versions").json()["versions"]
    assert {one["model"]: one["live"] for one in found} == {fleet.get("models", "intent").id: True, other: False}
    assert all(one["metrics"] and one["created"] for one in found)


def test_the_card_is_the_one_beside_the_model(server, fleet) -> None:
    found = server.ask.get("/v1/verticals/intent/card").json()
    assert found == {"vertical": "intent", "card": (fleet.get("models", "intent").folder / "README.md").read_text()}
    assert "# intent" in found["card"]


def test_another_model_goes_live(running, home, alone, other) -> None:
    found = running.ask.put("/v1/verticals/intent", json={"model": other})
    assert found.status_code == 202
    assert found.json()["model"] == other
    said = running.predict("intent", *TEXTS)
    assert said.json()["model"] == other
    assert same(said.json()["answers"], alone(other, TEXTS))
    assert home.aliases()["intent@live"] == other


def test_a_model_of_another_task_goes_live_only_if_asked_for(running, home) -> None:
    live, tagger = (home.get("models", f"{name}@live").id for name in ("intent", "spans"))
    said = problem(running.ask.put("/v1/verticals/intent", json={"model": tagger}), 422)
    assert f"The task of {tagger} is tag; expected classify" in said
    assert home.aliases()["intent@live"] == live
    assert running.ask.put("/v1/verticals/intent", json={"model": tagger, "another_task": True}).json()["model"] == tagger


def test_models_that_go_live_one_after_the_other_are_all_seen(running, home, other) -> None:
    """Within what the clock of files can tell apart."""
    first = home.get("models", "intent@live").id
    for model in (other, first) * 10:
        assert running.ask.put("/v1/verticals/intent", json={"model": model}).json()["model"] == model


def test_a_new_vertical_comes_and_goes(running, home, other) -> None:
    assert problem(running.predict("second", "a"), 404)
    assert running.ask.put("/v1/verticals/second", json={"model": other}).status_code == 202
    assert labels(running.predict("second", "a")) == {"even", "odd"}
    found = running.ask.delete("/v1/verticals/second")
    assert (found.status_code, found.content) == (204, b"")
    assert problem(running.predict("second", "a"), 404)
    assert "'second'" in problem(running.ask.delete("/v1/verticals/second"), 404)
    assert other in [model.id for model in home.shelf("models")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody"}, 404),
        ({"model": "../x"}, 422),
        ({"model": ""}, 422),
        ({}, 422),
        ({"model": "a", "b": 1}, 422),
        ({"model": "intent"}, 404),
    ],
)
def test_what_is_no_model_does_not_go_live(server, body, status) -> None:
    before = server.service.home.aliases()
    assert problem(server.ask.put("/v1/verticals/intent", json=body), status)
    assert server.service.home.aliases() == before


@pytest.mark.parametrize("name", ["Upper", "a@b", "-a", "a..b", "a" * 81, "a b", "日本😀", "ａ"])
def test_what_is_no_name_is_no_vertical(server, other, name) -> None:
    before = server.service.home.aliases()
    assert problem(server.ask.put(f"/v1/verticals/{name}", json={"model": other}), 422)
    for found in (server.ask.get(f"/v1/verticals/{name}"), server.ask.delete(f"/v1/verticals/{name}"), server.predict(name, "a")):
        assert problem(found, 404)
    assert server.service.home.aliases() == before


def test_a_name_in_another_script_is_served(server, other) -> None:
    assert server.ask.put("/v1/verticals/订单分类", json={"model": other}).status_code == 202
    until(lambda: server.predict("订单分类", "a").status_code == 200)
    assert "订单分类" in server.ask.get("/metrics").text
    assert server.ask.get("/v1/verticals/%E8%AE%A2%E5%8D%95%E5%88%86%E7%B1%BB").json()["name"] == "订单分类"
    assert server.ask.delete("/v1/verticals/订单分类").status_code == 204


def test_an_alias_that_another_process_moves_is_followed(running, home, other) -> None:
    home.alias("intent@live", other)
    until(lambda: running.predict("intent", "a").json()["model"] == other)
    home.unalias("intent@live")
    until(lambda: running.predict("intent", "a").status_code == 404)
    assert running.predict("whole", "a").status_code == 200


def test_a_server_of_some_serves_these_alone(home, start, other) -> None:
    running = start(home, admin(home), only=["intent", "whole"])
    assert [one["name"] for one in running.ask.get("/v1/verticals").json()["verticals"]] == ["intent", "whole"]
    assert problem(running.predict("find", "a"), 404)
    # what is not its own it leaves alone, since another server may follow that
    before = home.aliases()
    assert "serves only intent, whole" in problem(running.ask.delete("/v1/verticals/find"), 404)
    assert "serves only intent, whole" in problem(running.ask.put("/v1/verticals/another", json={"model": other}), 404)
    assert home.aliases() == before
    # one of them goes, and the others are followed as before
    assert running.ask.delete("/v1/verticals/whole").status_code == 204
    assert problem(running.predict("whole", "a"), 404)
    home.alias("intent@live", other)
    until(lambda: running.predict("intent", "a").json()["model"] == other)


def test_what_is_retired_does_not_come_back_by_a_look_that_began_before(running, home, other, monkeypatch) -> None:
    seated, loading, go_on = Fleet._deploy_shared, threading.Event(), threading.Event()

    def slow(self, name, *given):
        if name == "second":
            loading.set()
            assert go_on.wait(20)
        return seated(self, name, *given)

    monkeypatch.setattr(Fleet, "_deploy_shared", slow)
    home.alias("second@live", other)
    assert loading.wait(20)  # by the look that follows aliases
    retiring = threading.Thread(target=lambda: running.ask.delete("/v1/verticals/intent"))
    retiring.start()
    time.sleep(0.1)
    go_on.set()
    retiring.join(20)
    assert "intent" not in running.service.answers.fleet.deployments
    assert running.predict("second", "a").status_code == 200


# ------------------------------------------------------------------ what is not ready


SCRIPT = """
import pathlib, sys, time
end = pathlib.Path(sys.argv[1])
while not end.exists():
    time.sleep(0.01)
sys.stderr.write("Error: " + end.read_text())
sys.exit(1)
"""


@dataclass
class Child:
    """A process in the place of the command that makes models ready; it prepares nothing and ends when it is told to."""

    file: Path
    asked: list[list[str]] = field(default_factory=list)

    def end(self, error: str) -> None:
        write_text(self.file, error)


@pytest.fixture
def child(monkeypatch, tmp_path):
    made = Child(tmp_path / "end")

    def command(home, models):
        made.asked.append(list(models))
        return [sys.executable, "-ISc", SCRIPT, str(made.file)]

    monkeypatch.setattr("vertune.server.preparing.command", command)
    return made


@pytest.fixture
def unready(home, other):
    """A model that nothing was made ready of."""
    source = home.get("models", other)
    fresh = home.folder / "models" / "intent-fresh"
    shutil.copytree(source.folder, fresh)
    write_json(fresh / "manifest.json", {**source.manifest, "id": "intent-fresh"})
    return Artifact(fresh).id


def test_a_model_that_is_not_ready_is_prepared_while_the_one_before_answers(child, unready, running) -> None:
    found = running.ask.put("/v1/verticals/intent", json={"model": unready}).json()
    assert (found["coming"]["model"], found["coming"]["state"], found["coming"]["why"]) == (unready, "preparing", "")
    assert found["model"] != unready
    assert labels(running.predict("intent", "a")) == {"food", "place"}
    assert running.metric("vertune_vertical_pending", vertical="intent", state="preparing") == 1
    child.end("no layer fits")
    told = until(lambda: (one := running.ask.get("/v1/verticals/intent").json()["coming"])["state"] == "failed" and one)
    assert "no layer fits" in told["why"]
    assert told["attempts"] == 1
    assert 0 < told["retry_seconds"] <= 30
    assert child.asked == [[unready]], "what failed is not tried again at once"
    assert labels(running.predict("intent", "a")) == {"food", "place"}


def test_a_new_vertical_that_is_not_ready_is_told_as_coming(child, unready, running) -> None:
    assert running.ask.put("/v1/verticals/later", json={"model": unready}).status_code == 202
    told = running.ask.get("/v1/verticals/later").json()
    assert (told["model"], told["coming"]["state"]) == (None, "preparing")
    assert "later" in [one["name"] for one in running.ask.get("/v1/verticals").json()["verticals"]]
    assert told["ready"] is False
    assert "'later' is not ready: its state is 'preparing'" in problem(running.predict("later", "a"), 503)
    assert running.ask.get("/v1/verticals/later/versions").status_code == 200
    assert problem(running.ask.get("/v1/verticals/later/card"), 503)
    running.ask.delete("/v1/verticals/later")
    assert problem(running.ask.get("/v1/verticals/later"), 404)


def test_another_that_is_not_ready_is_told_as_waiting(child, unready, running) -> None:
    running.ask.put("/v1/verticals/later", json={"model": unready})
    source = running.service.home.get("models", unready)
    second = source.folder.with_name("intent-second")
    shutil.copytree(source.folder, second)
    write_json(second / "manifest.json", {**source.manifest, "id": "intent-second"})
    told = running.ask.put("/v1/verticals/later-still", json={"model": "intent-second"}).json()
    assert (told["coming"]["model"], told["coming"]["state"]) == ("intent-second", "waiting")


def test_an_alias_that_leads_to_no_model_is_told_and_the_others_are_followed(running, home, other) -> None:
    (home.folder / "aliases" / "ghost@live").write_text("ghost-1")
    home.alias("intent@live", other)
    until(lambda: running.predict("intent", "a").json()["model"] == other)
    until(lambda: running.ask.get("/v1/verticals/ghost").status_code == 200)  # told at the end of the look that found it
    told = running.ask.get("/v1/verticals/ghost").json()
    assert told["model"] is None
    assert "vertune alias ghost@live" in told["coming"]["why"]
    assert running.ask.delete("/v1/verticals/ghost").status_code == 204


def test_a_newer_graph_of_a_model_is_followed(running, home) -> None:
    from vertune.runtime.fleet import graph_of

    graph = graph_of(home, running.service.answers.fleet.get("whole").model)
    newer = graph.folder.with_name(f"{graph.id}-newer")
    shutil.copytree(graph.folder, newer)
    Artifact(newer).update(id=newer.name)
    until(lambda: running.service.answers.fleet.get("whole").artifact_id == newer.name)
    home.remove("models", graph.id)
    assert running.predict("whole", "a").status_code == 200


def test_a_damaged_model_is_told_and_the_one_before_answers(running, home, other) -> None:
    for file in home.folder.glob(f"backbones/*/verticals/{other}/rows.safetensors"):
        file.write_bytes(b"damaged")
    found = running.ask.put("/v1/verticals/intent", json={"model": other}).json()
    assert found["coming"]["state"] == "damaged"
    assert "rows.safetensors has changed" in found["coming"]["why"]
    assert labels(running.predict("intent", "a")) == {"food", "place"}
    assert running.ask.put("/v1/verticals/whole", json={"model": found["model"]}).status_code == 202  # others are followed all the same
    assert running.predict("whole", "a").json()["model"] == found["model"]


def test_a_model_that_is_made_ready_by_hand_is_served(child, home, other, running) -> None:
    """As `vertune share` does it: a folder first, and the verdict into it when all is measured."""
    (folder,) = home.folder.glob(f"backbones/*/verticals/{other}")
    verdict = (folder / "served.json").read_text()
    write_json(folder / "served.json", {})
    assert running.ask.put("/v1/verticals/intent", json={"model": other}).json()["coming"]["state"] == "preparing"
    child.end("interrupted")
    until(lambda: running.ask.get("/v1/verticals/intent").json()["coming"]["state"] == "failed")
    write_json(folder / "served.json", json.loads(verdict))
    until(lambda: running.predict("intent", "a").json()["model"] == other)
    until(lambda: running.ask.get("/v1/verticals/intent").json()["coming"] is None)  # the model answers a moment before it is noted


def test_a_child_that_ends_while_it_is_looked_is_no_failure(child, home, other, running, monkeypatch) -> None:
    (folder,) = home.folder.glob(f"backbones/*/verticals/{other}")
    verdict = (folder / "served.json").read_text()
    write_json(folder / "served.json", {})
    running.ask.put("/v1/verticals/intent", json={"model": other})
    follow = Fleet.follow

    def ended(self, *given, **more):
        found = follow(self, *given, **more)
        if not child.file.exists():
            write_json(folder / "served.json", json.loads(verdict))
            child.end("")
        return found

    monkeypatch.setattr(Fleet, "follow", ended)
    home.alias("whole@live", home.get("models", "whole").id)  # so that there is something to look at
    until(lambda: running.predict("intent", "a").json()["model"] == other)


def test_a_look_that_fails_is_tried_again_and_logged_once(running, other, home, monkeypatch, caplog) -> None:
    read, failed = Home.read_aliases, []

    def broken(self):
        if len(failed) < 3:
            failed.append(True)
            raise FileNotFoundError("a disk that is not there")
        return read(self)

    monkeypatch.setattr(Home, "read_aliases", broken)
    home.alias("intent@live", other)
    until(lambda: running.predict("intent", "a").json()["model"] == other)
    assert len(failed) == 3
    assert caplog.text.count("a disk that is not there\n") + caplog.text.count("a disk that is not there The next") == 2


# ------------------------------------------------------------------ under load


def test_a_vertical_is_replaced_under_load(running, home, alone, other) -> None:
    """Every answer is of the old model or of the new one, and right for the one that it names."""
    first = home.get("models", "intent@live").id
    expected = {model: alone(model, TEXTS) for model in (first, other)}
    end = time.monotonic() + 1.0
    seen: set[str] = set()

    def ask(place: int) -> int:
        asked = 0
        while time.monotonic() < end:
            found = running.predict("intent", TEXTS[place], TEXTS[place - 1])
            assert found.status_code == 200, found.text
            told = found.json()
            seen.add(told["model"])
            assert same(told["answers"], [expected[told["model"]][place], expected[told["model"]][place - 1]])
            asked += 1
        return asked

    def replace() -> int:
        times = 0
        while time.monotonic() < end:
            times += 1
            model = (first, other)[times % 2]
            if times % 3:
                assert running.ask.put("/v1/verticals/intent", json={"model": model}).status_code == 202
            else:
                home.alias("intent@live", model)
                running.service.aliases.update()
        return times

    *asked, times = together([*(lambda place=place: ask(place) for place in range(4)), replace])
    assert seen == {first, other}
    assert times > 2  # each compares reference outputs first
    assert min(asked) > 5


def test_verticals_come_and_go_under_load(running, other) -> None:
    done = threading.Event()

    def ask(name: str, allowed: set[int]) -> set[int]:
        statuses = set()
        while not done.is_set():
            statuses.add(running.predict(name, "soup", "rome").status_code)
            assert statuses <= allowed
        return statuses

    def change() -> None:
        try:
            for _ in range(8):
                assert running.ask.put("/v1/verticals/second", json={"model": other}).status_code == 202
                until(lambda: running.predict("second", "a").status_code == 200)
                assert running.ask.delete("/v1/verticals/second").status_code == 204
        finally:
            done.set()

    together([lambda: ask("intent", {200}), lambda: ask("whole", {200}), lambda: ask("second", {200, 404}), change])
    slots = {one.slot.slot for one in running.service.answers.fleet.deployments.values() if one.shared}
    assert max(slots) < 16, "the slots of what went are used again"
