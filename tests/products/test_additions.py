"""Entries that people add to a product: found at once by their customer alone, corrected, withdrawn, and part of the next product once."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vertune.cli import main
from vertune.core.app import Request
from vertune.core.errors import Busy, StorageError
from vertune.core.pack import Pack
from vertune.products import live
from vertune.products.additions import Additions, is_same_question, merged, replaced_entry
from vertune.products.product import Product
from vertune.products.training import train
from vertune.retrieval.index import Index
from vertune.retrieval.passages import Passage
from vertune.store import entries
from vertune.store.database import FILE, Database
from vertune.store.entries import Draft, Entry
from vertune.testing.tiny_pack import tiny_pack

NOW = "2030-01-01T00:00:00.000000+00:00"
ASKED = "do you sell umbrellas"


def entry(id: str = "a", version: int = 1, **values) -> Entry:
    base = Entry(
        id, version, "shop", "bank", "en", question="Do you sell umbrellas?", answer="Yes, on the second floor.", replaces=None, at=NOW,
        actor="ann",
    )  # fmt: skip
    return replace(base, **values)


def withdrawn(one: Entry) -> Entry:
    return replace(one, version=one.version + 1, question=None, answer=None)


GIFT = entry("g", question="Can you wrap it?", answer="Wrapping is free now.", replaces="gift_wrap")


def found(product: Product, text: str = ASKED, customer: str | None = "bank") -> list[str | None]:
    """The answers that search finds, the best one first; entries of the pack and documents share no word with the question."""
    return [hit.answer for hit in product.asking(customer).search(text, 8) if hit.answer]


def test_an_entry_is_found_by_its_customer_alone_and_the_artifact_stays(product):
    before = {path: path.read_bytes() for path in sorted(product.artifact.folder.rglob("*")) if path.is_file()}
    more = product.with_entries([entry()])
    assert found(more)[0] == "Yes, on the second floor."
    assert "Yes, on the second floor." not in found(more, customer="other") + found(more, customer=None) + found(product)
    assert len(more.index) == len(product.index) + 1
    reply, _ = more.reply(Request("Do you sell umbrellas?"), customer="bank")
    assert "Yes, on the second floor." in [reply.text, *(one.text for one in reply.evidence)], "answered, or offered as a button"
    assert {path: path.read_bytes() for path in sorted(product.artifact.folder.rglob("*")) if path.is_file()} == before


def test_a_correction_takes_the_place_of_the_version_before_and_a_withdrawal_ends_it(product):
    first = product.with_entries([entry()])
    second = first.with_entries([entry(version=2, answer="No longer.")])
    assert found(second)[0] == "No longer."
    assert "Yes, on the second floor." not in found(second)
    assert found(first)[0] == "Yes, on the second floor.", "a reply that is being made has one state"
    assert second.asking("bank").entry("added:a.1", "en").answer == "No longer.", "a button of before leads to what is right now"
    assert second.asking("other").entry("added:a.1", "en") is None
    assert second.asking("other").entry("added:a.2", "en") is None
    third = second.with_entries([withdrawn(entry(version=2))])
    assert found(third) == found(product)
    assert third.asking("bank").entry("added:a.1", "en") is None


def test_only_what_is_new_is_embedded(tmp_path):
    seen: list[str] = []

    def vectors(passages):
        def of(texts):
            seen.extend(texts)
            return np.stack([np.random.default_rng(len(text)).normal(size=4) for text in texts])

        return of

    pack = tiny_pack(tmp_path / "tiny", "bert")
    base = Index.build(tmp_path / "index", [Passage("p", "", "gift wrapping")], vectors([]))
    added, all_entries = Additions(base, pack), [entry(str(number), question=f"question {number}") for number in range(9)]
    added.bring(all_entries[:8], vectors)
    seen.clear()
    searched = added.bring(all_entries, vectors)
    assert set(seen) == {"question 8", "question 8\nYes, on the second floor."}
    assert len(searched.index) == 10
    seen.clear()
    assert len(added.bring([withdrawn(all_entries[0]), *all_entries[1:]], vectors).index) == 9
    assert seen == []


def test_what_can_not_be_embedded_changes_nothing(tmp_path):
    def unserved(passages):
        raise Busy("The model is being prepared. Try again.", 1.0)

    pack = tiny_pack(tmp_path / "tiny", "bert")
    base = Index.build(tmp_path / "index", [Passage("p", "", "gift wrapping")], lambda texts: np.ones((len(texts), 4)))
    added = Additions(base, pack)
    with pytest.raises(Busy):
        added.bring([entry()], unserved)
    searched = added.bring([entry()], lambda passages: lambda texts: np.ones((len(texts), 4)))
    assert searched.index.search("umbrellas", 1, customer="bank")[0].id == "added:a.1"


def test_a_question_of_the_pack_gets_another_answer_and_not_a_second_one(product):
    assert replaced_entry(product.pack.faq, "do you WRAP presents", "en") == "gift_wrap"
    assert replaced_entry(product.pack.faq, "do you wrap presents", "zh") is None
    more = product.with_entries([GIFT])
    for asked in ("do you wrap presents", "can it be wrapped as a gift", "can you wrap it"):
        hits = more.asking("bank").search(asked, 8)
        assert hits[0].answer == "Wrapping is free now."
        assert "gift_wrap@en" not in [hit.id for hit in hits]
        assert more.asking("other").search(asked, 1)[0].id == "gift_wrap@en"
    assert more.asking("bank").search("能包成礼物吗", 1)[0].id == "gift_wrap@zh", "in another language, the answer is as it was"
    pressed = [more.reply(Request("", choice="entry:gift_wrap", language="en"), customer=name)[0].text for name in ("bank", "other")]
    assert pressed == ["Wrapping is free now.", "Yes, gift wrapping costs 2 euros."]


def test_entries_become_part_of_the_next_product_once(home, made):
    again = train(Pack(made[1]), "shop", home, entries=[entry(), GIFT, withdrawn(entry("w"))])
    content = Product.content_of(again.product)
    assert content.entries == {"a": 1, "g": 1}
    alone = Product.open(home, again.product.id)
    assert found(alone)[0] == "Yes, on the second floor."
    assert found(alone, customer="other") == found(Product.open(home, "shop"))
    assert alone.asking("bank").search("do you wrap presents", 1)[0].answer == "Wrapping is free now."
    served = alone.with_entries([entry(), GIFT, withdrawn(entry("w"))])
    assert len(served.index) == len(alone.index) == content.passages
    assert found(served).count("Yes, on the second floor.") == 1
    corrected = served.with_entries([entry(version=2, answer="No longer."), withdrawn(GIFT)])
    assert found(corrected)[0] == "No longer."
    assert "Yes, on the second floor." not in found(corrected)
    assert corrected.asking("bank").search("do you wrap presents", 1)[0].id == "gift_wrap@en"
    live.go_live(again.product, home, None)
    later = train(Pack(made[1]), "shop", home, entries=[withdrawn(GIFT)])
    assert Product.content_of(later.product).entries == {"a": 1}, "those of the live product stay, unless they were withdrawn"


def test_entries_of_a_product_that_were_changed_are_noticed(home, made):
    product = train(Pack(made[1]), "shop", home, entries=[entry(fingerprint=b"secret")]).product
    file = product.folder / "entries.json"
    assert json.loads(file.read_text())[0]["fingerprint"] is None
    file.write_text(file.read_text().replace("second", "third"))
    with pytest.raises(StorageError, match=r"entries\.json"):
        Product.open(home, product.id)


def test_the_command_takes_entries_from_the_database_of_the_server(home, made, monkeypatch, tmp_path):
    database = Database(home.folder / FILE)
    with database.writing() as connection:
        added = entries.add(connection, Draft("shop", "bank", "en", "Do you sell umbrellas?", "Yes."), "ann")
        entries.add(connection, Draft("other", "bank", "en", "Of another app?", "Yes."), "ann")
    database.close()
    monkeypatch.setenv("VERTUNE_HOME", str(home.folder))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["app", "shop", "train", str(made[1]), "--json"])
    assert not left.value.code
    assert Product.content_of(home.get("products", "shop")).entries == {added.id: 1}


def test_questions_are_compared_by_their_words():
    assert is_same_question("Do you sell umbrellas?", "do you  sell UMBRELLAS")
    assert is_same_question("發票怎麼開？", "发票怎么开")
    assert not is_same_question("Do you sell umbrellas?", "Do you sell an umbrella?")
    assert not is_same_question("👍", "👎")
    one, other = entry(), entry(version=2)
    assert merged([other], [one]) == merged([one], [other]) == [other]
