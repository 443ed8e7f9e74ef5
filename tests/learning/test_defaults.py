"""The rates that auto stands for."""

from __future__ import annotations

import pytest

from vertune.core.config import Config
from vertune.core.parse import build
from vertune.learning import defaults
from vertune.learning.defaults import Rates


@pytest.mark.parametrize("width", [32, 768])
def test_a_base_without_pretrained_weights_learns_at_one_rate(width) -> None:
    config = build(Config, {"data": {}, "encoder": "table", "method": "full"})
    assert defaults.rates(config, config.method, (width, True), 500) == Rates(1e-3, 1e-3)


def test_a_wide_base_with_pretrained_weights_learns_at_a_quarter() -> None:
    config = build(Config, {"data": {}, "method": "full"})
    narrow, wide = (defaults.rates(config, config.method, (width, True), 5000).body for width in (384, 768))
    assert wide == pytest.approx(narrow / 4)
