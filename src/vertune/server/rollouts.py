"""Divides requests between live models and their candidates, and rolls candidates back that are worse; does not depend on HTTP."""

from __future__ import annotations

import hashlib
import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vertune.answering.call import Call
from vertune.core.errors import NotFound
from vertune.core.records import Answer
from vertune.core.sentence import said
from vertune.metrics.sequential import Pair, bounds, is_higher, is_higher_without_any
from vertune.runtime.fleet import Deployment, Fleet
from vertune.server.polling import Polling
from vertune.steps.deploy import Versions
from vertune.store.database import Database
from vertune.store.ownership import is_shared
from vertune.store.rollouts import Rollout, running, verdicts

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two checks of what is to be compared and how it went."""
ALPHA = 0.05
"""Largest probability that a candidate that is as good as the live model is rolled back, however long the comparison takes."""
_TESTS = 3
"""Comparisons that share this probability: failures, time, and feedback."""
_RECENT = 500
"""Number of last answers of the live model by which its usual time is known."""
_FEWEST = 50
"""Number of answers of each model before times are compared."""
_SLOWER_SHARE = 0.25
"""By how much the share of slow answers must be higher before a candidate counts as slower."""
_MORE_FAILURES = 0.01
"""By how much the share of failures may be higher for a candidate that becomes live by itself."""
_RECENT_USE = timedelta(days=30)
"""For how long before a rollout the customers of a vertical are looked at."""
ACTOR = "this server"
"""Who ends a rollout without a person, for the history."""
Verdicts = Mapping[str, Mapping[str, Pair]]
"""By the id of a model and by customer, the number of answers that users called right and wrong."""


@dataclass(slots=True)
class Counts:
    """What became of the answers of one model."""

    answers: int = 0
    failures: int = 0
    timed: int = 0
    slow: int = 0
    """How many of the `timed` answers took longer than the rules allow."""

    def add(self, failed: bool, slow: bool | None) -> None:
        """Count an answer; `slow` is None if its time says nothing."""
        self.answers += 1
        self.failures += failed
        self.timed += slow is not None
        self.slow += slow is True


@dataclass(slots=True)
class Comparison:
    """A rollout on this server: its candidate in memory, and what it counted.

    Of a vertical that several customers use, no customer alone decides for the others: it could name the header X-Sticky-Key until the
    candidate answers it, and then send what takes long, or call each answer wrong. Times and verdicts must speak against the candidate
    without any one of them, too, and no customer counts for more answers than all others together when the candidate is to become live.
    Failures always count: they are no claim of a customer, and may be those of one whose texts are of another kind.
    """

    rollout: Rollout
    deployment: Deployment
    live: Counts = field(default_factory=Counts)
    candidate: Counts = field(default_factory=Counts)
    shared: bool = False
    """Whether several customers use the vertical."""
    customers: dict[str, tuple[Counts, Counts]] = field(default_factory=dict)
    """The counts of the candidate and of the live model, by customer."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """The seconds of the last answers of the live model."""
    usual: float | None = None
    """Their median; None while there are too few."""
    agreed: int = 0
    """How many shadow answers say the same as the live model."""
    compared: int = 0
    verdicts: Verdicts = field(default_factory=dict)
    """What users said of answers."""

    def count(self, call: Call, deployment: Deployment) -> None:
        """Count a finished call in which this model answered; refusals for which the client or the load is the reason say nothing."""
        failed = call.status >= 500 and not call.refusal
        if not failed and call.status != 200:
            return
        is_candidate = deployment is self.deployment
        slow = None if failed else self._is_slow(call, is_candidate)
        of_customer = self.customers.setdefault(call.customer, (Counts(), Counts()))
        for counts in (self.candidate, of_customer[0]) if is_candidate else (self.live, of_customer[1]):
            counts.add(failed, slow)

    def _is_slow(self, call: Call, is_candidate: bool) -> bool | None:
        """Return whether an answer took longer than the rules allow; None if its time says nothing."""
        if call.inference is None:  # from the cache
            return None
        seconds, usual = call.inference / max(1, len(call.records)), self.usual
        if not is_candidate:
            self.times.append(seconds)
        return None if usual is None else seconds > self.rollout.rules.slower * usual

    def renew(self, verdicts: Verdicts) -> None:
        """Take the verdicts of users, and the usual time of the live model."""
        self.verdicts = verdicts
        times = list(self.times)
        if len(times) >= _FEWEST:
            self.usual = statistics.median(times)

    def compare(self, call: Call, answers: list[Answer]) -> None:
        """Count how many answers of a shadow say the same as those of the live model."""
        for mine, theirs in zip(answers, call.answers[0], strict=True):
            if theirs is not None:
                self.compared += 1
                self.agreed += self.deployment.task.agrees(mine, theirs)

    def worse(self) -> str:
        """Return in which way the candidate is worse, beyond doubt; empty if it is not."""
        counted, one, other = list(self.customers.copy().values()), self.candidate, self.live
        if is_higher((one.failures, one.answers), (other.failures, other.answers), ALPHA / _TESTS):
            counts = {"answers": one.answers, "live_failures": other.failures, "live_answers": other.answers}
            return said("rollout.failed", failures=one.failures, **counts)
        if self._is_higher([((mine.slow, mine.timed), (theirs.slow, theirs.timed)) for mine, theirs in counted], _SLOWER_SHARE):
            return said("rollout.slow", slow=one.slow, answers=one.timed, factor=f"{self.rollout.rules.slower:g}")
        mine, theirs = self._told(self.rollout.model), self._told(self.rollout.live)
        told = [(mine.get(name, (0, 0)), theirs.get(name, (0, 0))) for name in {*mine, *theirs}]
        if self._is_higher([((new[1], sum(new)), (old[1], sum(old))) for new, old in told]):
            (right, wrong), (live_right, live_wrong) = _total(mine), _total(theirs)
            return said("rollout.wrong", wrong=wrong, answers=right + wrong, live_wrong=live_wrong, live_answers=live_right + live_wrong)
        return ""

    def _is_higher(self, parts: list[tuple[Pair, Pair]], margin: float = 0.0) -> bool:
        """Return whether the rate of the candidate is higher than that of the live model; each part is what one customer has of both."""
        alpha = ALPHA / _TESTS
        if self.shared:
            return is_higher_without_any(parts, alpha, margin)
        one, other = ((sum(part[side][0] for part in parts), sum(part[side][1] for part in parts)) for side in (0, 1))
        return is_higher(one, other, alpha, margin)

    def _told(self, model: str) -> Mapping[str, Pair]:
        return self.verdicts.get(model, {})

    def answered(self) -> int:
        """Return the number of requests that the candidate answered; of a shared vertical, no customer counts for more than all others."""
        total = self.candidate.answers - self.candidate.failures
        most = max((mine.answers - mine.failures for mine, _ in self.customers.copy().values()), default=0)
        return min(total, 2 * (total - most)) if self.shared else total

    def fails_more(self) -> bool:
        """Return whether the candidate has failed noticeably more often, though it may be by chance; it does not become live then."""
        share, usual = (one.failures / max(1, one.answers) for one in (self.candidate, self.live))
        return share > usual + _MORE_FAILURES

    def evidence(self) -> dict[str, Any]:
        """Return the figures on which a decision is made."""
        mine, theirs = (_total(self._told(model)) for model in (self.rollout.model, self.rollout.live))
        return {
            "candidate": _shown(self.candidate, mine),
            "live": _shown(self.live, theirs),
            "compared": self.compared,
            "agreed": self.agreed,
        }


def _total(verdicts: Mapping[str, Pair]) -> Pair:
    """Return how many answers all customers called right, and how many wrong."""
    return sum(right for right, _ in verdicts.values()), sum(wrong for _, wrong in verdicts.values())


def _shown(counts: Counts, verdict: tuple[int, int]) -> dict[str, Any]:
    low, high = bounds(verdict[0], sum(verdict), ALPHA)
    users = {"right": verdict[0], "wrong": verdict[1], "right_at_least": round(low, 4), "right_at_most": round(high, 4)}
    return {"answers": counts.answers, "failures": counts.failures, "slow": counts.slow, "timed": counts.timed, **users}


class Rollouts:
    """The rollouts of one server."""

    def __init__(self, fleet: Fleet, database: Database, changed: Callable[[], None], shadow: Callable[[Call, Comparison], None]) -> None:
        """`changed` is called after an alias was moved. `shadow` lets a candidate answer a copy of a finished call."""
        self._fleet, self._database, self._changed, self._shadow = fleet, database, changed, shadow
        self._versions = Versions(fleet.home, database, ACTOR)
        self.comparisons: dict[str, Comparison] = {}
        """By the name of the vertical. The dict is replaced, never changed."""
        self._failed: dict[str, str] = {}
        """By the name of the vertical, the id of the candidate that could not be loaded, so that it is logged once."""
        self._updating = threading.Lock()
        self.polling = Polling("rollouts", self.update, lambda: INTERVAL)

    def route(self, deployment: Deployment, key: str | None, records: Any) -> Deployment:
        """Return the model that answers a request: the live one, or its candidate if the request is in the share of a canary.

        Requests with the same `key` (a customer, a conversation) go to the same model; without one, requests with the same records.
        """
        comparison = self.comparisons.get(deployment.name)
        if comparison is None or comparison.rollout.mode != "canary":
            return deployment
        mark = key if key is not None else repr(records)
        digest = hashlib.blake2b(f"{comparison.rollout.first} {mark}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        chosen = int.from_bytes(digest, "big") < comparison.rollout.share * 2**64
        return comparison.deployment if chosen else deployment

    def __call__(self, call: Call) -> None:
        """Count a finished call, and hand it to a shadow if there is one; a listener of calls."""
        comparisons = self.comparisons
        if not comparisons:
            return
        for deployment in call.verticals:
            comparison = comparisons.get(deployment.name)
            if comparison is not None:
                comparison.count(call, deployment)
                if comparison.rollout.mode == "shadow" and call.status == 200 and len(call.verticals) == 1:
                    self._shadow(call, comparison)

    def update(self) -> None:
        """Do the same as `_update`, but in one thread at a time: a request may want it while the thread of this object does it."""
        with self._updating:
            self._update()

    def _update(self) -> None:
        """Load the candidates of new rollouts, let go those of ended ones, and decide about the others."""
        with self._database.reading() as connection:
            found = running(connection)
            judged = {name: verdicts(connection, rollout) for name, rollout in found.items()}
        comparisons = {}
        for name, rollout in found.items():
            present = self.comparisons.get(name)
            if present is None or present.rollout.first != rollout.first:
                present = self._loaded(name, rollout)
            if present is not None:
                present.renew(judged[name])
                comparisons[name] = present
        self.comparisons = comparisons
        for name, comparison in comparisons.items():
            self._decide(name, comparison)

    def _loaded(self, name: str, rollout: Rollout) -> Comparison | None:
        if name not in self._fleet.deployments or self._failed.get(name) == rollout.first:
            return None
        try:
            candidate = self._fleet.candidate(name, rollout.model)
        except Exception as error:
            self._failed[name] = rollout.first
            _log.error("The candidate %s of %s can't be served, so its rollout ends: %s", rollout.model, name, error)
            self._versions.cancel(rollout, said("rollout.unserved", error=str(error)[:400]))
            return None
        with self._database.reading() as connection:
            shared = is_shared(connection, name, datetime.now(UTC).date() - _RECENT_USE)
        return Comparison(rollout, candidate, shared=shared)

    def _decide(self, name: str, comparison: Comparison) -> None:
        rules = comparison.rollout.rules
        worse = comparison.worse() if rules.roll_back else ""
        live = self._fleet.deployments.get(name)
        if live is not None and live.model.id == comparison.rollout.model:
            with suppress(NotFound):  # another server was faster
                self._versions.promote(name, said("rollout.interrupted"), comparison.evidence(), comparison.rollout)
            return
        if not worse and comparison.deployment.health.fault:
            worse = said("rollout.faulty", error=comparison.deployment.health.fault)
        elif not worse and (live is None or live.model.id != comparison.rollout.live):
            worse = said("rollout.outdated")
        if worse:
            _log.warning("The candidate %s of %s is rolled back. %s", comparison.rollout.model, name, worse)
            self._versions.cancel(comparison.rollout, worse, comparison.evidence())
            self.comparisons = {key: value for key, value in self.comparisons.items() if key != name}
        elif rules.promote_after is not None and comparison.answered() >= rules.promote_after and not comparison.fails_more():
            why = said("rollout.promoted", answers=comparison.answered())
            try:
                self._versions.promote(name, why, comparison.evidence(), comparison.rollout)
            except NotFound:  # another server, or a person, was faster
                return
            _log.info("The candidate %s of %s is live. %s", comparison.rollout.model, name, why)
            self._changed()


class RolloutStates(Collector):
    """Metrics of rollouts; their values are read from the server at each request."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        labels = ["vertical", "model", "mode"]
        running = GaugeMetricFamily("vertune_rollout_answers", "Answers of a candidate since its rollout began.", labels=labels)
        failed = GaugeMetricFamily("vertune_rollout_failures", "Requests in which a candidate failed.", labels=labels)
        agreed = GaugeMetricFamily("vertune_rollout_agreement", "Share of shadow answers that agree with the live model.", labels=labels)
        for name, one in self._rollouts.comparisons.items():
            values = [name, one.rollout.model, one.rollout.mode]
            running.add_metric(values, one.candidate.answers)
            failed.add_metric(values, one.candidate.failures)
            if one.compared:
                agreed.add_metric(values, one.agreed / one.compared)
        yield from (running, failed, agreed)
