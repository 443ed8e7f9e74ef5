from __future__ import annotations

import pytest

from tests.sources.samples import ROWS, SAMPLES
from vertune.core import part
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.testing.sources import CHECKS


@pytest.fixture(params=part.names("sources"))
def source(request, tmp_path):
    sample = SAMPLES.get(request.param)
    assert sample, f"tests/sources/samples.py needs a sample for the source '{request.param}'"
    kind = part.find("sources", request.param)
    assert issubclass(kind, Source)
    return build(kind, sample(tmp_path))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_source_keeps_the_contract(source, check):
    check(source)


def test_sources_of_the_same_rows_agree(source):
    frame = source.read().lazy().collect()
    if {"text", "label"} <= set(frame.columns):
        assert sorted(frame.select("text", "label").iter_rows()) == sorted(ROWS)
