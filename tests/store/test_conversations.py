"""Conversations in both databases: changes that follow one another, what waits, what is due, and what is deleted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy

from vertune.core.errors import StorageError, Unavailable
from vertune.core.ids import time_ordered_id
from vertune.store import actions, canned, conversations, schema
from vertune.store.conversations import Change, Conversation, Early, Filter, Turn
from vertune.store.database import Database
from vertune.store.deletion import Deletion, carry_out
from vertune.store.grouped import Grouped
from vertune.store.keys import Keys
from vertune.store.traffic import fingerprint, fingerprint_key

NOW, LATER = "2030-01-01T00:00:00.000000+00:00", "2030-01-02T00:00:00.000000+00:00"


def conversation(**values) -> Conversation:
    base = Conversation(
        time_ordered_id(), "shop", "bank", "key", None, language="en", token=b"t" * 32, state={"a": 1}, known={"tariff": "gold"}, turn=0,
        sequence=0, stage="bot", agent=None, reasons=[], queued=None, changed=NOW, summary=None, satisfaction=None, comment=None,
        channel=None, sender=None, delivered=0,
    )  # fmt: skip
    return replace(base, **values)


@pytest.fixture
def one(database) -> Conversation:
    made = conversation()
    with database.writing() as connection:
        conversations.add(connection, made)
    return made


def turn(of: Conversation, number: int, author="visitor", **values) -> Turn:
    return Turn(of.id, number, author, NOW, **values)


def read(database, query):
    with database.reading() as connection:
        return query(connection)


def write(database, change: Change) -> bool:
    with database.writing() as connection:
        return conversations.apply(connection, change)


def test_a_database_of_the_version_before_is_migrated_with_its_keys(location, monkeypatch):
    """Keys are bound to no origin, and conversations can begin."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "REVISION", "0007")
        with closing(Database(location)) as old, old.writing() as connection:
            names = {column["name"] for column in sqlalchemy.inspect(connection).get_columns("keys")}
            assert "origin" not in names
            assert not sqlalchemy.inspect(connection).has_table("turns")
            row = {"id": "0" * 12, "hash": b"h", "name": "web", "scopes": "predict", "created": NOW, "customer": "bank"}
            connection.execute(schema.keys.insert().values(row))
    with closing(Database(location)) as database:
        (key,) = Keys(database).all()
        assert (key.name, key.origin) == ("web", None)
        made = conversation()
        with database.writing() as connection:
            conversations.add(connection, made, [turn(made, 1, text="hello")])
        assert read(database, lambda connection: conversations.get(connection, made.id)) == made


def test_a_change_is_written_completely_and_only_if_it_follows_the_last_turn(database, one):
    call = actions.Call(one.id, 2, "order", {"number": 7})
    turns = (turn(one, 1, message="m1", text="x", digest=b"d"), turn(one, 2, "bot", text="y", reply={"action": "act"}))
    change = Change(one.id, 0, turns, {"state": {"a": 2}, "sequence": 1, "changed": LATER}, call=call)
    assert write(database, change)
    assert not write(database, change), "the conversation has other turns by now"
    assert not write(database, replace(change, conversation=time_ordered_id()))
    found = read(database, lambda connection: conversations.get(connection, one.id))
    assert found == replace(one, state={"a": 2}, sequence=1, turn=2, changed=LATER)
    assert read(database, lambda connection: conversations.turns_of(connection, one.id)) == list(turns)
    assert read(database, lambda connection: conversations.messages_of(connection, one.id)) == {"m1": (1, b"d")}
    (due,) = read(database, actions.due)
    assert (due.id, due.arguments) == (f"{one.id}-2", {"number": 7})


def test_a_number_of_more_than_64_bits_is_stored(database):
    made = conversation(state={"number": 10**30})
    with database.writing() as connection:
        conversations.add(connection, made, [turn(made, 1, "bot", reply={"slots": {"number": -(10**30)}})])
    assert read(database, lambda connection: conversations.get(connection, made.id)).state == {"number": 1e30}
    assert read(database, lambda connection: conversations.turns_of(connection, made.id))[0].reply == {"slots": {"number": -1e30}}


def test_two_turns_never_have_the_id_of_one_message(database, one):
    assert write(database, Change(one.id, 0, (turn(one, 1, message="m1"),)))
    with pytest.raises(StorageError):
        write(database, Change(one.id, 1, (turn(one, 2, message="m1"),), {"sequence": 9}))
    assert read(database, lambda connection: conversations.get(connection, one.id)).sequence == 0, "nothing of it was written"


def test_an_action_is_taken_by_one_server_and_tried_again_later(database, one):
    with database.writing() as connection:
        actions.add(connection, actions.Call(one.id, 2, "order", {}))
    (call,) = read(database, actions.due)
    with database.writing() as connection:
        assert actions.take(connection, call, 60)
        assert not actions.take(connection, call, 60), "another server has it"
    assert read(database, actions.due) == []
    with database.writing() as connection:
        actions.retry(connection, replace(call, attempts=1))
    assert read(database, actions.due) == [], "after a pause"
    assert read(database, lambda connection: actions.pending(connection, one.id))
    finished = actions.Finished(one.id, 2, "done", {"ok": True}, arguments={})
    assert write(database, Change(one.id, 0, (turn(one, 1, "bot"),), finished=finished))
    assert not read(database, lambda connection: actions.pending(connection, one.id))


def test_early_messages_wait_and_are_due_when_they_are_next(database, one):
    def add(sequence: int, message: str) -> Early:
        with database.writing() as connection:
            return conversations.add_early(connection, Early(one.id, sequence, message, NOW, {"text": message}))

    assert add(2, "b").message == "b"
    assert add(2, "other").message == "b", "the first one keeps its number"
    assert read(database, lambda connection: conversations.due_early(connection, LATER)) == []
    assert write(database, Change(one.id, 0, (turn(one, 1),), {"sequence": 1}))
    assert read(database, lambda connection: conversations.due_early(connection, LATER)) == [one.id]
    assert read(database, lambda connection: conversations.due_early(connection, NOW)) == [], "it has not waited long"
    assert write(database, Change(one.id, 1, (turn(one, 2),), {"sequence": 2}, early=2))
    assert read(database, lambda connection: conversations.get_early(connection, one.id, 2)) is None


def test_what_a_conversation_needs_no_more_goes_when_it_is_closed(database, one):
    assert write(
        database, Change(one.id, 0, (turn(one, 1, "bot", text="private"),), call=actions.Call(one.id, 1, "order", {"a": "private"}))
    )
    with database.writing() as connection:
        conversations.add_early(connection, Early(one.id, 9, "m", NOW, {"text": "private"}))
    ended = {"stage": "closed", "state": {}, "known": {}}
    rewritten = [turn(one, 1, "bot", text="<masked>")]
    assert write(database, Change(one.id, 1, (turn(one, 2, "system", action="closed"),), ended, rewritten=rewritten))
    with database.reading() as connection:
        for table in (schema.conversations, schema.turns, schema.actions, schema.early_messages):
            assert "private" not in repr(connection.execute(table.select()).all())
        assert conversations.older(connection, LATER, 10) == [one.id]
        assert conversations.idle(connection, LATER) == []


def test_the_queue_is_in_the_order_of_waiting(database):
    made = [conversation(stage="waiting", queued=f"{NOW}{place}") for place in (2, 0, 1)]
    foreign = conversation(stage="waiting", queued=NOW, customer="other")
    with database.writing() as connection:
        for each in [*made, foreign]:
            conversations.add(connection, each)
    with database.reading() as connection:
        found = conversations.find(connection, Filter("bank", ["shop"], "waiting"), 10)
        assert [each.id for each in found] == [made[1].id, made[2].id, made[0].id]
        assert [conversations.position(connection, each) for each in made] == [3, 1, 2]
        assert conversations.counts(connection) == {("shop", "waiting"): 4}
        assert conversations.longest_waiting(connection) == {"shop": NOW}
        assert conversations.count(connection, Filter("other")) == 1


def test_unanswered_messages_are_those_that_an_app_did_not_understand(database, one):
    turns = []
    for action, reasons in (("refuse", []), ("handoff", ["not_understood"]), ("handoff", ["asked_for"]), ("answer", [])):
        turns.append(turn(one, len(turns) + 1, text=f"{action} {reasons}", action=action))
        reply = {"action": action, "reasons": reasons, "text": 'a text with "not_understood" in it'}
        turns.append(turn(one, len(turns) + 1, "bot", action=action, reply=reply))
    assert write(database, Change(one.id, 0, tuple(turns)))

    def found():
        return [each.number for each in read(database, lambda connection: conversations.unanswered(connection, Filter("bank"), "", 10))]

    assert found() == [3, 1]
    with database.writing() as connection:
        assert conversations.label(connection, one.id, 3, {"intent": "x"})
        assert not conversations.label(connection, one.id, 2, {"intent": "x"}), "a reply has no label"
    assert found() == [1]
    labelled = read(database, lambda connection: conversations.labelled(connection, Filter("bank"), ("", 0), 10))
    assert [each.label for each in labelled] == [{"intent": "x"}]


def test_conversations_are_deleted_by_customer_key_time_and_text(database):
    early = conversation(customer="early")
    with database.writing() as connection:
        conversations.add(connection, early)
        conversations.add_early(connection, Early(early.id, 3, "m3", NOW, {"text": 'my "secret"', "choice": None}))
    assert "conversations" not in carry_out(database, Deletion(records=[{"text": "secret"}]), "test"), "a part of a text is another text"
    assert carry_out(database, Deletion(records=[{"text": 'my "secret"'}]), "test")["conversations"] == 1
    assert not read(database, lambda connection: connection.execute(schema.early_messages.select()).all())
    mark = fingerprint({"text": "secret"}, fingerprint_key(database))
    made = {name: conversation(customer=name, key=f"key of {name}") for name in ("a", "b", "c")}
    with database.writing() as connection:
        for name, each in made.items():
            conversations.add(connection, each, [turn(each, 1, text="masked", fingerprint=mark if name == "b" else b"x")])
        canned.put(connection, "a", "hello", {"en": "Hello"}, "somebody")
    assert carry_out(database, Deletion(records=[{"text": "secret"}]), "test")["conversations"] == 1
    assert carry_out(database, Deletion(key="key of c"), "test")["conversations"] == 1
    assert "conversations" not in carry_out(database, Deletion(vertical="shop"), "test"), "others may use its verticals"
    assert carry_out(database, Deletion(customer="a"), "test")["conversations"] == 1
    with database.reading() as connection:
        assert connection.execute(schema.turns.select()).all() == []
        assert canned.of(connection, "a") == []


def test_writes_of_a_group_share_a_transaction_and_one_that_fails_harms_no_other(database):
    grouped = Grouped(database, "test")

    def note(name: str):
        def add(connection) -> str:
            canned.put(connection, "c", name, {"en": name}, "a")
            if name == "wrong":
                raise ValueError("a mistake")
            return name

        return add

    futures = {name: grouped.submit(name, note(name)) for name in ("b", "wrong", "a")}  # they wait until the thread starts
    grouped.start()
    assert {name: futures[name].result(5) for name in ("a", "b")} == {"a": "a", "b": "b"}
    with pytest.raises(ValueError, match="a mistake"):
        futures["wrong"].result(5)
    grouped.stop()
    assert [each.name for each in read(database, lambda connection: canned.of(connection, "c"))] == ["a", "b"]
    with pytest.raises(Unavailable, match="stops"):
        grouped.submit("late", note("late")).result(5)
