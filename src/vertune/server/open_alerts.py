"""The metric of open alerts, so that what already watches the server also tells of its models; does not depend on how alerts are raised."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vertune.server.polling import Polling
from vertune.store import alerts
from vertune.store.database import Database

INTERVAL = 10.0
"""Seconds between two looks at the database; no reader of the metrics waits for it."""


class OpenAlerts(Collector):
    """The numbers of open alerts, by vertical and severity, as they were a moment ago; alerts that a person acknowledged do not count."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[tuple[str, str], int] = {}
        self.polling = Polling("open alerts", self.update, lambda: INTERVAL)

    def update(self) -> None:
        """Count the open alerts."""
        with self._database.reading() as connection:
            self._counts = alerts.count_open(connection)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric."""
        about = "Alerts about the requests to a vertical (model) and its answers that nobody has acknowledged, by severity."
        found = GaugeMetricFamily("vertune_open_alerts", about, labels=["vertical", "severity"])
        for (vertical, severity), count in self._counts.items():
            found.add_metric([vertical, severity], count)
        yield found
