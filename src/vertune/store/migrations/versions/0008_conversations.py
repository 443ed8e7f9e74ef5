"""Conversations of apps with their turns, actions, messages that came early and canned replies; the origin that a key is bound to."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, SmallInteger, String, Text, text

revision = "0008"
down_revision = "0007"
_UNSENT = "channel IS NOT NULL AND delivered < turn"


def upgrade() -> None:
    """Add the tables and the column; keys that exist are bound to no origin."""
    op.add_column("keys", Column("origin", Text))
    _add_conversations()
    op.create_table(
        "turns",
        Column("conversation", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("author", "at")),
        *(Column(name, Text) for name in ("message", "text", "action", "reply", "label", "model")),
        Column("sequence", Integer),
        *(Column(name, LargeBinary) for name in ("digest", "fingerprint")),
        Column("call", String(32)),
    )
    op.create_index("turns_by_message", "turns", ["conversation", "message"], unique=True)
    op.create_index("turns_by_fingerprint", "turns", ["fingerprint"])
    op.create_index("turns_by_action", "turns", ["author", "action", "conversation"])
    op.create_table(
        "early_messages",
        Column("conversation", String(32), primary_key=True),
        Column("sequence", Integer, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("message", "at", "content")),
    )
    op.create_table(
        "actions",
        Column("conversation", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("name", "arguments", "state", "next")),
        Column("attempts", Integer, nullable=False),
        Column("result", Text),
    )
    op.create_index("actions_by_state", "actions", ["state", "next"])
    op.create_table(
        "canned",
        *(Column(name, Text, primary_key=True) for name in ("customer", "name")),
        *(Column(name, Text, nullable=False) for name in ("texts", "changed", "actor")),
    )


def _add_conversations() -> None:
    op.create_table(
        "conversations",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("app", "customer", "stage", "changed", "state", "known", "reasons")),
        *(Column(name, Text) for name in ("key", "visitor", "language", "agent", "queued", "summary", "comment", "channel", "sender")),
        Column("token", LargeBinary, nullable=False),
        *(Column(name, Integer, nullable=False) for name in ("turn", "sequence", "delivered")),
        Column("satisfaction", SmallInteger),
    )
    for name, columns in {
        "stage": ["stage", "queued", "id"], "customer": ["customer", "stage", "id"], "app": ["app", "id"], "key": ["key", "id"],
        "change": ["stage", "changed"],
    }.items():  # fmt: skip
        op.create_index(f"conversations_by_{name}", "conversations", columns)
    op.create_index("conversations_by_sender", "conversations", ["channel", "sender"], unique=True)
    op.create_index("conversations_unsent", "conversations", ["id"], sqlite_where=text(_UNSENT), postgresql_where=text(_UNSENT))
