"""A small trained vertical that the tests of commands, steps and the Python interface share."""

import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage

import pytest
from hypothesis import settings

from tests.forks import Forks
from vertune.core import collector
from vertune.core.artifact import Home
from vertune.core.files import locked

MEMORY = Path("/dev/shm")
"""A folder of Linux whose files are in memory."""
_WORKER = "PYTEST_XDIST_WORKER"
"""What pytest-xdist sets in the environment of its workers."""
MANY = 1000
"""A number of tests of which some need all of `HEAVY`."""
HEAVY = ("accelerate", "sklearn.linear_model", "sklearn.feature_extraction.text", "scipy.stats", "transformers.models.bert.modeling_bert")
"""What tests import that no module of tests does."""


def pytest_configure() -> None:
    """Keep the files of tests in memory where there is enough of it: a disk takes milliseconds for each transaction and each model.

    While tests are collected and modules imported, nothing becomes garbage, and looking for it takes a quarter of the time.
    """
    gc.disable()
    if not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys() and os.access(MEMORY, os.W_OK) and disk_usage(MEMORY).free > 4 << 30:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the garbage collector look less often, as servers do, and at nothing that lives as long as the tests: functions, and modules."""
    if len(session.items) > MANY:
        for name in HEAVY:
            importlib.import_module(name)
    gc.enable()
    gc.freeze()
    collector.look_less_often()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let hypothesis try each property on a part of its examples; in the matrix, all properties are tried on all of them."""
    test = getattr(item, "obj", None)
    if not getattr(test, "is_hypothesis_test", False):
        return
    if item.config.option.markexpr == "matrix":
        item.add_marker(pytest.mark.matrix)
    elif test not in _SHORTENED:
        _SHORTENED.add(test)
        full = test._hypothesis_internal_use_settings
        test._hypothesis_internal_use_settings = settings(full, max_examples=max(10, full.max_examples // 4))


_SHORTENED: set[object] = set()
"""The properties that are tried on fewer examples; one with parameters is many tests."""


CITIES = ["london", "paris", "rome", "oslo", "cairo", "lima"]
FOODS = ["bread", "cheese", "soup", "rice", "apple", "cake"]


def rows(count: int = 60) -> list[dict[str, str]]:
    """Texts that are about a place or about food, with another column beside."""
    found = []
    for place in range(count):
        words, label = (CITIES, "place") if place % 2 else (FOODS, "food")
        first, second = words[place % 6], words[(place * 5 + 1) % 6]
        found.append({"query": f"tell me {place} of {first} and {second}", "kind": label, "channel": "web" if place % 3 else "mail"})
    return found


@pytest.fixture(scope="session")
def forks(tmp_path_factory) -> Iterator[Forks]:
    """Runs modules in processes of their own that import nothing, which else takes each of them seconds."""
    made = Forks(of_all_workers(tmp_path_factory) / "forks", _WORKER in os.environ)
    yield made
    made.close()


def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for what the workers of a run share; without workers, that of the run."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if _WORKER in os.environ else folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    from vertune.testing import tiny

    words = [*CITIES, *FOODS, "tell", "me", "of", "and"]
    return tiny.write("bert", tmp_path_factory.mktemp("base") / "bert", words)


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    import polars as pl

    path = tmp_path_factory.mktemp("data") / "queries.csv"
    pl.DataFrame(rows()).write_csv(path)
    return path


@pytest.fixture(scope="session")
def run_yaml(table, tiny_base) -> Path:
    """A config that trains in a moment."""
    path = table.with_name("run.yaml")
    path.write_text(
        "name: support\n"
        f"data: {{source: {table.name}, fields: {{text: query, label: kind}}, keep: [channel]}}\n"
        f"base: {tiny_base}\nmethod: head\ntraining: {{epochs: 1, refit: never}}\n"
    )
    return path


@pytest.fixture(scope="session")
def fitted(run_yaml, tmp_path_factory):
    """A home with a dataset, a model, a report and the alias support@live."""
    from vertune.core.config import load
    from vertune.steps.fit import fit

    home = Home(tmp_path_factory.mktemp("home"))
    return home, fit(load(run_yaml), home)


@pytest.fixture
def home(fitted, tmp_path, monkeypatch) -> Home:
    """A copy of that home which a test may change, in use by VERTUNE_HOME."""
    import shutil

    shutil.copytree(fitted[0].folder, tmp_path / "home")
    monkeypatch.setenv("VERTUNE_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def fleet(tiny_base, tmp_path_factory) -> Home:
    """A home with the live verticals of the server's tests; no test changes it. To train them takes 5 s, so one worker does it for all."""
    import shutil

    from tests.server.conftest import make_fleet

    shared, own = of_all_workers(tmp_path_factory) / "fleet", tmp_path_factory.mktemp("fleet") / "home"
    with locked(shared / "lock"):
        if not (shared / "made").exists():
            make_fleet(tiny_base, shared / "home")
            (shared / "made").touch()
    shutil.copytree(shared / "home", own)  # servers write their databases into it
    return Home(own)


@pytest.fixture(scope="session")
def alone(fleet):
    """What each model of the fleet says by itself, by the vertical's name or the model's id."""
    from tests.server.conftest import alone_in

    return alone_in(fleet)


@pytest.fixture(scope="session")
def table_model(tmp_path_factory):
    """A home with a trained model on a table and the graph that was made of it."""
    from tests.encoders.test_table import make_table_model

    return make_table_model(tmp_path_factory.mktemp("table"))


MEASURED = {"latency": {"16": 0.001, "128": 0.002}, "throughput": 1000.0, "memory": 1_000_000, "threads": 1}
"""What a measurement in a process of its own would give; most tests of compression need no figure of it."""


def unmeasured(patch: pytest.MonkeyPatch) -> None:
    """Let compression take these figures: to measure a candidate takes three processes, which import for seconds."""
    patch.setattr("vertune.evaluation.gate.benchmark", lambda *given: MEASURED)


@pytest.fixture(scope="session")
def compressed(fitted, tmp_path_factory):
    """A copy of that home with one compressed model, and the model."""
    import shutil

    from vertune.steps.compress import compress

    folder = tmp_path_factory.mktemp("compressed") / "home"
    shutil.copytree(fitted[0].folder, folder)
    home = Home(folder)
    with pytest.MonkeyPatch.context() as patch:
        unmeasured(patch)
        return home, compress(home.get("models", "support"), home, ["compress.tolerance=1"])
