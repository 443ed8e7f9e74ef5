"""Two processes on one machine learn what one learns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
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

Launch = Callable[[Sequence[str], Path], None]
"""Runs `vertune` with some words in a folder, in some processes."""
LAUNCHER = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]
ENVIRONMENT = {
    **os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
}  # fmt: skip


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Path:
    """A base without dropout, which each process would draw for itself."""
    words = [*FILLERS, *(word for members in TOPICS.values() for word in members)]
    return tiny.write("bert", tmp_path_factory.mktemp("still") / "bert", words, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


def alone(words: Sequence[str], folder: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)


@pytest.fixture
def pair(forks) -> Launch:
    """Two processes with the variables that launchers set."""

    def start(words: Sequence[str], folder: Path) -> None:
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        command = [sys.executable, *forks.words("vertune"), *words]
        both = [
            subprocess.Popen(
                command, cwd=folder, env={**ENVIRONMENT, **shared, "RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )
            for rank in "01"
        ]  # fmt: skip
        said = [one.communicate(timeout=100)[0] for one in both]
        assert [one.returncode for one in both] == [0, 0], said

    return start


@pytest.fixture
def launched() -> Launch:
    """Two processes that a launcher starts, as a user does it."""

    def start(words: Sequence[str], folder: Path) -> None:
        command = [sys.executable, *LAUNCHER, free_port(), "-m", "vertune", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=folder, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    return start


def trained(folder: Path, base: Path, config: str, launch: Launch) -> tuple[list[float], dict[str, torch.Tensor], dict]:
    """Losses, delta and manifest of a training in the processes that `launch` starts."""
    folder.mkdir()
    pl.DataFrame(sentences(90)).write_csv(folder / "rows.csv")
    device = "device: {threads: 1, precision: float32, tokens: 64}"
    (folder / "run.yaml").write_text(f"name: topics\ndata: {{source: rows.csv}}\nbase: {base}\n{device}\n{config}\n")
    launch(["train", str(folder / "run.yaml"), "--home", str(folder / "home")], folder)
    home = Home(folder / "home")
    (model,) = home.shelf("models")
    assert not home.runs()
    losses = [event["loss"] for event in model.events() if event["event"] == "step"]
    return losses, load_file(model.folder / "delta.safetensors"), model.manifest


@pytest.mark.parametrize(
    ("method", "launch"),
    [
        ("full", "pair"),
        pytest.param("full", "launched", marks=pytest.mark.matrix),
        pytest.param("{name: top_layers, n: 1}", "pair", marks=pytest.mark.matrix),
    ],
)
@pytest.mark.enable_socket
def test_two_processes_learn_what_one_learns(tmp_path, still, request, method, launch):
    config = f"method: {method}\ncompanion: none\ntraining: {{epochs: 2, start: random}}"
    one = trained(tmp_path / "one", still, config, alone)
    two = trained(tmp_path / "two", still, config, request.getfixturevalue(launch))
    assert len(one[0]) == len(two[0]) > 4
    assert two[0] == pytest.approx(one[0], rel=2e-3)
    for name, tensor in one[1].items():
        assert torch.allclose(tensor, two[1][name], atol=2e-4), name


@pytest.mark.enable_socket
def test_two_processes_agree_on_what_a_clock_decides(tmp_path, still, pair):
    losses, _, manifest = trained(tmp_path / "both", still, "method: auto\ntraining: {time_limit: 20, epochs: 3}", pair)
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
