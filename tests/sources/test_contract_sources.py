from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Source
from vertune.sources._table import SAMPLE
from vertune.testing.sources import CHECKS


@pytest.fixture(params=part.names("sources"))
def source(request, tmp_path):
    kind = part.find("sources", request.param)
    assert issubclass(kind, Source)
    return kind.sample(tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_source_keeps_the_contract(source, check, tmp_path):
    check(source, tmp_path)


def test_sources_of_the_same_rows_agree(source):
    frame = source.read().lazy().collect()
    if {"text", "label"} <= set(frame.columns):
        assert sorted(frame.select("text", "label").iter_rows()) == sorted(SAMPLE)


def test_a_hub_and_a_database_have_no_fingerprint():
    assert part.find("sources", "huggingface")(path="owner/name").fingerprint() is None
    assert part.find("sources", "sql")(url="sqlite:///rows.db", query="select 1").fingerprint() is None
