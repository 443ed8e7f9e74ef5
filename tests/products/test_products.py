"""From a pack to a product that replies, with a real model on a tiny base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vertune.apps.customer_service import CustomerService
from vertune.cli import main
from vertune.core.app import Request, Said
from vertune.core.conversation import Conversation
from vertune.core.errors import ConfigError, Conflict, DataError, NotFound, StorageError
from vertune.core.pack import Pack
from vertune.products import live
from vertune.products.product import Product
from vertune.products.training import train
from vertune.steps.remove import remove
from vertune.testing.tiny_pack import tiny_pack

RETURNS = "what about return for me"


def test_it_replies_and_keeps_its_state_as_json(product):
    reply, state = product.reply(Request(RETURNS))
    assert reply.action in {"answer", "clarify"}
    assert "returns" in {one.id for one in reply.evidence}
    assert json.loads(json.dumps(state)) == state
    assert state["turns"] == 1
    assert "asked_for" in product.reply(Request("转人工"), state)[0].reasons
    assert "not a person" in product.greeting("en").text
    assert "damaged" in product.summary([Said("visitor", "my parcel was damaged")], state)


def test_it_says_what_it_is_made_of(product, made):
    assert product.title == {"en": "Tiny shop", "zh": "小店"}
    assert product.verticals == {"intents": "shop-intents"}
    assert product.content.passages == len(product.index) == 11
    assert product.content.learnt["messages"] > 300
    assert product.content.learnt["search"]["messages"] > 0
    assert not product.stale(made[0])
    assert {path.name for path in (product.artifact.folder / "pack").iterdir()} == {
        "answers.yaml", "faq.yaml", "flows.yaml", "pack.yaml", "tests.yaml",
    }  # fmt: skip


def test_a_message_that_is_too_long_or_a_strange_state_is_refused(product):
    with pytest.raises(DataError, match="10,001 characters"):
        product.reply(Request("x" * 10_001))
    with pytest.raises(StorageError, match="state"):
        product.reply(Request("hi"), {"unknown": 1})


def test_search_finds_what_all_may_see(product):
    asking = product.asking()
    assert asking.search("do you wrap presents", 1)[0].id == "gift_wrap@en"
    assert asking.search("能包成礼物吗", 1)[0].id == "gift_wrap@zh"
    assert asking.search(" ", 1) == []
    assert asking.predict({"mood": [{"text": "x"}]}) == {}


def test_training_again_uses_what_is_finished(home, made, monkeypatch):
    monkeypatch.setattr("vertune.steps.train.train", lambda *_, **__: pytest.fail("the model exists"))
    again = train(Pack(made[1]), "shop", home)
    assert again.reused == ("intents",)
    assert again.product.id != home.aliases("products")["shop@live"]
    assert live.go_live(again.product, home, None)
    assert home.aliases("products")["shop@live"] == again.product.id


def test_an_interrupted_training_goes_on(home, made, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CustomerService, "learn", broken)
        with pytest.raises(KeyboardInterrupt):
            train(Pack(made[1]), "shop", home)
    (run,) = home.runs()
    monkeypatch.setattr(
        "vertune.retrieval.index.Index.build", lambda folder, *_: pytest.fail("the index exists") if folder.name == "index" else None
    )
    monkeypatch.setattr(CustomerService, "learn", lambda *_: {})
    assert train(Pack(made[1]), "shop", home).product.id == run.id


def test_a_pack_whose_slot_does_not_fit_is_refused(tmp_path, home):
    pack = tiny_pack(tmp_path / "tiny", "bert")
    run = pack.folder / "intents" / "run.yaml"
    run.write_text(run.read_text().replace("task: classify", "task: regress"))
    with pytest.raises(ConfigError, match="needs 'classify'"):
        train(pack, "other", home)
    shutil.move(run, pack.folder / "run.yaml")
    (pack.folder / "pack.yaml").write_text((pack.folder / "pack.yaml").read_text().replace("intents/run.yaml", "run.yaml"))
    with pytest.raises(ConfigError, match="a folder of its own"):
        train(Pack(pack.folder), "other", home)


def test_what_a_live_product_needs_is_not_removed(home):
    product = home.get("products", "shop")
    model = home.get("models", "shop-intents")
    home.unalias("shop-intents@live")
    for id in (model.id, product.id):
        with pytest.raises(Conflict, match="can't be removed"):
            remove(home, id)


def test_a_retrained_model_makes_the_product_stale(home):
    product = Product.open(home, "shop")
    model = home.get("models", "shop-intents")
    shutil.copytree(model.folder, model.folder.with_name(f"{model.id}0"))
    (home.folder / "aliases" / "shop-intents@live").write_text(f"{model.id}0\n")
    assert product.stale(home) == {"intents": f"{model.id}0"}


def test_evaluation_writes_figures_baselines_and_a_page(home, made):
    found = live.evaluate(home.get("products", "shop"), home)
    content = json.loads((found.report.folder / "product.json").read_text())
    page = (found.report.folder / "report.html").read_text()
    assert set(found.baselines) == {"nearest", "majority"}
    assert content["turns"] == 7
    assert content["figures"]["handoff_recall"]["value"] == 1
    assert set(content["kinds"]) == {"answer", "person", "out_of_scope", "flow"}
    assert content["verdict"] == found.verdict in {"pass", "unknown"}
    assert "how often is it wrong?" in page
    assert "the most frequent intent" in page


def test_a_product_that_answers_wrongly_does_not_go_live(home, made):
    wrong = [Conversation(kind="wrong", turns=[{"choice": "entry:gift_wrap", "expect": {"outside": True}}]) for _ in range(60)]
    product = train(Pack(made[1]), "shop", home).product
    judged = live.evaluate(product, home, wrong)
    assert judged.figures["false_answers"].hits == 60
    assert judged.verdict == "fail"
    before = home.aliases("products")["shop@live"]
    assert not live.go_live(product, home, judged)
    assert home.aliases("products")["shop@live"] == before
    assert live.go_live(product, home, judged, accept=True)


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    return int(left.value.code or 0)


def test_the_command_goes_from_a_pack_to_a_report(home, made, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VERTUNE_HOME", str(home.folder))
    monkeypatch.chdir(tmp_path)
    assert command("app", "shop", "init", str(made[1])) == 0
    assert Path("shop/intents/train.csv").exists()
    assert command("app", "shop", "train", "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["live"] is True
    assert home.aliases("products")["shop@live"] == trained["product"]
    Path("c.jsonl").write_text(json.dumps({"turns": [{"say": "转人工", "expect": {"action": "handoff"}}]}))
    assert command("app", "shop", "eval", "c.jsonl") == 0
    assert "handoff recall" in capsys.readouterr().out
    assert command("app", "shop", "list") == 0
    shown = capsys.readouterr().out
    assert trained["product"] in shown
    assert command("app", "shop", "init", str(made[1])) == Conflict.exit_code
    assert command("app", "nothing", "eval") == NotFound.exit_code
    assert command("app", "other", "init") == ConfigError.exit_code
