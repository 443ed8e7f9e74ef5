"""Stores artifacts (datasets, models, reports, backbones, products) below one folder, the home; independent of what they contain.

A backbone is a pretrained model that several trained models share; a product is an app with its models. An artifact is a folder with
a manifest and a log of events. While an artifact is being written, it is called a run, and its folder is below `runs/`. When it is
complete, the folder is moved to the folder of its type, called a shelf: `models/`, `datasets/` … So a shelf never contains an
incomplete artifact, even after a crash.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from vertune.core import integrity
from vertune.core.documents import lines
from vertune.core.errors import ConfigError, Conflict, NotFound, StorageError, machine_error
from vertune.core.files import json_value, locked, read_json, storage_errors, write_json, write_text
from vertune.core.names import check_name as check_name
from vertune.core.names import is_name
from vertune.core.regular import is_present, real_folder, regular_file

FORMAT = 1
Shelf = Literal["datasets", "models", "reports", "backbones", "products"]
SHELVES: tuple[str, ...] = get_args(Shelf)
ALIASED: tuple[Shelf, ...] = ("models", "products")
"""The shelves to whose artifacts aliases can point."""
_FIRST: dict[Shelf, str] = {
    "datasets": "vertune prepare RUN.yaml", "models": "vertune fit RUN.yaml", "reports": "vertune evaluate NAME",
    "backbones": "vertune share", "products": "vertune app NAME train PACK",
}  # fmt: skip
"""The command that makes the first artifact of each shelf."""
REMEDY = "or make the artifact again"
"""How a message about a damaged file of an artifact ends."""
_LONGEST_ID, _MOST_ID_BYTES = 120, 220
"""Largest size of an artifact's id: the artifact's name, a timestamp and a random number, joined by hyphens."""
_MANIFEST_BYTES = 64 << 20
"""Maximum size in bytes of a manifest.json."""
_ALIAS_BYTES = 1024
"""Maximum size in bytes of the file of an alias, which contains nothing but an id."""


def owner_entries() -> dict[str, Any]:
    """Return the manifest entries that mark an artifact as being written: status `running`, this process's id, this machine's name."""
    return {"status": "running", "pid": os.getpid(), "host": platform.node()}


@dataclass(frozen=True)
class Artifact:
    """A dataset, model, report or backbone (shared pretrained model) on disk: a folder with `manifest.json` and `events.jsonl`."""

    folder: Path

    @property
    def id(self) -> str:
        """The id of the artifact, which is the name of its folder."""
        return self.folder.name

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json, read at each access; raises StorageError if it is missing, damaged or in a newer format."""
        value: dict[str, Any] = read_json(regular_file(self.folder, "manifest.json", limit=_MANIFEST_BYTES))
        version = value.get("format") if isinstance(value, dict) else None
        if not isinstance(version, int) or version > FORMAT:
            raise StorageError(
                f"The manifest.json in {self.folder} is damaged, or a newer version of vertune wrote it; expected a mapping whose entry "
                f"'format' is {FORMAT} or less. If a newer version wrote it, install that version."
            )
        return value

    @property
    def manifest_or_empty(self) -> dict[str, Any]:
        """The manifest, or an empty dict if it can't be read, for example because the process was killed before it wrote the file."""
        try:
            return self.manifest
        except StorageError:
            return {}

    @property
    def created(self) -> datetime:
        """When it was begun, or 1970 if the manifest does not say."""
        return datetime.fromisoformat(str(self.manifest.get("created", "1970-01-01T00:00:00+00:00")))

    @property
    def refitted(self) -> bool:
        """Whether a model was finally trained on its validation rows too, so that results on them say nothing about new rows."""
        return bool((self.manifest.get("chosen") or {}).get("refit"))

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the artifacts from which this one was made; empty if the manifest can't be read or does not list them."""
        written = self.manifest_or_empty.get("parents")
        return tuple(id for id in written if isinstance(id, str)) if isinstance(written, list) else ()

    @property
    def in_use(self) -> bool:
        """Whether another process is writing this artifact: its status is `running`, and the process that the manifest names runs."""
        return self.manifest_or_empty.get("status") == "running" and self.maker_runs

    @property
    def maker_runs(self) -> bool:
        """Whether the process that made this artifact, or is making it, is another process than this one and runs on this machine."""
        manifest = self.manifest_or_empty
        pid = manifest.get("pid")
        if manifest.get("host") != platform.node() or not isinstance(pid, int) or pid == os.getpid():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # the process exists and belongs to another user
        return True

    def verified(self) -> dict[str, Any]:
        """Return the manifest; raise StorageError if its content has changed since vertune wrote it.

        The manifest of an unfinished artifact, or of one that an older version made, has no checksum and is not checked.
        """
        manifest = self.manifest
        integrity.check_entries(manifest, self.folder / "manifest.json", REMEDY)
        return manifest

    def check_files(self, names: Iterable[str] = (), subfolder: str | None = None) -> None:
        """Raise StorageError if these files, or any file in the subfolder, have changed since the artifact was finished.

        Artifacts that are unfinished, or that an older version made, have no list of files and are not checked.
        """
        manifest = self.verified()
        integrity.check_files(self.folder, manifest, names, REMEDY)
        if subfolder is not None:
            integrity.check_subfolder(self.folder, manifest, subfolder, REMEDY)

    def update(self, **entries: Any) -> None:
        """Set these entries of the manifest and leave the others unchanged."""
        manifest = {**self.verified(), **entries}
        write_json(self.folder / "manifest.json", integrity.sealed(manifest) if integrity.CHECKSUM in manifest else manifest)

    def seal(self, **entries: Any) -> None:
        """Set these entries of the manifest, and list in it the SHA-256 of every file, so that readers find files that change later."""
        manifest = {**self.verified(), **entries, integrity.FILES: integrity.hash_files(self.folder)}
        write_json(self.folder / "manifest.json", integrity.sealed(manifest))

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event, with the time, to events.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False, default=json_value)
        with storage_errors(self.folder), (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Return all events in order; lines that a crash left incomplete are skipped."""
        present = is_present(self.folder, "events.jsonl")
        text = regular_file(self.folder, "events.jsonl").read_bytes().decode(errors="replace") if present else ""
        events = []
        for line in lines(text):
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events


class Home:
    """The folder that contains all artifacts (datasets, models, reports, backbones and products) and the aliases of models and products.

    By default, it is the folder that the environment variable `VERTUNE_HOME` names, or `./.vertune` if the variable is not set.
    """

    def __init__(self, folder: str | Path | None = None, customer: str | None = None) -> None:
        """The manifests of what is made through this object name the `customer` of a server for whom a job makes it."""
        self.customer = customer
        self.folder = Path(folder or os.environ.get("VERTUNE_HOME") or ".vertune").expanduser().absolute()

    def locked(self) -> AbstractContextManager[None]:
        """Return a context in which no other process begins or resumes a run, moves an alias, or deletes an artifact here.

        A deletion first checks what is in use. Without this lock, a run that needs the artifact could begin between the check and the
        deletion.
        """
        return locked(self.folder / ".lock")

    def shelf(self, shelf: Shelf) -> list[Artifact]:
        """Return the finished artifacts of one type (datasets, models, reports or backbones), oldest first.

        Folders whose names are not ids, and symbolic links, are skipped. An artifact whose manifest can't be read is the first.
        """
        with _reading(self.folder / shelf) as entries:
            names = [entry.name for entry in entries if _is_id(entry.name) and entry.is_dir(follow_symlinks=False)]
        artifacts = [Artifact(self.folder / shelf / name) for name in names if is_present(self.folder, shelf, name, "manifest.json")]
        return sorted(artifacts, key=lambda artifact: (str(artifact.manifest_or_empty.get("created") or ""), artifact.id))

    def find(self, shelf: Shelf, id: str) -> Artifact | None:
        """Return the finished artifact with this id, or None if there is none; raise StorageError if links or files replace its folders."""
        if not _is_id(id) or not is_present(self.folder, shelf, id, "manifest.json"):
            return None
        return Artifact(real_folder(self.folder, shelf, id))

    def runs(self) -> list[Artifact]:
        """Return the unfinished artifacts: those that are being written, and those whose writing failed or was killed."""
        folder = self.folder / "runs"
        return [Artifact(path) for path in sorted(folder.iterdir())] if folder.exists() else []

    def begin(self, shelf: Shelf, name: str, **entries: Any) -> Artifact:
        """Create the folder and manifest of a new artifact called `name` below `runs/`, and return the artifact.

        The manifest contains `entries`. When the artifact is complete, `finish` moves it to the folder `shelf`, such as `models/`.
        """
        stamp = datetime.now(UTC)
        run = Artifact(self.folder / "runs" / f"{check_name(name)}-{stamp:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        manifest = {"format": FORMAT, "id": run.id, "name": name, "shelf": shelf, "created": stamp.isoformat(), **owner_entries()}
        manifest |= {} if self.customer is None else {"customer": self.customer}
        with storage_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked():
            with storage_errors(run.folder):
                run.folder.parent.mkdir(exist_ok=True)
                run.folder.mkdir(mode=0o777 & ~self._hidden_from)
            write_json(run.folder / "manifest.json", {**manifest, **entries})
        return run

    @property
    def _hidden_from(self) -> int:
        """The permission bits that artifacts never have, because they contain texts of customers.

        Only the owner may read them; in a home with the set-group-ID bit (`chmod g+s`), its group may too.
        """
        return 0o007 if self.folder.stat().st_mode & stat.S_ISGID else 0o077

    def finish(self, run: Artifact, **entries: Any) -> Artifact:
        """Mark an artifact as done, move it from `runs/` to its final folder, such as `models/`, and return it.

        The manifest names the final folder. `entries` are added to the manifest, and the SHA-256 of each file.
        """
        manifest = run.manifest
        run.seal(status="done", finished=datetime.now(UTC).isoformat(), **entries)
        target = self.folder / str(manifest["shelf"]) / run.id
        with storage_errors(target):
            for path in run.folder.rglob("*"):
                if not path.is_symlink():
                    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~self._hidden_from)
            target.parent.mkdir(parents=True, exist_ok=True)
            run.folder.rename(target)
        return Artifact(target)

    def get(self, shelf: Shelf, name: str) -> Artifact:
        """Return the artifact that `name` stands for: an id, an alias such as `messages@live`, a name or a path.

        Several artifacts can have the same name. If `name` is the name of models or products, such as `messages`, the one that the
        alias `messages@live` points to is returned. If there is no such alias, and for the other types of artifact, the newest artifact
        with the name is returned. Raises NotFound if there is no such artifact.
        """
        artifact = self.find(shelf, name)
        if artifact is not None:
            return artifact
        if "@" in name:
            return self._aliased(shelf, name)
        if os.sep in name and (Path(name) / "manifest.json").exists():
            return Artifact(Path(name).absolute())
        if shelf in ALIASED and is_name(name) and is_present(self._aliases_of(shelf), f"{name}@live"):
            return self._aliased(shelf, f"{name}@live")
        matches = [artifact for artifact in self.shelf(shelf) if artifact.manifest_or_empty.get("name") == name]
        if matches:
            return matches[-1]
        if (Path(name) / "manifest.json").exists():  # a folder in the working directory, such as a bundle
            return Artifact(Path(name).absolute())
        newest = {str(artifact.manifest_or_empty.get("name") or artifact.id): artifact.id for artifact in self.shelf(shelf)}
        near = difflib.get_close_matches(name, [*newest, *newest.values()], n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        listed = ", ".join(f"{vertical} (newest: {id})" for vertical, id in list(newest.items())[-10:])
        advice = f"{hint}Choose from: {listed}." if newest else f"There are no {shelf} yet. Make one: {_FIRST[shelf]}"
        raise NotFound(f"There is no '{name}' among the {shelf} in {self.folder}. {advice}")

    def _aliased(self, shelf: Shelf, alias: str) -> Artifact:
        """Return the artifact that an alias points to; raise NotFound if there is no such alias, StorageError if it can't be read."""
        target = self.read_aliases(shelf).get(alias)
        if target is None:
            raise self._missing_alias(alias, shelf)
        if isinstance(target, StorageError):
            raise target
        return self.target(shelf, target)

    def target(self, shelf: Shelf, id: str) -> Artifact:
        """Return the artifact whose id an alias contains; raise NotFound if there is none, StorageError if its folder is damaged."""
        artifact = self.find(shelf, id)
        if artifact is None:
            raise NotFound(
                f"The folder {shelf} of {self.folder} contains no artifact '{id}' with a manifest.json, but an alias points to it. "
                "Let the alias point to another one: vertune alias NAME@TAG MODEL"
            )
        return artifact

    def _aliases_of(self, shelf: Shelf) -> Path:
        """Return the folder with the aliases of a shelf; those of products have names of their own, as products are no models."""
        return self.folder / "aliases" if shelf == "models" else self.folder / "aliases" / shelf

    def _missing_alias(self, alias: str, shelf: Shelf = "models") -> NotFound:
        names = ", ".join(self.aliases(shelf))
        command = "vertune alias NAME@live MODEL" if shelf == "models" else "vertune app NAME train"
        advice = f"Choose from: {names}." if names else f"Create it: {command}"
        return NotFound(f"There is no alias '{alias}' in {self.folder}. {advice}")

    def aliases(self, shelf: Shelf = "models") -> dict[str, str]:
        """Return all aliases of a shelf that can be read, each mapped to the id of its artifact."""
        return {alias: target for alias, target in self.read_aliases(shelf).items() if isinstance(target, str)}

    def all_aliases(self, shelf: Shelf = "models") -> dict[str, str]:
        """Return all aliases of a shelf, each mapped to the id of its artifact; raise StorageError if one of them can't be read.

        Call this before something is deleted: the alias that can't be read may point to it.
        """
        aliases = self.read_aliases(shelf)
        for target in aliases.values():
            if isinstance(target, StorageError):
                raise target
        return {alias: str(target) for alias, target in aliases.items()}

    def read_aliases(self, shelf: Shelf = "models") -> dict[str, str | StorageError]:
        """Return, for each alias of a shelf, the id of its artifact, or the error if its file can't be read or contains no id.

        Non-printable characters in the name of a file are escaped. Raises StorageError if the folder of the aliases can't be read.
        """
        with _reading(self._aliases_of(shelf)) as entries:
            names = sorted(entry.name for entry in entries if "@" in entry.name and not entry.name.startswith("."))
        aliases: dict[str, str | StorageError] = {}
        for name in names:
            shown = name if name.isprintable() else ascii(name)[1:-1]
            try:
                aliases[shown] = self._read_alias(name, shelf)
            except FileNotFoundError:  # another process removed it after it was listed
                continue
            except StorageError as error:
                aliases[shown] = error
        return aliases

    def _read_alias(self, alias: str, shelf: Shelf) -> str:
        """Return the id that the file of an alias contains; raise StorageError if the file or its name is not as `alias` writes it."""
        folder = self._aliases_of(shelf)
        if not all(is_name(part) for part in alias.split("@", 1)):
            raise StorageError(
                f"The file {alias!r} in {folder} is no alias; expected a name such as support-intent@live. Rename or delete the file."
            )
        if not is_present(folder, alias):
            raise FileNotFoundError(alias)
        path = regular_file(folder, alias, limit=_ALIAS_BYTES)
        try:
            target = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise StorageError(
                f"The file of the alias {alias} can't be read: {error}. Write it again: vertune alias {alias} MODEL"
            ) from error
        if not _is_id(target):
            raise StorageError(
                f"The file of the alias {alias} contains {target[:80]!r}; expected the id of a model. "
                f"Write it again: vertune alias {alias} MODEL"
            )
        return target

    def alias(self, alias: str, id: str, shelf: Shelf = "models") -> None:
        """Make an alias such as `name@live` point to an artifact of a shelf; the file of the alias is replaced atomically."""
        name, at, tag = alias.partition("@")
        if not at:
            raise ConfigError(f"'{alias}' is not an alias, because it contains no '@'. Write it as name@tag, such as support-intent@live.")
        with self.locked():
            target = self.get(shelf, id)
            if target.folder.parent != self.folder / shelf:
                raise ConfigError(f"{target.folder} is outside the home folder {self.folder}; an alias can't point to it. Train it here.")
            write_text(self._aliases_of(shelf) / f"{check_name(name)}@{check_name(tag)}", target.id + "\n")

    def unalias(self, alias: str, shelf: Shelf = "models") -> None:
        """Remove an alias; raise NotFound if it does not exist."""
        if alias not in self.read_aliases(shelf):
            raise self._missing_alias(alias, shelf)
        with storage_errors(self._aliases_of(shelf)):
            (self._aliases_of(shelf) / alias).unlink(missing_ok=True)

    def remove(self, shelf: Shelf, name: str) -> Artifact:
        """Delete the folder of an artifact and return the artifact; raise Conflict if an alias points to the artifact."""
        artifact = self.get(shelf, name)
        holders = [alias for kind in ALIASED for alias, target in self.all_aliases(kind).items() if target == artifact.id]
        if holders:
            command = f"vertune alias {holders[0]} MODEL" if shelf != "products" else f"vertune app {holders[0].partition('@')[0]} train"
            raise Conflict(
                f"{artifact.id} can't be removed: {' and '.join(holders)} {'points' if len(holders) == 1 else 'point'} to it. "
                f"Let every such alias point to another one first: {command}"
            )
        with storage_errors(artifact.folder):
            doomed = artifact.folder.with_name(f".{artifact.id}.removed")
            artifact.folder.rename(doomed)
            shutil.rmtree(doomed)
        return artifact


def _is_id(text: str) -> bool:
    """Return whether a text can be the id of an artifact."""
    return is_name(text, _LONGEST_ID, _MOST_ID_BYTES)


@contextmanager
def _reading(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Yield the entries of a folder, none if it does not exist; raise StorageError if it is a link or file, or can't be read."""
    if not is_present(folder):
        yield iter(())
        return
    try:
        with os.scandir(real_folder(folder)) as entries:
            yield entries
    except OSError as error:
        raise StorageError(f"Can't read the folder {folder}: {error.strerror or error}. Check the folder and its permissions.") from error


Progress = Callable[..., None]
"""A callback `progress(kind, **fields)`, which a step (such as prepare or train) calls to report an event."""


class Recorder:
    """Writes the events of a step, such as training, into the artifact that the step makes, and passes them to a listener.

    The listener is a callback, for example of a progress bar; it may be None.
    """

    def __init__(self, artifact: Artifact, listener: Progress | None = None) -> None:
        self.artifact = artifact
        self.listener = listener

    def __call__(self, kind: str, **fields: Any) -> None:
        """Write one event into the artifact and pass it to the listener."""
        self.artifact.event(kind, **fields)
        if self.listener:
            self.listener(kind, **fields)


@contextmanager
def recording(home: Home, run: Artifact, listener: Progress | None = None) -> Iterator[Recorder]:
    """Yield a `Recorder` for the artifact `run`; if the `with` block fails, note this in the manifest of `run`.

    The manifest then gets the status `stopped` for a KeyboardInterrupt, else the status `failed` and the error. The exception is raised
    again; if another library raised it because the disk or the memory is full, a StorageError is raised instead.
    """
    recorder = Recorder(run, listener)
    try:
        yield recorder
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        translated = machine_error(error)
        named = translated or error
        with suppress(StorageError):  # a full disk may be what stopped the step; the error itself is raised below
            run.update(status="stopped" if stopped else "failed", error=None if stopped else f"{type(named).__name__}: {named}")
        if translated:
            raise translated from error
        raise
