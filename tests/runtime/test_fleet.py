from __future__ import annotations

from dataclasses import replace

from vertune.runtime.fleet import _reading
from vertune.runtime.predictor import Predictor


def test_models_that_edit_texts_differently_never_share_the_records_of_a_request(fitted):
    plain = Predictor.open(fitted[1].model)

    def with_cleaners(*clean):
        return replace(plain, written={**plain.written, "data": {**plain.written["data"], "clean": list(clean)}})

    normalised = with_cleaners({"name": "normalise"})
    assert _reading(normalised) == _reading(with_cleaners({"name": "normalise"}, {"name": "duplicates"}))
    others = [_reading(plain), _reading(normalised), _reading(with_cleaners({"name": "normalise", "half_width": True}))]
    assert len(set(others)) == 3
