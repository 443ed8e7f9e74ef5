"""What a config can choose from, over HTTP: every kind, every part, and the schema of its options."""

from __future__ import annotations

import pytest

from tests.server.running import problem
from vertune.core import part
from vertune.core.catalogue import KINDS

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def test_every_kind_is_listed_with_its_parts(server) -> None:
    kinds = server.ask.get("/v1/parts").json()["kinds"]
    assert [(kind["folder"], kind["key"]) for kind in kinds] == list(KINDS.items())
    for kind in kinds:
        assert [one["name"] for one in kind["parts"]] == part.names(kind["folder"])
        assert all(one["about"] for one in kind["parts"])


@pytest.mark.parametrize("name", [f"{folder}/{name}" for folder in KINDS for name in part.names(folder)])
def test_a_part_has_its_help_and_a_schema_in_which_every_option_is_described(server, name) -> None:
    found = server.ask.get(f"/v1/parts/{name}").json()
    assert f"{found['folder']}/{found['name']}" == name
    assert found["help"]
    assert all(option.get("description") for option in found["schema"].get("properties", {}).values())


@pytest.mark.parametrize("name", ["methods/lorra", "metods/lora", "core/part"])
def test_what_does_not_exist_is_not_found(server, name) -> None:
    assert "There is no component" in problem(server.ask.get(f"/v1/parts/{name}"), 404)
