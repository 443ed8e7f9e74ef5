from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.config import Config, build
from vertune.learning.training_data import TrainingData
from vertune.testing import tiny

TOPICS = {"money": ["bank", "loan", "credit"], "travel": ["train", "ticket", "hotel"], "food": ["bread", "soup", "rice"]}
FILLERS = ["the", "a", "my", "was", "late", "today", "very", "and"]


def sentences(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts of uneven length whose label is told by their words."""
    import numpy as np

    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = str(random.choice(sorted(TOPICS)))
        words = [*random.choice(FILLERS, random.integers(1, 12)), *random.choice(TOPICS[label], 2)]
        rows.append({"text": " ".join(map(str, random.permutation(words))), "label": label})
    return rows


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    words = [*FILLERS, *(word for members in TOPICS.values() for word in members)]
    return tiny.write("bert", tmp_path_factory.mktemp("learning") / "bert", words)


@pytest.fixture
def configured(base):
    """A function that builds a config with its task fitted, and the material to train on."""
    import polars as pl

    def make(rows: int = 120, **options) -> tuple[Config, TrainingData]:
        records, held = sentences(rows), sentences(60, seed=1)
        value = {"data": {}, "base": str(base), "device": {"threads": 1, "precision": "float32"}, **options}
        config = build(Config, value)
        task = config.task.fit(pl.DataFrame(records))
        encoder = config.encoder.resolve(records, task.views(["text", "label"]))
        return config.model_copy(update={"task": task, "encoder": encoder}), TrainingData(records, held, ["text", "label"])

    return make


@pytest.fixture
def quiet():
    """A progress that is not looked at."""
    return lambda kind, **fields: None


def method(name: str, **options):
    return part.find("methods", name)(**options)
