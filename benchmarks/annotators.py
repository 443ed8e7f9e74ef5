"""Ten annotators label the same project at once over HTTP, and then it is checked that nothing is lost, doubled or given out too often.

    python benchmarks/annotators.py [--labels 5000] [--annotators 10]

A `vertune serve` process has a project of Banking77 in which two annotators must see each record. Each annotator is a thread with an API
key of its own: it asks for records and sends labels, of which a fifth are drawn at random, sends every tenth request twice, and after
every twentieth an older version of it, skips some records and takes some labels back. At the end, the database must hold what each
annotator remembers, no record may have more than two labels, and the agreement that the server reports must be that which the definition
of Krippendorff's alpha, in this file, gives for what annotators remember. Results go to benchmarks/results/annotators.json; the exit
status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import accuracy
import httpx
import servers
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.files import write_json
from vertune.steps.label.file import Wanted, project_of_file
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys

OUT = accuracy.HERE / "results" / "annotators.json"
OVERLAP = 2
WRONG, SKIPPED, TAKEN_BACK = 0.2, 0.02, 0.03


class Annotator(threading.Thread):
    """Labels until enough is labelled, and remembers what it said."""

    def __init__(self, url: str, secret: str, name: int, right: dict[str, str], left: list[int]) -> None:
        super().__init__()
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60, trust_env=False)
        self.random, self.right, self.left = random.Random(name), right, left
        self.names = sorted(set(right.values()))
        self.said: dict[int, str | None] = {}
        self.seconds: list[float] = []
        self.refused = [0]

    def run(self) -> None:
        """Ask for records and label them."""
        while self.left[0] > 0:
            items = self._send("POST", "next", {"count": self.random.randint(5, 20)})["records"]
            if not items:
                return
            self._label(items)

    def _label(self, items: list[dict[str, Any]]) -> None:
        given = []
        for item in items:
            skip = self.random.random() < SKIPPED
            label = None if skip else self._answer(item["fields"]["text"])
            target = None if label is None else {"label": label}
            given.append({"record": item["record"], "state": "skipped" if skip else "done", "target": target, "version": 2})
            self.said[item["record"]] = label
        self._send("PUT", "labels", {"labels": given})
        if self.random.random() < 0.1:
            self._send("PUT", "labels", {"labels": given})
        if self.random.random() < 0.05:
            old = [{**one, "state": "done", "target": {"label": self.names[0]}, "version": 1} for one in given]
            assert not self._send("PUT", "labels", {"labels": old})["stored"]
        back = [one for one in given if self.random.random() < TAKEN_BACK]
        if back:
            self._send("PUT", "labels", {"labels": [{**one, "state": "pending", "target": None, "version": 3} for one in back]})
            again = [{**one, "state": "done", "target": {"label": self._answer("")}, "version": 4} for one in back]
            stored = self._send("PUT", "labels", {"labels": again})["stored"]  # others may have what was skipped
            self.said |= {one["record"]: one["target"]["label"] for one in again if one["record"] in stored}
        self.left[0] -= len(given)

    def _answer(self, text: str) -> str:
        return self.random.choice(self.names) if self.random.random() < WRONG or not text else self.right[text]

    def _send(self, method: str, path: str, body: Any) -> Any:
        started = time.perf_counter()
        response = self.client.request(method, f"/v1/projects/texts/{path}", json=body)
        while response.status_code == 503:  # as the console does, which sends labels again until they are stored
            self.refused[0] += 1
            time.sleep(0.2)
            response = self.client.request(method, f"/v1/projects/texts/{path}", json=body)
        self.seconds.append(time.perf_counter() - started)
        assert response.status_code == 200, response.text
        return response.json()


def alpha(records: dict[int, list[str]]) -> float:
    """Krippendorff's alpha of classes, by its definition: one less the observed by the expected disagreement."""
    pairs, values, observed = Counter[str](), 0, 0.0
    for labels in records.values():
        if len(labels) > 1:
            values += len(labels)
            pairs.update(labels)
            observed += sum(a != b for a in labels for b in labels) / (len(labels) - 1)
    expected = sum(pairs[a] * pairs[b] for a in pairs for b in pairs if a != b) / (values - 1)
    return 1 - observed / expected


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--annotators", type=int, default=10)
    options = parser.parse_args()
    with (accuracy.data_folder() / "banking77" / "train.csv").open(encoding="utf-8") as lines:
        right = {row["text"]: row["category"] for row in csv.DictReader(lines)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in right), "utf-8")
        with closing(Database(folder / FILE)) as database:
            wanted = Wanted(folder / "texts.jsonl", labels=sorted(set(right.values())), overlap=OVERLAP)
            made = project_of_file(database, wanted)
            keys = Keys(database)
            secrets = [keys.create(f"annotator {number}", ["label"])[0] for number in range(options.annotators)]
            reviewer = keys.create("reviewer", ["label", "review"])[0]
        found = labelled(folder, secrets, reviewer, right, options.labels)
        print(json.dumps(found, indent=1), made.project.records)
    write_json(OUT, {**found, **measured_here(), **code()})
    sys.exit(not all(one["met"] for one in found["bars"].values()))


def labelled(folder: Path, secrets: list[str], reviewer: str, right: dict[str, str], count: int) -> dict[str, Any]:
    """What the annotators remember, beside what the server stored."""
    with servers.serving(Home(folder), (), "jobs.cores=1", keys=True) as side:
        url = side.url
        left = [count]
        people = [Annotator(url, secret, number, right, left) for number, secret in enumerate(secrets)]
        for one in people:
            one.start()
        for one in people:
            one.join()
        headers = {"Authorization": f"Bearer {reviewer}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            stored = each(client)
            progress = client.get("/v1/projects/texts/progress").json()
    names = {one: str(secret).split("_")[1] for one, secret in zip(people, secrets, strict=True)}
    said = {(record, names[one]): label for one in people for record, label in one.said.items()}
    kept = {(record, label["annotator"]): (label["target"] or {}).get("label") for record, labels in stored.items() for label in labels
            if label["state"] in ("done", "skipped")}  # fmt: skip
    taken = [sum(label["state"] != "skipped" for label in labels) for labels in stored.values()]
    given: dict[int, list[str]] = {}
    for (record, _), label in said.items():
        if label is not None:
            given.setdefault(record, []).append(label)
    times = sorted(second for one in people for second in one.seconds)
    figures = {
        "labels": sum(label is not None for label in said.values()), "lost": len(said.keys() - kept.keys()),
        "other than said": sum(kept[place] != label for place, label in said.items() if place in kept),
        "never said": len(kept.keys() - said.keys()), "records with more than two": sum(one > OVERLAP for one in taken),
    }  # fmt: skip
    reported, own = progress["agreement"]["value"], alpha(given)
    bars = {name: servers.bar([value], 0) for name, value in figures.items() if name != "labels"}
    bars["difference from the agreement by definition"] = servers.bar([abs(reported - own)], 1e-9)
    return {**figures, "agreement": reported, "records": progress["agreement"]["records"],
            "requests sent again": sum(one.refused[0] for one in people), "p95 of a request in ms":
            1000 * times[int(0.95 * len(times))], "bars": bars}  # fmt: skip


def each(client: httpx.Client) -> dict[int, list[dict[str, Any]]]:
    """All labels that the server stored, by the numbers of their records."""
    found: dict[int, list[dict[str, Any]]] = {}
    after: int | None = -1
    while after is not None:
        page = client.get("/v1/projects/texts/records", params={"after": after, "limit": 200}).json()
        found |= {one["record"]: one["labels"] for one in page["records"]}
        after = page["next"]
    return found


if __name__ == "__main__":
    main()
