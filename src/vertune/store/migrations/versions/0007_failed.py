"""The verticals of requests that failed, so that the share of failures of each is known."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; of earlier requests it is not known."""
    op.add_column("requests", Column("failed", Text))
