"""Opens the products that are live, and others when an alias changes, and brings them what people have added to them.

Does not depend on what a product does with a message.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vertune.core.artifact import Home
from vertune.core.errors import Busy, NotFound, VertuneError
from vertune.products.product import Product
from vertune.runtime.live import shorten
from vertune.server.polling import Polling
from vertune.store import entries
from vertune.store.database import Database

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two looks at the aliases."""
_RETRY_SECONDS = 5.0
"""Seconds after which a product that can't be opened is tried again."""


Opener = Callable[[str], Product]
"""Opens the live product with a name."""


class LiveProducts:
    """The products to which aliases NAME@live point; each is opened on its own, so that a damaged one harms no other."""

    def __init__(self, home: Home, open_product: Opener, database: Database, served: Callable[[str], bool] = lambda name: True) -> None:
        """`database` has the entries that people have added; `served` tells whether this server serves a product with a name."""
        self._home, self._open, self._database, self._served = home, open_product, database, served
        self.products: dict[str, Product] = {}
        """The products by name. The dict is replaced, never changed."""
        self.errors: dict[str, str] = {}
        """By name, why a product is not served."""
        self._brought: dict[str, tuple[str, str | None]] = {}
        """By name: the id of the product, and the revision of the entries that it searches."""
        self._trouble: dict[str, str] = {}
        """By name, why a product does not search the newest entries."""
        self._updating = threading.Lock()
        self.polling = Polling("products", self.update, lambda: INTERVAL)

    def get(self, name: str) -> Product:
        """Return the live product with this name; raise NotFound if there is none, and Busy if it can't be opened at the moment."""
        product = self.products.get(name)
        if product is not None:
            return product
        if name in self.errors:
            raise Busy(
                f"The app '{name[:80]}' can't be used at the moment, for a reason that the log names. Try again later.", _RETRY_SECONDS
            )
        raise NotFound(f"There is no app '{name[:80]}' on this server. Ask its operator for the name, or train it: vertune app NAME train")

    def update(self) -> None:
        """Open the products whose aliases have changed, leave those without an alias, and let all search the entries of now."""
        with self._updating:
            products, errors = self._opened()
            try:
                self._bring_entries(products)
            finally:
                self.products, self.errors = products, errors

    def _opened(self) -> tuple[dict[str, Product], dict[str, str]]:
        """Return the products to which the aliases point, and why others can't be opened."""
        wanted = self._aliases()
        products = {name: one for name, one in self.products.items() if wanted.get(name) == one.artifact.id}
        errors: dict[str, str] = {}
        for name, id in wanted.items():
            if name in products:
                continue
            try:
                products[name] = self._open(name)
                self._brought.pop(name, None)
            except Exception as error:
                errors[name] = why = _reason(error)
                if self.errors.get(name) != why:
                    _log.warning("The product %s of the app '%s' is not served: %s", id, name, why)
                if (earlier := self.products.get(name)) is not None:  # a damaged successor ends no conversation
                    products[name] = earlier
        return products, errors

    def _bring_entries(self, products: dict[str, Product]) -> None:
        """Let products search the entries that people have added, as far as these or the product have changed.

        A product goes on with the entries that it has while the model that embeds new ones is not served.
        """
        with self._database.reading() as connection:
            revision = entries.revision(connection)
            behind = [name for name, one in products.items() if self._brought.get(name) != (one.artifact.id, revision)]
            found = entries.current(connection) if behind and revision is not None else []
        for name in behind:
            try:
                if revision is not None:
                    products[name] = products[name].with_entries([one for one in found if one.app == name])
            except Exception as error:
                why = _reason(error)
                if self._trouble.get(name) != why:
                    level = logging.INFO if isinstance(error, Busy | NotFound) else logging.WARNING
                    _log.log(level, "The app '%s' does not search the newest entries yet: %s", name, why)
                self._trouble[name] = why
            else:
                self._brought[name] = (products[name].artifact.id, revision)
                self._trouble.pop(name, None)

    def _aliases(self) -> dict[str, str]:
        """Return the ids of the products to which aliases NAME@live point, by name."""
        found = {}
        for alias, target in self._home.aliases("products").items():
            name, _, tag = alias.partition("@")
            if tag == "live" and self._served(name):
                found[name] = target
        return found


def _reason(error: Exception) -> str:
    return shorten(str(error) if isinstance(error, VertuneError) else f"{type(error).__name__}: {error}")
