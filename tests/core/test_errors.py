"""A full disk and short memory, as each library really reports them, are told as what they are."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from vertune.core.errors import ConfigError, StorageError, first_line, machine_error, machine_errors

FULL = {
    "polars": """
        import polars
        frame = polars.DataFrame({"a": [f"{number * 7919 % 10007}" for number in range(300_000)]})
        limit(disk=10_000)
        attempt(lambda: frame.write_parquet("x.parquet"))
        attempt(lambda: frame.write_csv("x.csv"))
        attempt(lambda: frame.write_parquet("/dev/full"))
    """,
    "safetensors": """
        import numpy
        from safetensors.numpy import save_file
        from tokenizers import Tokenizer, models
        tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(5000)}, unk_token="0"))
        limit(disk=10_000)
        attempt(lambda: save_file({"a": numpy.ones(100_000)}, "x.safetensors"))
        attempt(lambda: tokenizer.save("tokenizer.json"))
        attempt(lambda: numpy.save("x.npy", numpy.ones(100_000)))
    """,
    "sqlite": """
        import sqlite3
        limit(disk=10_000)
        def insert():
            with sqlite3.connect("x.db") as connection:
                connection.execute("create table t (a)")
                connection.executemany("insert into t values (?)", [("x" * 1000,)] * 1000)
        attempt(insert)
    """,
    "torch": """
        import torch
        limit(disk=10_000)
        attempt(lambda: torch.save(torch.zeros(100_000), "x.pt"))
        limit(memory=200_000_000)
        attempt(lambda: torch.zeros(10**9))
    """,
    "onnxruntime": """
        import numpy, onnx, onnxruntime
        from onnx import TensorProto, helper
        entries = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]), helper.make_tensor_value_info("n", TensorProto.INT64, [1])]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
        graph = helper.make_graph([helper.make_node("Expand", ["x", "n"], ["y"])], "g", entries, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        limit(memory=200_000_000)
        attempt(lambda: session.run(None, {"x": numpy.ones(1, numpy.float32), "n": numpy.array([10**9])}))
        attempt(lambda: numpy.ones(10**10))
    """,
}
"""For each library, attempts that fail because of a limit of the operating system."""
_SETUP = """
import resource
from vertune.core.errors import machine_error
def limit(disk=None, memory=None):
    if disk:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    if memory:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
def attempt(call):
    try:
        call()
        print("no error")
    except Exception as error:
        print("ours" if machine_error(error) else f"not translated: {type(error)} {error}")
"""


def python(*words, folder, limits=""):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "HOME": str(folder)}
    command = ["bash", "-c", f'{limits} exec "$@"', "bash", sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env, cwd=folder)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the limits of Linux")
@pytest.mark.parametrize("library", FULL)
def test_each_library_is_understood_when_the_disk_or_the_memory_is_full(library, tmp_path):
    done = python("-c", _SETUP + textwrap.dedent(FULL[library]), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["ours"] * FULL[library].count("attempt("), done.stdout


def test_a_command_says_that_the_disk_is_full(table, run_yaml, tmp_path):
    (tmp_path / "run.yaml").write_text(run_yaml.read_text())
    (tmp_path / table.name).write_text(
        table.read_text() + "".join(f'"tell me {place * 7919 % 10007} of rome",place,web\n' for place in range(3000))
    )
    done = python("-m", "vertune", "prepare", "run.yaml", folder=tmp_path, limits="ulimit -f 12;")
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "File too large" in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shape mismatch"),
        KeyError("os"),
        RuntimeError("expected scalar type"),
        OSError("no such host"),
        ConfigError("can't allocate"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert machine_error(error) is None
    with pytest.raises(type(error)) as caught, machine_errors():
        raise error
    assert caught.value is error


def test_a_function_can_be_guarded():
    @machine_errors()
    def fail():
        raise MemoryError

    with pytest.raises(StorageError, match=r"memory of this machine.*MemoryError.*Close other programs"):
        fail()


def test_the_first_line_is_never_missing():
    assert [first_line(error) for error in (ValueError("a\nb"), ValueError("\n  b"), ValueError())] == ["a", "b", "ValueError"]
