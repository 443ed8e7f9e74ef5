"""Training keeps to its memory limit, and a lack of memory is reported with what to set."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from vertune.core.config import Config, build
from vertune.core.errors import StorageError, describe_exit, is_out_of_memory
from vertune.learning import memory

LIMITED = """
    import resource, sys
    from pathlib import Path
    from vertune.core.config import Config, build
    from vertune.learning import session
    from vertune.learning.memory import told
    from vertune.testing import tiny

    texts = [" ".join(f"word{(row * 7 + place) % 40}" for place in range(500)) for row in range(24)]
    records = [{"text": text, "text_pair": text[::-1]} for text in texts]
    base = tiny.write("bert", Path(sys.argv[1]) / "bert", [f"word{number}" for number in range(40)], max_position_embeddings=512)
    seen = []

    def trained(records, name, gigabytes=0.9):
        config = build(Config, {
            "data": {}, "base": str(base), "task": "embed", "method": "full", "encoder": {"name": "text", "max_tokens": 512},
            "device": {"threads": 1, "precision": "float32", "tokens": 10**6, "memory": gigabytes},
            "training": {"batch": 48, "epochs": 1, "evaluations": 0, "checkpoint": 600},
        })
        data = session.TrainingData(records, [], ["text", "text_pair"])
        with told("Training", config):
            session.train(config, data, session.TrainingFolders(Path(sys.argv[1]) / name), lambda kind, **fields: seen.append(kind))

    trained([{"text": "word1", "text_pair": "word2"}] * 4, "first")  # loads the libraries, whose address space is not limited
    used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + int(0.45e9), -1))
    trained(records, "second")
    print("memory" in seen and "training" in seen)
    trained(records, "third", gigabytes=100.0)  # more than the process may have
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are those of Linux")
def test_a_batch_of_long_texts_is_trained_in_little_memory_and_too_little_is_told(forks, tmp_path):
    script = tmp_path / "limited.py"
    script.write_text(textwrap.dedent(LIMITED))
    command = [sys.executable, *forks.words(str(script)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"], done.stderr[-2000:]
    assert done.returncode == 1
    assert "StorageError: Training ran out of memory" in done.stderr
    assert "device.memory (now 100.0)" in done.stderr


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, expected):
    config = build(Config, {"data": {}})
    assert is_out_of_memory(error) == expected
    with pytest.raises(StorageError if expected else type(error)), memory.told("Training", config):
        raise error


def test_the_real_allocator_says_what_is_looked_for():
    with pytest.raises(StorageError, match="ran out of memory"), memory.told("Training", build(Config, {"data": {}})):
        torch.empty(2**62, dtype=torch.uint8)


def test_a_child_that_the_system_killed_is_described():
    killed = subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], check=False)
    assert "no memory" in describe_exit(killed.returncode)
    assert "code 3" in describe_exit(3)


def test_the_limit_is_that_of_the_config_or_less_than_what_the_machine_has():
    cpu = torch.device("cpu")
    assert memory.limit(build(Config, {"data": {}, "device": {"memory": 1.5}}), cpu) == 1.5e9
    assert 0 < memory.limit(build(Config, {"data": {}}), cpu) <= 4e9
