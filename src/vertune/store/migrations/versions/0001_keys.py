"""The database of the versions that stored only API keys, in SQLite and without a revision."""

from alembic import op
from sqlalchemy import Column, LargeBinary, Text, inspect

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table of keys, unless a version without migrations did."""
    if inspect(op.get_bind()).has_table("keys"):
        return
    op.create_table(
        "keys",
        Column("id", Text, primary_key=True),
        Column("hash", LargeBinary, nullable=False),
        Column("name", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("verticals", Text),
        Column("created", Text, nullable=False),
        Column("expires", Text),
        Column("revoked", Text),
        Column("rate", Text),
        Column("successor", Text),
    )
