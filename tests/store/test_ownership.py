"""Which verticals one customer alone uses: of its requests and jobs, and of its feedback; in both databases."""

from vertune.core.ids import time_ordered_id
from vertune.store import schema
from vertune.store.ownership import used_by_one

NAMES = ["mine", "shared", "discussed", "unused"]


def test_a_vertical_belongs_to_a_customer_if_no_other_one_used_it_or_gave_feedback(database):
    nothing = {"key": "", "requests": 1, "records": 1, "tokens": 1, "cached_tokens": 0, "jobs": 0}
    used = [("mine", "bank"), ("shared", "bank"), ("shared", "shop"), ("discussed", "bank")]
    said = [("mine", "bank"), ("discussed", "bank"), ("discussed", "shop"), ("unused", "bank")]
    with database.writing() as connection:
        connection.execute(
            schema.usage.insert(), [{"day": "2030-01-01", "vertical": name, "customer": who, **nothing} for name, who in used]
        )
        rows = [
            {"id": time_ordered_id(), "at": "", "vertical": name, "customer": who, "trust": 1.0, "digest": b""} for name, who in said
        ]  # fmt: skip
        connection.execute(schema.feedback.insert(), rows)
        assert used_by_one(connection, "bank", NAMES) == {"mine"}
        assert used_by_one(connection, "shop", NAMES) == set()
        assert used_by_one(connection, "bank", []) == set()
