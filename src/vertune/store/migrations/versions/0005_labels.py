"""Labelling projects with their records, labels and decisions, and the users who sign in, with their sessions."""

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, SmallInteger, String, Text, text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "projects",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "customer", "name", "upload", "task", "settings", "state")),
        *(Column(name, Integer, nullable=False) for name in ("records", "held", "turn")),
        Column("found", Text),
    )
    op.create_index("projects_by_customer", "projects", ["customer", "name"], unique=True)
    op.create_table(
        "records",
        Column("project", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("record", Text, nullable=False),
        Column("fingerprint", LargeBinary, nullable=False),
        *(Column(name, SmallInteger, nullable=False) for name in ("held", "places")),
        Column("rank", Integer, nullable=False),
        Column("suggestion", Text),
        Column("confidence", Double),
    )
    free = text("places > 0 AND held = 0")
    op.create_index("records_free", "records", ["project", "rank", "number"], sqlite_where=free, postgresql_where=free)
    held = text("held = 1")
    op.create_index("records_held", "records", ["project", "number"], sqlite_where=held, postgresql_where=held)
    op.create_index("records_by_fingerprint", "records", ["fingerprint"])
    op.create_table(
        "labels",
        Column("project", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("annotator", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("id", "at", "state")),
        *(Column(name, Text) for name in ("until", "target")),
        Column("seconds", Double),
        Column("version", BigInteger, nullable=False),
        Column("batch", String(32)),
    )
    op.create_index("labels_by_id", "labels", ["project", "id"])
    op.create_index("labels_by_annotator", "labels", ["project", "annotator", "state", "id"])
    op.create_index("labels_by_batch", "labels", ["batch"])
    pending = text("state = 'pending'")
    op.create_index("labels_pending", "labels", ["project", "until"], sqlite_where=pending, postgresql_where=pending)
    op.create_table(
        "tallies",
        Column("project", String(32), primary_key=True),
        *(Column(name, Text, primary_key=True) for name in ("annotator", "state")),
        Column("count", BigInteger, nullable=False),
    )
    _add_decisions()
    _add_people()


def _add_decisions() -> None:
    op.create_table(
        "decisions",
        Column("project", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "reviewer", "target", "reason")),
    )


def _add_people() -> None:
    op.create_table(
        "users",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("at", "customer", "name", "role")),
        *(Column(name, Text) for name in ("password", "subject")),
        Column("disabled", SmallInteger, nullable=False),
    )
    op.create_index("users_by_name", "users", ["name"], unique=True)
    op.create_index("users_by_subject", "users", ["subject"], unique=True)
    op.create_table(
        "sessions",
        Column("id", Text, primary_key=True),
        Column("user", String(32), nullable=False),
        *(Column(name, Text, nullable=False) for name in ("token", "created", "seen", "expires")),
    )
    op.create_index("sessions_by_user", "sessions", ["user"])
