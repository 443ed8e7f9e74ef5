from __future__ import annotations

from dataclasses import replace

from vertune.runtime.fleet import _record_key
from vertune.runtime.predictor import Predictor


def test_models_that_edit_texts_differently_never_share_the_records_of_a_request(fitted):
    plain = Predictor.open(fitted[1].model)

    def with_cleaners(*clean):
        return replace(plain, written={**plain.written, "data": {**plain.written["data"], "clean": list(clean)}})

    normalised = with_cleaners({"name": "normalise"})
    assert _record_key(normalised) == _record_key(with_cleaners({"name": "normalise"}, {"name": "duplicates"}))
    others = [_record_key(plain), _record_key(normalised), _record_key(with_cleaners({"name": "normalise", "half_width": True}))]
    assert len(set(others)) == 3
