"""Artifacts: folders with a manifest and events, and the home that holds them; knows nothing of what is inside.

A run is an artifact that is not finished yet: it lives under `runs/` and is renamed into its shelf when it is whole, so
that a crash never leaves half an artifact that looks whole.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from vertune.core.errors import ConfigError, Conflict, NotFound, StorageError
from vertune.core.files import json_value, read_json, storage_errors, write_json, write_text

FORMAT = 1
Shelf = Literal["datasets", "models", "reports", "backbones"]
SHELVES: tuple[str, ...] = get_args(Shelf)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,119}")
"""A name with the time and a random number behind it."""


def check_name(name: str) -> str:
    """A name that is safe as a folder; ConfigError otherwise."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigError(f"A name has 1 to 80 of a-z, 0-9, '-', '_' and '.', and starts with a letter or digit; got {name!r}.")
    return name


def owner_entries() -> dict[str, Any]:
    """Entries of a manifest that say who is at work: this process, on this machine."""
    return {"status": "running", "pid": os.getpid(), "host": platform.node()}


@dataclass(frozen=True)
class Artifact:
    """A folder with `manifest.json` and `events.jsonl`."""

    folder: Path

    @property
    def id(self) -> str:
        """The name of the folder, unique in its home."""
        return self.folder.name

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands on disk; StorageError when it is missing or broken."""
        value = read_json(self.folder / "manifest.json")
        if not isinstance(value, dict) or value.get("format", FORMAT + 1) > FORMAT:
            raise StorageError(f"{self.folder} is no artifact that this version reads: expected a manifest of format {FORMAT} or older.")
        return value

    @property
    def known_manifest(self) -> dict[str, Any]:
        """The manifest, or nothing where a run was killed before it wrote one."""
        try:
            return self.manifest
        except StorageError:
            return {}

    @property
    def in_use(self) -> bool:
        """Whether another process of this machine is making it."""
        known = self.known_manifest
        pid = known.get("pid")
        if known.get("status") != "running" or known.get("host") != platform.node() or not isinstance(pid, int) or pid == os.getpid():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # somebody else's process has that number
        return True

    def update(self, **entries: Any) -> None:
        """Change entries of the manifest."""
        write_json(self.folder / "manifest.json", {**self.manifest, **entries})

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line of progress."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False, default=json_value)
        with storage_errors(self.folder), (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All lines of progress; a last line cut short by a crash is left out."""
        path = self.folder / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        whole = []
        for line in lines:
            try:
                whole.append(json.loads(line))
            except ValueError:
                continue
        return whole


class Home:
    """The folder that holds all artifacts and aliases: `./.vertune`, or `VERTUNE_HOME`."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ.get("VERTUNE_HOME") or ".vertune").expanduser().absolute()

    def shelf(self, shelf: Shelf) -> list[Artifact]:
        """The finished artifacts of one sort, oldest first."""
        folder = self.folder / shelf
        found = [path for path in folder.glob("[!.]*") if (path / "manifest.json").exists()] if folder.exists() else []
        made = [Artifact(path) for path in found]
        return sorted(made, key=lambda artifact: (str(artifact.known_manifest.get("created")), artifact.id))

    def runs(self) -> list[Artifact]:
        """The artifacts that are not finished: running, failed or killed."""
        folder = self.folder / "runs"
        return [Artifact(path) for path in sorted(folder.iterdir())] if folder.exists() else []

    def begin(self, shelf: Shelf, name: str, **entries: Any) -> Artifact:
        """Start a run that will become an artifact of this shelf."""
        stamp = datetime.now(UTC)
        run = Artifact(self.folder / "runs" / f"{check_name(name)}-{stamp:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        with storage_errors(run.folder):
            run.folder.mkdir(parents=True)
        base = {"format": FORMAT, "id": run.id, "name": name, "shelf": shelf, "created": stamp.isoformat(), **owner_entries()}
        write_json(run.folder / "manifest.json", {**base, **entries})
        return run

    def finish(self, run: Artifact, **entries: Any) -> Artifact:
        """Mark a run as done and rename it into its shelf."""
        manifest = run.manifest
        run.update(status="done", finished=datetime.now(UTC).isoformat(), **entries)
        target = self.folder / str(manifest["shelf"]) / run.id
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            run.folder.rename(target)
        return Artifact(target)

    def get(self, shelf: Shelf, name: str) -> Artifact:
        """An artifact by its id, its alias (`name@live`), its bare name (the live one, else the newest), or its path."""
        folder = self.folder / shelf / name
        if _ID.fullmatch(name) and (folder / "manifest.json").exists():
            return Artifact(folder)
        if "@" in name:
            return self._aliased(shelf, name)
        if os.sep in name and (Path(name) / "manifest.json").exists():
            return Artifact(Path(name).absolute())
        if shelf == "models" and (self.folder / "aliases" / f"{name}@live").exists():
            return self._aliased(shelf, f"{name}@live")
        named = [artifact for artifact in self.shelf(shelf) if artifact.known_manifest.get("name") == name]
        if named:
            return named[-1]
        if (Path(name) / "manifest.json").exists():  # a folder beside us, such as a bundle
            return Artifact(Path(name).absolute())
        known = {str(artifact.known_manifest.get("name") or artifact.id): artifact.id for artifact in self.shelf(shelf)}
        near = difflib.get_close_matches(name, [*known, *known.values()], n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(f"{vertical} (newest: {newest})" for vertical, newest in list(known.items())[-10:])
        raise NotFound(f"There is no '{name}' among the {shelf} of {self.folder}.{hint} There are: {listed or 'none yet'}.")

    def _aliased(self, shelf: Shelf, alias: str) -> Artifact:
        target = self.aliases().get(alias)
        if target is None:
            raise NotFound(f"There is no alias '{alias}' in {self.folder}. There are: {', '.join(self.aliases()) or 'none'}.")
        return self.get(shelf, target)

    def aliases(self) -> dict[str, str]:
        """Every alias with the id of the model that it names."""
        folder = self.folder / "aliases"
        files = sorted(path for path in folder.glob("*@*") if not path.name.startswith(".")) if folder.exists() else []
        found = {}
        for path in files:
            with suppress(FileNotFoundError):  # removed by another process since it was listed
                found[path.name] = path.read_text(encoding="utf-8").strip()
        return found

    def alias(self, alias: str, model: str) -> None:
        """Point an alias at a model, atomically."""
        name, at, tag = alias.partition("@")
        if not at:
            raise ConfigError(f"An alias is written name@tag, such as support-intent@live; got '{alias}'.")
        target = self.get("models", model)
        write_text(self.folder / "aliases" / f"{check_name(name)}@{check_name(tag)}", target.id + "\n")

    def unalias(self, alias: str) -> None:
        """Remove an alias; NotFound where there is none of this name."""
        if alias not in self.aliases():
            raise NotFound(f"There is no alias '{alias}' in {self.folder}. There are: {', '.join(self.aliases()) or 'none'}.")
        with storage_errors(self.folder / "aliases"):
            (self.folder / "aliases" / alias).unlink(missing_ok=True)

    def remove(self, shelf: Shelf, name: str) -> Artifact:
        """Delete an artifact; Conflict when an alias or another artifact stands on it."""
        artifact = self.get(shelf, name)
        holders = [alias for alias, target in self.aliases().items() if target == artifact.id]
        if holders:
            raise Conflict(f"{artifact.id} is what {', '.join(holders)} points to. Move the alias first: vertune alias {holders[0]} OTHER.")
        with storage_errors(artifact.folder):
            doomed = artifact.folder.with_name(f".{artifact.id}.removed")
            artifact.folder.rename(doomed)
            shutil.rmtree(doomed)
        return artifact


Progress = Callable[..., None]
"""`progress(kind, **fields)`: what a step calls to say how far it is."""


class Recorder:
    """Writes a step's events into its artifact and hands them to a listener, such as a progress bar."""

    def __init__(self, artifact: Artifact, listener: Progress | None = None) -> None:
        self.artifact = artifact
        self.listener = listener

    def __call__(self, kind: str, **fields: Any) -> None:
        """Record one line of progress."""
        self.artifact.event(kind, **fields)
        if self.listener:
            self.listener(kind, **fields)


@contextmanager
def recording(home: Home, run: Artifact, listener: Progress | None = None) -> Iterator[Recorder]:
    """Run a step inside its artifact: an error is written into the manifest before it goes on."""
    recorder = Recorder(run, listener)
    try:
        yield recorder
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        with suppress(StorageError):  # the disk that failed the step may not take the note; the error itself goes on
            run.update(status="stopped" if stopped else "failed", error=None if stopped else f"{type(error).__name__}: {error}")
        raise
