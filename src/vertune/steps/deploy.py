"""Makes a model live, at once or after a comparison with the live one, and takes it back; keeps the history of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, Conflict, NotFound
from vertune.core.ids import time_ordered_id
from vertune.runtime.fleet import graph_of
from vertune.runtime.live import require_like_live
from vertune.runtime.shared_store import read_verdict
from vertune.store import rollouts
from vertune.store.database import Database, format_time
from vertune.store.rollouts import Mode, Rollout, Rules


@dataclass(frozen=True, slots=True)
class Plan:
    """How a candidate is compared with the live model."""

    mode: Mode = "canary"
    """A canary answers a share of the requests; a shadow answers copies of requests, and nobody sees its answers."""
    share: float = 0.1
    """The share of the requests that a canary answers, above 0 and at most 1."""
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Versions:
    """The models of the verticals in one home, as one person or key changes them."""

    home: Home
    database: Database
    """Where rollouts and the history are stored."""
    actor: str
    """Who makes the changes, for the history: the id of an API key, or `command line`."""

    def deploy(self, name: str, model: str, reason: str = "", another_task: bool = False) -> Artifact:
        """Let the alias NAME@live point to a model, and add it to the history; a rollout of the vertical ends.

        Raises NotFound if there is no such model, and ConfigError if it has another task than the live model, or reads other fields, unless
        `another_task` is set.
        """
        target, previous = self.home.get("models", model), self.home.aliases().get(f"{name}@live")
        if not another_task:
            require_like_live(self.home, name, target)
        with self.database.writing() as connection:
            rollouts.end(connection, name)
            rollouts.note(connection, name, "deploy", target.id, previous=previous, actor=self.actor, reason=reason)
            self.home.alias(f"{name}@live", target.id)  # within the transaction, so that the history does not tell what failed
        return target

    def begin(self, name: str, model: str, plan: Plan, reason: str = "") -> Rollout:
        """Begin to compare a candidate with the live model of a vertical, and return the rollout.

        Raises NotFound if there is no such model or no live one, Conflict if both are the same model or the candidate is not prepared
        for serving, and ConfigError for a share outside 0 to 1, for another task, and for other fields.
        """
        if not 0 < plan.share <= 1:
            raise ConfigError(f"The share of the canary is {plan.share:g}; expected more than 0 and at most 1. Write --canary 10%.")
        candidate, live = self.home.get("models", model), self.home.get("models", f"{name}@live")
        if candidate.id == live.id:
            raise Conflict(f"The model {candidate.id} is live already, so there is nothing to compare it with. Choose another model.")
        require_like_live(self.home, name, candidate)
        _require_prepared(self.home, candidate, name)
        rollout = Rollout(
            name, candidate.id, live.id, plan.mode, plan.share,
            rules=plan.rules, began=format_time(datetime.now(UTC)), first=time_ordered_id(), actor=self.actor,
        )  # fmt: skip
        with self.database.writing() as connection:
            rollouts.start(connection, rollout)
            rollouts.note(connection, name, plan.mode, candidate.id, previous=live.id, actor=self.actor, reason=reason)
        return rollout

    def promote(self, name: str, reason: str = "", evidence: Mapping[str, object] | None = None, expected: Rollout | None = None) -> str:
        """Make the candidate of a vertical live, and return the id of its model; raise NotFound if the vertical has none.

        With `expected`, raise NotFound too if another rollout than this one runs now.
        """
        with self.database.writing() as connection:
            rollout = rollouts.running(connection).get(name)
            is_meant = rollout is not None and (expected is None or rollout.first == expected.first)
            if rollout is None or not is_meant or not rollouts.end(connection, name, rollout.first):
                raise NotFound(
                    f"'{name}' has no candidate that could become live. Begin a rollout: vertune deploy {name} MODEL --canary 10%"
                )
            said = {"actor": self.actor, "reason": reason, "evidence": evidence or {}}
            rollouts.note(connection, name, "promote", rollout.model, previous=rollout.live, **said)
            self.home.alias(f"{name}@live", rollout.model)
        return rollout.model

    def cancel(self, expected: Rollout, reason: str, evidence: Mapping[str, object] | None = None) -> bool:
        """End this rollout, and return whether it was still running: of several servers that see the same, one ends it."""
        with self.database.writing() as connection:
            rollout = rollouts.running(connection).get(expected.vertical)
            if rollout is None or rollout.first != expected.first:
                return False
            return self._cancel(connection, rollout, reason, evidence)

    def roll_back(self, name: str, reason: str = "", evidence: Mapping[str, object] | None = None) -> tuple[str, str | None]:
        """End the rollout of a vertical, or without one let the model be live again that was live before.

        Returns the ids of the model that ended and of the live one. Raises NotFound if there is neither.
        """
        current = self.home.aliases().get(f"{name}@live")
        with self.database.writing() as connection:
            rollout = rollouts.running(connection).get(name)
            if rollout is not None:
                if not self._cancel(connection, rollout, reason, evidence):
                    raise Conflict(f"The rollout of '{name}' has just ended. Look at its history, and decide again: vertune history {name}")
                return rollout.model, current
            previous = _before(rollouts.history(connection, name), current)
            if current is None or previous is None:
                raise NotFound(
                    f"The history of '{name}' contains no model that was live before, so there is nothing to go back to. Choose a model: "
                    f"vertune deploy {name} MODEL"
                )
            self.home.get("models", previous)
            said = {"actor": self.actor, "reason": reason, "evidence": evidence or {}}
            rollouts.note(connection, name, "roll back", previous, previous=current, **said)
            self.home.alias(f"{name}@live", previous)
        return current, previous

    def _cancel(self, connection: Connection, rollout: Rollout, reason: str, evidence: Mapping[str, object] | None) -> bool:
        """End a rollout, and return whether it was still running when this transaction could end it."""
        if not rollouts.end(connection, rollout.vertical, rollout.first):
            return False
        said = {"actor": self.actor, "reason": reason, "evidence": evidence or {}}
        rollouts.note(connection, rollout.vertical, "cancel", rollout.model, previous=rollout.live, **said)
        return True


def _before(entries: list[rollouts.Version], current: str | None) -> str | None:
    """Return the model that was live before the current one became live; entries are newest first."""
    for entry in entries:
        if entry.action in ("deploy", "promote") and entry.model == current and entry.previous not in (None, current):
            return entry.previous
    return None


def is_prepared(home: Home, model: Artifact) -> bool:
    """Return whether a model can be served without a preparation: it is on a backbone, or has a graph of its own."""
    shared = any(read_verdict(backbone, model.id) is not None for backbone in home.shelf("backbones"))
    return shared or graph_of(home, model) is not None


def _require_prepared(home: Home, model: Artifact, name: str) -> None:
    if not is_prepared(home, model):
        raise Conflict(
            f"The model {model.id} is not prepared for serving, so it can't be compared with '{name}'. Prepare it with a job of the kind "
            f"'share', or: vertune share {model.id}"
        )
