"""What monitors measured, alerts with their messages, rules and silences, leases of work that one server does, and retrainings."""

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, String, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "measurements",
        *(Column(name, Text, primary_key=True) for name in ("vertical", "monitor", "at")),
        Column("window_end", Text, nullable=False),
        *(Column(name, Double) for name in ("value", "low", "high", "p")),
        Column("n", BigInteger, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("verdict", "why", "evidence")),
    )
    op.create_index("measurements_by_end", "measurements", ["window_end"])
    _add_alerts()
    op.create_table(
        "rules",
        *(Column(name, Text, primary_key=True) for name in ("vertical", "rule")),
        Column("weight", Double, nullable=False),
        Column("state", Text, nullable=False),
    )
    op.create_table(
        "leases",
        Column("name", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("holder", "token", "changed")),
    )
    op.create_table(
        "retrainings",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("vertical", "at", "stage", "request")),
        *(Column(name, Text) for name in ("job", "dataset", "model", "report", "why")),
        Column("changed", Text, nullable=False),
    )
    op.create_index("retrainings_by_vertical", "retrainings", ["vertical", "id"])
    op.create_index("retrainings_by_stage", "retrainings", ["stage"])


def _add_alerts() -> None:
    op.create_table(
        "alerts",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("vertical", "rule", "monitor", "severity", "state", "began", "changed")),
        Column("ended", Text),
        Column("value", Double),
        *(Column(name, Text, nullable=False) for name in ("why", "evidence")),
        *(Column(name, Text) for name in ("actor", "comment")),
        Column("messages", Integer, nullable=False),
    )
    op.create_index("alerts_by_vertical", "alerts", ["vertical", "id"])
    op.create_index("alerts_by_state", "alerts", ["state", "id"])
    op.create_table(
        "deliveries",
        Column("alert", String(32), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("channel", Text, primary_key=True),
        Column("id", String(32), nullable=False),
        *(Column(name, Text, nullable=False) for name in ("payload", "state")),
        Column("attempts", Integer, nullable=False),
        Column("next", Text, nullable=False),
        Column("error", Text),
    )
    op.create_index("deliveries_by_state", "deliveries", ["state", "next"])
    op.create_table(
        "silences",
        Column("id", String(32), primary_key=True),
        *(Column(name, Text) for name in ("vertical", "rule")),
        *(Column(name, Text, nullable=False) for name in ("until", "actor", "reason")),
    )
