"""What an app asks for is asked together, and a model that is not there yet is no fault of who asks."""

from __future__ import annotations

import pytest

from vertune.apps.customer_service import CustomerService
from vertune.core.errors import Busy, NotFound, UnknownName
from vertune.products.asking import Asking


class Served:
    """Models as a server has them: those that it is still preparing are not found."""

    def __init__(self, *ready: str) -> None:
        self.ready, self.asked = ready, []

    def ask_together(self, questions, deadline=30.0, client=""):
        self.asked.append(questions)
        for name in questions:
            if name not in self.ready:
                raise NotFound(f"No model is served under the name '{name}'.")
        return {name: [{"vector": [1.0, 0.0]} for _ in records] for name, records in questions.items()}


VERTICALS = {"intents": "shop-intents", "search": "shop-search"}


def test_slots_are_asked_together_and_those_without_a_model_are_missing() -> None:
    models = Served("shop-intents", "shop-search")
    asking = Asking(CustomerService, models, VERTICALS)
    found = asking.predict({"intents": [{"text": "a"}], "search": [{"text": "a"}], "mood": [{"text": "a"}], "details": []})
    assert found.keys() == {"intents", "search"}
    assert len(models.asked) == 1
    with pytest.raises(UnknownName, match="weather"):
        asking.predict({"weather": [{"text": "a"}]})


def test_a_model_that_is_being_prepared_is_to_be_asked_again() -> None:
    asking = Asking(CustomerService, Served("shop-search"), VERTICALS)
    with pytest.raises(Busy, match="being prepared") as raised:
        asking.predict({"intents": [{"text": "a"}], "search": [{"text": "a"}]})
    assert raised.value.http_status == 503
    assert raised.value.retry_after > 0
