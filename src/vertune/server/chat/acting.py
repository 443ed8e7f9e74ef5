"""Calls the actions of the operator that apps ask for, and gives the results to the apps; does not depend on what an action does.

An action is stored with the turn that asks for it. Whoever takes it calls it with the conversation and the number of the turn as its id, so
that a receiver recognises a call that is repeated because a server died or an answer was lost. Its result and the reply of the app are
stored in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from vertune.core import webhooks
from vertune.core.app import Request
from vertune.core.errors import ConfigError, NotFound, VertuneError
from vertune.server.chat.file import ChatFile, Hook
from vertune.server.chat.keeping import Outcome, Talk
from vertune.server.chat.looking import Looking
from vertune.server.chat.metrics import ChatMetrics
from vertune.server.chat.steps import Step
from vertune.server.chat.talking import Talking
from vertune.store import actions
from vertune.store.actions import Call, Finished
from vertune.store.conversations import Conversation

_log = logging.getLogger("vertune")
INTERVAL = 0.5
"""Seconds between two looks at what is due, apart from what this server has just stored."""
_RESERVE = 15.0
"""Seconds beside the time limit of a call for which no other server calls it."""
_AT_ONCE = 8
"""Number of calls that run at the same time."""
_MOST_BYTES = 64 << 10
"""Maximum size of what a receiver may answer."""
_REPEATABLE = frozenset({408, 425, 429})
"""Statuses below 500 after which a call is tried again."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a call."""

    result: dict[str, Any]
    again: bool = False
    """Whether it may be tried again."""


class Acting:
    """Calls the actions of one server, in its event loop and in threads."""

    def __init__(self, talking: Talking, file: ChatFile, metrics: ChatMetrics) -> None:
        self._talking, self._file, self._metrics = talking, file, metrics
        self._pool = ThreadPoolExecutor(_AT_ONCE, "vertune-actions")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._looking = Looking("Actions can't be looked for", self._look, INTERVAL, lambda: talking.keeper.stopped)

    def start(self) -> None:
        """Begin to look for actions that are due."""
        self._looking.start()

    def stop(self) -> None:
        """Stop; calls that run are repeated by whoever comes next."""
        self._looking.stop()
        for task in list(self._running.values()):
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wake(self) -> None:
        """Look at once, because an action was stored."""
        self._looking.wake()

    async def _look(self) -> None:
        for call in await self._talking.keeper.read(actions.due):
            if call.id not in self._running and len(self._running) < 4 * _AT_ONCE:
                task = asyncio.get_running_loop().create_task(self._act(call))
                self._running[call.id] = task
                task.add_done_callback(lambda _, id=call.id: self._running.pop(id, None))  # type: ignore[misc]

    async def _act(self, call: Call) -> None:
        """Call one action, and give its result to the app, or note when it is tried again."""
        hook, keeper = self._file.actions.get(call.name), self._talking.keeper
        timeout = hook.timeout if hook is not None else 0.0
        try:
            if not await keeper.write(call.conversation, lambda connection: actions.take(connection, call, timeout + _RESERVE)):
                return
            conversation = await keeper.get(call.conversation)
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._pool, _called, call, hook, conversation)
            if found.again and hook is not None and call.attempts + 1 < hook.attempts:
                await keeper.write(call.conversation, lambda connection: actions.retry(connection, call))
                self._count(call, "retried")
                return
            await self._finish(call, found.result)
        except NotFound:
            _log.info("The conversation of an action was deleted, so its result is not needed any more.")
        except VertuneError as error:
            _log.warning("The action '%s' could not be finished, and is called again. %s", call.name, error)
        except Exception:
            _log.exception("The action '%s' could not be finished, and is called again.", call.name)

    async def _finish(self, call: Call, result: dict[str, Any]) -> None:
        """Let the app answer the result of an action, unless it was answered already."""
        own, kept = f" action {call.number}", self._talking.texts

        async def decide(talk: Talk) -> Step | Outcome:
            conversation = talk.conversation
            if own in talk.messages or conversation.stage == "closed":
                return Outcome(conversation, [], new=False)
            step = Step.of(conversation)
            state: actions.State = "done" if result["ok"] else "failed"
            parts = [kept.values(conversation.app, part) for part in (result, call.arguments)]
            step.finished = Finished(call.conversation, call.number, state, parts[0], arguments=parts[1])
            if conversation.stage == "bot":
                request = Request("", conversation.language, event="acted", result=result, at=time.time(), known=conversation.known)
                product, reply, new = await self._talking.reply(conversation, request)
                step.reply(reply, new, product.artifact.id, own)
                if reply.action == "handoff":
                    await self._talking.wait(step, product, reply.reasons)
            else:
                step.result(own, parts[0])
            return step

        outcome = await self._talking.keeper.change(call.conversation, decide)
        if outcome.new:
            self._count(call, "done" if result["ok"] else "failed")
            self.wake()

    def _count(self, call: Call, result: str) -> None:
        self._metrics.called(call.name if call.name in self._file.actions else "unknown", result)  # a pack may name anything


def _called(call: Call, hook: Hook | None, conversation: Conversation) -> _Result:
    """Call an action, and return its result in the form that apps read."""
    if hook is None:
        return _Result({"ok": False, "error": "not_configured"})
    about = {"app": conversation.app, "customer": conversation.customer, "language": conversation.language, "visitor": conversation.visitor}
    body = orjson.dumps({"action": call.name, "arguments": call.arguments, "conversation": call.conversation, "turn": call.number, **about})
    what = f"The action '{call.name}'"
    try:
        headers = webhooks.signed_headers(call.id, body, hook.secret(what)) | {"Idempotency-Key": call.id}
        status, content = webhooks.post(hook.url, body, headers, hook.timeout, what=what, limit=_MOST_BYTES + 1)
    except ConfigError as error:
        _log.error("An action can't be called. %s", error)
        return _Result({"ok": False, "error": "not_configured"})
    except VertuneError as error:
        _log.warning("An action could not be called. %s", error)
        return _Result({"ok": False, "error": "unreachable"}, again=True)
    if not 200 <= status < 300:
        _log.warning("%s at %s answered with status %d; expected 200 to 299.", what, webhooks.host(hook.url), status)
        return _Result({"ok": False, "error": f"status_{status}"}, again=status >= 500 or status in _REPEATABLE)
    return _Result(_read(content))


def _read(content: bytes) -> dict[str, Any]:
    """Return the result that a receiver sent: a JSON object, or nothing."""
    if len(content) > _MOST_BYTES:
        return {"ok": False, "error": "too_large"}
    try:
        data = orjson.loads(content) if content.strip() else {}
    except orjson.JSONDecodeError:
        return {"ok": False, "error": "no_json"}
    if not isinstance(data, dict):
        return {"ok": False, "error": "no_object"}
    if data.get("ok") is False:  # the receiver was reached, and says that it can't do it
        return {"ok": False, "error": str(data.get("error") or "refused")[:500]}
    return {"ok": True, "data": data.get("data", data) if isinstance(data.get("data", data), dict) else data}
