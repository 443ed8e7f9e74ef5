"""Runs jobs in child processes, as many as the server may, and tells the database how they go on; does not depend on HTTP and on kinds.

A job survives the server: while it runs, its lease in the database is extended, and a server that sees one unchanged for its whole
length takes the job again. A child ends when the server dies, because its standard input is closed.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vertune.core.errors import DataError, StorageError
from vertune.core.sentence import said, written
from vertune.server.polling import Polling
from vertune.server.preparing import kill
from vertune.server.settings import JobSettings
from vertune.store import jobs
from vertune.store.database import VARIABLE, Database
from vertune.store.jobs import Job

_log = logging.getLogger("vertune")
ARGUMENTS = ["-P", "-m", "vertune.server.job_process"]
"""The arguments with which Python runs the process of a job."""
_LOOKING = 0.5
"""Seconds between two looks for jobs that wait."""
_TELLING = 1.0
"""Seconds between two times at which the events of a job are stored and its lease is extended."""
_RETRY = 2.0
"""Seconds until the end of a job is stored again, if the database can't be written."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
"""Environment variables by which libraries are told how many threads to use."""
_LOG_BYTES = 16_000
"""How much of the end of the log of a failed process is read for the log of the server."""
_PLACE = re.compile(r'\s*File "[^"]+", line \d+,? in \S+\s*$|Fatal Python error: [A-Za-z ]+$')
"""A line of a traceback that names a place, as `traceback` and `faulthandler` write it."""


@dataclass(slots=True)
class Jobs:
    """Takes jobs from the queue and runs them."""

    database: Database
    home: Path
    settings: JobSettings
    worker: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    """The name of this server among those that share the queue."""
    _running: dict[str, threading.Thread] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _leases: jobs.Leases = field(default_factory=jobs.Leases)
    polling: Polling = field(init=False)

    def __post_init__(self) -> None:
        self.polling = Polling("jobs", self.take, lambda: _LOOKING)

    @property
    def threads(self) -> int:
        """The number of processors for one job."""
        return max(1, self.settings.cores // self.settings.at_once)

    @property
    def running(self) -> int:
        """The number of jobs that run now on this server."""
        return sum(thread.is_alive() for thread in self._running.values())

    def take(self) -> None:
        """Start jobs that wait, as long as more may run."""
        self._running = {id: thread for id, thread in self._running.items() if thread.is_alive()}
        while len(self._running) < self.settings.at_once and not self._stopping.is_set():
            job = jobs.take(self.database, self.worker, self._leases, self._running)
            if job is None:
                return
            thread = threading.Thread(target=self._work, args=[job], name=f"vertune-job-{job.id}", daemon=True)
            self._running[job.id] = thread
            thread.start()

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Do a piece of work that needs no queue, in a process of its own; return its result.

        Raises DataError with the message of the error that ended it, also if it takes longer than `seconds`, or too much memory.
        """
        with tempfile.TemporaryFile() as log:
            process = _start(self, request, log)
            timer = threading.Timer(seconds, kill, [process])
            timer.start()
            try:
                assert process.stdout is not None
                lines = [json.loads(line) for line in process.stdout]
            finally:
                timer.cancel()
                _end(process)
        outcome: dict[str, Any] = next((line for line in lines if "event" not in line), {})
        if "result" in outcome:
            return dict(outcome["result"])
        why = outcome.get("error", {}).get("message")
        raise DataError(
            written(why, "en") if why else "The file needs too much time or memory to be read. Send a smaller one, or divide it."
        )

    def stop(self) -> None:
        """End the processes of all jobs, which go back into the queue."""
        self._stopping.set()
        self.polling.stop()
        for thread in self._running.values():
            thread.join(jobs.LEASE.total_seconds())

    def _work(self, job: Job) -> None:
        try:
            with tempfile.TemporaryFile() as log:
                run = _Run(self, job, log)
                state, about = run.follow()
                if state == "failed":
                    _log.warning("The job %s failed. Its sender reads why with GET /v1/jobs/%s.%s", job.id, job.id, run.trace)
            self._end(job, state, about)
        except Exception:
            _log.exception("The job %s could not be followed. Another attempt begins in %g s.", job.id, jobs.LEASE.total_seconds())

    def _end(self, job: Job, state: jobs.State | None, about: dict[str, Any]) -> None:
        """Store how a job ended; try again while the database can't be written, as long as the server runs."""
        while state is not None:
            try:
                jobs.end(self.database, job.id, self.worker, state, **about)
                return
            except StorageError as error:
                _log.warning("The end of the job %s could not be stored. The next attempt is in %g s. %s", job.id, _RETRY, error)
                if self._stopping.wait(_RETRY):
                    return  # the lease expires, and the job is taken again


class _Run:
    """One process of a job."""

    def __init__(self, owner: Jobs, job: Job, log: IO[bytes]) -> None:
        self._owner, self._job, self._log = owner, job, log
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._outcome: dict[str, Any] = {}
        with owner.database.reading() as connection:
            self._number = jobs.last_event(connection, job.id)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        job = self._job
        request = {**job.request, "kind": job.kind, "again": job.attempts > 1, "customer": job.customer}
        process = _start(self._owner, request, self._log)
        threading.Thread(target=self._read, args=[process.stdout], daemon=True).start()
        return process

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put(None)

    def follow(self) -> tuple[jobs.State | None, dict[str, Any]]:
        """Tell the database how the process goes on, until it ends; return the state of the job, None if another worker has it."""
        started = told = time.monotonic()
        try:
            while True:
                ended = self._collect()
                now = time.monotonic()
                if self._owner._stopping.is_set():
                    return "queued", {"events": self._events}
                if ended:
                    return self._ended()
                if now - started > 3600 * self._owner.settings.hours:
                    why = said("job.too_long", hours=f"{self._owner.settings.hours:g}")
                    return "failed", {"why": why, "events": self._events}
                if now - told >= _TELLING:
                    told = now
                    if (order := self._tell()) != "go on":
                        return ("cancelled" if order == "stop" else None), {"events": self._events}
        finally:
            _end(self._process)

    def _collect(self) -> bool:
        """Wait for lines of the process, and read those that are there; return whether the process has ended its output."""
        with suppress(queue.Empty):
            line = self._lines.get(timeout=_TELLING / 2)
            while line is not None:
                self._take(line)
                line = self._lines.get_nowait()
            return True
        return False

    def _take(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            return
        if "event" in value:
            self._number += 1
            self._events.append((self._number, value["event"]))
        else:
            self._outcome = value

    def _tell(self) -> str:
        """Extend the lease and store the events; if the database can't be written, they wait for the next time."""
        try:
            order = jobs.keep(self._owner.database, self._job.id, self._owner.worker, self._events)
        except StorageError as error:
            _log.warning("The progress of the job %s could not be stored. %s", self._job.id, error)
            return "go on"
        self._events = []
        return order

    def _ended(self) -> tuple[jobs.State, dict[str, Any]]:
        if "result" in self._outcome:
            return "done", {"result": self._outcome["result"], "events": self._events}
        if "error" in self._outcome:
            return "failed", {"why": self._outcome["error"]["message"], "events": self._events}
        code = self._process.wait()
        _log.warning("The process of the job %s ended with status %d.%s", self._job.id, code, self._end_of_log())
        if self._job.attempts < jobs.ATTEMPTS:
            return "queued", {"events": self._events, "counts": True}
        return "failed", {"why": said("job.ended", status=code), "events": self._events}

    @property
    def trace(self) -> str:
        """Where an unexpected exception ended the work, on lines of its own; empty if none did."""
        trace = self._outcome.get("error", {}).get("trace", "")
        return f"\n{trace}" if trace else ""

    def _end_of_log(self) -> str:
        """Return the places in our code at the end of the log of the process; its other lines may quote rows of the customer."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_BYTES))
        return "".join(f"\n{line.rstrip()}" for line in self._log.read().decode(errors="replace").split("\n") if _PLACE.match(line))


def _start(owner: Jobs, request: dict[str, Any], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process that does what a request says; its standard input stays open, because its end means that the server died."""
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(owner.threads)), "VERTUNE_HOME": str(owner.home)}
    environment |= {} if owner.database.url is None else {VARIABLE: owner.database.url}  # for feedback as a source
    process = subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, *ARGUMENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps({**request, "home": str(owner.home)}).encode() + b"\n")
        process.stdin.flush()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that has not ended, and close its streams."""
    kill(process)
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            stream.close()  # type: ignore[union-attr]
