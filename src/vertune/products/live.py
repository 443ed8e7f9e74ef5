"""Judges a product on labelled conversations, and makes it live: its models under the names of its verticals, then the product itself."""

from __future__ import annotations

from collections.abc import Sequence

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.conversation import Conversation
from vertune.core.errors import DataError
from vertune.core.pack import Pack
from vertune.products.evaluation import Evaluation, Known
from vertune.products.evaluation import evaluate as measure
from vertune.products.product import Product, vertical_of
from vertune.products.training import known_messages


def judge(product: Artifact, pack: Pack, home: Home, progress: Progress | None = None) -> Evaluation | None:
    """Evaluate a product on the conversations of its pack, beside the live one; None if the pack has no conversations."""
    return evaluate(product, home, pack.tests, progress) if pack.tests else None


def evaluate(
    artifact: Artifact, home: Home, conversations: Sequence[Conversation] | None = None, progress: Progress | None = None
) -> Evaluation:
    """Evaluate a product on labelled conversations, by default those of its pack, beside two baselines and the live product.

    Raises DataError if there are no conversations.
    """
    product = Product.open(home, artifact.id)
    cases = list(product.pack.tests) if conversations is None else list(conversations)
    if not cases:
        raise DataError(
            f"The pack of {artifact.id} has no labelled conversations; expected a file with one JSON object a line. "
            f"Name one: vertune app {product.name} eval FILE.jsonl"
        )
    live = home.aliases("products").get(f"{product.name}@live")
    before = Product.open(home, live) if live not in {None, artifact.id} and home.find("products", str(live)) else None
    return measure(product, home, cases, Known(*known_messages(artifact, home)), before, progress=progress)


def go_live(product: Artifact, home: Home, judged: Evaluation | None, accept: bool = False) -> bool:
    """Let NAME@live, and the aliases of its verticals, point to a product and its models; return False if its evaluation fails.

    The models come first: a server that reads the aliases between the two moves has the new models and the old thresholds for a moment,
    which is what a retrained model brings about too, and never a product whose models are missing.
    """
    if judged is not None and judged.verdict == "fail" and not accept:
        return False
    content, name = Product.content_of(product), str(product.manifest["name"])
    for slot, model in content.slots.items():
        alias = f"{vertical_of(name, slot)}@live"
        if home.aliases().get(alias) != model:
            home.alias(alias, model)
    home.alias(f"{name}@live", product.id, "products")
    return True
