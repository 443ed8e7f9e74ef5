"""People see alerts and measurements in a real browser, and decide about an alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.server.accessibility import problems
from tests.server.browser import add_user
from tests.server.conftest import admin
from tests.server.running import Running
from tests.server.test_console_browser import CHINESE, ENGLISH, Person
from vertune.core.artifact import Home
from vertune.core.ids import time_ordered_id
from vertune.core.sentence import said, stored
from vertune.store import alerts, measurements, retrainings
from vertune.store.alerts import Alert, Silence
from vertune.store.database import format_time
from vertune.store.measurements import Measurement
from vertune.testing.chromium import BROWSER, DRIVER

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver: make services"),
]


@pytest.fixture(scope="module")
def watched(tmp_path_factory, _quick_start) -> Iterator[Running]:
    """A server without models, in whose database are alerts of every state, measurements, a silence and a retraining."""
    home = Home(tmp_path_factory.mktemp("watched") / "home")
    home.folder.mkdir(parents=True)
    hour, now = timedelta(hours=1), datetime.now(UTC)
    with Running(home, admin(home), good=False) as running:
        add_user(running, "root", "admin", "default")
        with running.database.writing() as connection:
            times = [format_time(now - number * hour) for number in range(12)]
            for number, (end, at) in enumerate(pairwise(times)):
                verdict = ("changed", "quiet", "unknown")[number % 3]
                found = Measurement("intent", "text_drift", at, end, 0.5 + number / 50, 0.4, 0.9, 0.01, 500, verdict, "AUC.", [])
                measurements.add(connection, [found])
            for state in ("open", "acknowledged", "resolved", "false"):
                ended = times[2] if state in ("resolved", "false") else None
                alert = Alert(
                    time_ordered_id(), "intent", "drift", "text_drift", "warning", state, times[5], times[1], ended, value=0.8,
                    why="It changed.", evidence=[{"word": "refund 退款", "share": 0.123456}],
                )  # fmt: skip
                alerts.add(connection, alert)
            alerts.add_silence(connection, Silence("intent", None, format_time(now + hour), "user:root", "a sale"))
            retrainings.begin(connection, "intent", {"reason": "drift"})
        yield running


@pytest.mark.parametrize(("language", "width", "dark"), [(ENGLISH, 1280, False), (CHINESE, 360, True)])
def test_the_page_shows_all_of_it_and_fits(chromium, watched, language, width, dark) -> None:
    person = Person(chromium, watched, "root", width, language, dark)
    person.go("#/watch", ".timeline li")
    counts = "return [...arguments].map((one) => document.querySelectorAll(one).length)"
    assert chromium.run(counts, ".timeline li", ".alert-bar", "img.series", ".attention li") == [4, 4, 1, 1]
    chromium.until("document.querySelector('img.series').naturalWidth > 0")
    assert f"theme={'dark' if dark else 'light'}" in chromium.run("return document.querySelector('img.series').src")
    about = chromium.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert about[0] <= about[1]
    chromium.click(".timeline summary")
    assert "refund 退款" in chromium.until("document.querySelector('.timeline td')?.textContent")
    assert chromium.run("return document.querySelector('.timeline th').textContent") == {ENGLISH: "word", CHINESE: "词"}[language]
    assert problems(chromium, dark) == []
    person.left_no_trace()


def test_a_training_is_begun_and_its_stages_are_shown(chromium, watched) -> None:
    with watched.database.writing() as connection:  # the one that the fixture began is over
        (one,) = retrainings.unfinished(connection)
        retrainings.move(connection, one, "refused", why=stored(said("retraining.outdated", live="intent-1")))
    person = Person(chromium, watched, "root", language=CHINESE)
    person.go("#/watch", ".timeline li")
    assert "准入检查比较的不是现在的线上模型 intent-1。" in chromium.run("return document.querySelector('main').textContent")
    chromium.click("td summary")
    assert chromium.until("document.querySelector('td ol li')?.textContent").startswith("数据: ")
    chromium.run("scrollTo(0, 0)")
    chromium.click("main header button", "重新训练")
    assert chromium.until("document.querySelector('dialog select')?.value") == "intent"
    chromium.click("dialog button[type=button]", "取消")
    person.left_no_trace()


def test_an_alert_is_called_false_with_a_comment(chromium, watched) -> None:
    person = Person(chromium, watched, "root")
    person.go("#/", ".attention li")
    assert "Alert “drift” on “intent”" in chromium.run("return document.querySelector('.attention').textContent")
    chromium.click(".attention a")
    chromium.until("document.querySelectorAll('.timeline li').length === 1")
    chromium.click(".timeline button", "False alarm")
    chromium.type("dialog input", "as every year")
    chromium.click("dialog button[type=submit]")
    chromium.until("document.querySelector('.paged .empty')")
    (stored,) = [one for one in watched.ask.get("/v1/alerts").json()["alerts"] if one["comment"]]
    assert (stored["state"], stored["comment"], stored["actor"]) == ("false", "as every year", "user:root")
    chromium.click("main button", "End the silence")
    chromium.until("!document.querySelector('.attention li')")
    assert watched.ask.get("/v1/silences").json() == []
    person.left_no_trace()
