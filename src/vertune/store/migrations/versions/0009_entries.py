"""Entries of FAQs that people add to products in use, with all their versions."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, String, Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "entries",
        Column("id", String(32), primary_key=True),
        Column("version", Integer, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("app", "customer", "language", "at", "actor")),
        *(Column(name, Text) for name in ("question", "answer", "replaces")),
        Column("fingerprint", LargeBinary),
    )
    op.create_index("entries_by_app", "entries", ["app", "customer"])
    op.create_index("entries_by_fingerprint", "entries", ["fingerprint"])
