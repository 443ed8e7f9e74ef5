from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vertune.core.artifact import Artifact, Home, recording
from vertune.core.errors import ConfigError, Conflict, NotFound, StorageError
from vertune.core.files import read_json, write_json, write_text


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def made(home: Home, name: str = "intent") -> Artifact:
    return home.finish(home.begin("models", name, step="train"))


def test_a_run_is_no_artifact_until_it_is_finished(home):
    run = home.begin("models", "intent")
    assert home.shelf("models") == []
    assert run.manifest["status"] == "running"
    done = home.finish(run, metrics={"accuracy": 1.0})
    assert [artifact.id for artifact in home.shelf("models")] == [run.id]
    assert done.manifest["status"] == "done"
    assert home.runs() == []


def test_where_nothing_was_made_yet_the_command_that_makes_it_is_named(home):
    with pytest.raises(NotFound, match=r"There are no models yet\. Make one: vertune fit RUN\.yaml"):
        home.get("models", "intent")
    with pytest.raises(NotFound, match="vertune app NAME train PACK"):
        home.get("products", "shop")


def test_a_home_that_can_not_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="VERTUNE_HOME"):
        Home(tmp_path / "home").begin("models", "intent")
    (tmp_path / "other" / ".lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="Can't write"):
        Home(tmp_path / "other").begin("models", "intent")


def test_an_error_is_written_into_the_run_and_goes_on(home):
    run = home.begin("datasets", "intent")
    with pytest.raises(ValueError, match="bad"), recording(home, run):
        raise ValueError("bad")
    assert run.manifest["status"] == "failed"
    assert run.manifest["error"] == "ValueError: bad"


def test_events_are_kept_and_a_torn_last_line_is_left_out(home):
    run = home.begin("models", "intent")
    run.event("step", loss=0.5, count=np.int64(3))
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"event": "st')
    assert [(event["event"], event["loss"], event["count"]) for event in run.events()] == [("step", 0.5, 3)]


def test_names_are_found_by_id_alias_live_and_newest(home):
    first, second = made(home), made(home)
    assert home.get("models", first.id).id == first.id
    assert home.get("models", "intent").id == second.id
    home.alias("intent@live", first.id)
    assert home.get("models", "intent").id == first.id
    assert home.get("models", "intent@live").id == first.id
    assert home.get("models", str(first.folder)).id == first.id
    with pytest.raises(NotFound, match=second.id):
        home.get("models", "other")
    with pytest.raises(NotFound, match="intent@live"):
        home.get("models", "intent@next")


def test_an_alias_that_goes_while_all_are_read_is_left_out(home, monkeypatch):
    model = made(home)
    for alias in ("intent@live", "intent@next", "other@live"):
        home.alias(alias, model.id)
    read = Path.read_text

    def gone(path, *given, **more):
        if path.name == "intent@next":
            path.unlink(missing_ok=True)
        return read(path, *given, **more)

    monkeypatch.setattr(Path, "read_text", gone)
    home.unalias("other@live")
    assert home.aliases() == {"intent@live": model.id}
    with pytest.raises(NotFound, match="Choose from: intent@live"):
        home.unalias("intent@next")


def test_what_an_alias_points_to_is_not_removed(home):
    model = made(home)
    home.alias("intent@live", model.id)
    with pytest.raises(Conflict, match="intent@live"):
        home.remove("models", model.id)
    other = made(home)
    home.alias("intent@live", other.id)
    home.remove("models", model.id)
    assert [artifact.id for artifact in home.shelf("models")] == [other.id]


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-x", ".hidden", "A", "a..b", "x" * 81])
def test_names_that_could_leave_the_home_are_refused(home, name):
    with pytest.raises(ConfigError):
        home.begin("models", name)
    with pytest.raises((ConfigError, NotFound)):
        home.alias(f"{name}@live", made(home).id)


def test_an_artifact_of_the_longest_name_is_found_by_its_id(home):
    model = home.finish(home.begin("models", "a" * 80))
    home.alias("long@live", model.id)
    assert home.get("models", model.id) == home.get("models", "long") == model


def test_a_broken_or_newer_manifest_is_said(home):
    model = made(home)
    (model.folder / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(StorageError, match="format"):
        _ = model.manifest
    (model.folder / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match="as JSON"):
        _ = model.manifest


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_text(path, "other")
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_json_takes_numpy_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": np.float32(0.5), "y": np.arange(2), "z": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text())["y"] == [0, 1]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"x": float("nan")})


def test_a_folder_beside_us_is_found_by_its_name_alone(tmp_path, monkeypatch):
    home = Home(tmp_path / "home")
    made = home.finish(home.begin("models", "support"))
    made.folder.rename(tmp_path / "support-bundle")
    monkeypatch.chdir(tmp_path)
    assert home.get("models", "support-bundle").folder == tmp_path / "support-bundle"


def test_a_run_is_at_work_while_its_process_lives(home):
    run = home.begin("models", "intent")
    assert not run.in_use  # this process does not wait for itself
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        run.update(pid=other.pid)
        assert run.in_use
        run.update(host="elsewhere")
        assert not run.in_use
        run.update(host=platform.node(), status="failed")
        assert not run.in_use
        run.update(status="running")
        other.communicate(b"\n")
    assert not run.in_use


def test_the_newest_is_the_one_made_last_whatever_the_file_system_says(home):
    first, second = made(home), made(home)
    os.utime(second.folder, (0, 0))
    assert [artifact.id for artifact in home.shelf("models")] == [first.id, second.id]


# ------------------------------------------------------------------ damage, and names from disk

DAMAGE = {
    "is no text": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "is empty": lambda file: file.write_bytes(b""),
    "is huge": lambda file: file.write_bytes(b"a" * 100_000),
    "is a folder": lambda file: (file.unlink(), file.mkdir()),
    "is a link to nothing": lambda file: (file.unlink(), file.symlink_to("nothing")),
    "is a link to another alias": lambda file: (file.unlink(), file.symlink_to("intent@live")),
    "is a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "leads out of the home": lambda file: file.write_text("../../elsewhere"),
    "is a path": lambda file: file.write_text("/etc"),
    "has two lines": lambda file: file.write_text("intent\nother"),
}


@pytest.mark.parametrize("way", DAMAGE)
def test_an_alias_that_can_not_be_read_harms_no_other(home, way):
    model, other = made(home), made(home, "other")
    home.alias("intent@live", model.id)
    home.alias("other@live", other.id)
    DAMAGE[way](home.folder / "aliases" / "other@live")
    assert home.aliases() == {"intent@live": model.id}
    read = home.read_aliases()
    assert read.keys() == {"intent@live", "other@live"}
    assert isinstance(read["other@live"], StorageError)
    assert home.get("models", "intent") == model
    for name in ("other", "other@live"):
        with pytest.raises(StorageError, match="other@live"):
            home.get("models", name)
    with pytest.raises(StorageError, match="other@live"):  # it may point to this model
        home.remove("models", other.id)
    with pytest.raises(StorageError, match="other@live"):
        home.all_aliases()
    if way != "is a folder":
        home.alias("other@live", other.id)
        assert home.all_aliases() == {"intent@live": model.id, "other@live": other.id}


@pytest.mark.parametrize("name", ["no\x1b[2Jname@live", "Upper@live", "a..b@live", "a@b@live", "@live", "a@"])
def test_a_file_among_the_aliases_whose_name_is_none_is_no_alias(home, name):
    model = made(home)
    home.alias("intent@live", model.id)
    (home.folder / "aliases" / name).write_text(model.id)
    assert home.aliases() == {"intent@live": model.id}
    (error,) = (one for one in home.read_aliases().values() if not isinstance(one, str))
    assert all(shown.isprintable() for shown in (str(error), *home.read_aliases()))


def test_an_alias_points_to_no_model_outside_the_home(home, tmp_path_factory):
    elsewhere = made(Home(tmp_path_factory.mktemp("elsewhere")))
    with pytest.raises(ConfigError, match="outside the home"):
        home.alias("intent@live", str(elsewhere.folder))
    assert home.read_aliases() == {}


def test_artifacts_that_are_links_are_none(home, tmp_path_factory):
    elsewhere = made(Home(tmp_path_factory.mktemp("elsewhere")))
    model = made(home)
    (home.folder / "models" / elsewhere.id).symlink_to(elsewhere.folder)
    assert home.shelf("models") == [model]
    with pytest.raises(StorageError, match="is a symbolic link; expected a folder"):
        home.get("models", elsewhere.id)
    (home.folder / "backbones").symlink_to(home.folder / "models")
    with pytest.raises(StorageError, match="backbones is a symbolic link"):
        home.shelf("backbones")


@pytest.mark.parametrize(
    "content", [b"\xff", b"", b"[]", b"5", b'{"format": "1"}', b'{"format": null}', b"[" * 100_000, b'{"format": 1e999}']
)
def test_a_damaged_manifest_is_an_error_of_its_artifact_alone(home, content):
    model, other = made(home), made(home)
    (model.folder / "manifest.json").write_bytes(content)
    with pytest.raises(StorageError):
        _ = model.manifest
    assert (model.manifest_or_empty, model.parents) == ({}, ())
    assert home.shelf("models") == [model, other]


def test_a_manifest_that_is_a_pipe_is_not_waited_for(home):
    model = made(home)
    (model.folder / "manifest.json").unlink()
    os.mkfifo(model.folder / "manifest.json")
    with pytest.raises(StorageError, match="a named pipe"):
        _ = model.manifest


@pytest.mark.parametrize("written", [None, 5, "intent", {"a": 1}, [1, None]])
def test_parents_that_are_no_list_of_ids_are_none(home, written):
    model = made(home)
    model.update(parents=written)
    assert model.parents == ()


@pytest.mark.parametrize(("shared", "hidden"), [(False, 0o077), (True, 0o007)])
def test_others_can_read_no_artifact(tmp_path, shared, hidden):
    """Whatever made the files; in a home with the set-group-ID bit, the group of the home can read them."""
    home = Home(tmp_path / "home")
    umask = os.umask(0)
    try:
        if shared:
            home.folder.mkdir()
            home.folder.chmod(0o2775)
        run = home.begin("datasets", "intent")
        assert not run.folder.stat().st_mode & hidden, "while it is written, too"
        (run.folder / "deep").mkdir()
        (run.folder / "deep" / "rows.parquet").write_text("a customer's text")
        done = home.finish(run)
    finally:
        os.umask(umask)
    files = [done.folder, *done.folder.rglob("*")]
    assert len(files) == 4
    assert not any(path.stat().st_mode & hidden for path in files)
    if shared:
        assert all(path.stat().st_mode & 0o040 for path in files)
    else:
        assert not home.folder.stat().st_mode & hidden
