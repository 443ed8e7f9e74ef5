"""Indexes for feedback of one customer on one vertical, of one author, and that a model can learn from."""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the indexes."""
    op.create_index("feedback_by_customer_and_vertical", "feedback", ["customer", "vertical", "id"])
    op.create_index("feedback_by_author", "feedback", ["author", "id"])
    usable = text("record IS NOT NULL AND target IS NOT NULL")
    op.create_index("feedback_usable", "feedback", ["vertical", "id"], sqlite_where=usable, postgresql_where=usable)
