"""Which verticals only one customer uses, so that it may see what was measured of all requests to them; knows nothing of monitors."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, select

from vertune.store import schema


def used_by_one(connection: Connection, customer: str, verticals: Collection[str]) -> set[str]:
    """Return those of the verticals whose requests, jobs and feedback are all of this customer, and of no other one."""
    usage, said = schema.usage.c, schema.feedback.c
    rows = connection.execute(select(usage.vertical, usage.customer).where(usage.vertical.in_(verticals)).distinct())
    users: dict[str, set[str]] = {}
    for vertical, user in rows:
        users.setdefault(vertical, set()).add(user)
    found = {vertical for vertical, names in users.items() if names == {customer}}
    other = connection.scalar(select(func.min(said.customer)))
    while other is not None and found:  # from customer to customer, because going through all feedback would take long
        if other != customer:
            known = select(said.vertical).where(said.customer == other, said.vertical.in_(found)).distinct()
            found -= set(connection.scalars(known))
        other = connection.scalar(select(func.min(said.customer)).where(said.customer > other))
    return found
