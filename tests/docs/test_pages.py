"""Every command and every Python snippet of the tutorial, the how-to pages and README runs as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.docs.conftest import DOCS, ROOT
from tests.docs.snippets import blocks
from vertune.core.pack import open_pack

ON_THEIR_OWN = ["classify", "conversations", "embed", "extract", "flows", "mask", "match", "multilabel", "python", "regress", "tag"]
CONTINUED = [
    "alerts",
    "behaviour-tests",
    "compress",
    "feedback",
    "gate",
    "jobs",
    "label",
    "monitoring",
    "people",
    "retraining",
    "serve",
    "sign",
]
"""Pages that continue `classify` with the model that it trains."""
FROM_A_PACK = ["customer-service"]
"""Pages that train a product of the pack shop_zh."""


@pytest.mark.parametrize("name", ON_THEIR_OWN)
def test_page_runs(name, session):
    assert session.run(blocks(DOCS / "how-to" / f"{name}.md")) >= 3


@pytest.mark.parametrize("name", CONTINUED)
@pytest.mark.enable_socket
def test_page_that_continues_another_runs(name, continued):
    assert continued.run(blocks(DOCS / "how-to" / f"{name}.md")) >= 4


@pytest.mark.matrix
@pytest.mark.enable_socket
@pytest.mark.parametrize("name", FROM_A_PACK)
def test_page_that_begins_with_a_pack_runs(name, session):
    """With a few training rows of each intent, and without the models of vectors and of anger, which take minutes."""
    shutil.copytree(open_pack("shop_zh").folder, "shop_zh")
    rows = pl.read_csv("shop_zh/intents/train.csv")
    pl.concat([part.head(6) for part in rows.partition_by("intent", maintain_order=True)]).write_csv("shop_zh/intents/train.csv")
    config = Path("shop_zh", "pack.yaml")
    text, slots = config.read_text(encoding="utf-8"), "  search: search/run.yaml\n  mood: mood/run.yaml\n"
    assert slots in text
    config.write_text(text.replace(slots, ""), encoding="utf-8")
    assert session.run(blocks(DOCS / "how-to" / f"{name}.md")) >= 6


def test_every_how_to_page_is_run():
    assert sorted(path.stem for path in (DOCS / "how-to").glob("*.md")) == sorted(ON_THEIR_OWN + CONTINUED + FROM_A_PACK)


BANK, LAW = ("bank_support/train.csv", "category"), ("law_zh/articles.csv", "law")
"""The data of an example, and the column with its labels."""


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("page", "data"),
    [
        pytest.param(ROOT / "README.md", BANK, id="README"),
        pytest.param(DOCS / "tutorial.md", BANK, id="tutorial"),
        pytest.param(ROOT / "README.zh-CN.md", LAW, id="README.zh-CN", marks=pytest.mark.matrix),
    ],
)
def test_the_way_from_a_file_to_a_served_model_runs(page, data, session):
    """On a few labels of the example's data, in the files that the page names."""
    file, label = data
    parts = pl.read_csv(ROOT / "examples" / file).partition_by(label, maintain_order=True)
    rows = pl.concat([part.head(10) for part in parts[:6]])
    rows.write_csv("messages.csv")
    rows.sample(20, seed=0).write_csv("test.csv")
    rows.select("text").sample(220, with_replacement=True, seed=0).write_csv("new.csv")  # enough for monitors
    assert session.run(blocks(page)) >= 8
