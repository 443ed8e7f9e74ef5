"""Two processes on one machine, started as a user starts them, learn what one learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.learning.conftest import FILLERS, TOPICS, sentences
from vertune.cli import main
from vertune.core.artifact import Home
from vertune.learning import team
from vertune.testing import tiny

LAUNCH = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Path:
    """A base without dropout, which each process would draw for itself."""
    words = [*FILLERS, *(word for members in TOPICS.values() for word in members)]
    return tiny.write("bert", tmp_path_factory.mktemp("still") / "bert", words, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def trained(folder: Path, base: Path, config: str, launch: list[str]) -> tuple[list[float], dict[str, torch.Tensor], dict]:
    """Losses, delta and manifest of a training in the processes that `launch` starts, or in this one."""
    folder.mkdir()
    pl.DataFrame(sentences(90)).write_csv(folder / "rows.csv")
    device = "device: {threads: 1, precision: float32, tokens: 64}"
    (folder / "run.yaml").write_text(f"name: topics\ndata: {{source: rows.csv}}\nbase: {base}\n{device}\n{config}\n")
    command = ["train", str(folder / "run.yaml"), "--home", str(folder / "home")]
    if launch:
        _in_processes(launch, command, folder)
    else:
        with pytest.raises(SystemExit, match="0"):
            main(command)
    home = Home(folder / "home")
    (model,) = home.shelf("models")
    assert not home.runs()
    losses = [event["loss"] for event in model.events() if event["event"] == "step"]
    return losses, load_file(model.folder / "delta.safetensors"), model.manifest


def _in_processes(launch: list[str], command: list[str], folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, *launch, "-m", "vertune", *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("method", ["full", pytest.param("{name: top_layers, n: 1}", marks=pytest.mark.matrix)])
def test_two_processes_learn_what_one_learns(tmp_path, still, method):
    config = f"method: {method}\ncompanion: none\ntraining: {{epochs: 2, start: random}}"
    one = trained(tmp_path / "one", still, config, [])
    two = trained(tmp_path / "two", still, config, LAUNCH)
    assert len(one[0]) == len(two[0]) > 4
    assert two[0] == pytest.approx(one[0], rel=2e-3)
    for name, tensor in one[1].items():
        assert torch.allclose(tensor, two[1][name], atol=2e-4), name


def test_two_processes_agree_on_what_a_clock_decides(tmp_path, still):
    losses, _, manifest = trained(tmp_path / "both", still, "method: auto\ntraining: {time_limit: 20, epochs: 3}", LAUNCH)
    assert manifest["chosen"]["why"]
    assert manifest["chosen"]["refit"] == 72
    assert len(losses) > 0


def test_alone_a_process_leads_and_waits_for_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")  # left over from what started this process
    team.barrier()
    assert team.is_leader()
    assert team.broadcast_text("run-1") == "run-1"
    assert team.size() == 1
