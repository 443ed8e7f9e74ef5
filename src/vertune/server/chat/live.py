"""Opens the products that are live, and others when an alias changes; does not depend on what a product does with a message."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vertune.core.artifact import Home
from vertune.core.errors import Busy, NotFound, VertuneError
from vertune.products.product import Product
from vertune.runtime.live import shorten
from vertune.server.polling import Polling

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two looks at the aliases."""
_RETRY_SECONDS = 5.0
"""Seconds after which a product that can't be opened is tried again."""


Opener = Callable[[str], Product]
"""Opens the live product with a name."""


class LiveProducts:
    """The products to which aliases NAME@live point; each is opened on its own, so that a damaged one harms no other."""

    def __init__(self, home: Home, open_product: Opener, served: Callable[[str], bool] = lambda name: True) -> None:
        """`served` tells whether this server serves a product with a name."""
        self._home, self._open, self._served = home, open_product, served
        self.products: dict[str, Product] = {}
        """The products by name. The dict is replaced, never changed."""
        self.errors: dict[str, str] = {}
        """By name, why a product is not served."""
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
        """Open the products whose aliases have changed, and leave those without an alias."""
        wanted = self._aliases()
        products = {name: one for name, one in self.products.items() if wanted.get(name) == one.artifact.id}
        errors: dict[str, str] = {}
        for name, id in wanted.items():
            if name in products:
                continue
            try:
                products[name] = self._open(name)
            except Exception as error:
                why = shorten(str(error) if isinstance(error, VertuneError) else f"{type(error).__name__}: {error}")
                errors[name] = why
                if self.errors.get(name) != why:
                    _log.warning("The product %s of the app '%s' is not served: %s", id, name, why)
                if (earlier := self.products.get(name)) is not None:  # a damaged successor ends no conversation
                    products[name] = earlier
        self.products, self.errors = products, errors

    def _aliases(self) -> dict[str, str]:
        """Return the ids of the products to which aliases NAME@live point, by name."""
        found = {}
        for alias, target in self._home.aliases("products").items():
            name, _, tag = alias.partition("@")
            if tag == "live" and self._served(name):
                found[name] = target
        return found
