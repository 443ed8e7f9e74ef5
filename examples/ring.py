"""Replays a stream of bank messages through a live server, which notices a change, tells it, learns from it, and refuses poison.

    python examples/ring.py [--page ring.html]

The model first learns 20 of the 77 intents of Banking77. Then customers ask about five more, and type worse; people label what they asked;
and at last somebody sends wrong labels. Everything that follows is decided by `vertune serve --watch` alone: this script sends messages
and labels over HTTP, prints what the server tells, and writes a page with the timeline. It takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from vertune.client import Client
from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.parse import build
from vertune.steps.fit import fit
from vertune.steps.share import make_servable
from vertune.store.database import Database
from vertune.store.keys import Keys

DATA = Path(__file__).resolve().parent / "bank_support"
NAME = "bank"
KNOWN, LATER = 20, 5
"""Numbers of intents that the model learns at first, and that customers ask about later."""
SHOTS, LEAST = 60, 40
"""Number of training rows of each intent, and the least number of other ones."""
WINDOW = 250
"""Number of messages that are compared with the validation rows at a time."""
SHARE = 0.25
"""Share of later messages that are about new intents."""
TYPOS = 0.06
"""Share of the characters of later messages that are typed wrong."""
LABELLED = 500
"""Number of messages that people label after the change."""
POISONED = 150
"""Number of wrong labels that one key sends at the end."""
LONGEST = 400.0
"""Seconds after which something that was awaited counts as missing."""
CHARTS = ("text_drift", "confidence")
WATCH = f"""\
monitors: [text_drift, label_shares, confidence, volume, errors]
window: {WINDOW}
every: 3s
rules:
  - {{name: drift, monitors: [text_drift, label_shares, confidence], severity: warning, after: 2, cool_down: 1m}}
channels:
  - {{name: file, path: PATH}}
retrain: {{labels: 120, go_live: live, enough: 30, least_pause: 1s, tolerance: 0.03}}
"""


@dataclass
class Story:
    """What happened when, for the terminal and the page."""

    started: float = field(default_factory=time.monotonic)
    events: list[tuple[float, str, str]] = field(default_factory=list)
    """Seconds since the start, what happened, and the figures."""

    def tell(self, what: str, figures: str = "") -> None:
        """Note and print an event."""
        at = time.monotonic() - self.started
        self.events.append((at, what, figures))
        print(f"{at:6.0f} s  {what}{'  ' if figures else ''}{figures}", flush=True)


@dataclass(frozen=True)
class Rows:
    """Messages with their intents."""

    train: pl.DataFrame
    known: dict[str, list[str]]
    """By intent, messages about what the model has learnt; it has not seen them."""
    later: dict[str, list[str]]
    """By intent, messages about what comes later."""
    test: dict[str, list[tuple[str, str]]]
    """Test messages of both, which are never sent."""


def read(draw: random.Random) -> Rows:
    """Divide the example's rows into those of the first model, of the stream and of the test."""
    frame, test = (pl.read_csv(DATA / f"{name}.csv") for name in ("train", "test"))
    intents = sorted(frame.group_by("category").len().filter(pl.col("len") >= SHOTS + LEAST)["category"])
    draw.shuffle(intents)
    known, later = intents[:KNOWN], intents[KNOWN : KNOWN + LATER]
    parts = {name: frame.filter(pl.col("category") == name).sample(fraction=1.0, shuffle=True, seed=0) for name in known + later}
    train = pl.concat([parts[name][:SHOTS] for name in known])

    def measured(names: list[str]) -> list[tuple[str, str]]:
        rows = test.filter(pl.col("category").is_in(names))
        return list(zip(rows["text"].to_list(), rows["category"].to_list(), strict=True))

    unseen, new = ({name: parts[name]["text"].to_list()[begin:] for name in names} for names, begin in ((known, SHOTS), (later, 0)))
    return Rows(train, unseen, new, {"known": measured(known), "later": measured(later)})


def mistyped(text: str, share: float, draw: random.Random) -> str:
    """Replace, drop or double a share of the letters."""
    written = []
    for letter in text:
        if letter.isalpha() and draw.random() < share:
            written.append(draw.choice(("", letter * 2, draw.choice("abcdefghijklmnopqrstuvwxyz"))))
        else:
            written.append(letter)
    return "".join(written)


@dataclass
class Stream:
    """Customers who send messages to the server."""

    client: Client
    rows: Rows
    draw: random.Random
    changed: bool = False
    """Whether some ask about new intents and type worse."""

    def send(self, number: int) -> list[tuple[str, str, str]]:
        """Send messages, and return the id of each answer, the message, and its intent."""
        sent: list[tuple[str, str, str]] = []
        while len(sent) < number:
            batch = [self._message() for _ in range(min(10, number - len(sent)))]
            answers = self.client.predict_with_ids(NAME, [text for text, _ in batch])
            sent += [(id, text, intent) for (id, _), (text, intent) in zip(answers, batch, strict=True)]
        return sent

    def _message(self) -> tuple[str, str]:
        source = self.rows.later if self.changed and self.draw.random() < SHARE else self.rows.known
        intent = self.draw.choice(list(source))  # as often as each other, as in the rows that the model is compared with
        text = self.draw.choice(source[intent])
        return (mistyped(text, TYPOS, self.draw) if self.changed else text), intent


def accuracy(client: Client, rows: Sequence[tuple[str, str]]) -> float:
    """Return the share of messages whose intent the live model finds."""
    right = 0
    for start in range(0, len(rows), 100):
        part = rows[start : start + 100]
        answers = client.predict(NAME, [text for text, _ in part])
        right += sum(answer["label"] == intent for answer, (_, intent) in zip(answers, part, strict=True))
    return right / len(rows)


@dataclass
class Server:
    """A `vertune serve` process that watches its vertical."""

    home: Home
    folder: Path

    def __enter__(self) -> Server:
        watch = self.folder / "watch.yaml"
        self.alerts = self.folder / "alerts.jsonl"
        watch.write_text(WATCH.replace("PATH", str(self.alerts)), encoding="utf-8")
        command = [sys.executable, "-m", "vertune", "serve", "--home", str(self.home.folder), "--port", "0", "--watch", str(watch)]
        self._log = (self.folder / "server.log").open("w+b")
        environment = {**os.environ, "VERTUNE_HOME": str(self.home.folder)}
        self._process = subprocess.Popen([*command, "--set", "jobs.cores=1"], stdout=self._log, stderr=self._log, env=environment)
        self.url = wait_for(self._answering, "the server answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def _answering(self) -> str | None:
        if self._process.poll() is not None:
            raise SystemExit((self.folder / "server.log").read_text(encoding="utf-8"))
        found = re.search(r"Answering at (http://[\d.:]+)", (self.folder / "server.log").read_text(encoding="utf-8"))
        return found[1] if found else None


def wait_for(condition: Callable[[], Any], what: str, meanwhile: Callable[[], object] = lambda: time.sleep(0.3)) -> Any:
    """Return what a condition returns as soon as it is true; end the script if it never is."""
    end = time.monotonic() + LONGEST
    while not (found := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"After {LONGEST:.0f} s it is not true that {what}.")
        meanwhile()
    return found


def first_model(rows: Rows, home: Home, story: Story) -> None:
    """Train the model that is live at first."""
    config = {
        "name": NAME,
        "base": "minilm",
        "method": "head",
        "task": "classify",
        "data": {"fields": {"text": "text", "label": "category"}},
    }
    known = pl.DataFrame(rows.test["known"], schema=["text", "category"], orient="row")
    made = fit(build(Config, config), home, frames={"train": rows.train, "test": known})
    make_servable([made.model], home)
    story.tell(f"A model of {KNOWN} intents is live.", f"{len(rows.train)} rows")


def calm(stream: Stream, client: Client, story: Story) -> None:
    """Send messages like those that the model has learnt, until they were looked at twice."""
    stream.send(2 * WINDOW)
    looked = wait_for(lambda: measured(client, "text_drift", 2), "two windows were looked at", lambda: stream.send(10))
    alerts = client.look("/v1/alerts")[2]["alerts"]
    story.tell("Customers ask what they always asked.", f"text drift {looked[-1]['value']:.2f}, {len(alerts)} alerts")


def measured(client: Client, monitor: str, least: int) -> list[dict[str, Any]]:
    """Return the measurements of a monitor if there are so many."""
    status, _, found = client.look(f"/v1/verticals/{NAME}/monitors/{monitor}")
    values = found["points"] if status == 200 else []
    return values if len(values) >= least else []


def drift(stream: Stream, client: Client, story: Story) -> list[tuple[str, str, str]]:
    """Let customers ask about new intents until the server tells it, and return what they asked."""
    stream.changed = True
    story.tell(f"From now on, {SHARE:.0%} ask about {LATER} intents that the model has never seen, with typing errors.")
    before, sent = len(client.look("/v1/alerts")[2]["alerts"]), stream.send(WINDOW)

    def alerted() -> dict[str, Any] | None:
        found = client.look("/v1/alerts")[2]["alerts"]
        return found[0] if len(found) > before else None

    alert = wait_for(alerted, "an alert was raised", lambda: sent.extend(stream.send(25)))
    words = ", ".join(str(next(iter(row.values()))) for row in alert["evidence"][:5])
    story.tell(f"Alert: {alert['monitor']}. {alert['why']}", f"after {len(sent)} messages; most telling: {words}")
    return sent + stream.send(max(0, LABELLED - len(sent)))


def label(operator: Client, console: httpx.Client, asked: Sequence[tuple[str, str, str]], rows: Rows, story: Story) -> None:
    """Let a person label the last messages in a labelling project, as on the page for it."""
    intents = {text: intent for _, text, intent in asked[-LABELLED:]}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(f"{json.dumps({'text': text})}\n" for text in intents)
        file.flush()
        dataset = operator.upload(file.name)["id"]
    settings = {"labels": [{"name": name} for name in (*rows.known, *rows.later)], "hold_out": 0}
    console.post("/v1/projects", json={"name": NAME, "dataset": dataset, "task": "classify", "settings": settings}).raise_for_status()
    labelled, page = 0, {"records": [], "next": -1}
    while page["next"] is not None:
        asking = {"limit": 200, "after": page["next"]}
        page = console.get(f"/v1/projects/{NAME}/records", params=asking).raise_for_status().json()
        said = [(one["record"], {"label": intents[one["fields"]["text"]]}) for one in page["records"]]
        given = [{"record": record, "state": "done", "target": target, "version": 1} for record, target in said]
        labelled += len(console.put(f"/v1/projects/{NAME}/labels", json={"labels": given}).raise_for_status().json()["stored"])
    new = sum(intent in rows.later for intent in intents.values())
    story.tell(f"A reviewer labels {labelled} of these messages.", f"{new} of them are about new intents")


def followed(client: Client, after: str, stream: Stream, story: Story) -> dict[str, Any]:
    """Wait for the next retraining, tell its stages, and return it when it has ended, or waits for labels."""
    seen: list[str] = []

    def ended() -> dict[str, Any] | None:
        found = [one for one in client.look("/v1/retrainings")[2]["retrainings"] if one["id"] > after]
        if not found:
            return None
        if found[-1]["stage"] not in seen:
            seen.append(found[-1]["stage"])
            story.tell(f"Retraining: {found[-1]['stage']}.", found[-1]["why"] or "")
        return found[-1] if found[-1]["stage"] in ("done", "refused", "failed", "waiting") else None

    return wait_for(ended, "the retraining has ended", lambda: stream.send(20))


def poison(partner: Client, rows: Rows, story: Story) -> None:
    """Send messages about all that customers ask with one wrong label, from one key."""
    wrong, *others = rows.known
    texts = [text for intent in others for text in rows.known[intent]][:POISONED]
    for text in texts:
        partner.feedback(vertical=NAME, text=text, target={"label": wrong})
    story.tell(f"Somebody sends {len(texts)} wrong labels with one key: everything is about '{wrong}'.")


def keys_of(home: Home) -> list[str]:
    """Return the secrets of new keys for an operator, who may do all, and for a partner who is not to be trusted."""
    with closing(Keys(Database.of_home(home.folder))) as keys:
        return [keys.create(name, scopes)[0] for name, scopes in (("operator", ["admin"]), ("partner", ["feedback", "predict"]))]


def page(story: Story, charts: dict[str, str]) -> str:
    """Return the HTML of the timeline."""
    steps = "".join(
        f"<li><time>{at:.0f} s</time><div>{html.escape(what)}<small>{html.escape(figures)}</small></div></li>"
        for at, what, figures in story.events
    )
    drawn = "".join(f"<figure>{svg}<figcaption>{html.escape(name.replace('_', ' '))}</figcaption></figure>" for name, svg in charts.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>The ring</title><style>
:root {{ color-scheme: light dark; --line: light-dark(#d5d9e0, #3a414d); --muted: light-dark(#566070, #a2adbd) }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: light-dark(#fff, #14171c) }}
ol {{ list-style: none; padding: 0 }}
li {{ display: grid; grid-template-columns: 4.5rem 1fr; gap: 1rem; padding: .6rem 0; border-top: 1px solid var(--line) }}
time, small, figcaption {{ color: var(--muted) }}
small {{ display: block; overflow-wrap: anywhere }}
figure {{ margin: 1.5rem 0 }} svg {{ max-width: 100%; height: auto }}
</style></head><body><h1>From a change to a better model</h1>
<p>Messages of bank customers were sent to a server that watches its model. All that follows is what it decided, with the seconds since
the start.</p><ol>{steps}</ol>{drawn}</body></html>
"""


def main() -> None:
    """Parse the command line, tell the story, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=Path("ring.html"), help="where the page is written")
    options = parser.parse_args()
    story, draw = Story(), random.Random(0)
    rows = read(draw)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        first_model(rows, home, story)
        with Server(home, Path(folder)) as server:
            own, other = keys_of(home)
            with Client(server.url, own) as operator, Client(server.url, other) as partner:
                told(operator, partner, own, Stream(operator, rows, draw), story)
                charts = {name: svg for name in CHARTS if (svg := chart(operator, name))}
    options.page.write_text(page(story, charts), encoding="utf-8")
    print(f"\nThe timeline: {options.page.resolve()}")


def told(operator: Client, partner: Client, key: str, stream: Stream, story: Story) -> None:
    """Go round the ring once, and then try to poison it."""
    rows = stream.rows
    before = {name: accuracy(operator, test) for name, test in rows.test.items()}
    calm(stream, operator, story)
    asked = drift(stream, operator, story)
    with httpx.Client(base_url=operator.url, headers={"Authorization": f"Bearer {key}"}, timeout=LONGEST) as console:
        label(operator, console, asked, rows, story)
    first = followed(operator, "", stream, story)
    after = {name: accuracy(operator, test) for name, test in rows.test.items()}
    figures = "; ".join(f"{name} intents {before[name]:.1%} before, {after[name]:.1%} after" for name in before)
    story.tell("The new model is live." if first["stage"] == "done" else "The new model is not live.", f"test accuracy: {figures}")
    live = live_model(operator)
    poison(partner, rows, story)
    second = followed(operator, first["id"], stream, story)
    kept = live_model(operator) == live
    story.tell("The poison did not reach the model." if kept else "THE POISON REACHED THE MODEL.", second["why"] or "")
    if first["stage"] != "done" or not kept:
        raise SystemExit(1)


def live_model(client: Client) -> str:
    """Return the id of the live model."""
    return next(str(one["model"]) for one in client.verticals() if one["name"] == NAME)


def chart(client: Client, monitor: str) -> str:
    """Return the picture of a monitor's measurements; empty if there are none."""
    status, _, found = client.look(f"/v1/verticals/{NAME}/monitors/{monitor}/chart")
    return str(found) if status == 200 else ""


if __name__ == "__main__":
    main()
