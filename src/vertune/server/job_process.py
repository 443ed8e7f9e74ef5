"""The process of one job: reads its request from standard input, does the work, and writes events and the result to standard output.

A line of standard output is a JSON object: `{"event": …}` while the job runs, and at the end `{"result": …}` or `{"error": …}`. The process
ends at once when standard input is closed, as it is when the server dies.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from vertune.core import collector
from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ModelError, NotFound, VertuneError
from vertune.core.parse import build
from vertune.core.sentence import said, stored
from vertune.server.logs import trace_without_messages

_NICENESS = 10
"""How much the process lets others go first: answers are more urgent than jobs."""
_PAUSE = 1.0
"""Seconds between two events of the same kind, of those that follow each other quickly."""
_FREQUENT = frozenset({"step", "comparing", "answering", "baselines", "remembering", "states", "storing"})


class _Output:
    """Writes events and the result, one line each."""

    def __init__(self) -> None:
        # what libraries print goes to the log of the job instead
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._last: dict[str, float] = {}

    def progress(self, kind: str, **fields: Any) -> None:
        """Write an event; of those that follow each other quickly, at most one in a second."""
        now = time.monotonic()
        if kind in _FREQUENT and now - self._last.get(kind, -_PAUSE) < _PAUSE:
            return
        self._last[kind] = now
        self.write({"event": {"time": round(time.time(), 3), "event": kind, **fields}})

    def write(self, value: dict[str, Any]) -> None:
        """Write a JSON object as one line."""
        self._lines.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        self._lines.flush()


def main() -> None:
    """Do the job that the first line of standard input describes."""
    request = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    _limit_memory(request.get("memory"))
    collector.look_less_often()
    output = _Output()
    threading.Thread(target=_die_with_the_server, daemon=True).start()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    faulthandler.enable()  # the log of a process that a signal ended names the place
    try:
        result = WORK[request["kind"]](request, Home(request["home"], request.get("customer")), output.progress)
    except VertuneError as error:
        output.write({"error": {"code": type(error).__name__, "message": without_folders(str(error), request)}})
    except Exception as error:
        message = stored(said("job.unexpected", error=type(error).__name__))
        output.write({"error": {"code": "internal", "message": message, "trace": trace_without_messages(error)}})
    else:
        output.write({"result": result})


def without_folders(message: str, request: dict[str, Any]) -> str:
    """Return a message of an error without the paths of the server, which are nothing to its customers.

    The file of the request is called so, and others by their place in the home folder.
    """
    file = request.get("file")
    if isinstance(file, str):
        message = f"The file{message.removeprefix(file)}" if message.startswith(file) else message.replace(file, "the file")
    return message.replace(f"{request['home']}{os.sep}", "")


def _limit_memory(size: int | None) -> None:
    """Let the process have at most so many bytes of memory, where the system can limit it."""
    if size is None:
        return
    try:
        import resource
    except ImportError:  # on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _die_with_the_server() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


Work = Callable[[dict[str, Any], Home, Callable[..., None]], dict[str, Any]]
"""A function that does a job: given the request, the home and what takes events, it returns the ids of what it made."""


def _config(request: dict[str, Any]) -> Config:
    return build(Config, request["config"])


def _prepare(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.fit import prepared

    dataset = prepared(_config(request), home, progress)
    return {"dataset": dataset.id, "rows": dataset.manifest["rows"]}


def _train(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.fit import prepared
    from vertune.steps.train import train

    config, resume = _config(request), bool(request.get("again"))
    dataset = prepared(config, home, progress, resume)
    try:
        model = train(config, dataset, home, progress, resume)
    except NotFound:
        if not resume:
            raise
        model = train(config, dataset, home, progress)  # the process that died before had not begun to train
    return {"dataset": dataset.id, "model": model.id, "metrics": model.manifest["metrics"]["validation"]}


def _fit(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.fit import go_live, measured_on

    made = _train(request, home, progress)
    dataset, model = home.get("datasets", made["dataset"]), home.get("models", made["model"])
    report = _evaluate({"model": model.id, "split": measured_on(dataset)}, home, progress)
    worse_than = go_live(home, model, home.get("reports", report["report"]), bool(request.get("accept")))
    return {**made, **report, "worse_than": worse_than}


def _evaluate(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.core.files import read_json
    from vertune.steps.evaluate import evaluate

    frame = None
    if request.get("file"):
        from vertune.steps.predict import read_rows

        frame = read_rows(Path(request["file"]))
    report = evaluate(home.get("models", request["model"]), home, request.get("split", "test"), progress, frame)
    metrics = read_json(report.folder / "metrics.json")["metrics"]
    return {"report": report.id, "metrics": {name: entry["value"] for name, entry in metrics.items()}}


def _compress(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.compress import CompressOptions, compress

    options = CompressOptions(accept=bool(request.get("accept")), resume=bool(request.get("again")))
    return {"model": compress(home.get("models", request["model"]), home, (), progress, options).id}


def _share(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.share import make_servable

    model = home.get("models", request["model"])
    if why := make_servable([model], home, progress).get(model.id):
        raise ModelError(f"The model {model.id} can't be served: {why} Train another one, or ask the operator of the server.")
    return {"model": model.id}


def _predict(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.predict import predict_file

    out = Path(request["output"])
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    model = home.get("models", request["model"])
    found = predict_file(model, Path(request["file"]), out, progress)
    return {"model": model.id, "rows": len(found.answers), "errors": len(found.errors), "output": out.name}


def _label(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.core.kinds import Source, Task
    from vertune.steps.label import NewProject, label
    from vertune.steps.label.settings import ProjectSettings
    from vertune.store.database import Database

    source: Source = build(Source, request["source"])
    named = request["task"]
    task: Task = build(Task, named if isinstance(named, dict) else {"name": named})
    new = NewProject(
        request["name"], request["customer"], source, task, fields=request["fields"],
        settings=build(ProjectSettings, request["settings"]), upload=request["upload"], actor=request["actor"],
    )  # fmt: skip
    with closing(Database.of_home(home.folder)) as database:
        made = label(database, new, progress)
    return {"project": made.project.id}


def _add_records(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.core.kinds import Source
    from vertune.steps.label.further import Further, add_records
    from vertune.store import projects
    from vertune.store.database import Database

    source: Source = build(Source, request["source"])
    with closing(Database.of_home(home.folder)) as database:
        with database.reading() as connection:
            project = projects.get(connection, request["project"], request["customer"])
        made = add_records(
            database, Further(project, source, request["fields"], upload=request["upload"], actor=request["actor"]), progress
        )  # fmt: skip
    return {"added": made.added, "known": made.known, "labelled": made.labelled, "notes": [one.as_json() for one in made.notes]}


def _rank(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.steps.rank import rank
    from vertune.store import projects
    from vertune.store.database import Database

    with closing(Database.of_home(home.folder)) as database:
        with database.reading() as connection:
            project = projects.get(connection, request["project"], request["customer"])
        found = rank(database, home, project, progress, request["given"])
    return {"project": project.id, "labels": found.labels, "ranked": len(found.order)}


def _monitor(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.core.watch import Watch
    from vertune.steps.monitor import Plan, look
    from vertune.store.database import Database

    plans = {name: Plan.of(build(Watch, written)) for name, written in request["verticals"].items()}
    with closing(Database.of_home(home.folder)) as database:
        found = look(plans, home, database)
    return {"findings": len(found), "changed": sum(one.verdict == "changed" for one in found)}


def _retrain(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.core.kinds import Source
    from vertune.evaluation.release import Bounds
    from vertune.steps.gate import Terms, read_release
    from vertune.steps.retrain import Request, look_again, retrain

    sources = [build(Source, source) for source in request["on"]]
    terms = Terms(Bounds(tolerance=request["tolerance"])) if "tolerance" in request else None
    if "model" in request:
        done = look_again(home.get("models", request["model"]), home, sources, terms=terms, progress=progress)
    else:
        done = retrain(request["vertical"], home, Request(sources, request["how"]), terms=terms, progress=progress)
    verdict = {name: done.report.manifest[name] for name in ("verdict", "headline", "labels_needed")}
    checks = [one.name for one in read_release(done.report).checks if one.verdict == verdict["verdict"]]
    return {"dataset": done.dataset.id, "model": done.model.id, "report": done.report.id, "checks": checks, **verdict}


def _search(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.server.searching import search_files

    return search_files(request["files"], request["records"])


def _describe(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.server.uploading import describe

    return describe(Path(request["file"]), request["format"])


def _rows(request: dict[str, Any], home: Home, progress: Callable[..., None]) -> dict[str, Any]:
    from vertune.server.rows import read_rows

    return read_rows(Path(request["file"]), request["source"], request["text"], request["after"], request["limit"])


WORK: dict[str, Work] = {
    "describe": _describe, "rows": _rows, "search": _search, "label": _label, "add_records": _add_records, "rank": _rank,
    "prepare": _prepare, "train": _train, "fit": _fit, "evaluate": _evaluate, "compress": _compress, "share": _share, "predict": _predict,
    "monitor": _monitor, "retrain": _retrain,
}  # fmt: skip
"""What does each kind of work; `describe`, `rows`, `search`, `label` and `add_records` read uploads, which may be made to fill memory."""


if __name__ == "__main__":
    main()
