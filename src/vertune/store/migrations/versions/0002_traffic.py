"""Requests, answers, feedback, usage, versions and audit, and the customer that owns a key."""

import secrets

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, SmallInteger, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables and the column."""
    op.add_column("keys", Column("customer", Text))
    revisions = op.create_table("revisions", Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
    op.bulk_insert(revisions, [{"name": "keys", "value": secrets.token_hex(8)}])
    hidden = op.create_table("secrets", Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False))
    op.bulk_insert(hidden, [{"name": "fingerprints", "value": secrets.token_bytes(32)}])
    _create_traffic()
    _create_feedback()
    op.create_table(
        "usage",
        Column("day", Text, primary_key=True),
        Column("customer", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("vertical", Text, primary_key=True),
        *(Column(name, BigInteger, nullable=False) for name in ("requests", "records", "tokens", "cached_tokens")),
    )
    op.create_index("usage_by_customer", "usage", ["customer", "day"])
    _create_versions()
    op.create_table(
        "audit",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "actor", "action", "subject", "details")),
    )


def _create_traffic() -> None:
    op.create_table(
        "requests",
        Column("id", String(32), primary_key=True),
        Column("at", Text, nullable=False),
        Column("customer", Text, nullable=False),
        Column("key", Text),
        Column("resource", Text, nullable=False),
        Column("status", SmallInteger, nullable=False),
        Column("seconds", Double, nullable=False),
        *(Column(name, Integer, nullable=False) for name in ("records", "tokens", "cached_tokens")),
        Column("idempotency", Text),
    )
    op.create_index("requests_by_idempotency", "requests", ["customer", "idempotency"], unique=True)
    op.create_index("requests_by_customer", "requests", ["customer", "id"])
    op.create_index("requests_by_key", "requests", ["key", "id"])
    op.create_table(
        "answers",
        Column("request", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("vertical", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("record", Text),
        Column("fingerprint", LargeBinary),
        Column("answer", Text, nullable=False),
        Column("confidence", Double),
    )
    op.create_index("answers_by_vertical", "answers", ["vertical", "request", "number"])
    op.create_index("answers_by_fingerprint", "answers", ["fingerprint"])


def _create_versions() -> None:
    op.create_table(
        "rollouts",
        Column("vertical", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("model", "live", "mode")),
        Column("share", Double, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("rules", "began")),
        Column("first", String(32), nullable=False),
        Column("actor", Text, nullable=False),
    )
    op.create_table(
        "versions",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "vertical", "action", "model")),
        Column("previous", Text),
        *(Column(name, Text, nullable=False) for name in ("actor", "reason", "evidence")),
    )
    op.create_index("versions_by_vertical", "versions", ["vertical", "id"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        Column("id", String(32), primary_key=True),
        Column("at", Text, nullable=False),
        Column("customer", Text, nullable=False),
        Column("key", Text),
        Column("vertical", Text, nullable=False),
        Column("model", Text),
        Column("request", String(32)),
        Column("number", Integer),
        Column("record", Text),
        Column("fingerprint", LargeBinary),
        Column("verdict", Text),
        Column("target", Text),
        Column("comment", Text),
        Column("score", SmallInteger),
        Column("author", Text),
        Column("trust", Double, nullable=False),
        Column("idempotency", Text),
        Column("digest", LargeBinary, nullable=False),
    )
    for name, columns in (("vertical", ["vertical", "id"]), ("customer", ["customer", "id"]), ("answer", ["request", "number"])):
        op.create_index(f"feedback_by_{name}", "feedback", columns)
    op.create_index("feedback_by_fingerprint", "feedback", ["fingerprint"])
    op.create_index("feedback_by_idempotency", "feedback", ["customer", "idempotency"], unique=True)
