"""A damaged file harms only the verticals that it belongs to: while they are followed, and when a server starts."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.server.conftest import TEXTS, VERTICALS, admin
from tests.server.running import problem, same, until
from vertune.core.artifact import Home
from vertune.runtime.fleet import Fleet
from vertune.server.following import AliasFollower

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FOLDERS = ("aliases", "models", "backbones")
FAIL = [sys.executable, "-ISc", "raise SystemExit(1)"]


def _damage():
    """The script that damages every file; the tests take a sample of its cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(os.fspath(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("benchmarks_damage", BENCHMARKS / "damage.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


damage = _damage()
SEEN_BY_HASHES_ALONE = {"flipped", "older"}
"""Ways that leave a file which can be read: what shows them is a checksum, whose tests are elsewhere."""
WAYS = sorted(damage.WAYS.keys() - SEEN_BY_HASHES_ALONE)


@pytest.fixture(scope="module")
def followed(fleet, tmp_path_factory):
    """A home of its own and a follower that serves it; the tests restore what they damage."""
    folder = tmp_path_factory.mktemp("damaged") / "home"
    shutil.copytree(fleet.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vertune.server.preparing.command", lambda home, models: FAIL)
        follower = AliasFollower(Fleet(Home(folder), threads=1, exact=True))
        follower.update()
        assert not follower.pending
        assert follower.fleet.deployments.keys() == VERTICALS.keys()
        yield follower
        follower.stop()


@pytest.fixture(scope="module")
def right(fleet):
    """Whether a fleet answers for a vertical as the model that it names does in the home that nothing damaged."""
    expected = Fleet(fleet, threads=1, exact=True)
    assert not expected.follow(expected.live())
    known = {one.model.id: _answers(one) for one in expected.deployments.values()}
    return lambda found, name: same(_answers(found.deployments[name]), known[found.deployments[name].model.id])


def _answers(deployment) -> list:
    fields = [column.name for column in deployment.task.input_columns if column.required]
    return deployment.predictor.answer([dict.fromkeys(fields, text) for text in TEXTS[:2]])


def test_only_the_verticals_of_a_damaged_file_are_hit(followed, right):
    home = followed.home
    before = dict(home.aliases())
    files = sorted(path for folder in FOLDERS for path in (home.folder / folder).rglob("*") if path.is_file())
    draw = random.Random(0)
    for file, way in [(draw.choice(files), way) for way in WAYS * 4]:
        owned = damage.owners(home, file)
        with damage.damaged(file, way, draw):
            followed.update()
            assert followed.pending.keys() <= owned, (file, way)
            retired = owned if way == "gone" and file.parent.name == "aliases" else set()  # to delete an alias is no damage
            assert followed.fleet.deployments.keys() == VERTICALS.keys() - retired, "what was loaded is served on"
            _check_a_start(home, owned, right)
        for name in owned:
            home.alias(f"{name}@live", before[f"{name}@live"])
        followed.update()
        assert not followed.pending, (file, way)


def _check_a_start(home: Home, owned: set[str], right) -> None:
    """On a home with a damaged file that belongs to some verticals, a server starts, serves all others, and nothing is answered wrong."""
    started = AliasFollower(Fleet(home, threads=1, exact=True))
    started.require()
    started.update()
    started.stop()
    assert started.pending.keys() <= owned
    assert started.fleet.deployments.keys() >= VERTICALS.keys() - owned
    assert all(right(started.fleet, name) for name in started.fleet.deployments)
    assert all(one.why for one in started.pending.values() if one.state == "damaged")


def test_a_home_that_disappears_stops_nothing_and_is_told_once(followed, right, caplog):
    aliases = followed.home.folder / "aliases"
    aliases.rename(aliases.with_name("hidden"))
    for _ in range(3):
        followed.update()
    assert followed.fleet.deployments.keys() == VERTICALS.keys()
    assert all(one.state == "damaged" and "has disappeared" in one.why for one in followed.pending.values())
    assert caplog.text.count("has disappeared") == 1
    aliases.with_name("hidden").rename(aliases)
    followed.update()
    assert not followed.pending


def test_a_vertical_that_can_not_be_loaded_is_tried_again_with_growing_waits(followed, monkeypatch, caplog):
    home, now = followed.home, [1000.0]
    monkeypatch.setattr("vertune.server.following.time.monotonic", lambda: now[0])
    loads = []
    deploy = Fleet._deploy_shared
    monkeypatch.setattr(Fleet, "_deploy_shared", lambda self, name, *given: (loads.append(name), deploy(self, name, *given))[1])
    live = home.aliases()["intent@live"]
    other = next(model.id for model in home.shelf("models") if model.manifest["name"] == "intent" and model.id != live)
    (rows,) = home.folder.glob(f"backbones/*/verticals/{other}/rows.safetensors")
    faq = home.aliases()["faq@live"]
    with damage.damaged(rows, "empty", random.Random(0)):
        home.alias("intent@live", other)
        for wait in (1, 2, 4, 8, 16, 32, 60, 60):
            followed.update()
            assert followed.pending["intent"].retry_at == now[0] + wait
            home.alias("faq@live", faq)  # another alias changes, which is no reason to load this one
            followed.update()
            now[0] += wait
        assert loads == ["intent"] * 8
        assert caplog.text.count("of 'intent' is not served") == 1
    home.alias("intent@live", other)
    followed.update()
    assert followed.fleet.deployments["intent"].model.id == other
    home.alias("intent@live", live)
    followed.update()
    assert not followed.pending


@pytest.mark.parametrize("file", ["rows.safetensors", "manifest.json"])
def test_a_file_that_is_restored_is_read_at_once(followed, monkeypatch, file):
    home = followed.home
    monkeypatch.setattr("vertune.server.following.time.monotonic", lambda: 1000.0)
    live = home.aliases()["intent@live"]
    other = next(model.id for model in home.shelf("models") if model.manifest["name"] == "intent" and model.id != live)
    (damaged,) = home.folder.glob(f"{'models' if file == 'manifest.json' else 'backbones/*/verticals'}/{other}/{file}")
    with damage.damaged(damaged, "cut", random.Random(0)):
        home.alias("intent@live", other)
        for _ in range(3):
            followed.update()
        assert followed.pending["intent"].state == "damaged"
        assert followed.pending["intent"].attempts == 1
    followed.update()
    assert not followed.pending
    assert followed.fleet.deployments["intent"].model.id == other
    home.alias("intent@live", live)
    followed.update()


# ------------------------------------------------------------------ over HTTP


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_listens_before_models_are_loaded_and_starts_with_damage(home, start, alone, monkeypatch, caplog):
    monkeypatch.setattr("vertune.server.preparing.command", lambda home, models: FAIL)
    (home.folder / "aliases" / "intent@live").write_bytes(b"\xff\xfe")
    (home.folder / "aliases" / "spans@live").unlink()
    (home.folder / "aliases" / "spans@live").mkdir()
    (home.folder / "aliases" / "sp\x1b[2Jam@live").write_text("x")
    shutil.rmtree(home.folder / "models" / home.aliases()["find@live"])
    running = start(home, admin(home), exact=True, good=False)
    told = {one["name"]: one for one in running.ask.get("/v1/verticals").json()["verticals"]}
    assert {name: one["ready"] for name, one in told.items()} == {
        "faq": True, "find": False, "intent": False, "sp\\x1b[2Jam": False, "spans": False, "whole": True,
    }  # fmt: skip
    assert {one["coming"]["state"] for one in told.values() if one["coming"]} == {"damaged"}
    assert "'intent' is not ready: its state is 'damaged'" in problem(running.predict("intent", "a"), 503)
    assert same(running.predict("whole", *TEXTS).json()["answers"], alone("whole", TEXTS))
    ready = running.stranger.get("/health/ready").json()
    assert (ready["ready"], ready["serving"], ready["pending"]) == (True, 2, 4)
    assert running.metric("vertune_vertical_ready", vertical="intent") == 0
    assert running.metric("vertune_vertical_pending", vertical="intent", state="damaged") == 1
    assert running.metric("vertune_vertical_ready", vertical="whole") == 1
    assert "\x1b" not in caplog.text
    assert "Traceback" not in caplog.text
    # each is repaired on its own
    model = next(one.id for one in home.shelf("models") if one.manifest["name"] == "intent")
    assert running.ask.put("/v1/verticals/intent", json={"model": model}).json()["coming"] is None
    assert running.predict("intent", "a").status_code == 200


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_reasons_are_for_administrators_alone(home, start, monkeypatch):
    from vertune.store.database import Database
    from vertune.store.keys import Keys

    (home.folder / "aliases" / "intent@live").write_bytes(b"\xff\xfe")
    running = start(home, admin(home), exact=True, good=False)
    keys = Keys(Database(home.folder / "server.db"))
    secret, _ = keys.create("website", ["predict"])
    keys.close()
    assert "intent@live" in running.ask.get("/v1/verticals/intent").json()["coming"]["why"]
    running.ask.headers["Authorization"] = f"Bearer {secret}"
    told = until(lambda: (one := running.ask.get("/v1/verticals/intent")).status_code == 200 and one.json())
    assert (told["coming"]["state"], told["coming"]["why"]) == ("damaged", "")


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("way", ["link", "dangling", "pipe", "folder", "binary"])
def test_the_card_is_no_way_to_files_outside_the_model(home, start, way):
    running = start(home, admin(home), exact=True)
    file = running.service.answers.fleet.get("intent").model.folder / "README.md"
    with damage.damaged(file, way, random.Random(0)):
        told = problem(running.ask.get("/v1/verticals/intent/card"), 507)
        assert "can't be read" in told
        assert os.fspath(home.folder) not in told
    assert running.ask.get("/v1/verticals/intent/card").status_code == 200
