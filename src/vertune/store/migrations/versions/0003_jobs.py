"""Uploaded files, jobs with their events, and how many jobs a customer started."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables and the column."""
    op.add_column("usage", Column("jobs", BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "uploads",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "customer")),
        Column("key", Text),
        *(Column(name, Text, nullable=False) for name in ("name", "format", "hash")),
        Column("bytes", BigInteger, nullable=False),
        Column("report", Text, nullable=False),
    )
    op.create_index("uploads_by_customer", "uploads", ["customer", "id"])
    op.create_table(
        "jobs",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "customer")),
        Column("key", Text),
        *(Column(name, Text, nullable=False) for name in ("kind", "vertical", "request")),
        Column("priority", SmallInteger, nullable=False),
        Column("state", Text, nullable=False),
        Column("attempts", SmallInteger, nullable=False),
        *(Column(name, Text) for name in ("started", "ended", "worker", "lease")),
        Column("stop", SmallInteger, nullable=False),
        *(Column(name, Text) for name in ("result", "why", "idempotency")),
        Column("digest", LargeBinary, nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "priority", "id"])
    op.create_index("jobs_by_customer", "jobs", ["customer", "id"])
    op.create_index("jobs_by_idempotency", "jobs", ["customer", "idempotency"], unique=True)
    op.create_table(
        "job_events",
        Column("job", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("event", Text, nullable=False),
    )
