"""What looked at the requests of which monitors measured something, so that reports of people confirm no finding of the schedule."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; earlier measurements count as those of the schedule, as they did before."""
    op.add_column("measurements", Column("origin", Text, nullable=False, server_default="look"))
