"""Turns finished calls into rows of the database, with texts masked or left out; does not depend on how rows are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vertune.answering.call import Call
from vertune.data.validate import read_fields
from vertune.server.settings import TrafficSettings
from vertune.server.texts import StoredTexts
from vertune.store.database import Database, format_time
from vertune.store.retention import Retention
from vertune.store.traffic import Amounts, Entry, Used, failed_verticals, fingerprint, fingerprint_key, idempotency_hash
from vertune.store.writer import Described, Writer


class Recorder:
    """A listener of finished calls that stores them, in groups and in a thread of its own, and counts what customers use."""

    def __init__(
        self, database: Database, texts: StoredTexts, settings: TrafficSettings,
        written: Callable[[Sequence[Mapping[Used, Amounts]]], None],
    ) -> None:  # fmt: skip
        """`written` is called with the usage that was written to the database, in the thread that writes it."""
        self._texts = texts
        self._retention = Retention(database, settings.days, settings.megabytes)
        self._key = fingerprint_key(database)
        described = Described(self._entry, usage_of, _size)
        self.writer: Writer[tuple[Call, float]] = Writer(database, described, self._retention.step, written)

    def __call__(self, call: Call) -> None:
        """Take a finished call.

        Calls that reached no model are not stored, because clients can cause them at will; nor are failed ones that will be repeated with
        the same idempotency key, because the answered one is to be counted.
        """
        if call.verticals and (call.idempotency is None or call.status == 200):
            self.writer.add((call, time.time()))

    def waits(self, id: str, customer: str | None) -> bool:
        """Return whether the request with this id, of this customer or with None of any, is answered and not stored yet."""

        def is_meant(found: str, of: str) -> bool:
            return found == id and customer in (None, of)

        return self.writer.waits(
            lambda item: is_meant(item[0].id, item[0].customer), lambda entry: is_meant(entry.request["id"], entry.request["customer"])
        )

    def start(self) -> None:
        """Start to store finished calls."""
        self.writer.start()

    def stop(self) -> None:
        """Store the calls that are finished, and stop."""
        self.writer.stop()

    def _entry(self, item: tuple[Call, float]) -> Entry:
        call, seconds = item
        request = {
            "id": call.id, "at": format_time(datetime.fromtimestamp(seconds, UTC)), "customer": call.customer, "key": call.key,
            "resource": call.resource, "status": call.status, "seconds": call.total, "records": len(call.records), "tokens": call.tokens,
            "cached_tokens": call.cached_tokens, "idempotency": idempotency_hash(call.idempotency, self._key),
            "failed": None if call.status == 200 else failed_verticals([deployment.name for deployment in call.verticals]),
        }  # fmt: skip
        return Entry(request, self._answers(call) if call.status == 200 else [], usage_of(item))

    def _answers(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        for place, (deployment, answers) in enumerate(zip(call.verticals, call.answers, strict=True)):
            for number, (sent, answer) in enumerate(zip(call.records, answers, strict=True)):
                assert answer is not None
                record = read_fields(deployment.predictor, sent)
                kept, shown = self._texts.answered(deployment, record, answer)
                row = {
                    "request": call.id, "number": place * len(call.records) + number, "vertical": deployment.name,
                    "model": deployment.model.id, "record": kept, "fingerprint": fingerprint(record, self._key), "answer": shown,
                    "confidence": deployment.task.confidence(answer),
                }  # fmt: skip
                rows.append(row)
        return rows


def usage_of(item: tuple[Call, float]) -> dict[Used, Amounts]:
    """Return what a finished call adds to usage; its tokens are divided among its verticals, because a text for several counts once."""
    call, seconds = item
    if call.status != 200:
        return {}
    count, day, used = len(call.verticals), f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}", {}
    for place, deployment in enumerate(call.verticals):
        tokens, cached = (whole // count + (place < whole % count) for whole in (call.tokens, call.cached_tokens))
        used[Used(day, call.customer, call.key or "", deployment.name)] = (1, len(call.records), tokens, cached)
    return used


def _size(item: tuple[Call, float]) -> int:
    """Return about how many bytes a finished call takes: its texts, and what belongs to each answer."""
    call, _ = item
    characters = sum(len(value) for record in call.records for value in record.values() if isinstance(value, str))
    return 1000 + 500 * len(call.records) * len(call.verticals) + 2 * characters
