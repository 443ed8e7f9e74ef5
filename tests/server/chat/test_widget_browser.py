"""Customers chat on a page of another site in a real browser, people answer at the desk, and see what the app could not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.server.accessibility import problems
from tests.server.browser import add_user, enter, start_chromium
from tests.server.chat.conftest import Visitor
from tests.server.running import Running, until
from vertune.core.errors import NotFound, Unavailable
from vertune.core.pack import FaqEntry
from vertune.testing.chromium import BROWSER, DRIVER, Chromium
from vertune.testing.ledger import NAME, Ledger, chained

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver: make services"),
]
HOST = "vertune-chat"
PHRASES = {
    "en": {"hello": "Hello", "person": "Talk to a person", "end": "End chat", "rate": "Send", "thanks": "Thank you"},
    "zh": {"hello": "您好", "person": "转人工", "end": "结束对话", "rate": "发送", "thanks": "感谢"},
}
NO_ENTRY = {"en": "There is no entry 'gift'.", "zh": "没有名为“gift”的条目。"}
DESK = {"en": {"close": "Close", "return": "Return to the machine"}, "zh": {"close": "结束对话", "return": "交还机器"}}


class Site:
    """A web site with another origin than the server, whose pages allow nothing but the chat; those in a language have it."""

    def __init__(self, server: Running) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(server))
        self._http.daemon_threads = True
        self.url = f"http://localhost:{self._http.server_port}"
        self.key = server.keys.create("shop", ["chat"], origin=self.url)[0]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self, server: Running) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                language = self.path.strip("/")
                chat = f'<script type="module" src="{server.url}/widget.js" data-app="{NAME}" data-key="{site.key}"></script>'
                page = (
                    f'<!doctype html><html lang="{language}"><meta name="viewport" content="width=device-width"><title>A shop</title>'
                    f'<link rel="icon" href="data:,"><meta name="color-scheme" content="light dark"><h1>A shop</h1>'
                    f"{chat if language in PHRASES else ''}"
                ).encode()
                self.send_response(200)
                policy = f"default-src 'none'; script-src {server.url}; connect-src {server.url}; img-src data:"
                self.send_header("Content-Security-Policy", policy)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *given: Any) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def site(server) -> Iterator[Site]:
    add_user(server, "ann", "reviewer", "default")
    add_user(server, "boss", "manager", "default")
    made = Site(server)
    yield made
    made.close()


class Customer:
    """Somebody who chats on a page of the site, by keyboard."""

    def __init__(self, browser: Chromium, site: Site, language: str = "en", width: int = 1280, dark: bool = False) -> None:
        self.browser, self.language = browser, language
        browser.fresh(site.url, width, dark)
        self.open(f"{site.url}/{language}")

    def open(self, url: str) -> None:
        """Open a page, and then the chat."""
        self.browser.open(url)
        self.until("root.querySelector('.launch')")
        self.browser.press("Tab", "Enter")
        self.until("root.querySelector('.turn')")
        assert self.run("root.activeElement.tagName") == "TEXTAREA"

    def run(self, script: str) -> Any:
        return self.browser.run(f"const root = document.querySelector('{HOST}').shadowRoot; return ({script})")

    def until(self, script: str) -> Any:
        return self.browser.until(f"((root) => root && ({script}))(document.querySelector('{HOST}')?.shadowRoot)")

    @property
    def turns(self) -> list[list[str]]:
        """The author and the text of each turn."""
        return list(
            self.run("[...root.querySelectorAll('.turn')].map((one) => [one.className.split(' ')[1], one.querySelector('p').innerText])")
        )

    @property
    def id(self) -> str:
        """The id of the conversation."""
        return str(self.browser.run("return Object.values(localStorage).map(JSON.parse).find((one) => one.id).id"))

    def say(self, text: str) -> None:
        """Type a message and send it."""
        self.browser.press(*text, "Enter")

    def press(self, text: str) -> None:
        """Press a button."""
        button = f"[...root.querySelectorAll('button')].find((one) => one.textContent === '{text}' && one.checkVisibility())"
        self.until(button)
        self.run(f"{button}.click()")

    def sees(self, *said: str) -> None:
        """Wait for the reply that proves that the app has had these messages, each once and in this order."""
        text = reply(*said)
        self.until(f"[...root.querySelectorAll('.turn p')].at(-1).innerText === '{text}' && !root.querySelector('[id]')")


def reply(*said: str) -> str:
    return f"{len(said)} {reduce(chained, said, '')}"


def sign_in(browser: Chromium, server: Running, name: str, language: str) -> None:
    enter(browser, server, name)
    browser.open(f"{server.url}/?lang={language}")
    browser.until("document.querySelector('#menu a') && !document.querySelector('[name=username], main[aria-busy]')")


def go(browser: Chromium, address: str, selector: str) -> None:
    browser.run("location.hash = arguments[0]", address)
    browser.until("!document.querySelector('main[aria-busy]') && document.querySelector(arguments[0])", selector)


def fits(browser: Chromium) -> bool:
    return bool(browser.run("return document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("language", "width", "dark"), [("en", 1280, False), ("zh", 320, True)])
def test_a_customer_is_understood_and_then_a_person_answers(chromium, server, site, language, width, dark) -> None:
    """The page is loaded again in between; the person takes the conversation and a suggestion by one key each."""
    words = PHRASES[language]
    customer = Customer(chromium, site, language, width, dark)
    assert customer.turns == [["bot", words["hello"]]]
    customer.say("which")
    customer.until("root.querySelectorAll('.choices button').length === 2")
    assert problems(chromium, dark, HOST) == []
    assert fits(chromium)
    customer.press("two")
    customer.sees("which", "two")
    assert not customer.run("root.querySelector('.choices')")
    before = customer.turns
    customer.open(f"{site.url}/{language}")
    assert until(lambda: customer.turns == before)
    customer.press(words["person"])
    customer.until("root.querySelector('[role=status]').textContent.length > 0 && root.querySelector('.foot button').hidden")
    page = chromium.window()
    chromium.size(width, 844)
    chromium.theme(dark)
    sign_in(chromium, server, "ann", language)
    go(chromium, f"#/desk/{customer_id(server)}", ".conversation")
    assert fits(chromium)
    if dark:  # in both themes; once is enough
        chromium.run("document.querySelector('.transcript').scrollTop = 0")
        assert problems(chromium, dark) == []
    chromium.press("t")
    chromium.until("document.querySelector('.suggestion')")
    chromium.press("1")
    suggested = chromium.until("document.querySelector('.composer textarea').value")
    chromium.press("Enter")
    chromium.until("[...document.querySelectorAll('.turn.agent')].length === 1")
    desk = chromium.window(page)
    customer.until("root.querySelector('.turn.agent')")
    assert customer.turns[-1] == ["agent", suggested]
    chromium.run(f"document.querySelector('{HOST}').shadowRoot.querySelector('textarea').focus()")
    customer.say("so be it")
    chromium.window(desk)
    chromium.until("[...document.querySelectorAll('.turn.visitor .turn-text')].at(-1)?.textContent === 'so be it'")
    chromium.run("scrollTo(0, 0)")  # below the head of the page, which is sticky
    if not dark:
        chromium.run("[...document.querySelectorAll('.turn.visitor button')].at(-1).click()")
        chromium.type("dialog input[list]", "small_talk\ue007")
        chromium.until("document.querySelector('.toast.good')")
        labels = server.ask.get(f"/v1/apps/{NAME}/labels").json()["labels"]
        assert [(one["text"], one["intent"]) for one in labels] == [("so be it", "small_talk")]
    chromium.click(".conversation-head button", DESK[language]["close"])
    chromium.until("!document.querySelector('.composer').checkVisibility()")
    chromium.close_window(page)
    customer.until("root.querySelector('.rate')")
    assert not dark or problems(chromium, dark, HOST) == []
    customer.run("root.querySelector('[name=score][value=\"4\"]').click()")
    customer.run("root.querySelector('.rate textarea').focus()")
    chromium.press(*"quick")
    customer.press(words["rate"])
    assert words["thanks"] in customer.until("root.querySelector('.rate [role=status]')?.textContent")
    stored = server.ask.get(f"/v1/desk/conversations/{customer.id}").json()
    assert (stored["stage"], stored["satisfaction"], stored["comment"]) == ("closed", 4, "quick")
    assert chromium.complaints(lambda message: "/v1/session" in message) == []


def customer_id(server: Running) -> str:
    """The conversation that waits."""
    (found,) = server.ask.get("/v1/desk/conversations", params={"stage": "waiting"}).json()["conversations"]
    return str(found["id"])


@pytest.mark.parametrize(("language", "width", "dark"), [("en", 1280, False), ("zh", 390, True)])
def test_what_was_added_to_the_faq_is_corrected_and_withdrawn(chromium, server, site, language, width, dark) -> None:
    chromium.fresh(server.url, width, dark)
    sign_in(chromium, server, "ann", language)
    go(chromium, "#/entries", ".empty")
    chromium.click("main header button")
    chromium.type("dialog input", "Do you sell umbrellas?")
    chromium.type("dialog textarea", "Yes, call +49 30 12345678.")
    assert problems(chromium, dark) == []
    chromium.click("dialog button.primary")
    chromium.until("document.querySelector('.card') && !document.querySelector('dialog[open], main[aria-busy]')")
    assert chromium.run("return document.querySelector('.card .given').innerText") == "Yes, call <PHONE_1>."
    assert fits(chromium)
    assert problems(chromium, dark) == []
    chromium.click(".card button")
    assert chromium.until("document.querySelector('dialog textarea')?.value") == "Yes, call <PHONE_1>."
    chromium.run("document.querySelector('dialog textarea').value = ''")
    chromium.type("dialog textarea", "Yes, on the second floor.")
    chromium.click("dialog button.primary")
    chromium.until("document.querySelector('.card .given')?.innerText === 'Yes, on the second floor.'")
    (entry,) = server.ask.get(f"/v1/apps/{NAME}/entries").json()["entries"]
    assert (entry["version"], entry["language"]) == (2, "en")
    chromium.run("[...document.querySelectorAll('.card button')].at(-1).click()")
    chromium.until("document.querySelector('dialog[open] button')")
    chromium.run("[...document.querySelectorAll('dialog[open] button')].at(-1).click()")
    chromium.until("document.querySelector('.empty')")
    assert server.ask.get(f"/v1/apps/{NAME}/entries").json()["entries"] == []
    assert chromium.complaints(lambda message: "/v1/session" in message) == []


@pytest.mark.parametrize(("language", "width", "dark"), [("en", 1280, False), ("zh", 390, True)])
def test_an_entry_takes_the_place_of_the_answer_that_is_chosen(chromium, server, site, monkeypatch, language, width, dark) -> None:
    """The list shows titles and the old answer in the language of the person."""
    old = {"en": "It costs 2 euros.", "zh": "两欧元。"}
    wrapping = FaqEntry(id="gift", title={"en": "Gift wrapping", "zh": "礼品包装"}, questions={"en": ["Do you wrap"]}, answer=old)
    product = server.service.chats.products.products[NAME]
    monkeypatch.setitem(product.pack.faq, "gift", wrapping)
    chromium.fresh(server.url, width, dark)
    sign_in(chromium, server, "ann", language)
    go(chromium, "#/entries", ".empty")
    chromium.click("main header button")
    chromium.type("dialog input", "Can you wrap it?")
    assert chromium.run("return [...document.querySelectorAll('dialog option')].map((one) => one.value)") == ["", "gift"]
    chromium.type("dialog select", wrapping.title[language])
    assert chromium.until("document.querySelector('dialog [role=status].hint')?.textContent").endswith(old[language])
    assert problems(chromium, dark) == []
    chromium.type("dialog textarea", "It is free now.")
    chromium.click("dialog button.primary")
    assert wrapping.title[language] in chromium.until("document.querySelector('.card .badge')?.textContent")
    assert fits(chromium)
    (entry,) = server.ask.get(f"/v1/apps/{NAME}/entries").json()["entries"]
    assert (entry["replaces"], entry["question"], entry["answer"]) == ("gift", "Can you wrap it?", "It is free now.")
    chromium.click("main header button")
    chromium.type("dialog select", wrapping.title[language])
    assert chromium.until("document.querySelector('dialog [role=status].hint')?.textContent").endswith("It is free now.")
    monkeypatch.delitem(product.pack.faq, "gift")
    chromium.type("dialog input", "And this one?")
    chromium.type("dialog textarea", "No.")
    chromium.click("dialog button.primary")
    assert chromium.until("document.querySelector('.toast.bad p')?.textContent").startswith(NO_ENTRY[language])
    chromium.press("Escape")
    assert server.ask.delete(f"/v1/apps/{NAME}/entries/{entry['id']}").status_code == 204
    assert chromium.complaints(lambda message: "/v1/session" in message or "422" in message) == []


def test_what_is_written_without_a_connection_is_sent_once_and_in_order(chromium, server, site) -> None:
    customer = Customer(chromium, site)
    customer.say("one")
    customer.sees("one")
    chromium.offline(True)
    customer.say("two")
    customer.say("three")
    customer.until("root.querySelectorAll('.turn[id]').length === 2 && root.querySelector('[role=status]').textContent.includes('sent')")
    chromium.offline(False)
    chromium.run("dispatchEvent(new Event('online'))")
    customer.sees("one", "two", "three")
    turns = server.ask.get(f"/v1/desk/conversations/{customer.id}").json()["turns"]
    assert [turn["text"] for turn in turns if turn["author"] == "visitor"] == ["one", "two", "three"]
    assert [text for author, text in customer.turns if author == "visitor"] == ["one", "two", "three"]


def test_where_streams_are_held_back_the_chat_asks_again_and_again(chromium, server, site) -> None:
    customer = Customer(chromium, site)
    chromium.cdp("Network.setBlockedURLs", urls=["*/events*"])
    try:
        customer.open(f"{site.url}/en")
        customer.say("person")
        customer.sees("person")
        path = f"/v1/desk/conversations/{customer.id}"
        assert server.ask.post(f"{path}/take", json={}).status_code == 200
        assert server.ask.post(f"{path}/messages", json={"message": "a", "text": "I am here"}).status_code == 200
        customer.until("root.querySelector('.turn.agent p')?.innerText === 'I am here'")
        chromium.press("Escape")
        assert customer.run("root.querySelector('.panel').hidden && root.activeElement === root.querySelector('.launch')")
        assert server.ask.post(f"{path}/messages", json={"message": "b", "text": "are you?"}).status_code == 200
        customer.until("root.querySelector('.launch').textContent === 'Customer service (1 new)'")
        assert server.ask.post(f"{path}/return", json={}).status_code == 200
    finally:
        chromium.cdp("Network.setBlockedURLs", urls=[])
    customer.press("Customer service (1 new)")
    customer.until("!root.querySelector('.foot button').hidden")
    customer.say("again")
    customer.sees("person", "again")


def test_a_page_that_was_left_frees_its_connection_and_goes_on_when_the_visitor_is_back(server, site, tmp_path) -> None:
    """More than once, and by a stream each time; what a person wrote meanwhile is there, too."""
    chromium = start_chromium(tmp_path, keeps_pages=True)
    try:
        customer = Customer(chromium, site)
        customer.say("person")
        customer.sees("person")
        id, streams = customer.id, server.service.chats.watchers._events
        path = f"/v1/desk/conversations/{id}"
        assert server.ask.post(f"{path}/take", json={}).status_code == 200
        chromium.run("window.same = true")
        for text in ("first", "second"):
            until(lambda: id in streams)
            chromium.run("setTimeout(() => (location.href = '/plain'))")
            chromium.until("location.pathname === '/plain'")
            until(lambda: id not in streams)
            assert server.ask.post(f"{path}/messages", json={"message": text, "text": text}).status_code == 200
            chromium.requests()
            chromium.run("setTimeout(() => history.back())")
            customer.until(f"window.same && [...root.querySelectorAll('.agent p')].at(-1)?.innerText === '{text}'")
            assert [url for url in chromium.requests() if "/events" in url]
    finally:
        chromium.close()


def test_a_message_is_sent_again_while_a_model_is_missing(chromium, server, site, monkeypatch) -> None:
    """Which the server may say with the status of a conversation that is gone, too."""
    customer, answer = Customer(chromium, site), Ledger.answer
    missing = [NotFound("No model is served under the name 'ledger-intents'. Wait."), Unavailable("It is being prepared. Wait.")]

    def answer_later(self: Ledger, *given: Any) -> Any:
        if missing:
            raise missing.pop()
        return answer(self, *given)

    monkeypatch.setattr(Ledger, "answer", answer_later)
    begun = customer.id
    customer.say("one")
    customer.sees("one")
    assert (missing, customer.id) == ([], begun)


def test_all_tabs_follow_to_a_new_conversation(chromium, site) -> None:
    customer = Customer(chromium, site)
    customer.say("one")
    customer.sees("one")
    first = chromium.window()
    customer.open(f"{site.url}/en")
    customer.press("End chat")
    customer.press("New chat")
    customer.until("root.querySelectorAll('.turn').length === 1")
    customer.say("two")
    customer.sees("two")
    chromium.close_window(first)
    customer.sees("two")
    assert [text for author, text in customer.turns if author == "visitor"] == ["two"]


def test_a_tab_that_only_reads_what_is_kept_writes_nothing(chromium, site) -> None:
    """It may read late, and must not undo what another tab writes meanwhile."""
    customer = Customer(chromium, site)
    written = chromium.run("const [name] = Object.keys(localStorage); return localStorage[name] += ' '")
    chromium.run("dispatchEvent(new StorageEvent('storage'))")
    assert chromium.run("return Object.values(localStorage)[0]") == written
    customer.say("one")
    customer.sees("one")


def test_a_late_answer_of_a_chat_that_has_ended_does_not_end_the_next_one(chromium, site) -> None:
    customer = Customer(chromium, site)
    customer.say("one")
    customer.sees("one")
    chromium.run(
        "const sent = window.fetch; window.late = new Promise((done) => (window.arrive = done));"
        "window.fetch = async (url, asked) => {"
        "  const found = await sent(url, asked); if (url.endsWith('/close')) await window.late; return found; }"
    )
    customer.press("End chat")
    customer.press("New chat")  # the stream has told that the first one has ended
    customer.until("root.querySelectorAll('.turn').length === 1 && !root.querySelector('form').hidden")
    chromium.run("window.arrive(); return new Promise((done) => setTimeout(done, 200))")
    customer.say("two")
    customer.sees("two")


def test_a_page_chooses_the_colours(chromium, site) -> None:
    customer = Customer(chromium, site)
    colour = "getComputedStyle(root.querySelector('form .main')).backgroundColor"
    before = customer.run(colour)
    chromium.run("document.documentElement.style.setProperty('--vertune-accent', 'rgb(1, 2, 3)')")
    assert before != "rgb(1, 2, 3)" == customer.run(colour)


def test_a_conversation_that_was_deleted_begins_anew_with_what_was_written(chromium, server, site) -> None:
    customer = Customer(chromium, site)
    customer.say("one")
    customer.sees("one")
    token = chromium.run("return Object.values(localStorage).map(JSON.parse).find((one) => one.id).token")
    headers = {"Authorization": f"Bearer {site.key}", "Origin": site.url, "X-Conversation-Token": token}
    old = customer.id
    assert server.stranger.delete(f"/v1/apps/{NAME}/conversations/{old}", headers=headers).status_code == 204
    customer.say("two")
    customer.sees("two")
    assert customer.id != old


def test_a_manager_tries_questions_and_deals_with_unanswered_ones(chromium, server, site, secrets) -> None:
    for _ in range(3):
        Visitor(server, server.keys.create("any", ["chat"])[0]).say("unknown colour of the moon")
    chromium.fresh(server.url)
    sign_in(chromium, server, "boss", "en")
    go(chromium, "#/ask", ".asking")
    chromium.type(".asking input", "which\ue007")
    chromium.click(".turn.bot button", "one")
    chromium.until("[...document.querySelectorAll('.turn.bot .turn-text')].at(-1).textContent === arguments[0]", reply("which", "one"))
    assert problems(chromium) == []
    go(chromium, "#/unanswered", ".cluster")
    assert problems(chromium) == []
    chromium.click(".cluster button", "Add to an intent")
    chromium.type("dialog input[list]", "moon")
    chromium.click("dialog button[type=submit]")
    chromium.until("document.querySelector('.toast.good')")
    labels = server.ask.get(f"/v1/apps/{NAME}/labels").json()["labels"]
    assert [one["text"] for one in labels if one["intent"] == "moon"] == 3 * ["unknown colour of the moon"]
    go(chromium, "#/canned", ".page-canned h1")
    chromium.click("main button", "New reply")
    chromium.type("dialog input", "Greeting")
    chromium.type("dialog textarea", "Good day")
    chromium.click("dialog button[type=submit]")
    chromium.until("document.querySelector('table td')?.textContent === 'Greeting'")
    assert chromium.complaints(lambda message: "/v1/session" in message) == []
