"""What damaged files of a home cost: every file in turn, in every way, while a server runs and when one starts.

    python benchmarks/damage.py                       every file in ten ways (half an hour), into benchmarks/results/damage.json
    python benchmarks/damage.py --every 12 --print    each twelfth cell, and no result file
    python benchmarks/damage.py --minutes 10          a random sample of the cells, as many as fit into ten minutes

A home has five verticals that this script trains on two tiny bases: `intent`, `spans` and `find` share a backbone, `mood` is on a second
one, `whole` has its own graph. `intent` and `mood` have a second model each. A cell is one file of the home and one way to damage it:

    cut        only the first half is left            folder     a folder is in its place
    empty      nothing is left                        link       a link to an equal file outside the home
    binary     random bytes                           dangling   a link to nothing
    flipped    one bit differs                        pipe       a named pipe, which nobody writes into
    older      the file of an earlier model           gone       it is deleted

For each cell, while a real `vertune serve` process runs, another vertical than those that the file belongs to is given its second model.
Then a second process starts on the damaged home. Both are asked for answers of all verticals. A file of a model belongs to its vertical,
the file of a backbone to all verticals on it, any other file to none. The result counts the cells in which

    told       a vertical of the file was reported as not served as it should be (no fault)
    spread     another vertical did not answer, was reported as damaged, or did not get its second model
    slow       that took longer than 2 s, which also happens where other programs use the processors
    down       the second process answered nothing at all
    wrong      an answer differed by more than 1e-4 from that of the model it names
    unhealed   a vertical was not served again after the original file was restored and its alias written again

`_at_start` is about the second process. The command that prepares models is replaced by one that fails, because it would repair some of
the damage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soak
from processor import measured_here

OUT = Path(__file__).resolve().parent / "results" / "damage.json"
SWAP_SECONDS = 2.0
START_SECONDS = 300.0
"""Long, because a start that is slow where other programs use the processors is no damage."""
TEXTS = ("tell me 3 of rome and bread", "soup of cake and oslo")
UNREAD = ("datasets", "reports", "runs", "cache")
"""Folders that a server does not read: one way to damage each of their files is enough."""


# ------------------------------------------------------------------ damage


def cut(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path, draw: random.Random) -> None:
    file.write_bytes(b"")


def binary(file: Path, draw: random.Random) -> None:
    file.write_bytes(draw.randbytes(max(16, min(file.stat().st_size, 100_000))))


def flipped(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def folder(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.mkdir()


def link(file: Path, draw: random.Random) -> None:
    outside = Path(tempfile.mkdtemp()) / file.name
    shutil.move(file, outside)
    file.symlink_to(outside)


def dangling(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nothing"))


def pipe(file: Path, draw: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def gone(file: Path, draw: random.Random) -> None:
    file.unlink()


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    way.__name__: way for way in (cut, empty, binary, flipped, folder, link, dangling, pipe, gone)
}


@contextlib.contextmanager
def damaged(file: Path, way: str, draw: random.Random, older: Path | None = None) -> Iterator[None]:
    """Damage a file in one way, and restore it in the end; `older` is the file whose content it gets in the way `older`."""
    content = file.read_bytes()
    try:
        if way == "older":
            assert older is not None
            file.write_bytes(older.read_bytes())
        else:
            WAYS[way](file, draw)
        yield
    finally:
        if file.is_symlink() or file.is_fifo() or file.is_file():
            if file.is_symlink() and file.exists():
                shutil.rmtree(file.resolve().parent)
            file.unlink()
        elif file.is_dir():
            shutil.rmtree(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.restored")
        temporary.write_bytes(content)
        temporary.replace(file)


def owners(home: Any, file: Path) -> set[str]:
    """The verticals that a file of the home belongs to, whichever of their models is live."""
    parts = file.relative_to(home.folder).parts
    names = {model.id: str(model.manifest["name"]) for model in home.shelf("models")}
    if parts[0] == "aliases":
        return {parts[1].removesuffix("@live")}
    if parts[0] == "models":
        return {names[parts[1]]}
    if parts[0] == "backbones":
        entries = {entry.name for entry in (home.folder / "backbones" / parts[1] / "verticals").iterdir()}
        return {names[id] for id in ({parts[3]} if parts[2:3] == ("verticals",) else entries)}
    return set()


def older_of(home: Any, file: Path) -> Path | None:
    """The file of the same name of the other model of the vertical that this file belongs to; for an alias, None."""
    names = {model.id: model.manifest["name"] for model in home.shelf("models") if model.manifest.get("step") == "train"}
    for id, name in names.items():
        if id in file.parts:
            other = next((one for one in names if one != id and names[one] == name), None)
            candidate = Path(*[other if part == id else part for part in file.parts]) if other else None
            return candidate if candidate and candidate.is_file() else None
    return None


# ------------------------------------------------------------------ what is served


def home_of(place: Path) -> Any:
    """The home, with every model made ready to be served."""
    from vertune.core.artifact import Home
    from vertune.steps.share import make_servable
    from vertune.testing import tiny

    words = [*soak.CITIES, *soak.FOODS, "tell", "me", "of", "and"]
    bases = [tiny.write("bert", place / "base", words), tiny.write("bert", place / "other", [*words, "mood"])]
    home, lora = Home(place / "home"), {"name": "lora", "rank": 2}
    prefix = {"name": "prefix", "positions": 2}
    kinds = [
        (0, "intent", "classify", lora), (0, "spans", "tag", "head"), (0, "find", "embed", prefix), (1, "mood", "classify", lora),
        (0, "whole", "classify", "full"),
    ]  # fmt: skip
    models = [soak.trained(home, bases[base], *kind) for base, *kind in kinds]
    for model in models:
        home.alias(f"{model.manifest['name']}@live", model.id)
    for base, name in ((0, "intent"), (1, "mood")):
        models.append(soak.trained(home, bases[base], name, "classify", "bitfit", ("even", "odd")))
    troubles = make_servable(models, home)
    assert not troubles, troubles
    return home


def serve(home: str) -> None:
    """`vertune serve`, without the time to measure batches and without preparations."""
    from vertune.cli import main
    from vertune.runtime import warmup
    from vertune.server import preparing

    warmup._SECONDS, warmup._BUDGETS = 0.0, (256,)  # type: ignore[assignment]
    preparing.command = lambda home, models: ["false"]  # type: ignore[assignment]
    main(["serve", "--home", home, "--port", "0", "--set", "exact=true", "--set", "cache=0", "--set", "threads=1"])


class Server:
    """A process that is forked from this one, so that it needs no imports."""

    def __init__(self, home: Any, key: str) -> None:
        import httpx

        self.log = tempfile.NamedTemporaryFile("r", suffix=".log")  # noqa: SIM115 - open as long as the server
        self.child = os.fork()
        if not self.child:
            try:
                file = os.open(self.log.name, os.O_WRONLY | os.O_APPEND)
                os.dup2(file, 1)
                os.dup2(file, 2)
                serve(str(home.folder))
            finally:
                os._exit(1)
        self.ended = False
        self.up = self._wait(r"Listening at (http\S+);")
        self.client = httpx.Client(base_url=self.up or "", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60)
        end = time.monotonic() + START_SECONDS
        while self.up and not self.ready() and self.running() and time.monotonic() < end:
            time.sleep(0.02)

    def _wait(self, pattern: str) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.running():
            if found := re.search(pattern, Path(self.log.name).read_text()):
                return found[1]
            time.sleep(0.02)
        return ""

    def running(self) -> bool:
        if not self.ended:
            self.ended = os.waitpid(self.child, os.WNOHANG)[0] != 0
        return not self.ended

    def ready(self) -> bool:
        return bool(self.get("/health/ready").get("ready"))

    def get(self, path: str) -> dict[str, Any]:
        import httpx

        try:
            return dict(self.client.get(path).json())
        except (httpx.HTTPError, ValueError):
            return {}

    def end(self) -> None:
        if self.running():
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.ended = True
        self.client.close()
        self.log.close()


# ------------------------------------------------------------------ one cell


@dataclass
class Matrix:
    """The cells so far."""

    home: Any
    key: str
    expected: Mapping[str, Mapping[str, Any]]
    seconds: float = 0.0
    """The slowest change to another model that was followed in time."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    """What was found in the cell that is being filled."""

    def __post_init__(self) -> None:
        self.server = self._sound()

    def _sound(self) -> Server:
        """A server on a home without damage; if that does not work, the machine is at fault and nothing can be measured."""
        server = Server(self.home, self.key)
        if not server.ready():
            sys.exit(f"A server did not start on a home without damage:\n{Path(server.log.name).read_text()}")
        return server

    def cell(self, file: Path, way: str, draw: random.Random) -> None:
        """Damage a file while the server runs, start another one, and restore the file."""
        owned = owners(self.home, file)
        mover = "mood" if "intent" in owned else "intent"
        other = next(
            id for id in self.expected if id.startswith(f"{mover}-") and id != self.home.aliases()[f"{mover}@live"]
        )  # fmt: skip
        original = {name: self.home.aliases()[f"{name}@live"] for name in owned}
        older, alias = older_of(self.home, file), file.parent.name == "aliases"
        if way == "older" and alias:
            older = Path(tempfile.mkdtemp()) / "alias"
            name = file.name.removesuffix("@live")
            older.write_text(next((id for id in self.expected if id.startswith(f"{name}-") and id != original[name]), original[name]))
        if not self.server.running():
            self.server = self._sound()
        seen: set[str] = set()
        with damaged(file, way, draw, older):
            self.home.alias(f"{mover}@live", other)
            seen |= self._swapped(mover, other) | self._asked(self.server, owned)
            second = Server(self.home, self.key)
            seen |= {f"start: {what}" for what in (self._asked(second, owned) if second.up else {"down"})}
            second.end()
        for name, model in original.items():
            self.home.alias(f"{name}@live", model)
        seen |= self._healed(original)
        self._count(file, way, seen)

    def _swapped(self, name: str, model: str) -> set[str]:
        began = time.monotonic()
        while (spent := time.monotonic() - began) < 30 * SWAP_SECONDS:
            if self.server.get(f"/v1/verticals/{name}").get("model") == model:
                self.seconds = max(self.seconds, spent)
                return set() if spent <= SWAP_SECONDS else {"slow"}
            time.sleep(0.02)
        return {"spread", "not swapped"}

    def _asked(self, server: Server, owned: set[str]) -> set[str]:
        """What is wrong with the answers of all verticals, and with what is reported of them."""
        seen: set[str] = set()
        told = {one["name"]: one for one in server.get("/v1/verticals").get("verticals", ())}
        for alias in ("intent", "spans", "find", "mood", "whole"):
            found = self._predict(server, alias)
            if found is None:
                if alias not in owned:
                    seen.add("spread")
                    self.details.append(f"{alias} did not answer; {told.get(alias, {}).get('coming')}")
                continue
            known = self.expected.get(found["model"], {})
            if not all(soak.same(answer, known.get(text)) for text, answer in zip(TEXTS, found["answers"], strict=True)):
                seen.add("wrong")
        for name, one in told.items():
            if one["coming"] is not None:
                seen.add("told" if name in owned else "spread")
                if name not in owned:
                    self.details.append(f"{name}: {one['coming']}")
        return seen

    def _predict(self, server: Server, name: str) -> Any:
        import httpx

        try:
            found = server.client.post(f"/v1/verticals/{name}/predict", json={"texts": list(TEXTS)})
        except httpx.HTTPError:
            return None
        return found.json() if found.status_code == 200 else None

    def _healed(self, original: Mapping[str, str]) -> set[str]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = {one["name"]: one for one in self.server.get("/v1/verticals").get("verticals", ())}
            if all(told.get(name, {}).get("model") == model and not told[name]["coming"] for name, model in original.items()):
                return set()
            time.sleep(0.02)
        return {"unhealed"}

    def _count(self, file: Path, way: str, seen: set[str]) -> None:
        counts = self.counts.setdefault(way, Counter())
        counts["cells"] += 1
        counts.update(seen)
        bad = sorted(what for what in seen if what.removeprefix("start: ") != "told")
        if bad:
            self.examples.append(f"{way} {file.relative_to(self.home.folder)}: {', '.join(bad)}. {' '.join(self.details)}")
        self.details.clear()


def cells(home: Any, every: int, draw: random.Random) -> list[tuple[str, str]]:
    """The cells of the matrix in random order: a file's path in the home, and a way to damage it."""
    found = []
    for file in sorted(path for path in home.folder.rglob("*") if path.is_file() and not path.name.startswith(("server.db", ".lock"))):
        ways = [*WAYS, *(["older"] if older_of(home, file) or file.parent.name == "aliases" else [])]
        name = str(file.relative_to(home.folder))
        found += [(name, way) for way in ([draw.choice(ways)] if name.split("/")[0] in UNREAD else ways)]
    draw.shuffle(found)
    return found[::every]


def work(place: Path, number: int, workers: int, options: argparse.Namespace) -> None:
    """Go through a part of the cells with a home of one's own, and write the result."""
    from vertune.core.artifact import Home
    from vertune.server import application, run  # noqa: F401 - imported once, before the servers are forked
    from vertune.server.discovery import find_routes

    find_routes()
    home = Home(place / f"home{number}")
    shutil.copytree(place / "home", home.folder)
    matrix = Matrix(home, (place / "key").read_text(), json.loads((place / "expected.json").read_text()))
    draw = random.Random(number)
    end = time.monotonic() + 60 * options.minutes
    for file, way in cells(home, options.every, random.Random(0))[number::workers]:
        if time.monotonic() < end:
            matrix.cell(home.folder / file, way, draw)
    matrix.server.end()
    result = {"counts": matrix.counts, "examples": matrix.examples, "slowest": matrix.seconds}
    (place / f"result{number}.json").write_text(json.dumps(result))


def merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts of all workers: by way, and in all."""
    ways: dict[str, Counter[str]] = {}
    for one in results:
        for way, counts in one["counts"].items():
            ways.setdefault(way, Counter()).update(counts)
    table = {
        way: {
            "cells": counts["cells"], "told": counts["told"], "told_at_start": counts["start: told"], "spread": counts["spread"],
            "spread_at_start": counts["start: spread"], "down": counts["start: down"],
            "slow": counts["slow"], "wrong": counts["wrong"], "wrong_at_start": counts["start: wrong"], "unhealed": counts["unhealed"],
        }
        for way, counts in sorted(ways.items())
    }  # fmt: skip
    total = {what: sum(row[what] for row in table.values()) for what in next(iter(table.values()))}
    return {"ways": table, "all": total, "slowest_swap": round(max(one["slowest"] for one in results), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only each so manieth cell")
    parser.add_argument("--minutes", type=float, default=120.0, help="stop after this time, with a random sample of the cells")
    parser.add_argument("--workers", type=int, default=4, help="homes that are damaged at the same time")
    parser.add_argument("--print", action="store_true", help="print the result instead of writing the result file")
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.work:
        work(Path(options.work[0]), int(options.work[1]), options.workers, options)
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = home_of(place)
        (place / "expected.json").write_text(json.dumps(soak.expected(home, TEXTS)))
        from vertune.store.database import Database
        from vertune.store.keys import Keys

        keys = Keys(Database(home.folder / "server.db"))
        (place / "key").write_text(keys.create("admin", ["admin"])[0])
        keys.close()
        number_of_cells = len(cells(home, 1, random.Random(0)))
        command = [sys.executable, __file__, *(f"--{name}={getattr(options, name)}" for name in ("every", "minutes", "workers"))]
        children = [subprocess.Popen([*command, "--work", folder, str(number)]) for number in range(options.workers)]
        for child in children:
            assert child.wait() == 0
        results = [json.loads((place / f"result{number}.json").read_text()) for number in range(options.workers)]
    result = merged(results)
    examples = sorted(example for one in results for example in one["examples"])
    result |= {"of": number_of_cells, "seconds": round(time.monotonic() - began), "examples": examples, "machine": measured_here()}
    print(json.dumps(result, indent=1))
    if not options.print:
        OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
