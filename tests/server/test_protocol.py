"""However the bytes of a request arrive, it is answered once: no body is taken for a request."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _module() -> ModuleType:
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "cuts.py"
    spec = importlib.util.spec_from_file_location("benchmarks_cuts", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cuts = _module()


def check(conversations) -> None:
    listed = list(conversations)
    count, found = asyncio.run(cuts.all_wrong(cuts.impatient(), listed))
    assert count == len(listed)
    assert not found


@pytest.mark.parametrize("name", ["body, h2c", "chunked, h2c", "body, websocket", "connect", "chunked"])
def test_a_request_in_two_pieces_is_answered_as_in_one(name) -> None:
    """Cut at every byte; `make soak` cuts all requests and all pairs of them."""
    check(cuts.cuts([name]))


def test_two_requests_in_a_row_are_answered_as_each_alone() -> None:
    draw = random.Random(0)
    pairs = [(first, second) for first in cuts.REQUESTS for second in cuts.REQUESTS]
    check((pair, draw.randrange(1, len(cuts.REQUESTS[pair[0]].sent + cuts.REQUESTS[pair[1]].sent))) for pair in pairs)


def test_many_upgrades_in_a_row_are_answered_each() -> None:
    """In pieces of every length."""
    names = ["body, h2c", "no body, h2c", "chunked, h2c"] * 3
    sent = b"".join(cuts.REQUESTS[name].sent for name in names) + cuts.END
    must = cuts.expected([cuts.REQUESTS[name] for name in names] + [cuts.LAST])

    async def talk() -> None:
        async with cuts.served(cuts.impatient()) as path:
            for size in (97, 400, 1500, len(sent)):
                pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
                assert await cuts.answers(path, pieces, ["POST"] * 10) == must, size

    asyncio.run(talk())


def test_a_large_body_behind_split_headers_is_no_header() -> None:
    """The headers of a second request, whose beginning arrived with the first."""
    body = b"a" * 60_000
    first, second = cuts.REQUESTS["post"], cuts.valid("POST", "/a", body=body)
    sent = first.sent + second.sent + cuts.END
    cut = sent.index(b"\r\n\r\n", len(first.sent)) + 2

    async def talk() -> None:
        async with cuts.served(cuts.impatient()) as path:
            found = await cuts.answers(path, [sent[:cut], sent[cut:]], ["POST"] * 3)
        assert found == cuts.expected([first, second, cuts.LAST])

    asyncio.run(talk())
