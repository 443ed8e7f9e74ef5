"""Builds what one server needs for conversations, and starts and stops it; does not depend on HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry

from vertune.answering.service import AnswerService
from vertune.core.artifact import Home
from vertune.core.config import KeepText
from vertune.products.product import Product
from vertune.server.chat.acting import Acting
from vertune.server.chat.adapters import Adapters
from vertune.server.chat.adding import Adding
from vertune.server.chat.desk import Desk
from vertune.server.chat.file import ChatFile
from vertune.server.chat.keeping import Keeper
from vertune.server.chat.live import LiveProducts
from vertune.server.chat.messages import KeptTexts
from vertune.server.chat.metrics import ChatMetrics
from vertune.server.chat.talking import Talking
from vertune.server.chat.tidying import Tidying
from vertune.server.chat.watchers import Watchers
from vertune.server.rates import RateLimiter
from vertune.server.settings import ChatSettings
from vertune.server.texts import StoredTexts
from vertune.store.database import Database
from vertune.store.traffic import fingerprint_key

_STRICTEST: tuple[KeepText, ...] = ("no", "masked", "yes")


class Chats:
    """The apps of one server, and their conversations."""

    def __init__(
        self, home: Home, answers: AnswerService, database: Database, settings: ChatSettings, texts: StoredTexts,
        registry: CollectorRegistry,
    ) -> None:  # fmt: skip
        """`answers` predicts for the apps; raises ConfigError for a mistake in the operator's file."""
        self.settings, self.limiter = settings, RateLimiter()
        self.file = ChatFile.read(settings.file)
        self.products = LiveProducts(home, partial(Product.open, home, models=answers), database)
        self.watchers = Watchers(database)
        self.keeper = Keeper(database, self.watchers)
        kept = KeptTexts(_kept(answers, texts), fingerprint_key(database))
        metrics = ChatMetrics(registry, lambda: self.tidying.open, lambda: self.tidying.waiting)
        self.talking = Talking(self.keeper, self.products, kept, settings, metrics)
        self.desk = Desk(self.talking)
        self.adding = Adding(self.keeper, self.products, kept)
        self.acting = Acting(self.talking, self.file, metrics)
        self.adapters = Adapters(self.talking, self.file)
        self.tidying = Tidying(self.talking, self.desk, settings)
        self.talking.acts = self.acting.wake
        self.stopping = False
        """Whether the server is about to stop, so that nobody may wait any longer."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; called in the event loop."""
        self.keeper.start()
        self.watchers.start(loop)
        self.products.polling.start()
        self.acting.start()
        self.adapters.start()
        self.tidying.start()

    def drain(self) -> None:
        """Let nobody wait for new turns any longer; called in the event loop."""
        self.stopping = True
        self.watchers.wake_all()

    def stop(self) -> None:
        """Stop; what was not finished is finished by another server, or by this one when it starts again."""
        self.acting.stop()
        self.adapters.stop()
        self.tidying.stop()
        self.products.polling.stop()
        self.watchers.polling.stop()
        self.keeper.stop()


def _kept(answers: AnswerService, texts: StoredTexts) -> Callable[[str], KeepText]:
    """Return a function that tells how the texts of an app are kept: as the strictest of its verticals says, masked without any."""

    def kept(app: str) -> KeepText:
        if texts.keep_text is not None:
            return texts.keep_text
        own = [one for name, one in answers.fleet.deployments.items() if name.startswith(f"{app}-")]
        return min((texts.kept(one) for one in own), key=_STRICTEST.index, default="masked")

    return kept
