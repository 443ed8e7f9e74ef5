"""People use the console in a real browser: by keyboard, on phones, in both languages, and while the connection is lost."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import polars as pl
import pytest

from tests.server.accessibility import problems
from tests.server.browser import PASSWORD, Browser, add_user, enter
from tests.server.conftest import admin
from tests.server.running import Running, until
from vertune.core.artifact import Home
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.server.settings import JobSettings
from vertune.steps.label import NewProject, label
from vertune.steps.label.settings import ProjectSettings
from vertune.testing.chromium import BROWSER, DRIVER, Chromium

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver: make services"),
]
TEXTS = [f"tell me {number} of {word}" for number in range(30) for word in ("rome 🏛️", "soup 🍜 and 面包")]
LABELS = ("place", "food", "other")
ENGLISH, CHINESE = "en", "zh"
LOST = "net::ERR_INTERNET_DISCONNECTED"


@pytest.fixture(scope="module")
def console(tmp_path_factory, _quick_start) -> Iterator[Running]:
    """A server without models, with keys, an annotator, a manager, and an administrator."""
    home = Home(tmp_path_factory.mktemp("console") / "home")
    home.folder.mkdir(parents=True)
    with Running(home, admin(home), good=False) as running:
        for name, role in (("boss", "manager"), *((f"ann{number}", "annotator") for number in range(4))):
            add_user(running, name, role, "default")
        yield running


def project(running: Running, name: str, task: str, tmp_path, rows=None, **settings) -> None:
    """Make a project of a few records, all of which annotators see."""
    file = tmp_path / f"{name}.jsonl"
    pl.DataFrame(rows or [{"text": text} for text in TEXTS]).write_ndjson(file)
    given = {"labels": [{"name": one} for one in LABELS], "hold_out": 0, "overlap": 2, **settings}
    label(
        running.database,
        NewProject(
            name=name, customer="default", source=build(Source, {"name": "jsonl", "path": str(file)}), task=build(Task, task),
            settings=ProjectSettings.model_validate(given),
        ),
    )  # fmt: skip


class Person:
    """Somebody who is signed in to the console in the browser; the first page is that of the first `go`."""

    def __init__(self, browser: Chromium, running: Running, name: str, width: int = 1280, language: str = ENGLISH, dark: bool = False):
        self.browser, self.running, self.name = browser, running, name
        browser.fresh(running.url, width, dark)
        enter(browser, running, name)
        self._first = f"{running.url}/?lang={language}"

    def go(self, address: str = "#/", selector: str = "main h1") -> None:
        """Go to a page of the console, and wait until it is there."""
        if self._first:
            self.browser.open(f"{self._first}{address}")
            self._first = ""
        else:
            self.browser.run("location.hash = arguments[0]", address)
        there = "decodeURI(location.hash) === arguments[0] && !document.querySelector('main[aria-busy]')"
        self.browser.until(f"{there} && document.querySelector(arguments[1])", address, selector)

    @property
    def record(self) -> str:
        """The text of the record that is shown."""
        return self.browser.run("return document.querySelector('.record').innerText")

    @property
    def state(self) -> str:
        """What the label page says of what is saved."""
        return self.browser.run("return document.querySelector('.sending .badge').textContent")

    def labels(self, project: str, state: str = "done") -> dict[int, dict]:
        """The own labels of a state, as the server has them, by record."""
        script = "return fetch(arguments[0]).then((response) => response.json())"
        found = self.browser.run(script, f"/v1/projects/{project}/labels?state={state}&limit=200")
        return {one["record"]: one["label"] for one in found["labels"]}

    def saved(self) -> None:
        """Wait until all labels are saved."""
        self.browser.until("document.querySelector('.sending .badge.good')")

    def decisions(self, project: str) -> dict[int, dict]:
        """The decisions on records, by record."""
        found = self.running.ask.get(f"/v1/projects/{project}/records", params={"limit": 200}).json()
        return {one["record"]: one["decision"] for one in found["records"] if one["decision"]}

    def seconds_of_keys(self) -> list[float]:
        """How long the page took from each key press to the next record."""
        script = "return performance.getEntriesByName('vertune.key').map((one) => one.duration / 1000)"
        return list(self.browser.run(script))

    def left_no_trace(self, lost: bool = False) -> None:
        """Check that the browser reported nothing, and asked nobody else."""
        signing_in = f"{self.running.url}/v1/session - Failed to load resource"
        reported = self.browser.complaints(lambda message: message.startswith(signing_in) or (lost and LOST in message))
        assert reported == []
        assert {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in self.browser.requests()} == {self.running.url}


def right(text: str) -> str:
    return "1" if "rome" in text else "2"


@pytest.mark.parametrize(
    ("language", "width", "annotator"),
    [
        (ENGLISH, 1280, "ann0"),
        (CHINESE, 390, "ann1"),
        pytest.param(CHINESE, 1280, "ann2", marks=pytest.mark.matrix),
        pytest.param(ENGLISH, 390, "ann3", marks=pytest.mark.matrix),
    ],
)
def test_thirty_records_are_labelled_by_keyboard_though_the_connection_is_lost(
    chromium, console, tmp_path, language, width, annotator
) -> None:
    """The page is loaded again while labels wait in the browser, which must not lose them."""
    name = f"mails-{language}-{width}"
    project(console, name, "classify", tmp_path)
    person = Person(chromium, console, annotator, width, language)
    person.go(f"#/label/{name}", ".input-text")
    seen: dict[str, str] = {}

    def answer(count: int) -> None:
        for _ in range(count):
            text = person.record.strip()
            assert text not in seen
            seen[text] = "1" if "rome" in text else "2"
            chromium.press(seen[text])

    answer(10)
    person.saved()
    chromium.offline(True)
    answer(15)
    offline = {ENGLISH: "Offline: 15 labels wait in this browser", CHINESE: "离线：15 个标注暂存在此浏览器"}
    until(lambda: person.state == offline[language])
    assert len(person.seconds_of_keys()) == 25
    assert statistics.median(person.seconds_of_keys()) < 0.016, "a key press shows the next record within a frame"
    chromium.offline(False)
    chromium.run("location.reload()")
    chromium.until("document.querySelector('.input-text')")
    person.saved()
    answer(5)
    person.saved()
    found = person.labels(name)
    assert len(found) == len(seen) == 30
    assert {TEXTS[number]: one["target"]["label"] for number, one in found.items()} == {
        text: LABELS[int(key) - 1] for text, key in seen.items()
    }
    assert all(0 < one["seconds"] < 30 for one in found.values())
    assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")
    person.left_no_trace(lost=True)


def test_no_label_is_lost_or_doubled_though_the_server_is_killed(chromium, forks, tmp_path) -> None:
    """It is killed while labels are on their way, and starts again on the same port and home, while the network is cut, too."""
    pl.DataFrame({"text": TEXTS}).write_csv(tmp_path / "mails.csv")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [
        sys.executable, *forks.words("vertune"), "label", "mails.csv", "--labels", "place,food", "--port", str(port), "--no-browser",
        "--set", "jobs.cores=0",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    @contextmanager
    def served() -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout
            assert any("Label at" in line for line in process.stdout)
            try:
                yield process
            finally:
                process.kill()

    seen: list[str] = []

    def answer(count: int) -> None:
        for _ in range(count):
            text = chromium.run("return document.querySelector('.record').innerText").strip()
            seen.append(text)
            chromium.press(right(text))

    with served():
        chromium.fresh(url)
        chromium.open(f"{url}/#/label/mails")
        chromium.until("document.querySelector('.input-text')")
        answer(8)
    answer(5)
    chromium.offline(True)
    answer(3)
    with served():
        chromium.offline(False)
        chromium.run("dispatchEvent(new Event('online'))")
        chromium.until("document.querySelector('.sending .badge.good')")
        answer(4)
        chromium.until("document.querySelector('.sending .badge.good')")
        with httpx.Client(base_url=url, trust_env=False) as client:
            labels = client.get("/v1/projects/mails/labels", params={"state": "done", "limit": 200}).json()["labels"]
            given = client.get("/v1/projects/mails").json()["given"]
    assert len(labels) == given == len(seen) == len(set(seen)) == 20
    assert {one["fields"]["text"]: one["label"]["target"]["label"] for one in labels} == {
        text: LABELS[int(right(text)) - 1] for text in seen
    }


def test_answers_are_undone_twenty_back_and_skipped_and_rejected(chromium, console, tmp_path) -> None:
    project(console, "undone", "classify", tmp_path)
    person = Person(chromium, console, "ann0")
    person.go("#/label/undone", ".input-text")
    texts = []
    for key in ("x", " ", *"12" * 11):
        texts.append(person.record)
        chromium.press(key)
    person.saved()
    assert (len(person.labels("undone")), len(person.labels("undone", "skipped")), len(person.labels("undone", "rejected"))) == (22, 1, 1)
    for text in reversed(texts[2:]):
        chromium.press("u")
        assert person.record == text
    person.saved()
    assert (len(person.labels("undone")), len(person.labels("undone", "skipped"))) == (0, 1)
    chromium.press("Right", "Right")
    assert person.record == texts[4]
    chromium.press("Left", "3")
    person.saved()
    assert [one["target"] for one in person.labels("undone").values()] == [{"label": "other"}]
    chromium.press("/", *"food", "Enter")
    person.saved()
    assert {one["target"]["label"] for one in person.labels("undone").values()} == {"other", "food"}
    chromium.press("?")
    chromium.until("document.querySelector('dialog[open] table')")
    chromium.press("Escape")
    person.go("#/label/undone?queue=rejected", ".input-text")
    assert person.record == texts[0]
    chromium.press("1")
    person.saved()
    assert len(person.labels("undone", "rejected")) == 0
    person.left_no_trace()


def test_the_end_is_reached_and_more_records_are_looked_for(chromium, console, tmp_path) -> None:
    project(console, "few", "classify", tmp_path, [{"text": text} for text in TEXTS[:3]])
    person = Person(chromium, console, "ann0")
    person.go("#/label/few", ".input-text")
    chromium.press("1", "1", "1")
    chromium.until("document.querySelector('.record .empty')?.innerText.includes('All records are labelled')")
    assert len(person.labels("few")) == 3
    chromium.press("u")
    assert person.record.strip() in TEXTS[:3]
    chromium.press(" ")
    chromium.until("document.querySelector('.record .empty')")
    chromium.click(".record .primary", "Look for more records")
    person.saved()
    person.left_no_trace()


def test_several_labels_are_a_draft_until_they_are_confirmed(chromium, console, tmp_path) -> None:
    project(console, "topics", "multilabel", tmp_path)
    person = Person(chromium, console, "ann0")
    person.go("#/label/topics", ".input-text")
    chromium.press("1", "3")
    (draft,) = until(lambda: list(person.labels("topics", "draft").values()))
    assert sorted(draft["target"]["labels"]) == ["other", "place"]
    chromium.run("location.reload()")
    chromium.until("document.querySelectorAll('.label[aria-pressed=true]').length === 2")
    chromium.press("3", "Enter")
    person.saved()
    assert [one["target"] for one in person.labels("topics").values()] == [{"labels": ["place"]}]
    assert person.labels("topics", "draft") == {}
    person.left_no_trace()


def test_places_are_counted_in_code_points_and_do_not_overlap(chromium, console, tmp_path) -> None:
    rows = [{"text": "👍🏽 Ann of ACME in 🏛️ Rome"}, {"text": "王小明😀在北京"}]
    project(console, "places", "tag", tmp_path, rows)
    project(console, "signs", "tag", tmp_path, rows, snap="characters")
    person = Person(chromium, console, "ann0")

    def words(project: str) -> set[tuple[str, str]]:
        person.saved()
        texts = {number: row["text"] for number, row in enumerate(rows)}
        spans = [(texts[number], span) for number, one in person.labels(project).items() for span in one["target"]["spans"]]
        return {(span["label"], text[span["start"] : span["end"]]) for text, span in spans}

    person.go("#/label/places", ".marked-text")
    if "Ann" not in person.record:
        chromium.press("]")
    left, middle, right = chromium.run(PLACE, "CM")
    chromium.drag((left, middle), (right, middle))
    chromium.press("2")
    chromium.press("Left", "Left", "1")  # two words before
    chromium.press("Right", "Right", held="Shift")
    chromium.press("3")
    assert "overlaps" in chromium.run("return document.querySelector('.toast').innerText")
    chromium.press("Enter")
    assert words("places") == {("food", "ACME"), ("place", "Ann")}
    person.go("#/label/signs", ".marked-text")
    if "王" not in person.record:
        chromium.press("]")
    chromium.press("Right")
    chromium.press("Right", "Right", held="Shift")
    chromium.press("1", "Right", "2", "Enter")
    assert words("signs") == {("place", "王小明"), ("food", "😀")}
    person.left_no_trace()


def test_a_phone_marks_spans_by_touch(chromium, console, tmp_path) -> None:
    """Touching a word selects it, touching another one extends the selection, and touching a label marks it."""
    project(console, "phone", "tag", tmp_path, [{"text": "Ann Lee of ACME"}])
    person = Person(chromium, console, "ann0", 390, CHINESE)
    person.go("#/label/phone", ".marked-text")
    left, top, right = chromium.run(PLACE, "nn Le")
    chromium.tap((left, top), (right, top))
    chromium.click(".label", "place")
    chromium.tap(chromium.run(PLACE, "CME")[:2])
    chromium.click(".label", "food")
    chromium.tap(chromium.run(PLACE, "Lee")[:2])  # inside the first span, which is selected
    chromium.click(".label", "other")
    chromium.click(".actions button", "确认")
    person.saved()
    (one,) = person.labels("phone").values()
    spans = sorted(one["target"]["spans"], key=lambda span: span["start"])
    assert spans == [{"start": 0, "end": 7, "label": "other"}, {"start": 11, "end": 15, "label": "food"}]
    person.left_no_trace()


PLACE = """
const words = document.createTreeWalker(document.querySelector(".marked-text"), NodeFilter.SHOW_TEXT);
let text;
do text = words.nextNode(); while (!text.data.includes(arguments[0]));
const range = new Range();
range.setStart(text, text.data.indexOf(arguments[0]));
range.setEnd(text, text.data.indexOf(arguments[0]) + arguments[0].length);
const box = range.getBoundingClientRect();
return [box.left + 2, box.top + box.height / 2, box.right - 2];
"""
"""Where a stretch of a text in which spans are marked is on the screen: its left edge, its middle, and its right edge."""


def test_numbers_and_answers_in_texts(chromium, console, tmp_path) -> None:
    project(console, "stars", "regress", tmp_path, labels=[])
    rows = [{"question": f"Who, {number}?", "context": "😀 It was Ann."} for number in range(3)]
    project(console, "faq", "extract", tmp_path, rows, labels=[])
    person = Person(chromium, console, "ann0", dark=True)
    person.go("#/label/stars", ".number-answer")
    chromium.press(*"3.5", "Enter", " ", "x", *"-2", "Enter")
    person.saved()
    assert sorted(one["target"]["score"] for one in person.labels("stars").values()) == [-2, 3.5]
    person.go("#/label/faq", ".marked-text")
    chromium.press("Right", "Right", "Right", "Right", "Enter", "n")
    person.saved()
    found = [one["target"]["answers"] for one in person.labels("faq").values()]
    assert sorted(found, key=len) == [[], [{"start": 9, "text": "Ann"}]]
    person.left_no_trace()


def test_two_tabs_share_the_records_and_lose_no_label(chromium, console, tmp_path) -> None:
    project(console, "tabs", "classify", tmp_path)
    person = Person(chromium, console, "ann0")
    person.go("#/label/tabs", ".input-text")
    first = chromium.window()
    chromium.open(f"{console.url}/#/label/tabs")
    chromium.until("document.querySelector('.input-text')")
    second = chromium.window(first)
    chromium.press(*"111")
    person.saved()
    left = person.record
    chromium.window(second)
    chromium.press("2")  # what both showed from the beginning: the last answer holds
    assert person.record == left
    chromium.press("2")
    person.saved()
    assert sorted(one["target"]["label"] for one in person.labels("tabs").values()) == ["food", "food", "place", "place"]
    chromium.close_window(first)


def test_without_a_database_in_the_browser_labels_are_sent_all_the_same(chromium, console, tmp_path) -> None:
    project(console, "memory", "classify", tmp_path)
    person = Person(chromium, console, "ann0")
    person.go()
    script = "Object.defineProperty(window, 'indexedDB', {get() { throw new Error('none'); }})"
    added = chromium.cdp("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    chromium.run("location.reload()")
    chromium.until("document.querySelector('main h1')")
    person.go("#/label/memory", ".input-text")
    chromium.offline(True)
    chromium.press("1", "2")
    until(lambda: person.state == "Offline: keep this page open, 2 labels are not saved")
    chromium.offline(False)
    chromium.run("dispatchEvent(new Event('online'))")
    person.saved()
    assert len(person.labels("memory")) == 2
    chromium.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=added)
    person.left_no_trace(lost=True)


def test_labels_wait_for_the_next_sign_in_and_for_a_project_that_is_closed(chromium, console, tmp_path) -> None:
    project(console, "waiting", "classify", tmp_path)
    person = Person(chromium, console, "ann0")
    person.go("#/label/waiting", ".input-text")
    chromium.cdp("Network.clearBrowserCookies")
    chromium.press("1")
    chromium.until("document.querySelector('[name=username]')")
    chromium.type("[name=username]", "ann0")
    chromium.type("[name=password]", f"{PASSWORD}\ue007")
    chromium.until("document.querySelector('.input-text')")
    person.saved()
    assert len(person.labels("waiting")) == 1
    assert console.ask.patch("/v1/projects/waiting", json={"state": "closed"}).status_code == 200
    chromium.press("2")
    chromium.click("button.badge", "1 refused")
    chromium.until("document.querySelector('dialog[open] li')?.textContent.includes('closed')")
    assert console.ask.patch("/v1/projects/waiting", json={"state": "open"}).status_code == 200
    chromium.click("dialog button", "Send them again")
    until(lambda: len(person.labels("waiting")) == 2)
    person.saved()


def test_a_manager_makes_a_project_of_a_file(chromium, tmp_path, start) -> None:
    """Uploading and reading the file is the work of child processes."""
    home = Home(tmp_path / "home")
    home.folder.mkdir()
    running = start(home, admin(home), good=False, jobs=JobSettings(cores=1))
    add_user(running, "boss", "manager", "default")
    file = tmp_path / "mails.jsonl"
    kinds = [None if number % 3 else "town" if "rome" in text else "meal" for number, text in enumerate(TEXTS)]
    pl.DataFrame({"body": TEXTS, "kind": kinds}).write_ndjson(file)
    person = Person(chromium, running, "boss")
    person.go("#/projects/new", "[type=file]")
    chromium.type("[type=file]", str(file))
    chromium.until("document.querySelector('form .notice')")
    chromium.click("button", "Paste many labels")
    chromium.type("textarea[placeholder^='One label']", "other")
    chromium.click("form .primary")
    chromium.until("location.hash === '#/label/mails' && document.querySelector('.input-text')")
    chromium.press("1")
    person.saved()
    assert [one["target"] for one in person.labels("mails").values()] == [{"label": "other"}]
    person.go("#/settings/mails", "form textarea")
    chromium.run("document.querySelector('form textarea[rows=\"8\"]').value = '# Rules'")
    chromium.click("form .primary")
    chromium.until("document.querySelector('.toast.good')")
    made = running.ask.get("/v1/projects/mails").json()
    assert (made["settings"]["guidelines"], made["records"]) == ("# Rules", len(TEXTS))
    assert {one["name"] for one in made["labels"]} == {"other", "meal", "town"}
    choose = "const list = document.querySelector('main section select[id^=field]:has(option[value=\"\"])'); list.selectedIndex = 1"
    chromium.run(f"{choose}; list.dispatchEvent(new Event('change'))")
    chromium.click("button:enabled", "Add the records")
    said = chromium.until("document.querySelector('.notice.good')?.textContent")
    assert said.startswith(f"0 records are new. {len(TEXTS)} records were there already.")
    chromium.click("button", "Delete the project")
    chromium.click("dialog .danger", "Delete")
    until(lambda: running.ask.get("/v1/projects/mails").status_code == 404)
    person.left_no_trace()


def test_a_reviewer_labels_many_decides_and_undoes(chromium, console, tmp_path) -> None:
    project(console, "review", "classify", tmp_path)
    for name in ("ann0", "ann1"):
        with Browser(console) as one:
            one.sign_in(name)
            given = [
                {"record": number, "state": "done", "target": {"label": LABELS[int(name[-1])]}, "version": 1, "seconds": 2}
                for number in range(3)
            ]
            assert one.send("PUT", "/v1/projects/review/labels", json={"labels": given}).status_code == 200
    person = Person(chromium, console, "boss")
    person.go("#/review/review", ".candidates")
    chromium.press("r", *"clear", "Enter", "2")
    chromium.press("o")
    chromium.until("document.querySelector('dialog[open] .label')")
    chromium.press("3")
    decided = until(lambda: person.decisions("review") if len(person.decisions("review")) == 2 else None)
    assert decided[0]["reason"] == "clear"
    assert {one["target"]["label"] for one in decided.values()} <= set(LABELS)
    assert decided[1]["target"] == {"label": "other"}
    chromium.press("u")
    until(lambda: list(person.decisions("review")) == [0])
    person.go("#/records/review", ".record-row")
    chromium.run("for (const box of [...document.querySelectorAll('.record-row input')].slice(0, 4)) box.click()")
    chromium.click(".bar .primary")
    chromium.until("document.querySelector('dialog[open] .label')")
    chromium.press("1")
    until(lambda: len(person.labels("review")) == 4)
    chromium.click(".toast button", "Undo")
    until(lambda: len(person.labels("review")) == 0)
    chromium.type("[role=search] input[type=search]", "rome")
    until(lambda: chromium.run("return document.querySelectorAll('.record-row').length") == 30)
    assert chromium.run("return location.hash") == "#/records/review?text=rome"
    person.left_no_trace()


@pytest.mark.parametrize(("width", "language"), [(360, CHINESE), (2560, ENGLISH)])
def test_every_page_fits_the_window_and_is_accessible(chromium, console, tmp_path, width, language) -> None:
    name = f"pages-{width}"
    project(
        console, name, "classify", tmp_path, guidelines="# Rules\n\n- **one** <img src=x onerror=alert(1)>\n- [two](javascript:alert(1))"
    )
    dark = width < 500
    person = Person(chromium, console, "boss", width, language, dark=dark)
    person.go()
    app = "document.querySelector('script[type=module]').src"
    pages = chromium.run(f"return import({app}.replace('app.js', 'pages.js')).then((all) => all.PAGES)")
    assert len(pages) >= 7
    for page in pages:
        path = page["path"].replace("{project}", name)
        if "{" in path or page.get("scope") == "admin":
            continue
        person.go(f"#{path}")
        about = (page["path"], width)
        assert chromium.run("return document.documentElement.scrollWidth - innerWidth") <= 0, about
        assert problems(chromium, dark) == [], about
    assert chromium.run("return document.querySelectorAll('img').length") == 0
    person.left_no_trace()


def test_an_export_that_does_not_suit_the_task_says_so_on_the_page(chromium, console, tmp_path) -> None:
    project(console, "exported", "classify", tmp_path)
    downloads = tmp_path / "downloads"
    person = Person(chromium, console, "boss")
    chromium.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    person.go("#/label/exported", ".input-text")
    chromium.press("1")
    person.saved()
    person.go("#/progress/exported", ".export")
    chromium.run("document.querySelector('.export select').value = 'conll'")
    chromium.click(".export button")
    assert "'conll' can't be written for the task 'classify'" in chromium.until(
        "document.querySelector('main [role=alert]:not([hidden])')?.textContent"
    )
    chromium.run("document.querySelector('.export select').value = 'jsonl'")
    chromium.click(".export button")
    until((downloads / "exported.jsonl").exists)
    assert chromium.run("return document.querySelector('main [role=alert]').hidden")
    assert until(lambda: (downloads / "exported.jsonl").read_text(encoding="utf-8")).count("place") == 1
    assert all("/export - Failed" in one or "/export?" in one for one in chromium.complaints(lambda message: "/v1/session" in message))


WRONG = """
const main = document.querySelector("main");
const add = (tag, about = {}) => main.appendChild(Object.assign(document.createElement(tag), about));
add("button");
add("img", { src: "data:," });
add("h4", { textContent: "A level is missing" });
add("p", { textContent: "Faint" }).style.color = "light-dark(#bbbbbb, #333333)";
add("p", { textContent: "Hidden by opacity" }).style.opacity = "0.3";
add("label", { textContent: "Of nothing", htmlFor: "nothing" });
add("input", { ariaLabel: "First", tabIndex: 3 });
add("a", { href: "#", textContent: "Skipped", tabIndex: -1 });
add("p", { id: "main", textContent: "Twice" });
add("button", { textContent: "Flat" }).style.cssText = "height: 9px; min-height: 0; padding: 0; font-size: 5px";
add("button", { textContent: "Above" }).style.cssText = "position: absolute; top: 0; left: 0; width: 100%";
const box = add("div");
box.style.cssText = "overflow-x: auto; width: 50px";
box.append(Object.assign(document.createElement("pre"), { textContent: "wide ".repeat(40) }));
"""
"""Adds one thing to the page against each rule."""
FOUND = (
    "no name: <button", "no name: <img", "headings skip a level", "light: contrast", "dark: contrast", "for names no element",
    "jumps the order of focus", "can't be reached by keyboard", "the id main is there twice", "lower than 24 pixels",
    "gets the focus after what is below it", "scrolls, but not by keyboard",
)  # fmt: skip


def test_the_rules_of_accessibility_find_what_is_wrong(chromium, console) -> None:
    chromium.fresh(console.url)
    chromium.open(f"{console.url}/")
    chromium.until("document.querySelector('[name=username]')")
    assert problems(chromium) == []
    chromium.run(WRONG)
    found = problems(chromium)
    assert [rule for rule in FOUND if not any(one.startswith(rule) for one in found)] == []
    assert sum("contrast" in one for one in found) == 4


def test_a_wrong_password_is_refused_and_the_right_one_leads_on(chromium, console) -> None:
    chromium.fresh(console.url)
    chromium.open(f"{console.url}/")
    chromium.type("[name=username]", "ann0")
    chromium.type("[name=password]", "wrong password\ue007")
    chromium.until("document.querySelector('form').parentElement.querySelector('[role=alert]:not([hidden])')?.textContent.length > 20")
    chromium.type("[name=password]", f"{PASSWORD}\ue007")
    chromium.until("document.querySelector('#menu a')")
    menu = chromium.run("return [...document.querySelectorAll('#menu a')].map((one) => one.dataset.file)")
    assert "projects" in menu
    assert "keys" not in menu
    chromium.click("#menu button", "Change password")
    chromium.press(*"no", "Tab", *"such", "Enter")
    chromium.until("document.querySelector('.toast.bad')")
    chromium.press("Escape")
    chromium.click("#menu button", "Sign out")
    chromium.until("document.querySelector('[name=username]')")
