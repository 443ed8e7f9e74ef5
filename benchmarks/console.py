"""How fast the pages of the console are in a real browser, with a million labels in the store, and while somebody labels by keyboard.

    python benchmarks/console.py [--labels 1000000] [--loads 9] [--keys 1000]

A home is made with a project of half a million short records that two annotators labelled each, a tenth of them differently, and with a
project of the 10,003 texts of Banking77; it stays in benchmarks/.work/console for the next run. A `vertune serve` process on loopback has
it, and Chromium without a screen is driven by its WebDriver.

Each page is loaded anew several times, with the files of the console in the cache of the browser, as on each visit but the first one. What
is measured is the first paint that shows content, by the Paint Timing of the browser, and when all that the page shows at first is painted:
the frame after the page has ceased to be busy. The bar is on the first paint. Beside it stands that of a page of one word without a server,
which says what the browser takes on this machine for any page.

Then records of the other project are labelled by single keys. The page itself measures how long it works from a key press to the next
record; a script that only the benchmark adds measures until the end of the frame in which that record is painted, which includes waiting
for the screen (60 frames a second). Results go to benchmarks/results/console.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import accuracy
import httpx
import load
import servers
from processor import code, measured_here
from sqlalchemy import delete

from vertune.core.artifact import Home
from vertune.core.files import write_json
from vertune.core.ids import time_ordered_id
from vertune.steps.label.file import Wanted, project_of_file
from vertune.store import projects, schema
from vertune.store.database import FILE, Database
from vertune.store.projects import Project, in_parts
from vertune.testing.chromium import Chromium

OUT = accuracy.HERE / "results" / "console.json"
CACHE = accuracy.HERE / ".work" / "console"
FIRST_PAINT, NEXT_RECORD = 0.1, 0.016
"""Bars in seconds: of the first paint of a page, and of the work of the page from a key press to the next record."""
LARGE, SMALL = "many", "texts"
NAMES = [f"topic {number}" for number in range(20)]
PAGES = (
    "/", "/projects", f"/label/{LARGE}", f"/records/{LARGE}", f"/review/{LARGE}", f"/progress/{LARGE}", "/data", "/jobs", "/models",
    "/traffic", "/usage",
)  # fmt: skip
WATCH = """
window.painted = [];
const painted = (work) => requestAnimationFrame(() => setTimeout(work));
addEventListener("keydown", ({ timeStamp }) => painted(() => window.painted.push(performance.now() - timeStamp)), true);
new MutationObserver(() => {
  const main = document.querySelector("main");
  if (main?.querySelector("h1") && !main.hasAttribute("aria-busy")) painted(() => { window.shown ??= performance.now(); });
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-busy"] });
"""
"""Notes when the page is complete, and when the frame after each key press, in which the page shows the next record, is painted."""


def filled(count: int) -> Path:
    """The home with both projects; it is made once for each number of labels."""
    folder = CACHE / str(count)
    done = folder / "done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)
        with closing(Database(folder / FILE)) as database:
            _fill(database, count // 2)
            with (accuracy.data_folder() / "banking77" / "train.csv").open(encoding="utf-8") as lines:
                texts = [row["text"] for row in csv.DictReader(lines)]
            (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
            project_of_file(database, Wanted(folder / "texts.jsonl", labels=NAMES[:8]))
        done.touch()
    with closing(Database(folder / FILE)) as database, database.writing() as connection:
        connection.execute(delete(schema.jobs))
        for one in projects.find(connection, "default"):  # as if they had just been ranked, so that no ranking runs meanwhile
            projects.change(connection, one.id, turn=1, found={"given": count, "records": one.records})
    return folder


def _fill(database: Database, records: int) -> None:
    """Write a project whose records have two labels each, but for a tenth that nobody has labelled yet."""
    settings = {"labels": [{"name": name} for name in NAMES], "overlap": 2, "hold_out": 0.1, "batch": 1000}
    project = Project(time_ordered_id(), "2030-01-01", "default", LARGE, "", {"name": "classify"}, settings, state="filling")
    projects.add(database, project)
    projects.add_records(database, project, _records(records * 10 // 9))
    chance, given = random.Random(1), dict[tuple[str, str], int]()
    for part in in_parts(range(records), 5000):
        rows = []
        for number in part:
            first = chance.randrange(len(NAMES))
            for place, person in enumerate(chance.sample(range(10), 2)):
                label = NAMES[(first + (place and chance.random() < 0.1)) % len(NAMES)]
                rows.append(_label(project.id, number, f"ann{person}", label))
                given[f"ann{person}", "done"] = given.get((f"ann{person}", "done"), 0) + 1
        with database.writing() as connection:
            connection.execute(schema.labels.insert(), rows)
    given["", "done"] = records
    tallies = [{"project": project.id, "annotator": name, "state": state, "count": count} for (name, state), count in given.items()]
    with database.writing() as connection:
        connection.execute(schema.tallies.insert(), tallies)


def _records(count: int) -> Iterator[dict[str, Any]]:
    labelled = count * 9 // 10
    for number in range(count):
        free = number >= labelled
        yield {
            "number": number, "record": json.dumps({"text": f"Where is the card number {number} that I ordered last week?"}),
            "fingerprint": number.to_bytes(16, "big"), "held": int(free and number % 2), "places": 2 if free else 0, "rank": number,
            "suggestion": json.dumps({"label": NAMES[number % len(NAMES)]}), "confidence": (number % 100) / 100,
        }  # fmt: skip


def _label(project: str, number: int, annotator: str, label: str) -> dict[str, Any]:
    return {
        "project": project, "number": number, "annotator": annotator, "id": time_ordered_id(), "at": "2030-01-01T00:00:00+00:00",
        "state": "done", "until": None, "target": json.dumps({"label": label}), "seconds": 2.5, "version": 1, "batch": None,
    }  # fmt: skip


def loads(browser: Chromium, url: str, path: str, count: int) -> dict[str, Any]:
    """The seconds until a page shows something, and until it shows all, of several loads."""
    first, complete = [], []
    for number in range(count + 1):
        browser.open("about:blank")
        browser.open(f"{url}#{path}")
        browser.until("window.shown && performance.getEntriesByName('first-contentful-paint').length")
        entry, shown = browser.run("return [performance.getEntriesByName('first-contentful-paint')[0].startTime, window.shown]")
        if number:  # the first one fills the cache of the browser
            first.append(entry / 1000)
            complete.append(max(entry, shown) / 1000)
    failed = browser.run("return Boolean(document.querySelector('main [role=alert]:not([hidden])'))")
    return {"first": first, "complete": complete, "failed": failed}


def floor(browser: Chromium, count: int) -> list[float]:
    """The seconds until a page of one word is painted, which no server sends: what the browser and the machine need for any page."""
    found = []
    for _ in range(count):
        browser.open("about:blank")
        browser.open("data:text/html,<title>x</title><main><h1>one</h1></main>")
        browser.until("performance.getEntriesByName('first-contentful-paint').length")
        found.append(browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000)
    return found


def keys(browser: Chromium, url: str, count: int) -> dict[str, list[float]]:
    """Seconds from key presses to the next record: of the work of the page, and until it is painted."""
    browser.open("about:blank")
    browser.open(f"{url}#/label/{SMALL}")
    browser.until("document.querySelector('.input-text')")
    work: list[float] = []
    chance = random.Random(2)
    for number in range(count):
        browser.press(str(chance.randint(1, 8)))
        if number % 100 == 99:  # the page keeps the last ones alone
            work += browser.run("return performance.getEntriesByName('vertune.key').map((one) => one.duration)")
            browser.run("performance.clearMeasures('vertune.key')")
    browser.until("document.querySelector('.sending .badge.good')")
    return {"work": [one / 1000 for one in work], "painted": [one / 1000 for one in browser.run("return window.painted")]}


def _settle(side: servers.Side) -> None:
    """Wait until the server has ended what the last page began, so that it does not slow the next one."""
    before = -1.0
    for _ in range(20):
        spent = load.process_cpu(side.process.pid)
        if spent - before < 0.1:
            return
        before = spent
        time.sleep(0.5)


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--loads", type=int, default=9)
    parser.add_argument("--keys", type=int, default=1000)
    options = parser.parse_args()
    home = Home(filled(options.labels))
    settings = ("jobs.cores=1", "open_scope=admin")
    with servers.serving(home, (), *settings) as side, tempfile.TemporaryDirectory() as name:
        with closing(Chromium(Path(name))) as browser:
            browser.fresh(side.url.rstrip("/"))
            browser.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
            pages, least = {}, floor(browser, options.loads)
            for path in PAGES:
                pages[path] = loads(browser, side.url, path, options.loads)
                browser.open("about:blank")
                _settle(side)
                middle = {key: round(1000 * statistics.median(pages[path][key])) for key in ("first", "complete")}
                print(path, middle, "ms", flush=True)
            pressed = keys(browser, side.url, options.keys)
            least += floor(browser, options.loads)
        with httpx.Client(base_url=side.url, timeout=60, trust_env=False) as client:
            given = client.get(f"/v1/projects/{LARGE}").json()["given"]
    bare = {"median": statistics.median(least), "low": min(least), "high": max(least)}
    found = {**_result(pages, pressed, given), "first paint of a page of one word": bare, "others used": servers.busy()}
    write_json(OUT, {**found, **measured_here(), **code()})
    bars = found["bars"]
    print(json.dumps(bars, indent=1))
    sys.exit(not all(one["met"] for one in bars.values()))


def _result(pages: dict[str, dict[str, Any]], pressed: dict[str, list[float]], given: int) -> dict[str, Any]:
    bars = {f"first paint of {path}": servers.bar(found["first"], FIRST_PAINT) for path, found in pages.items()}
    bars["p95 from a key press to the next record in the page"] = servers.bar(pressed["work"], NEXT_RECORD, figure=_p95(pressed["work"]))
    bars["pages that show an error"] = servers.bar([float(found["failed"]) for found in pages.values()], 0, figure=sum(
        found["failed"] for found in pages.values()
    ))  # fmt: skip
    complete = {path: {"median": statistics.median(found["complete"]), "low": min(found["complete"]), "high": max(found["complete"])}
                for path, found in pages.items()}  # fmt: skip
    painted = {"median": statistics.median(pressed["painted"]), "p95": _p95(pressed["painted"]), "presses": len(pressed["painted"])}
    return {"labels": given, "complete": complete, "next record painted": painted, "bars": bars}


if __name__ == "__main__":
    main()
