"""The server answers within its own OpenAPI document, whatever it is sent: drawn by schemathesis from that document."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as openapi

from tests.server.conftest import VERTICALS, admin
from tests.server.running import Running
from vertune.server.discovery import find_routes

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CHECKS = (
    openapi.status_code_conformance, openapi.content_type_conformance, openapi.response_schema_conformance,
    openapi.response_headers_conformance, openapi.unsupported_method,
)  # fmt: skip
FEW, MANY = 1, 24
"""Requests of each kind for each operation, by default and in the matrix."""
ROUTES = [route for route in find_routes() if route.include_in_schema]
SCOPES = {route.operation_id: route.required_scope for route in ROUTES}
OPERATIONS = sorted(SCOPES)
OPEN = [name for name, scope in SCOPES.items() if scope is None]
"""These need no key."""
PLAIN = [route.operation_id for route in ROUTES if not (route.required_scope or route.body_field or route.dependant.query_params)]
"""These take nothing that could be wrong."""
MODES = {name: [GenerationMode.POSITIVE] if name in PLAIN else list(GenerationMode) for name in OPERATIONS}


@pytest.fixture(scope="module")
def running(fleet, tmp_path_factory, _quick_start) -> Iterator[Running]:
    import shutil

    from vertune.core.artifact import Home

    shutil.copytree(fleet.folder, folder := tmp_path_factory.mktemp("schema") / "home")
    home = Home(folder)
    with Running(home, admin(home), limits={"deadline": 5.0}) as made:
        yield made


@pytest.fixture(scope="module")
def operations(running) -> dict[str, Any]:
    """The operations of the document, whose names are now and then those of what is there."""
    document = running.ask.get("/openapi.json").json()
    narrowed = copy.deepcopy(document)
    names, models = [*VERTICALS, "nobody"], [model.id for model in running.service.home.shelf("models")]
    schemas = narrowed["components"]["schemas"]
    schemas["MultiPredictRequest"]["properties"]["verticals"]["items"]["enum"] = names
    schemas["EmbeddingsRequest"]["properties"]["model"]["enum"] = names
    schemas["LiveModel"]["properties"]["model"]["enum"] = [*models, "nobody"]
    for path, verbs in narrowed["paths"].items():
        for verb, operation in verbs.items():
            for parameter in operation.get("parameters", ()) if "{vertical}" in path else ():
                if parameter["name"] == "vertical":  # what others ask is not to go away meanwhile
                    parameter["schema"]["enum"] = names if verb in ("get", "post") else ["second", "nobody"]
    found = schemathesis.openapi.from_dict(narrowed)
    found.config.update(base_url=running.url)
    return {one.ok().definition.raw["operationId"]: one.ok() for one in found.get_all_operations()}


def test_every_operation_is_drawn(operations) -> None:
    assert sorted(operations) == OPERATIONS


@pytest.fixture(scope="module")
def connections() -> Iterator[requests.Session]:
    """Connections that stay open, because each of them takes longer than an answer; they keep no cookie of another request."""
    with requests.Session() as made:
        made.trust_env = False
        made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield made


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.matrix)])
@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name in OPERATIONS for mode in GenerationMode if mode in MODES[name]])
def test_an_operation_answers_within_its_document(running, operations, connections, name, mode, examples) -> None:
    strangers = iter(range(examples // 3 + 1))

    def ask(case) -> None:
        case.headers = {key: value for key, value in (case.headers or {}).items() if key.lower() != "authorization"}
        if next(strangers, None) is not None:
            response = checked(case, {})
            if name not in OPEN and response.status_code < 500:
                assert response.status_code in (401, 405), response.text
        checked(case, {"Authorization": f"Bearer {running._key}"})

    def checked(case, headers):
        response = case.call(headers=headers, timeout=20, session=connections)
        case.validate_response(response, checks=CHECKS)
        assert response.status_code < 500 or (response.status_code == 503 and "X-Deadline-Ms" in case.headers), response.text
        return response

    drawn = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    drawn(given(operations[name].as_strategy(generation_mode=mode))(ask))()
