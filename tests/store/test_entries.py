"""Entries that people add to FAQs, in both databases: versions, who may see them, what is deleted, and how servers notice a change."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy
from tests.server.running import together

from vertune.core.errors import Conflict, NotFound
from vertune.store import audit, entries, schema
from vertune.store.database import Database
from vertune.store.deletion import Deletion, carry_out
from vertune.store.entries import Draft, Entry, Named
from vertune.store.traffic import fingerprint, fingerprint_key

DRAFT = Draft("shop", "bank", "en", "Do you sell umbrellas?", "Yes.")


def write(database: Database, work, *values):
    with database.writing() as connection:
        return work(connection, *values)


def read(database: Database, query, *values):
    with database.reading() as connection:
        return query(connection, *values)


def add(database: Database, draft: Draft = DRAFT, actor: str = "ann") -> Entry:
    return write(database, entries.add, draft, actor)


def test_a_database_of_the_version_before_gets_the_table(location, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(schema, "REVISION", "0008")
        with closing(Database(location)) as old, old.reading() as connection:
            assert not sqlalchemy.inspect(connection).has_table("entries")
    with closing(Database(location)) as database:
        assert read(database, entries.current, "shop") == []
        assert add(database).version == 1


def test_an_entry_has_versions_which_say_who_wrote_what(database):
    first = add(database)
    named = Named(first.id, "shop", "bank")
    second = write(database, entries.correct, named, 1, "Do you sell umbrellas?", "On the second floor.", "bob")
    assert (second.id, second.version, second.actor, second.language) == (first.id, 2, "bob", "en")
    with pytest.raises(Conflict, match="has the version 2, and 1 was corrected"):
        write(database, entries.correct, named, 1, "Umbrellas?", "No.", "eve")
    assert read(database, entries.current, "shop", "bank") == [second]
    write(database, entries.withdraw, named, "ann")
    found = read(database, entries.versions, named)
    assert [(one.version, one.answer, one.actor) for one in found] == [
        (1, "Yes.", "ann"),
        (2, "On the second floor.", "bob"),
        (3, None, "ann"),
    ]
    assert [(one.version, one.question) for one in read(database, entries.current)] == [(3, None)]
    for again in (lambda connection: entries.withdraw(connection, named, "ann"), lambda connection: entries.get(connection, named)):
        with pytest.raises(NotFound, match="was withdrawn"):
            write(database, again)
    actions = [one.action for one in read(database, audit.about, first.id, "")]
    assert actions == ["add entry", "correct entry", "withdraw entry"]


def test_the_same_question_gets_a_new_version_and_the_same_text_none(database):
    first = add(database)
    assert add(database) == first
    assert add(database, replace(DRAFT, answer="No longer.")).version == 2
    for other in (replace(DRAFT, customer="other"), replace(DRAFT, app="other"), replace(DRAFT, language="de")):
        assert add(database, other).id != first.id, "another customer, app or language has its own"
    shouted = replace(DRAFT, question="DO YOU SELL UMBRELLAS", answer="Yes!")
    same = write(database, entries.add, shouted, "ann", lambda one, other: one.lower().rstrip("?") == other.lower())
    assert (same.id, same.version) == (first.id, 3)


def test_one_entry_of_the_pack_has_one_replacement(database):
    first = add(database, replace(DRAFT, replaces="umbrella"))
    other = add(database, replace(DRAFT, question="Is there an umbrella?", answer="No.", replaces="umbrella"))
    assert (other.id, other.version) == (first.id, 2)
    again = add(database, replace(DRAFT, question="Is there an umbrella?", answer="Yes."))
    assert (again.id, again.version, again.replaces) == (first.id, 3, "umbrella")


def test_servers_that_add_at_once_add_one_entry(opened):
    found = together([lambda: add(opened()) for _ in range(4)])
    assert len({one.id for one in found}) == 1
    assert {one.version for one in found} == {1}


def test_every_change_is_a_new_revision(database):
    assert read(database, entries.revision) is None
    seen = []
    first = add(database)
    seen.append(read(database, entries.revision))
    write(database, entries.withdraw, Named(first.id, "shop", None), "ann")
    seen.append(read(database, entries.revision))
    assert len({*seen, None}) == 3


def test_an_entry_of_another_customer_does_not_exist(database):
    id = add(database).id
    for named in (Named(id, "shop", "other"), Named(id, "other", "bank"), Named("0" * 32, "shop", None)):
        with pytest.raises(NotFound, match="There is no entry"):
            write(database, entries.withdraw, named, "eve")
    assert read(database, entries.current, "shop", "other") == []
    assert read(database, entries.current)[0].answer == "Yes."


def test_texts_are_deleted_with_their_customer_or_the_message_that_they_quote(database):
    mark = fingerprint({"text": "my own words"}, fingerprint_key(database))
    quoted = add(database, replace(DRAFT, question="my own words", fingerprint=mark))
    kept, other = add(database), add(database, replace(DRAFT, customer="other"))
    write(database, entries.correct, Named(quoted.id, "shop", None), 1, "in better words", "Yes, indeed.", "bob")
    assert "entries" not in carry_out(database, Deletion(records=[{"text": "something else"}]), "test")
    assert "entries" not in carry_out(database, Deletion(records=[{"text": "my own words"}], vertical="shop-intents"), "test")
    before = read(database, entries.revision)
    assert carry_out(database, Deletion(records=[{"text": "my own words"}]), "test")["entries"] == 1
    assert read(database, entries.revision) != before
    (left,) = read(database, entries.versions, Named(quoted.id, "shop", None))
    assert (left.version, left.question, left.answer, left.fingerprint) == (3, None, None, None), "no product may find it any longer"
    assert carry_out(database, Deletion(customer="bank"), "test")["entries"] == 1
    assert {one.id: one.answer for one in read(database, entries.current)} == {quoted.id: None, kept.id: None, other.id: "Yes."}
    assert "entries" not in carry_out(database, Deletion(customer="bank"), "test")


def test_two_servers_search_what_one_of_them_adds(opened, tmp_path):
    """Each has its own connection to the database, its own product and its own index of what was added."""
    from vertune.core.artifact import Home
    from vertune.server.chat.live import LiveProducts
    from vertune.testing.ledger import ledger

    first, second = opened(), opened()
    servers = []
    for place, database in enumerate((first, second)):
        live = LiveProducts(Home(tmp_path / "home"), lambda name, place=place: ledger(tmp_path / str(place), "shop"), database)
        live._aliases = lambda place=place: {"shop": str(place)}
        live.update()
        servers.append(live)

    def found(live: LiveProducts, customer: str) -> list[str | None]:
        live.update()
        return [hit.answer for hit in live.products["shop"].asking(customer).search("do you sell umbrellas", 3)]

    assert found(servers[1], "bank") == []
    entry = add(first)
    assert [found(live, "bank") for live in servers] == [["Yes."], ["Yes."]]
    assert [found(live, "other") for live in servers] == [[], []]
    named = Named(entry.id, "shop", "bank")
    write(second, entries.correct, named, 1, "Do you sell umbrellas?", "On the second floor.", "bob")
    assert [found(live, "bank") for live in servers] == [["On the second floor."]] * 2
    write(first, entries.withdraw, named, "ann")
    assert [found(live, "bank") for live in servers] == [[], []]
