"""Servers that users would run instead, started on loopback: Infinity with its int8 ONNX engine, and FastAPI with transformers.pipeline.

    export VERTUNE_INFINITY_PYTHON=PEER/bin/python                    Infinity's own environment; README.md says what is in it
    python benchmarks/peers.py prepare-infinity                       the base as int8 ONNX, into benchmarks/.work/infinity
    python benchmarks/peers.py check-infinity                         its vectors beside those of the float base
    python benchmarks/peers.py try infinity --clients 1 32            a first look, by benchmarks/load.py
    python benchmarks/peers.py try pipeline --folder FOLDER           of `vertune export MODEL transformers FOLDER`
    python benchmarks/peers.py serve-pipeline FOLDER PORT             the app alone, in the foreground

Each peer runs with its own defaults and without a log of requests. Threads are its own choice unless OMP_NUM_THREADS is set. ONNX
Runtime doesn't read that variable, and by itself it ties its threads to all cores of the machine, past `taskset`; so the number is
handed to it where Infinity starts, and an Infinity that is pinned needs it. It knows nothing of vertune's server.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import load

HERE = Path(__file__).resolve().parent
WORK = HERE / ".work" / "infinity"
BASE, MODEL = WORK / "base", WORK / "model"
LOGS = HERE / ".work" / "peers"
TEXTS = HERE.parent / "examples" / "bank_support" / "test.csv"
NAME = "minilm"
"""Under which Infinity serves the model."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "HF_HOME": str(WORK / "hub")}
"""Nothing is fetched, nobody is told, and what Infinity keeps stays in the working folder."""
NEAR = 0.98
"""Least cosine of an int8 vector with the float base's."""


# ── what the peers run ───────────────────────────────────────────────────────────────────────────────────────────────


def serve_pipeline(folder: str, port: int) -> None:
    """The app of many a tutorial: one text a request, answered by a pipeline in one of FastAPI's threads."""
    import uvicorn
    from fastapi import Body, FastAPI
    from transformers import pipeline

    app = FastAPI()
    classify = pipeline("text-classification", model=folder, device="cpu")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/predict")
    def predict(text: str = Body(embed=True)) -> dict[str, Any]:
        return dict(classify(text)[0])

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def serve_infinity(folder: str, port: int) -> None:
    """Infinity's own command; in its own environment."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        _limit(int(threads))
    from infinity_emb.cli import cli

    options = {
        "model-id": folder, "served-model-name": NAME, "engine": "optimum", "device": "cpu", "host": "127.0.0.1", "port": str(port),
        "pooling-method": "mean",  # its ONNX engine takes [CLS] otherwise, whatever the folder says
        "log-level": "warning",
    }  # fmt: skip
    sys.argv = ["infinity_emb", "v2", *(part for name, value in options.items() for part in (f"--{name}", value))]
    cli()


def _limit(threads: int) -> None:
    """So many threads for each session of ONNX Runtime whose maker gave none, which also keeps them where the process is pinned."""
    import onnxruntime

    make = onnxruntime.InferenceSession.__init__

    @functools.wraps(make)
    def limited(self: Any, path: Any, sess_options: Any = None, **options: Any) -> None:
        settings = sess_options or onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.intra_op_num_threads or threads
        make(self, path, sess_options=settings, **options)

    onnxruntime.InferenceSession.__init__ = limited


def quantise(base: str, folder: str) -> None:
    """The base as int8 ONNX by optimum, dynamic, for avx512_vnni: the file that Infinity prefers on a CPU; in its own environment.

    Quantised as exported: fused first (ORTOptimizer before ORTQuantizer), it was slower in batches and no faster alone.
    """
    import torch

    # optimum 1.24 is of a time when this was the default; with torch's newer exporter it fails
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    with tempfile.TemporaryDirectory() as plain:
        main_export(base, plain, task="feature-extraction", library_name="transformers")
        config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        ORTQuantizer.from_pretrained(plain, file_name="model.onnx").quantize(save_dir=folder, quantization_config=config)


# ── how they are started and asked ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Peer:
    """A running server: where it is, and the body that asks it for a text. Ends with its `with` block."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    body: Callable[[str], dict[str, Any]]
    ready: float

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def ask(self, text: str) -> Any:
        """One answer."""
        head = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url, json.dumps(self.body(text)).encode(), head), timeout=60) as answer:
            return json.load(answer)

    def bodies(self, texts: Iterable[str], path: Path) -> Path:
        """A file for `load.run`, one request a text."""
        path.write_text("".join(json.dumps(self.body(text)) + "\n" for text in texts), encoding="utf-8")
        return path

    def stop(self) -> None:
        """End the server."""
        load.end(self.process, 20)


def start(name: str, folder: Path | None = None, core: int | str | None = None, seconds: float = 180.0) -> Peer:
    """Start `infinity` or `pipeline` and wait until it is ready; `core` pins it, one or as `taskset -c` takes them.

    `folder` holds the pipeline's model in transformers' form; for Infinity it is the prepared one.
    """
    python, folder = _place(name, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    LOGS.mkdir(parents=True, exist_ok=True)
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pinned, python, str(Path(__file__).resolve()), f"serve-{name}", str(folder), str(port)]
    with (LOGS / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **OFFLINE})
    path, body = ("embeddings", _embedding) if name == "infinity" else ("predict", _text)
    peer = Peer(name, process, f"http://127.0.0.1:{port}/{path}", body, 0.0)
    try:
        ready = load.wait_ready(f"http://127.0.0.1:{port}/health", seconds, process)
    except BaseException as error:
        peer.stop()
        error.add_note((LOGS / f"{name}.log").read_text(errors="replace")[-2000:])
        raise
    return Peer(name, process, peer.url, body, ready)


def _place(name: str, folder: Path | None) -> tuple[str, Path]:
    """Whose Python, and which model."""
    if name == "infinity":
        if not (MODEL / "model_quantized.onnx").exists():
            prepare_infinity()
        return _python(), MODEL
    if name != "pipeline":
        raise ValueError(f"Expected infinity or pipeline, got {name}.")
    if folder is None:
        raise ValueError("A pipeline needs the folder of a model: vertune export MODEL transformers FOLDER")
    return sys.executable, folder.absolute()


def _text(text: str) -> dict[str, Any]:
    return {"text": text}


def _embedding(text: str) -> dict[str, Any]:
    return {"model": NAME, "input": [text]}


def _python() -> str:
    """Python of Infinity's environment."""
    python = os.environ.get("VERTUNE_INFINITY_PYTHON")
    if not python:
        sys.exit("Set VERTUNE_INFINITY_PYTHON to the Python of an environment with Infinity; benchmarks/README.md says what is in it.")
    return python


def prepare_infinity() -> None:
    """The base, and its int8 form made by Infinity's own environment, afresh."""
    from vertune.core.base import resolve

    python = _python()
    for folder in (BASE, MODEL):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(resolve("minilm"), BASE)
    command = [python, str(Path(__file__).resolve()), "quantise", str(BASE), str(MODEL)]
    subprocess.run(command, check=True, env={**os.environ, **OFFLINE})


def versions(name: str) -> dict[str, str]:
    """What a peer's speed hangs on, as installed in its environment."""
    own = {"infinity": ("infinity_emb", "optimum", "onnxruntime", "transformers"), "pipeline": ("transformers", "torch")}[name]
    packages = [*own, "tokenizers", "numpy", "fastapi", "uvicorn", "uvloop", "httptools"]
    listed = "import json, importlib.metadata as m; print(json.dumps({one.name: one.version for one in m.distributions()}))"
    python = _python() if name == "infinity" else sys.executable
    found = json.loads(subprocess.run([python, "-c", listed], capture_output=True, text=True, check=True).stdout)
    return {package: found[package] for package in packages if package in found}


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def texts(count: int | None = None) -> list[str]:
    """Test texts of Banking77."""
    with TEXTS.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:count]


def check_infinity(count: int = 20) -> dict[str, float]:
    """Cosines of the server's vectors with the float base's: the least and the mean."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with start("infinity") as peer:
        theirs = torch.tensor([peer.ask(text)["data"][0]["embedding"] for text in texts(count)])
    tokens = AutoTokenizer.from_pretrained(BASE)(texts(count), padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(BASE, dtype=torch.float32).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    ours = (states * mask).sum(1) / mask.sum(1)
    cosines = torch.nn.functional.cosine_similarity(theirs, ours)
    found = {"least": cosines.min().item(), "mean": cosines.mean().item()}
    if found["least"] <= NEAR:
        sys.exit(f"Infinity's vectors are not those of the base: {found}")
    return found


def look(options: argparse.Namespace) -> dict[str, Any]:
    """A short load by each number of clients."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    result: dict[str, Any] = {"versions": versions(options.peer), "avx512_vnni": "avx512_vnni" in flags}
    with tempfile.TemporaryDirectory() as place, start(options.peer, options.folder, options.core) as peer:
        bodies = peer.bodies(texts(), Path(place) / "bodies.jsonl")
        result |= {"ready": peer.ready, "answer": str(peer.ask(texts(1)[0]))[:200]}
        for clients in options.clients:
            load.run(peer.url, bodies, options.load_core, clients=clients, seconds=1)  # to warm up
            before = load.process_cpu(peer.process.pid)
            found = load.run(peer.url, bodies, options.load_core, clients=clients, seconds=options.seconds)
            spent = load.process_cpu(peer.process.pid) - before
            result[f"clients {clients}"] = found | {"server_cpu_per_request": spent / max(1, found["requests"])}
        result["resident"] = load.resident(peer.process.pid)
    return result


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve-pipeline", "serve-infinity"):
        serving = commands.add_parser(name)
        serving.add_argument("folder")
        serving.add_argument("port", type=int)
    quantising = commands.add_parser("quantise")
    quantising.add_argument("base")
    quantising.add_argument("folder")
    commands.add_parser("prepare-infinity")
    commands.add_parser("check-infinity")
    trying = commands.add_parser("try")
    trying.add_argument("peer", choices=("infinity", "pipeline"))
    trying.add_argument("--folder", type=Path, help="a model in transformers' form, for the pipeline")
    trying.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    trying.add_argument("--seconds", type=float, default=5.0)
    trying.add_argument("--core", help="where the peer runs, as taskset takes it")
    trying.add_argument("--load-core", type=int, help="where the load runs")
    options = parser.parse_args()
    if options.command.startswith("serve-"):
        {"serve-pipeline": serve_pipeline, "serve-infinity": serve_infinity}[options.command](options.folder, options.port)
    elif options.command == "quantise":
        quantise(options.base, options.folder)
    elif options.command == "prepare-infinity":
        prepare_infinity()
    else:
        print(json.dumps(check_infinity() if options.command == "check-infinity" else look(options), indent=1))


if __name__ == "__main__":
    main()
