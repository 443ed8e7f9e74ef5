"""What the server bears: a thousand faults at random while clients ask, and a long search for requests that break it.

    python benchmarks/soak.py                            1,000 faults, then hundreds of drawn requests an operation (minutes)
    python benchmarks/soak.py --faults 20 --quick        to try it: 20 s, and no result file

A real `vertune serve` process answers for verticals of several tasks, which this script trains on a tiny base. Clients ask without
a pause, and every answer is compared with what the model that it names says alone. Meanwhile, at random:

    kill       a worker of the batcher is ended from outside, wherever it is
    gone       a client leaves in the middle of its request
    poison     a text makes the model raise; it alone may fail
    deadly     a text ends the worker that computes it
    replace    a vertical gets another model, of other labels
    come       a vertical is added, or goes
    garbage    what is no HTTP, or only half of it

`hung` counts requests without an answer 5 s after their deadline, `wrong` answers that differ from the model's by more than 1e-4,
`lost` requests that were answered with an error because the worker that had them was killed, `unexpected` any other status. Then
requests in two pieces and in a row are sent to the protocol alone (cuts.py). The exit status is 1 where a request hung, an answer was
wrong or unexpected, memory grew, requests were drawn that the server does not answer as its OpenAPI document says, a request was not
answered once, or the process did not end well. The result goes to benchmarks/results/soak.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cuts
import load
from processor import measured_here

OUT = Path(__file__).resolve().parent / "results" / "soak.json"
CITIES, FOODS = ["london", "paris", "rome", "oslo", "cairo", "lima"], ["bread", "cheese", "soup", "rice", "apple", "cake"]
POISON, DEADLY = "poison", "deadly"
DEADLINE, GRACE = 5.0, 5.0
GAP = 1e-4
CLIENTS = 6
KINDS = ("kill", "gone", "poison", "deadly", "replace", "come", "garbage")
CHECKS = (
    "status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance", "ignored_auth",
    "unsupported_method",
)  # fmt: skip
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost", b"POST /v1/predict HTTP/1.1\r\nContent-Length: 999999\r\n\r\n{",
    b"POST /v1/predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET /" + b"a" * 50_000, b"\r\n" * 100,
)  # fmt: skip


# ------------------------------------------------------------------ what is served


def home_of(folder: Path) -> Any:
    """A home with a live vertical of each kind, and a second model of `intent`, all made ready to be served."""
    from vertune.core.artifact import Home
    from vertune.steps.share import make_servable
    from vertune.testing import tiny

    base = tiny.write("bert", folder / "base", [*CITIES, *FOODS, "tell", "me", "of", "and", POISON, DEADLY])
    home = Home(folder / "home")
    lora, prefix = {"name": "lora", "rank": 2}, {"name": "prefix", "positions": 2}
    kinds = [("intent", "classify", lora), ("spans", "tag", "head"), ("find", "embed", prefix), ("whole", "classify", "full")]
    models = [trained(home, base, *kind) for kind in kinds]
    for model in models:
        home.alias(f"{model.manifest_or_empty['name']}@live", model.id)
    models.append(trained(home, base, "intent", "classify", "bitfit", ("even", "odd")))
    troubles = make_servable(models, home)
    assert not troubles, troubles
    return home


def trained(home: Any, base: Path, name: str, task: str, method: Any, labels: Sequence[str] = ("food", "place")) -> Any:
    """A model of one epoch."""
    import polars as pl

    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    rows: list[dict[str, Any]] = []
    for place in range(60):
        words = CITIES if place % 2 else FOODS
        first, second = words[place % 6], words[(place * 5 + 1) % 6]
        text = f"tell me {place} of {first} and {second}"
        start = text.index(first)
        more = {"classify": {"label": labels[place % 2]}, "embed": {"text_pair": text[8:]}}
        spans = {"spans": [{"start": start, "end": start + len(first), "label": "CITY" if place % 2 else "FOOD"}]}
        rows.append({"text": text, **more.get(task, spans)})
    config = build(
        Config,
        {
            "name": name, "base": str(base), "task": task, "method": method, "data": {}, "compress": {"tolerance": 1},
            "training": {"epochs": 1, "refit": "never"},
        },
    )  # fmt: skip
    return train(config, prepare(config, home, None, {"train": pl.DataFrame(rows)}), home)


def drawn(random: random.Random) -> list[str]:
    """Texts that the models are asked."""
    words = [*CITIES, *FOODS, "tell", "me", "of", "and", "7"]
    return [" ".join(random.choices(words, k=random.choice((1, 3, 8, 20, 60)))) for _ in range(60)]


def expected(home: Any, texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each model says of each text, alone, by the model's id."""
    from vertune.runtime.fleet import graph_of
    from vertune.runtime.predictor import Predictor

    found = {}
    for model in home.shelf("models"):
        if model.manifest_or_empty.get("step") == "compress":
            continue
        predictor = Predictor.open(graph_of(home, model) or model, threads=1)
        found[model.id] = {text: predictor.answer([{"text": text}])[0] for text in texts}
    return found


def same(found: Any, wanted: Any) -> bool:
    """Whether two answers say the same."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    return abs(found - wanted) <= GAP if isinstance(wanted, float) else bool(found == wanted)


# ------------------------------------------------------------------ the server, with a way to break it


def serve(home: str) -> None:
    """`vertune serve` with hooks: certain words raise, and a line on standard input kills the workers."""
    from vertune.cli import main
    from vertune.queueing.batcher import Batcher
    from vertune.runtime.backbone import Backbone
    from vertune.runtime.fleet import DedicatedGraph

    batchers: list[Batcher] = []
    make = Batcher.__init__

    def made(self: Batcher, *given: Any, **more: Any) -> None:
        make(self, *given, **more)
        batchers.append(self)

    Batcher.__init__ = made  # type: ignore[method-assign]
    for kind in (Backbone, DedicatedGraph):
        kind.compute = breaking(kind.compute)  # type: ignore[method-assign]
    threading.Thread(target=obey, args=(batchers,), daemon=True).start()
    main(["serve", "--home", home, "--port", "0", "--set", "exact=true", "--set", "cache=200", "--set", "limits.reading=2"])


def breaking(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A `compute` that can't bear two words."""
    bad: dict[str, int] = {}

    def computed(executor: Any, payloads: Any) -> Any:
        if not bad:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(Path(executor.encoder.base) / "tokenizer.json"))
            bad.update({word: tokenizer.token_to_id(word) for word in (POISON, DEADLY)})
        for feature, _ in payloads:
            tokens = executor.encoder.collate([feature])["input_ids"]
            if bad[POISON] in tokens:
                raise ValueError("poison")
            if bad[DEADLY] in tokens:
                raise SystemExit("deadly")
        return compute(executor, payloads)

    return computed


def obey(batchers: Sequence[Any]) -> None:
    """Kill the workers at each line that comes."""
    for _ in sys.stdin:
        for worker in (one for batcher in batchers for one in tuple(batcher._workers)):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.thread.ident), ctypes.py_object(SystemExit))


class Server:
    """The process; `options` and `environment` are for one that is not breakable."""

    def __init__(self, home: Any, breakable: bool = True, options: Sequence[str] = (), **environment: str) -> None:
        self.log = (home.folder.parent / "server.log").open("w+")
        plain = [sys.executable, "-m", "vertune", "serve", "--home", str(home.folder), "--port", "0", *options]
        command = [sys.executable, __file__, "--serve", str(home.folder)] if breakable else plain
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True, bufsize=1, env=os.environ | environment
        )
        self.url = self._said(r"Answering at (\S+);")
        self.key = (home.folder / "admin.key").read_text().strip() if breakable else ""
        self.port = int(self.url.rpartition(":")[2])

    def _said(self, pattern: str) -> str:
        end = time.monotonic() + 120
        while not (found := re.search(pattern, self.text())):
            if self.child.poll() is not None or time.monotonic() > end:
                sys.exit(f"The server did not start:\n{self.text()}")
            time.sleep(0.1)
        return found[1]

    def text(self) -> str:
        return Path(self.log.name).read_text()

    def kill(self) -> None:
        assert self.child.stdin
        self.child.stdin.write("kill\n")

    def memory(self) -> int:
        """Resident bytes."""
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.child.pid}/status").read_text())[1])  # type: ignore[index]

    def end(self) -> int | None:
        """The exit status of SIGTERM; None where it did not end."""
        return load.end(self.child, 40)


# ------------------------------------------------------------------ who asks


@dataclass
class Soak:
    """What happened so far."""

    server: Server
    home: Any
    texts: list[str]
    expected: dict[str, dict[str, Any]]
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    slowest: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, about: str = "") -> None:
        with self.lock:
            self.counts[what] += 1
            if about and len(self.examples) < 20:
                self.examples.append(f"{what}: {about[:400]}")

    def ask(self, client: Any, path: str, body: dict[str, Any]) -> Any:
        """One request: its answer, or None where it was refused or lost; what is wrong is counted."""
        import httpx

        began = time.monotonic()
        try:
            found = client.post(path, json=body, headers={"X-Deadline-Ms": str(DEADLINE * 1000)}, timeout=DEADLINE + GRACE)
        except httpx.TimeoutException:
            self.count("hung", f"{path} {body}")
            return None
        except httpx.HTTPError as error:
            self.count("unexpected", f"{path} {error!r}")
            return None
        with self.lock:
            self.counts["requests"] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
        if found.status_code in (429, 503):
            self.count("refused")
        elif found.status_code == 500 and re.search("died with this request in it|SystemExit", found.text):
            self.count("lost")
        elif found.status_code != 200:
            return found
        return found if found.status_code == 200 else None

    def client(self, seed: int) -> None:
        """Ask as long as it lasts."""
        import httpx

        draw = random.Random(seed)
        with httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {self.server.key}"}, trust_env=False) as client:
            while not self.over.is_set():
                texts = draw.choices(self.texts, k=draw.choice((1, 1, 2, 5, 20)))
                kind = draw.random()
                if kind < 0.6:
                    name = draw.choice(("intent", "intent", "spans", "find", "whole"))
                    self.judge(self.ask(client, f"/v1/verticals/{name}/predict", {"texts": texts}), texts)
                elif kind < 0.85:
                    names = draw.sample(("intent", "spans", "find", "whole"), draw.randint(1, 4))
                    self.judge(self.ask(client, "/v1/predict", {"verticals": names, "texts": texts}), texts)
                else:
                    self.judge(self.ask(client, "/v1/embeddings", {"model": "find", "input": texts}), texts)

    def judge(self, found: Any, texts: Sequence[str]) -> None:
        """Compare answers with those of the models that they name."""
        if found is None:
            return
        if found.status_code != 200:
            self.count("unexpected", f"{found.status_code} {found.text}")
            return
        told = found.json()
        if "data" in told:
            find = next(id for id in self.expected if id.startswith("find-"))
            vectors = [one["embedding"] for one in told["data"]]
            answers = [{**self.expected[find][text], "vector": vector} for text, vector in zip(texts, vectors, strict=True)]
            told = {"model": find, "answers": answers}
        for part in told.get("results", [told]):
            known = self.expected.get(part["model"], {})
            for text, answer in zip(texts, part["answers"], strict=True):
                if not same(answer, known.get(text)):
                    self.count("wrong", f"{part['model']} of {text!r}: {answer} and not {known.get(text)}")
            self.count("checked")


# ------------------------------------------------------------------ what goes wrong


class Faults:
    """One method a kind of fault."""

    def __init__(self, soak: Soak, draw: random.Random) -> None:
        import httpx

        self.soak, self.draw = soak, draw
        headers = {"Authorization": f"Bearer {soak.server.key}"}
        self.client = httpx.Client(base_url=soak.server.url, headers=headers, trust_env=False)
        self.intents = [id for id in soak.expected if id.startswith("intent-")]

    def kill(self) -> None:
        self.soak.server.kill()

    def gone(self) -> None:
        body = json.dumps({"texts": self.draw.choices(self.soak.texts, k=20)}).encode()
        head = f"POST /v1/verticals/intent/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.soak.server.key}\r\n"
        sent = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with socket.create_connection(("127.0.0.1", self.soak.server.port)) as wire:
            wire.sendall(sent[: self.draw.choice((len(sent), len(sent), len(sent) // 2, 30))])
            time.sleep(self.draw.choice((0, 0.002, 0.02)))
            if self.draw.random() < 0.5:  # with a reset and not with an end
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def poison(self) -> None:
        self._bad(POISON, "ValueError: poison")

    def deadly(self) -> None:
        self._bad(DEADLY, "died with this request in it")

    def _bad(self, word: str, says: str) -> None:
        """A request that must fail: with its own error, or as one whose worker was killed meanwhile."""
        name = self.draw.choice(("intent", "spans", "find", "whole"))
        texts = [*self.draw.choices(self.soak.texts, k=3), f"{word} of {self.draw.randint(0, 999)}"]
        found = self.soak.ask(self.client, f"/v1/verticals/{name}/predict", {"texts": texts})
        if found is not None and (found.status_code != 500 or says not in found.text):
            self.soak.count("unexpected", f"{word}: {found.status_code} {found.text}")

    def replace(self) -> None:
        model = self.draw.choice(self.intents)
        if self.draw.random() < 0.5:
            self.soak.home.alias("intent@live", model)
        else:
            found = self.client.put("/v1/verticals/intent", json={"model": model}, timeout=20)
            if found.status_code != 202 or found.json()["model"] != model:
                self.soak.count("unexpected", f"replace: {found.status_code} {found.text}")

    def come(self) -> None:
        found = self.client.put("/v1/verticals/second", json={"model": self.draw.choice(self.intents)}, timeout=20)
        texts = self.draw.choices(self.soak.texts, k=3)
        self.soak.judge(self.soak.ask(self.client, "/v1/verticals/second/predict", {"texts": texts}), texts)
        gone = self.client.delete("/v1/verticals/second", timeout=20)
        if (found.status_code, gone.status_code) != (202, 204):
            self.soak.count("unexpected", f"come: {found.status_code} {gone.status_code} {gone.text}")

    def garbage(self) -> None:
        with socket.create_connection(("127.0.0.1", self.soak.server.port)) as wire:
            wire.sendall(self.draw.choice(GARBAGE))
            time.sleep(self.draw.choice((0, 0.01)))


def break_it(soak: Soak, number: int, seconds: float, draw: random.Random) -> None:
    """So many faults of random kinds, spread over the time, or one after the other where that is short."""
    faults, began = Faults(soak, draw), time.monotonic()
    with faults.client:
        for place in range(number):
            kind = draw.choice(KINDS)
            getattr(faults, kind)()
            soak.faults[kind] += 1
            time.sleep(max(0.0, began + seconds * (place + draw.random()) / number - time.monotonic()))


def soaked(soak: Soak, options: argparse.Namespace) -> dict[str, Any]:
    """Traffic without faults, with them, and without them again; what came of it."""
    clients = [threading.Thread(target=soak.client, args=(options.seed + place,)) for place in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(2 if options.quick else 15)
    before, began = soak.server.memory(), time.monotonic()
    break_it(soak, options.faults, options.seconds, random.Random(options.seed))
    spent = time.monotonic() - began
    time.sleep(1 if options.quick else 10)
    soak.over.set()
    for client in clients:
        client.join(DEADLINE + GRACE + 5)
    soak.counts["hung"] += sum(client.is_alive() for client in clients)
    counts = {what: soak.counts[what] for what in ("requests", "checked", "wrong", "hung", "unexpected", "lost", "refused")}
    memory = {"before": before, "after": soak.server.memory()}
    return {"faults": sum(soak.faults.values()), "kinds": dict(soak.faults), **counts, "slowest": round(soak.slowest, 3),
            "seconds": round(spent, 1), "memory": memory, "settled": settled(soak)}  # fmt: skip


def settled(soak: Soak) -> bool:
    """Whether nothing is left behind: the server is ready, no token waits, no connection is held."""
    import httpx

    headers = {"Authorization": f"Bearer {soak.server.key}"}
    for _ in range(50):
        time.sleep(0.2)
        ready = httpx.get(f"{soak.server.url}/health/ready", trust_env=False)
        page = httpx.get(f"{soak.server.url}/metrics", headers=headers, trust_env=False).text
        if ready.status_code == 200 and "vertune_queued_tokens 0.0" in page:
            return True
    return False


def searched(soak: Soak, examples: int) -> dict[str, Any]:
    """What schemathesis finds: requests drawn from the OpenAPI document that are not answered as that says, or by a 500."""
    before = failed(soak.server)
    command = [
        shutil.which("st", path=str(Path(sys.executable).parent)) or "st", "run", f"{soak.server.url}/openapi.json", "--max-examples",
        str(examples), "-H", f"Authorization: Bearer {soak.server.key}", "--checks", ",".join(CHECKS), "--continue-on-failure",
        "--phases", "fuzzing" if examples < 10 else "examples,coverage,fuzzing", "--no-color", "--warnings", "off",
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=soak.home.folder.parent)
    cases = re.search(r"(\d+) generated", done.stdout)
    if done.returncode:
        soak.examples.append(done.stdout[-6000:])
    return {"requests": int(cases[1]) if cases else 0, "within_the_document": not done.returncode,
            "status_500": failed(soak.server) - before, "seconds": round(time.monotonic() - began, 1)}  # fmt: skip


def failed(server: Server) -> float:
    """Requests that were answered with status 500 so far."""
    import httpx

    page = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}, trust_env=False).text
    found = re.search(r'vertune_requests_total\{resource="refused",status="500"\} (\S+)', page)
    return float(found[1]) if found else 0.0


def passed(result: dict[str, Any]) -> bool:
    """Whether it bore all of it."""
    clean = not (result["wrong"] or result["hung"] or result["unexpected"]) and result["settled"] and result["checked"]
    grown = result["memory"]["after"] > result["memory"]["before"] * 1.25 + (32 << 20)
    found = result.get("schemathesis", {"within_the_document": True, "status_500": 0})
    answered_once = not result["cuts"]["wrong"]
    return bool(clean and not grown and result["exit"] == 0 and found["within_the_document"] and not found["status_500"] and answered_once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seconds", type=float, help="over which they are spread; they may take longer (default: 0.15 a fault)")
    parser.add_argument("--examples", type=int, default=300, help="requests drawn for each operation of the server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="little of everything, and no result file")
    parser.add_argument("--serve", metavar="HOME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.quick:
        options.faults, options.examples = min(options.faults, 40), min(options.examples, 3)
    options.seconds = options.seconds or 0.15 * options.faults
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        home = home_of(Path(folder))
        texts = drawn(random.Random(options.seed))
        soak = Soak(Server(home), home, texts, expected(home, texts))
        try:
            result = soaked(soak, options)
            result["schemathesis"] = searched(soak, options.examples)
            result["cuts"] = cuts.search(100 if options.quick else 1)
        finally:
            status = soak.server.end()
        result |= {"exit": status, "clients": CLIENTS, "deadline": DEADLINE, "machine": measured_here()}
        result["passed"] = passed(result)
        if not result["passed"]:
            print("\n".join(soak.examples), file=sys.stderr)
            print(soak.server.text()[-4000:], file=sys.stderr)
    print(json.dumps(result, indent=1))
    if not options.quick:
        OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
