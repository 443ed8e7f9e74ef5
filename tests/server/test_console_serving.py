"""People upload, train, try, watch and administrate in a real browser: every page is there, and tells of no error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.server.accessibility import problems
from tests.server.browser import add_user
from tests.server.conftest import admin
from tests.server.running import Running, until
from tests.server.test_console_browser import CHINESE, ENGLISH, Person
from tests.server.test_jobs import as_csv, upload
from vertune.core.artifact import Home
from vertune.server.settings import JobSettings
from vertune.testing.chromium import BROWSER, DRIVER

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver: make services"),
]
PAGES = (
    "/", "/data", "/train", "/jobs", "/models", "/models/intent", "/try/intent", "/try/spans", "/traffic", "/watch", "/usage", "/people",
    "/keys",
)  # fmt: skip
NO_ROLLOUT = "/rollout - Failed to load resource"
"""That a vertical has no candidate is a 404, which the browser reports."""


@pytest.fixture(scope="module")
def serving(fleet, tmp_path_factory, _quick_start) -> Iterator[Running]:
    """A server with models and an uploaded file, whose administrator is called root."""
    shutil.copytree(fleet.folder, folder := tmp_path_factory.mktemp("serving") / "home")
    home = Home(folder)
    with Running(home, admin(home), jobs=JobSettings(cores=1)) as running:
        add_user(running, "root", "admin", "default")
        upload(running.ask)
        running.predict("intent", "tell me of rome", "soup")
        yield running


def untroubled(person: Person) -> None:
    """Check that the browser reported nothing."""
    expected = (NO_ROLLOUT, "/v1/session - Failed to load resource")
    assert person.browser.complaints(lambda message: any(one in message for one in expected)) == []


@pytest.mark.parametrize(("language", "width", "dark"), [(ENGLISH, 1280, False), (CHINESE, 360, True)])
def test_every_page_is_shown_and_fits(chromium, serving, language, width, dark) -> None:
    person = Person(chromium, serving, "root", width, language, dark)
    for path in PAGES:
        person.go(f"#{path}")
        about = chromium.run("return [document.querySelectorAll('main h1').length, document.documentElement.scrollWidth, innerWidth]")
        assert about[0] == 1, path
        assert about[1] <= about[2], f"{path} is wider than the window"
        assert not chromium.run("return document.querySelector('main [role=alert]')"), path
        assert problems(chromium, dark) == [], path
    untroubled(person)


def test_a_model_is_tried_and_its_answer_corrected_and_that_undone(chromium, serving) -> None:
    person = Person(chromium, serving, "root")
    person.go("#/try/intent")
    chromium.type("main textarea", "tell me 3 of rome")
    chromium.click("main form button[type=submit]")
    chromium.until("document.querySelector('.answers .answer-label')")
    chromium.click(".answers summary", "Training rows")
    assert "similarity" in chromium.until("document.querySelector('.near-rows li')?.textContent")
    assert problems(chromium) == []
    chromium.click("main header button", "Open on a phone")
    assert "--host" in chromium.until("document.querySelector('dialog pre')?.textContent")
    chromium.click("dialog button", "Close")
    chromium.click(".answers button", "No")
    chromium.until("document.querySelector('dialog select')")
    chromium.run("const list = document.querySelector('dialog select'); list.selectedIndex = 1")
    chromium.click("dialog button[type=submit]")
    chromium.until("document.querySelector('.answers .badge.good')")
    (stored,) = serving.ask.get("/v1/feedback").json()["feedback"]
    assert stored["verdict"] == "wrong"
    assert stored["target"]["label"] in ("food", "place")
    chromium.click(".toast button", "Undo")
    until(lambda: serving.ask.get("/v1/feedback").json()["feedback"] == [])
    untroubled(person)


def test_the_form_for_other_pages_asks_with_its_own_key(chromium, serving) -> None:
    secret, _ = serving.keys.create("website", ["predict"])
    chromium.fresh(serving.url, 390)
    chromium.open(f"{serving.url}/try/intent?lang=en#key={secret}")
    chromium.type("main textarea", "tell me 3 of rome")
    chromium.click("main button")
    shown = chromium.until("document.querySelector('.answers article')?.innerText")
    assert "network included" in shown
    assert "serving." not in shown
    assert chromium.run("return document.querySelectorAll('main textarea').length") == 1
    assert [one for one in problems(chromium) if "headings" not in one] == []  # it is a part of a page, without a heading of its own
    assert chromium.complaints() == []


def test_rows_of_a_file_are_searched_and_a_training_is_started_and_cancelled(chromium, serving) -> None:
    person = Person(chromium, serving, "root")
    person.go("#/data")
    chromium.click("main table a", "mine")
    chromium.until("document.querySelectorAll('main tbody tr').length === 30")
    chromium.type("main input[type=search]", "ROME")
    chromium.until("document.querySelectorAll('main tbody tr').length === 15")
    chromium.click("main a.primary", "Train")
    chromium.until("document.querySelector('main form select') && !document.querySelector('main[aria-busy]')")
    chromium.until("[...document.querySelectorAll('main select')].some((one) => one.value === 'label')")
    chromium.click("main form button[type=submit]")
    chromium.until("location.hash.startsWith('#/jobs/')")
    (job,) = serving.ask.get("/v1/jobs").json()["jobs"]
    assert (job["kind"], job["vertical"]) == ("fit", "mine")
    chromium.until("document.querySelector('.job-view .danger:not([hidden])')")
    chromium.click(".job-view .danger")
    chromium.until("document.querySelector('dialog')")
    chromium.click("dialog .danger")
    until(lambda: serving.ask.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled")
    chromium.until("document.querySelector('.job-view .danger').hidden")
    untroubled(person)


def test_a_key_is_created_and_its_secret_shown_once(chromium, serving) -> None:
    person = Person(chromium, serving, "root")
    person.go("#/keys")
    chromium.click("main header .primary")
    chromium.until("document.querySelector('dialog input')")
    chromium.type("dialog input", "website")
    chromium.click("dialog button[type=submit]")
    secret = chromium.until("document.querySelector('dialog .secret')?.value")
    found = serving.stranger.get("/v1/verticals", headers={"Authorization": f"Bearer {secret}"})
    assert found.status_code == 200
    chromium.click("dialog button", "Close")
    chromium.until("[...document.querySelectorAll('main td')].some((one) => one.textContent.startsWith('website'))")
    assert secret not in chromium.run("return document.documentElement.outerHTML")
    untroubled(person)


def test_a_file_is_uploaded_by_dropping_it(chromium, serving) -> None:
    person = Person(chromium, serving, "root")
    person.go("#/data")
    drop = """const carried = new DataTransfer(); carried.items.add(new File([arguments[0]], 'dropped.csv'));
        document.querySelector('.drop').dispatchEvent(new DragEvent('drop', {dataTransfer: carried, bubbles: true, cancelable: true}))"""
    chromium.run(drop, as_csv().decode())
    chromium.until("document.querySelector('main h1')?.textContent === 'dropped.csv'")
    assert "dropped.csv" in [one["name"] for one in serving.ask.get("/v1/datasets").json()["datasets"]]
    untroubled(person)
