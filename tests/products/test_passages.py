"""Vectors of passages and of messages come from one model, in the role that each text has."""

from __future__ import annotations

import numpy as np
import pytest

from vertune.apps.customer_service import CustomerService
from vertune.core.errors import UnknownName
from vertune.products.additions import Searched
from vertune.products.asking import Asking, LoadedModels
from vertune.products.passages import vectors_of
from vertune.retrieval.index import Index
from vertune.retrieval.passages import Passage

PASSAGES = [
    Passage("a@en", "rome", "soup and bread", answer="soup and bread", questions=("tell me of rome",)),
    Passage("b@en", "lima", "rice and cake", answer="rice and cake", questions=("tell me of lima",)),
]


@pytest.fixture(scope="module")
def models(fleet):
    return LoadedModels.open(fleet, {"find": fleet.aliases()["find@live"]})


def test_questions_are_embedded_as_queries_and_answers_as_documents(models):
    embed = vectors_of(models, "find", PASSAGES)
    assert embed is not None
    vectors = embed(["tell me of rome", "soup and bread", "tell me of rome"])
    (one,) = models.ask_together({"find": [{"text": "tell me of rome", "text_pair": "soup and bread"}]})["find"]
    assert np.allclose(vectors, [one["vector"], one["vector_pair"], one["vector"]], atol=1e-4)
    assert vectors_of(models, None, PASSAGES) is None


def test_search_uses_the_vector_that_came_with_the_other_predictions(models, tmp_path, monkeypatch):
    index = Index.build(tmp_path / "index", PASSAGES, vectors_of(models, "find", PASSAGES))
    asking = Asking(CustomerService, models, {"search": "find"}, Searched(index))
    asked = []
    monkeypatch.setattr(LoadedModels, "ask_together", lambda self, questions, *rest: asked.append(1) or together(self, questions, *rest))
    asking.predict({"search": [{"text": "tell me of rome"}]})
    (hit,) = asking.search("tell me of rome", 1)
    assert (hit.id, round(hit.meaning, 3)) == ("a@en", 1.0)
    assert len(asked) == 1
    asking.search("tell me of cake", 1)  # not predicted before
    assert len(asked) == 2


together = LoadedModels.ask_together


def test_a_slot_that_the_app_has_not_is_refused(models):
    with pytest.raises(UnknownName, match="slot 'searching'"):
        Asking(CustomerService, models, {}).predict({"searching": []})
    with pytest.raises(UnknownName, match="vertical 'nothing'"):
        models.ask_together({"nothing": ["x"]})
