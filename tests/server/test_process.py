"""`vertune serve` as a process: what it says, what it holds, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing

import httpx
import pytest

from tests.cli.test_main import leave
from tests.server.conftest import TEXTS, admin
from tests.server.running import LONG, Running, Wire, request, same, until
from vertune.core.errors import StorageError
from vertune.server.settings import Settings
from vertune.store.database import Database
from vertune.store.keys import REVOCATION_DELAY, Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TELLING = """
import runpy, signal, sys
heavy = ("torch", "transformers", "sklearn", "onnx", "peft")
loaded = lambda: [name for name in heavy if name in sys.modules]
signal.signal(signal.SIGUSR1, lambda *_: print("HEAVY", loaded(), "SWITCH", sys.getswitchinterval(), file=sys.stderr, flush=True))
runpy.run_module("vertune", run_name="__main__", alter_sys=True)
"""
"""`python -m vertune`, which says at a signal what it has imported, and how long a thread may keep the interpreter."""


class Process:
    """A server of its own."""

    def __init__(self, home, *words: str, files: int | None = None) -> None:
        """`files` is how many files it may open."""
        paths = os.pathsep.join(path for path in sys.path if path)
        limited = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"] if files else []
        self.child = subprocess.Popen(
            [*limited, sys.executable, "-c", TELLING, "serve", "--home", str(home.folder), "--port", "0", "--set", "threads=1", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"},
        )  # fmt: skip
        self.said = {"out": "", "err": ""}
        self._readers = [threading.Thread(target=self._read, args=(name, getattr(self.child, f"std{name}"))) for name in self.said]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe) -> None:
        with pipe:
            for line in pipe:
                self.said[name] += line

    def __enter__(self) -> Process:
        def address():
            assert self.child.poll() is None, self.said
            return re.search(r"Answering at (http://127\.0\.0\.1:\d+)", self.said["err"])

        self.url = until(address, 60)[1]
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)


def test_the_first_start_prints_one_key_and_the_end_is_orderly(home, alone) -> None:
    assert not (home.folder / "server.db").exists()
    with Process(home) as process:
        assert not re.search(r"vt_[0-9a-f]{12}_", process.said["out"] + process.said["err"]), "standard output may be a log"
        file = home.folder / "admin.key"
        assert file.stat().st_mode & 0o777 == 0o600
        secret = file.read_text().strip()
        with httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60, trust_env=False) as client:
            found = client.post("/v1/verticals/whole/predict", json={"texts": TEXTS})
            assert same(found.json()["answers"], alone("whole", TEXTS))
            names = ["intent", "whole", "spans", "find"]
            assert client.post("/v1/predict", json={"verticals": names, "texts": TEXTS}).status_code == 200
            assert client.get("/health/ready").json()["ready"] is True
            assert client.get("/v1/verticals/intent/versions").status_code == 200

            process.child.send_signal(signal.SIGUSR1)
            until(lambda: "SWITCH" in process.said["err"])
            assert "HEAVY [] SWITCH 0.0005" in process.said["err"]
            with open(f"/proc/{process.child.pid}/maps") as maps:  # noqa: PTH123 - no file of ours
                assert not [line for line in maps if "torch" in line]

            ended = _stopped_while_it_answers(process, client)
        assert ended.status_code == 200
        assert len(ended.json()["answers"]) == 1000
        assert process.child.wait(LONG) == 0
        assert "Traceback" not in process.said["err"]
    assert len(list(Keys(Database(home.folder / "server.db")).all())) == 1
    assert (home.folder / "server.db").stat().st_mode & 0o077 == 0


def _stopped_while_it_answers(process: Process, client: httpx.Client) -> httpx.Response:
    """The answer to a long request, in the middle of which the process was told to stop."""
    found = []
    texts = [f"tell me {number} of rome and bread and soup " * 4 for number in range(1000)]
    asking = threading.Thread(target=lambda: found.append(client.post("/v1/verticals/intent/predict", json={"texts": texts})))
    asking.start()
    until(lambda: "vertune_queued_tokens 0.0" not in client.get("/metrics").text)
    process.child.send_signal(signal.SIGTERM)
    asking.join(LONG)
    return found[0]


def connected(port: int, source: str) -> socket.socket | None:
    """A connection from this address; None where the queue of the server is full, after which the kernel asks again in a second."""
    made = socket.socket()
    made.settimeout(0.1)
    made.bind((source, 0))
    try:
        made.connect(("127.0.0.1", port))
    except TimeoutError:
        made.close()
        return None
    return made


def test_few_files_are_few_connections_and_no_trouble(home) -> None:
    secret = admin(home)
    with Process(home, "whole", files=120) as process:
        (number,) = map(int, re.findall(r"At most (\d+) connections are accepted instead of 2048", process.said["err"]))
        assert 1 <= number < 80
        port = int(process.url.rpartition(":")[2])
        wires = [until(lambda place=place: connected(port, f"127.0.0.{2 + place // 50}")) for place in range(120)]
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=process.url, headers=headers, timeout=60, trust_env=False) as client:
            assert client.post("/v1/verticals/whole/predict", json={"texts": ["soup"]}).status_code == 200
        for wire in wires:
            wire.close()
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(LONG) == 0
        assert "Traceback" not in process.said["err"]
        assert process.said["err"].count("event=closed_for_room") <= 2


def test_a_second_start_prints_no_key(home, start, capsys) -> None:
    from vertune.cli.serve import _Greeting

    running = start(home, admin(home))
    greeting = _Greeting(running.service, running.keys)
    greeting.listen(running.url)
    greeting.update()
    said = capsys.readouterr()
    assert running.url in said.err
    assert not re.search(r"vt_[0-9a-f]{12}_", said.out + said.err)


def test_the_address_is_printed_although_the_model_was_prepared_first(home, start, capsys) -> None:
    from vertune.cli.serve import _Greeting

    running = start(home, admin(home))
    greeting = _Greeting(running.service, running.keys)
    greeting.listen(running.url)
    greeting._shown = dict.fromkeys(running.service.answers.fleet.deployments, "preparing")
    greeting.update()
    greeting.update()
    said = capsys.readouterr().err
    assert said.count(f"Answering at {running.url}") == 1
    assert f"console: {running.url}/" in "".join(said.split("\n"))


def test_an_idle_connection_holds_up_no_end(fleet, start) -> None:
    running = start(fleet)
    with Wire(running.port) as idle:
        until(lambda: running.connection(idle))
        running.stop()
        running._thread.join(LONG)
        assert not running._thread.is_alive()
        assert idle.end() == b""


def test_an_answer_that_nobody_reads_does_not_hold_up_the_end(fleet, start, monkeypatch) -> None:
    monkeypatch.setattr("vertune.server.run._CLOSE_TIMEOUT", 0.2)
    running = start(fleet)
    with Wire(running.port, *[request("/docs/swagger-ui-bundle.js", method="GET")] * 3, buffer=2048) as wire:
        waiting = until(lambda: running.connection(wire))
        until(lambda: waiting.transport.get_write_buffer_size())
        monkeypatch.setattr("vertune.server.run._DRAIN_TIMEOUT", 0.2)
        running.stop()
        running._thread.join(10)
        assert not running._thread.is_alive()


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "Address already in use"), ("127.0.0.1.invalid", "[Nn]ame")], ids=["taken", "unknown"]
)
def test_an_address_that_can_not_be_used_is_told_once(fleet, server, host, reason, caplog, monkeypatch) -> None:
    monkeypatch.setattr(Settings, "check", lambda self: None)  # it would ask for TLS first
    port = server.port
    with pytest.raises(StorageError, match=rf"Port {port} of {host} is not available: .*{reason}"), Running(fleet, port=port, host=host):
        pass
    assert "Errno" not in caplog.text
    assert "error while attempting to bind" not in caplog.text


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--open", "--host", "0.0.0.0"], 2, "other machines can reach the address 0.0.0.0"),
        (["--open", "--set", "host=0.0.0.0"], 2, "other machines can reach the address 0.0.0.0"),
        (["--open", "--host", "0.0.0.0", "--set", "open=false"], 2, "without encryption"),
        (["--set", "limits.body=0"], 2, "limits"), (["--set", "what=1"], 2, "what"), (["--set", "rate=often"], 2, "600/minute"),
        (["nobody"], 5, "no live model of nobody"), 
        (["--set", "device=toaster"], 2, "Choose a device of this machine: cpu"), (["../../etc/passwd"], 5, "no live model"),
    ],
)  # fmt: skip
def test_what_can_not_be_served_is_told(home, capsys, words, code, says) -> None:
    assert leave(["serve", "--home", str(home.folder), "--port", "0", *words]) == code
    assert says in capsys.readouterr().err.replace("\n", " ")


def test_nothing_to_serve_is_told(tmp_path, capsys) -> None:
    assert leave(["serve", "--home", str(tmp_path), "--port", "0"]) == 5
    assert "nothing to serve" in capsys.readouterr().err.replace("\n", " ")


def test_keys_made_while_it_runs_work_at_once(home, start, capsys) -> None:
    running = start(home, admin(home))
    assert leave(["key", "create", "website", "--scope", "predict", "--vertical", "intent", "--home", str(home.folder)]) in (0, None)
    secret = capsys.readouterr().out.strip()
    running.ask.headers["Authorization"] = f"Bearer {secret}"
    assert running.predict("intent", "a").status_code == 200
    assert running.predict("whole", "a").status_code == 403
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        keys.revoke(secret.split("_")[1])
    until(lambda: running.predict("intent", "a").status_code == 401, REVOCATION_DELAY + 0.5)
