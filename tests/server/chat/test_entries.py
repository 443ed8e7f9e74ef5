"""Entries that people add at the desk: found at once, by every server, by their customer alone; and suggestions that people can send.

The app is `customer_service` with a small pack. Its model is replaced by a predictor that compares words, so that nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.server.chat.conftest import IDS
from tests.server.running import Running, problem, until
from vertune.apps.customer_service import CustomerService
from vertune.core.artifact import Artifact, Home
from vertune.products.additions import Additions
from vertune.products.passages import INDEX, intent_passages, learnt_from_faq, pack_passages
from vertune.products.product import Content, Product
from vertune.products.training import read_messages
from vertune.retrieval.index import Index
from vertune.server.chat import live
from vertune.server.settings import ChatSettings
from vertune.store import audit, entries
from vertune.store.database import FILE, Database
from vertune.store.deletion import Deletion, carry_out
from vertune.store.keys import Keys
from vertune.testing.apps import ByWords
from vertune.testing.tiny_pack import tiny_pack

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
ENTRY = {"question": "Do you sell umbrellas?", "answer": "Yes, on the second floor."}


class ByWordsTogether:
    """The predictor by words in the form of models."""

    def __init__(self, words: ByWords) -> None:
        self.words = words

    def ask_together(self, questions, deadline=30.0, client=""):
        return {name: self.words.predict({"intents": records})["intents"] for name, records in questions.items()}


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Callable[[], Product]:
    """Opens the product, as each server does by itself."""
    folder = tmp_path_factory.mktemp("shop")
    pack = tiny_pack(folder / "pack", "bert")
    words, rows = ByWords(pack), read_messages(pack.path("intents/train.csv"))
    messages = [*read_messages(pack.path("calibration.csv")), *learnt_from_faq(pack)[0]]
    learnt = CustomerService.of_pack(pack).learn(messages, words)
    Index.build(folder / INDEX, [*pack_passages(pack), *intent_passages(pack, rows)], None)
    content = Content(app="customer_service", pack="tiny", digest="", slots={"intents": "m"}, learnt=learnt)

    def opened() -> Product:
        index = Index.open(folder / INDEX)
        app = CustomerService.of_pack(pack, learnt)
        models = ByWordsTogether(words)
        return Product(Artifact(folder), "shop", content, app, pack, models=models, index=index, additions=Additions(index, pack))

    return opened


@pytest.fixture(scope="module")
def servers(tmp_path_factory, products) -> Iterator[list[Running]]:
    """Two servers on one database."""
    home = Home(tmp_path_factory.mktemp("two") / "home")
    home.folder.mkdir()
    keys = Keys(Database(home.folder / FILE))
    secret = keys.create("admin", ["admin"])[0]
    keys.close()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(live, "INTERVAL", 0.05)
        made = []
        for _ in range(2):
            running = Running(home, secret, chat=ChatSettings(rate="1000/second", beginnings="1000/second"))
            running.service.chats.products.products = {"shop": (product := products())}
            running.service.chats.products._aliases = lambda id=product.artifact.id: {"shop": id}
            made.append(stack.enter_context(running))
        yield made


@pytest.fixture
def as_customer(servers) -> Callable[..., Any]:
    """Asks one of the servers with a key of a customer."""
    made: dict[str, str] = {}

    def ask(server: int, customer: str, method: str, path: str, **body: Any) -> Any:
        if customer not in made:
            made[customer] = servers[0].keys.create(customer, ["review", "chat", "predict"], customer=customer)[0]
        json = body if method in ("POST", "PUT") else None
        headers = {"Authorization": f"Bearer {made[customer]}"}
        return servers[server].stranger.request(
            method, f"/v1/{path}", headers=headers, json=json, params=None if json is not None else body
        )

    return ask


class Talk:
    """A conversation of a customer of the shop with one of the servers."""

    def __init__(self, as_customer, customer: str, server: int = 0, **body: Any) -> None:
        self.ask, self.customer, self.server = as_customer, customer, server
        begun = as_customer(server, customer, "POST", "apps/shop/conversations", **body)
        self.id = begun.json()["id"]
        self.token = {"X-Conversation-Token": begun.json()["token"]}
        self.begun = begun.request.headers["Authorization"]

    def post(self, servers: list[Running], what: str, **body: Any) -> Any:
        headers = {"Authorization": self.begun, **self.token}
        path = f"/v1/apps/shop/conversations/{self.id}/{what}"
        return servers[self.server].stranger.post(path, json={"message": f"m{next(IDS)}", **body}, headers=headers)


def tried(as_customer, server: int, customer: str, text: str = "do you sell umbrellas") -> dict[str, Any]:
    return as_customer(server, customer, "POST", "apps/shop/try", text=text).json()["reply"]


def says(reply: dict[str, Any], answer: str) -> bool:
    """Whether a reply gives an answer, or offers what has it."""
    return answer in reply["text"] or any(one["text"] == answer for one in reply["evidence"])


def listed(as_customer, customer: str, server: int = 0, **query: Any) -> list[dict[str, Any]]:
    return as_customer(server, customer, "GET", "apps/shop/entries", **query).json()["entries"]


def test_an_entry_is_found_by_both_servers_and_by_its_customer_alone(as_customer) -> None:
    assert not says(tried(as_customer, 0, "rain"), ENTRY["answer"])
    added = as_customer(0, "rain", "POST", "apps/shop/entries", **ENTRY)
    assert (added.status_code, added.json()["version"], added.json()["language"]) == (201, 1, "en")
    assert says(tried(as_customer, 0, "rain"), ENTRY["answer"]), "the server that took it finds it at once"
    until(lambda: says(tried(as_customer, 1, "rain"), ENTRY["answer"]), 3.0)
    assert not any(says(tried(as_customer, server, "sun"), ENTRY["answer"]) for server in (0, 1))
    assert listed(as_customer, "sun") == []
    assert [one["question"] for one in listed(as_customer, "rain", 1)] == [ENTRY["question"]]


def test_an_entry_is_corrected_and_withdrawn_on_both_servers(as_customer) -> None:
    made = as_customer(0, "wind", "POST", "apps/shop/entries", **ENTRY).json()
    path = f"apps/shop/entries/{made['id']}"
    text = {"question": ENTRY["question"], "answer": "Call +49 30 12345678."}
    corrected = as_customer(1, "wind", "PUT", path, version=1, **text).json()
    assert (corrected["version"], corrected["answer"]) == (2, text["answer"]), "somebody has read it again, so it is not masked"
    assert "has the version 2" in problem(as_customer(0, "wind", "PUT", path, version=1, **text), 409)
    for server in (0, 1):
        until(lambda server=server: says(tried(as_customer, server, "wind"), text["answer"]), 3.0)
        assert not says(tried(as_customer, server, "wind"), ENTRY["answer"])
    problem(as_customer(0, "sun", "DELETE", path), 404)
    problem(as_customer(0, "sun", "GET", path), 404)
    assert as_customer(0, "wind", "DELETE", path).status_code == 204
    for server in (0, 1):
        until(lambda server=server: not says(tried(as_customer, server, "wind"), text["answer"]), 3.0)
    assert listed(as_customer, "wind") == []
    assert [one["version"] for one in listed(as_customer, "wind", withdrawn=True)] == [3]
    assert [one["answer"] for one in as_customer(0, "wind", "GET", path).json()["versions"]] == [ENTRY["answer"], text["answer"], None]


def test_an_answer_of_the_pack_is_replaced_and_not_doubled(as_customer) -> None:
    made = as_customer(0, "gift", "POST", "apps/shop/entries", question="do you wrap presents", answer="It is free now.").json()
    assert made["replaces"] == "gift_wrap"
    reply = tried(as_customer, 0, "gift", "Do you wrap presents?")
    assert says(reply, "It is free now.")
    assert not says(reply, "Yes, gift wrapping costs 2 euros.")
    assert says(tried(as_customer, 0, "sun", "Do you wrap presents?"), "Yes, gift wrapping costs 2 euros.")
    again = as_customer(1, "gift", "POST", "apps/shop/entries", question="wrap it", answer="It is free.", replaces="gift_wrap").json()
    assert (again["id"], again["version"]) == (made["id"], 2)
    assert "gift_wrap" in problem(as_customer(0, "gift", "POST", "apps/shop/entries", **ENTRY, replaces="gift_wrapp"), 422)


def test_the_answers_of_the_pack_are_listed_to_be_replaced(servers, as_customer, monkeypatch) -> None:
    found = as_customer(0, "list", "GET", "apps/shop/faq").json()["entries"]
    assert [one["id"] for one in found] == ["gift_wrap", "abroad"]
    assert found[0]["title"] == {"en": "Gift wrapping", "zh": "礼品包装"}
    assert found[1]["title"]["en"] == "Do you ship abroad", "one without a title has its question"
    assert found[1]["answer"]["en"] == "We ship to all of Europe."
    faq = servers[0].service.chats.products.products["shop"].pack.faq
    monkeypatch.setitem(faq, "abroad", faq["abroad"].model_copy(update={"customer": "rain"}))
    assert [one["id"] for one in as_customer(0, "list", "GET", "apps/shop/faq").json()["entries"]] == ["gift_wrap"]
    assert "abroad" not in problem(as_customer(0, "list", "POST", "apps/shop/entries", **ENTRY, replaces="abroa"), 422)
    same = as_customer(0, "list", "POST", "apps/shop/entries", question="do you ship abroad", answer="No.").json()
    assert same["replaces"] is None, "it would be found by the title of another customer's entry"
    assert [one["id"] for one in as_customer(0, "rain", "GET", "apps/shop/faq").json()["entries"]] == ["gift_wrap", "abroad"]


def test_what_is_taught_at_the_desk_is_an_entry_of_the_customer_of_the_conversation(servers, as_customer) -> None:
    talk = Talk(as_customer, "desk", language="en")
    asked = "do you repair the umbrella of +49 30 12345678"
    talk.post(servers, "messages", text=asked)
    stored = as_customer(0, "desk", "GET", f"desk/conversations/{talk.id}").json()["turns"][1]["text"]
    assert "12345678" not in stored
    entry = {"question": asked, "answer": "Dear +49 30 12345678, yes."}
    path = f"desk/conversations/{talk.id}/label"
    given = servers[0].ask.post(f"/v1/{path}", json={"turn": 2, "entry": entry}).json()  # by the operator, who has another customer
    (one,) = listed(as_customer, "desk")
    assert (one["id"], one["customer"], one["language"]) == (given["entry"], "desk", "en")
    assert (one["question"], one["answer"]) == (stored, "Dear <PHONE_1>, yes."), "others will read what was written to one person"
    label = as_customer(0, "desk", "GET", f"desk/conversations/{talk.id}").json()["turns"][1]["label"]
    assert label["entry"] == {"id": one["id"], "question": one["question"], "answer": one["answer"], "language": "en"}
    assert says(tried(as_customer, 0, "desk", "do you repair the umbrella"), "Dear <PHONE_1>, yes.")


def test_an_entry_is_deleted_with_the_message_that_it_quotes(servers, as_customer) -> None:
    talk = Talk(as_customer, "quoted", language="en")
    talk.post(servers, "messages", text="umbrella of my late aunt 0301234567")
    stored = as_customer(0, "quoted", "GET", f"desk/conversations/{talk.id}").json()["turns"][1]["text"]
    body = {"turn": 2, "entry": {"question": stored, "answer": "Yes."}}
    assert as_customer(0, "quoted", "POST", f"desk/conversations/{talk.id}/label", **body).json()["entry"]
    deleted = carry_out(servers[1].database, Deletion(records=[{"text": "umbrella of my late aunt 0301234567"}]), "test")
    assert deleted["entries"] == 1
    until(lambda: not says(tried(as_customer, 0, "quoted", "umbrella of my late aunt"), "Yes."), 3.0)
    assert [one["question"] for one in listed(as_customer, "quoted", withdrawn=True)] == [None]


def test_an_entry_is_deleted_with_the_question_as_it_was_written(servers, as_customer) -> None:
    question = "may my aunt +49 30 12345678 bring it back"
    made = as_customer(0, "written", "POST", "apps/shop/entries", question=question, answer="Yes.").json()
    assert "12345678" not in made["question"]
    assert carry_out(servers[1].database, Deletion(records=[{"text": question}]), "test")["entries"] == 1


def test_unanswered_messages_become_one_entry(servers, as_customer) -> None:
    for text in ("xylophone marimba", "marimba xylophone"):
        talk = Talk(as_customer, "group", language="en")
        for _ in range(2):  # after the second one, a person takes over
            talk.post(servers, "messages", text=text)
    found = as_customer(0, "group", "GET", "apps/shop/unanswered").json()
    places = [{"conversation": one["conversation"], "turn": one["turn"]} for one in found["clusters"][0]["examples"]]
    entry = {"question": "Have you a xylophone or marimba?", "answer": "In the yard."}
    given = as_customer(0, "group", "POST", "apps/shop/unanswered", examples=places, entry=entry).json()
    assert (given["labels"], len(given["entries"])) == (len(places), 1)
    assert says(tried(as_customer, 0, "group", "xylophone marimba"), "In the yard.")
    assert listed(as_customer, "group")[0]["question"] == entry["question"]


def test_a_server_goes_on_with_the_entries_that_it_has(servers, as_customer, monkeypatch, caplog) -> None:
    as_customer(0, "steady", "POST", "apps/shop/entries", **ENTRY)
    with monkeypatch.context() as patch:
        patch.setattr(Product, "with_entries", lambda self, found: 1 / 0)
        added = as_customer(0, "steady", "POST", "apps/shop/entries", question="Is it raining?", answer="No.")
        assert added.status_code == 201
        assert says(tried(as_customer, 0, "steady"), ENTRY["answer"])
        assert "does not search the newest entries yet: ZeroDivisionError" in caplog.text
    until(lambda: says(tried(as_customer, 0, "steady", "is it raining"), "No."), 3.0)


def test_changes_are_in_the_audit_without_texts(servers, as_customer) -> None:
    made = as_customer(0, "audited", "POST", "apps/shop/entries", **ENTRY).json()
    with servers[0].database.reading() as connection:
        found = audit.about(connection, made["id"], "")
        (row,) = entries.current(connection, "shop", "audited")
    assert [(one.action, one.actor) for one in found] == [("add entry", row.actor)]
    assert "umbrella" not in str(found)


# ------------------------------------------------------------------ suggestions, and what a visitor wrote last


def suggestions(servers, as_customer, customer: str, text: str, **body: Any) -> list[dict[str, Any]]:
    talk = Talk(as_customer, customer, **body)
    talk.post(servers, "messages", text=text)
    before = as_customer(0, customer, "GET", f"desk/conversations/{talk.id}").json()
    found = as_customer(0, customer, "GET", f"desk/conversations/{talk.id}/suggestions").json()["suggestions"]
    assert as_customer(0, customer, "GET", f"desk/conversations/{talk.id}").json() == before, "a suggestion changes nothing"
    return found


@pytest.mark.parametrize(
    ("language", "text", "answer", "title"),
    [
        ("en", "tell me of card and return now", "We take cards, and send invoices by mail.", "Paying and invoices"),
        ("zh", "付款退货", "支持刷卡，发票用邮件发送。", "付款和发票"),
        (None, "付款退货", "支持刷卡，发票用邮件发送。", "付款和发票"),
    ],
)
def test_an_intent_that_search_finds_is_suggested_as_its_answer(servers, as_customer, language, text, answer, title) -> None:
    found = suggestions(servers, as_customer, "suggested", text, **({"language": language} if language else {}))
    assert (title, answer) in [(one["title"], one["text"]) for one in found]
    shown = [one["title"] for one in found] + [one["text"] for one in found]
    assert not {"track_order", "returns", "payment", "hours", "complaint", "gift_wrap", "abroad"} & set(shown)
    assert not [text for text in shown if "intent:" in text or "@" in text]
    assert [one["id"] for one in found] == [str(place) for place in range(1, len(found) + 1)]


def test_an_intent_that_begins_a_flow_or_needs_a_person_is_not_suggested(servers, as_customer) -> None:
    found = suggestions(servers, as_customer, "suggested", "parcel and complaint", language="en")
    assert not {"Where is my parcel", "A complaint"} & {one["text"] for one in found}
    assert not [one for one in found if "order number" in one["text"]]


def test_an_added_entry_is_suggested(servers, as_customer) -> None:
    as_customer(0, "agent", "POST", "apps/shop/entries", **ENTRY)
    found = suggestions(servers, as_customer, "agent", "do you sell umbrellas", language="en")
    assert [one["text"] for one in found].count(ENTRY["answer"]) == 1
    assert not any("added:" in f"{one['id']}{one['title']}" for one in found)


@pytest.mark.parametrize("ending", ["handoff", "silence"])
def test_the_last_text_of_a_visitor_is_shown_whatever_happened_since(servers, as_customer, ending) -> None:
    talk = Talk(as_customer, "last", language="en")
    talk.post(servers, "messages", text="what about return for me")
    if ending == "handoff":
        assert talk.post(servers, "handoff").json()["stage"] == "waiting"
    else:
        assert talk.post(servers, "messages", event="silence").status_code == 200
    assert as_customer(0, "last", "GET", f"desk/conversations/{talk.id}").json()["last"] == "what about return for me"
    found = as_customer(0, "last", "GET", "desk/conversations").json()["conversations"]
    assert next(one for one in found if one["id"] == talk.id)["last"] == "what about return for me"
