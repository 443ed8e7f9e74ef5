"""What the pages need to run in a moment: a tiny base in place of the embedded one, and a server in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import unmeasured
from tests.docs.snippets import Session, blocks
from tests.forks import ForkedModule
from tests.server.conftest import INTERVALS, admin
from tests.server.running import Running
from vertune.core import base
from vertune.core.artifact import Home
from vertune.server.settings import JobSettings, SessionSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESOLVE = base.resolve


@pytest.fixture(scope="session")
def page_base(tmp_path_factory) -> Path:
    from vertune.testing import tiny

    return tiny.write("bert", tmp_path_factory.mktemp("pages") / "bert")


@pytest.fixture
def serve(monkeypatch, forks) -> Iterator[Callable[[], str]]:
    """Starts a server in this process for the live models of the working folder, with an admin's key in VERTUNE_KEY."""
    monkeypatch.setattr("vertune.runtime.warmup._SECONDS", 0.0)
    monkeypatch.setattr("vertune.runtime.warmup._BUDGETS", (256,))
    monkeypatch.setattr("vertune.server.jobs.ARGUMENTS", ForkedModule(forks, "vertune.server.job_process"))
    forks.start()
    for name, seconds in INTERVALS.items():
        monkeypatch.setattr(name, seconds)
    with ExitStack() as stack:

        def start() -> str:
            from vertune.steps.share import make_servable

            home = Home()
            make_servable([home.get("models", alias) for alias in home.aliases()], home)
            secret = admin(home)
            monkeypatch.setenv("VERTUNE_KEY", secret)
            return stack.enter_context(Running(home, secret, jobs=JobSettings(cores=1))).url

        yield start


@pytest.fixture
def session(page_base, tmp_path, monkeypatch, serve) -> Session:
    """An empty folder. The embedded bases are a tiny one, which learns for an epoch; no model is timed, and no candidates are compared."""
    monkeypatch.setattr(base, "resolve", lambda name: page_base if name in {"minilm", "e5", "e5-zh-en"} else RESOLVE(name))
    unmeasured(monkeypatch)
    monkeypatch.setattr("vertune.learning.few.ROWS", 0)
    monkeypatch.setattr("vertune.learning.defaults._EPOCHS", ((10**9, 1),))
    monkeypatch.setattr("vertune.server.people.SessionSettings", lambda: SessionSettings(password_kibibytes=8, password_rounds=1))
    monkeypatch.setattr("vertune.steps.compress.folds._FOLDS", 2)
    monkeypatch.setattr("vertune.steps.compress.folds.ROUNDS", 1)
    monkeypatch.delenv("VERTUNE_HOME", raising=False)
    monkeypatch.delenv("VERTUNE_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return Session(tmp_path, serve)


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory) -> Path:
    """Becomes the folder in which the page `classify` has trained its model, as soon as a page needs it."""
    return tmp_path_factory.mktemp("continued") / "folder"


@pytest.fixture
def continued(session, trained_folder) -> Session:
    """A folder in which the page `classify` has trained its model."""
    if not trained_folder.exists():
        start = blocks(DOCS / "how-to" / "classify.md")
        session.run([block for block in start if block.file])
        session.run(next([block] for block in start if "vertune fit" in block.code))
        shutil.copytree(session.folder, trained_folder)
    else:
        shutil.copytree(trained_folder, session.folder, dirs_exist_ok=True)
    return session
