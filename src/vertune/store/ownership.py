"""Which verticals one customer uses, and which several: who may see what was measured of all requests, and decide for all.

It knows nothing of monitors and rollouts.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from sqlalchemy import Connection, func, select

from vertune.store import schema

_OTHERS = 0.05
"""Least share of the requests to a shared vertical that come from others than the customer with most of them."""


def is_shared(connection: Connection, vertical: str, since: date) -> bool:
    """Return whether several customers used a vertical since a day in UTC, and not one of them for nearly all requests."""
    usage = schema.usage.c
    meant = [usage.vertical == vertical, usage.day >= since.isoformat()]
    counts = [int(count) for count in connection.scalars(select(func.sum(usage.requests)).where(*meant).group_by(usage.customer))]
    return bool(counts) and sum(counts) - max(counts) >= _OTHERS * sum(counts) > 0


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
