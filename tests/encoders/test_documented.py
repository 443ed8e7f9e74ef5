"""The encoder that docs/add/encoder.md shows works from a file to a graph, in a package of its own and with no other edit."""

from __future__ import annotations

import pytest
from tests.conftest import unmeasured
from tests.documented import offered

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.parse import build
from vertune.runtime.predictor import Predictor


@pytest.fixture
def documented(tmp_path):
    with offered("encoder.md", "encoders", "lengths", tmp_path):
        yield


@pytest.mark.usefixtures("documented")
def test_it_goes_from_a_file_to_a_graph(tmp_path, monkeypatch) -> None:
    from vertune.steps.compress import compress
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    monkeypatch.setattr("vertune.evaluation.gate.ECE", 10)
    unmeasured(monkeypatch)
    rows = [f"{'a' * (1 + row % 9)},{'short' if row % 9 < 4 else 'long'}" for row in range(180)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    value = {
        "encoder": "lengths", "method": "full", "tolerance": 1, "data": {"source": str(tmp_path / "rows.csv")},
        "training": {"epochs": 10, "refit": "never"},
    }  # fmt: skip
    config, home = build(Config, value), Home(tmp_path / "home")
    model = train(config, prepare(config, home), home)
    with pytest.raises(ConfigError, match="no matrix product"):
        compress(model, home)
    graph = compress(model, home, ["compress=[]"])
    for artifact in (model, graph):
        answers = Predictor.open(artifact).answer([{"text": "aa"}, {"text": "aaaaaaaa"}])
        assert [answer["label"] for answer in answers] == ["short", "long"]
