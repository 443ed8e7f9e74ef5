"""A home with live verticals of several tasks and methods, trained and made ready by the real steps, and servers on it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.conftest import CITIES, FOODS, rows, unmeasured
from tests.forks import ForkedModule
from tests.server.browser import start_chromium
from tests.server.running import Running
from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config
from vertune.core.parse import build
from vertune.server import preparing
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys
from vertune.testing.chromium import Chromium

VERTICALS = {
    "intent": ("classify", {"name": "lora", "rank": 2}),
    "spans": ("tag", "head"),
    "find": ("embed", {"name": "prefix", "positions": 2}),
    "faq": ("extract", {"name": "lora", "layers": 1, "rank": 2}),
    "whole": ("classify", "full"),
}
"""The task and the method of each live vertical; the last one can't share a backbone."""
OTHER = ("classify", "bitfit")
"""Of a second model of `intent`, with other labels, which is not live."""
TEXTS = ["tell me 3 of rome and bread", "soup", "oslo " * 9, "tell me of cake", "你好 lima!", "a b c d e f g"]


def make_fleet(tiny_base: Path, folder: Path) -> Home:
    """Train the verticals and make them ready to be served."""
    from vertune.steps.share import make_servable

    home = Home(folder)
    models = [_trained(home, name, task, method, tiny_base) for name, (task, method) in VERTICALS.items()]
    for name, model in zip(VERTICALS, models, strict=True):
        home.alias(f"{name}@live", model.id)
    models.append(_trained(home, "intent", *OTHER, tiny_base, labels=("even", "odd")))
    with pytest.MonkeyPatch.context() as patch:
        unmeasured(patch)
        assert not make_servable(models, home)
    return home


def _trained(home: Home, name: str, task: str, method, base, labels=("food", "place")) -> Artifact:
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    data = {"fields": {"text": "query", "label": "kind"}} if task == "classify" else {}
    training = {"epochs": 1, "refit": "never"}
    config = build(
        Config,
        {"name": name, "base": str(base), "task": task, "method": method, "data": data, "training": training, "compress": {"tolerance": 1}},
    )
    return train(config, prepare(config, home, None, {"train": _frame(task, labels)}), home)


def _frame(task: str, labels):
    import polars as pl

    texts = [row["query"] for row in rows()]
    found = {text: [word for word in [*CITIES, *FOODS] if word in text] for text in texts}
    spans = {
        text: [
            {"start": text.index(word), "end": text.index(word) + len(word), "label": "CITY" if word in CITIES else "FOOD"}
            for word in words
        ]
        for text, words in found.items()
    }
    made = {
        "classify": lambda place, text: {"query": text, "kind": labels[place % 2]},
        "tag": lambda place, text: {"text": text, "spans": spans[text]},
        "embed": lambda place, text: {"text": text, "text_pair": text[8:]},
        "extract": lambda place, text: {
            "question": "which one", "context": text, "answers": [{"start": spans[text][0]["start"], "text": found[text][0]}],
        },
    }  # fmt: skip
    return pl.DataFrame([made[task](place, text) for place, text in enumerate(texts)])


@pytest.fixture
def home(fleet, tmp_path) -> Home:
    """A copy of that home which a test may change."""
    shutil.copytree(fleet.folder, tmp_path / "home")
    return Home(tmp_path / "home")


def alone_in(fleet: Home) -> Callable[..., list[dict]]:
    """Return a function that asks one model of the home by itself: in torch, or its graph where it was compressed."""
    from vertune.runtime.fleet import graph_of
    from vertune.runtime.predictor import Predictor
    from vertune.steps.predict import predict

    opened: dict[str, Predictor] = {}

    def said(name: str, records) -> list[dict]:
        if name not in opened:
            model = fleet.get("models", name)
            opened[name] = Predictor.open(graph_of(fleet, model) or model, threads=1)
        return predict(opened[name], [{"text": one} if isinstance(one, str) else one for one in records])

    return said


class _Hurried:
    """What uvicorn knows as asyncio, with shorter sleeps: it sleeps 0.1 s before it looks whether to end, and as long before it ends."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


INTERVALS = {
    "vertune.server.following.INTERVAL": 0.15,
    "vertune.server.jobs._LOOKING": 0.05,
    "vertune.server.jobs._TELLING": 0.1,
    "vertune.server.resources.jobs._FOLLOWING": 0.05,
    "vertune.store.cached.REVOCATION_DELAY": 0.05,  # with 0, each request waits for a query
    "vertune.store.writer.INTERVAL": 0.05,
}
"""Seconds between two looks of a server at what tests wait for; its own are chosen for idle servers."""


@pytest.fixture(scope="module")
def _quick_start(forks):
    """Servers time no batches when they start (0.8 s each), look often at what may have changed, fork jobs and preparations, and end at
    once."""
    forks.start()
    share = preparing.command  # python -P -m vertune share …
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", _Hurried())
        patch.setattr("vertune.server.jobs.ARGUMENTS", ForkedModule(forks, "vertune.server.job_process"))
        patch.setattr(preparing, "command", lambda home, models: [sys.executable, *forks.words("vertune"), *share(home, models)[4:]])
        patch.setattr("vertune.runtime.warmup._SECONDS", 0.0)
        patch.setattr("vertune.runtime.warmup._BUDGETS", (256,))
        for name, seconds in INTERVALS.items():
            patch.setattr(name, seconds)
        yield


@pytest.fixture(scope="module")
def server(fleet, tmp_path_factory, _quick_start) -> Iterator[Running]:
    """A server of all verticals in float32, with an admin's key; tests of one file share it, and change nothing that stays."""
    folder = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(fleet.folder, folder)
    home = Home(folder)
    with Running(home, admin(home), exact=True) as running:
        yield running


@pytest.fixture
def start(_quick_start):
    """Makes servers that stop when the test does."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda *given, **options: stack.enter_context(Running(*given, **options))


def admin(home: Home) -> str:
    """The secret of a new key that may do all."""
    keys = Keys(Database(databases.new(home.folder / FILE)))
    try:
        return keys.create("admin", ["admin"])[0]
    finally:
        keys.close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[Chromium]:
    """A browser; each test begins with `fresh`."""
    made = start_chromium(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()
