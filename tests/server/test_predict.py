"""What is asked of verticals is answered as each model does alone; what can't be is a problem that says why and repeats nothing."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.conftest import TEXTS, VERTICALS
from tests.server.running import Running, problem, same, together
from vertune.core.errors import VertuneError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PAIRS = [{"question": "which one", "context": text} for text in TEXTS]
SECRET = "do-not-repeat-me"
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.text(max_size=20) | st.sampled_from(TEXTS) | st.none() | st.booleans() | NUMBERS
FIELDS = st.sampled_from(["text", "text_pair", "query", "question", "context", "label", "kind", "spans", "__row", "odd"])


@pytest.fixture(scope="module")
def strict(fleet, _quick_start):
    """A server that takes little."""
    with Running(fleet, limits={"body": 2000, "items": 6, "characters": 100, "deadline": 2.0}, exact=True) as running:
        yield running


def asked(name: str) -> dict:
    return {"records": PAIRS} if name == "faq" else {"texts": TEXTS}


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("name", VERTICALS)
def test_a_vertical_answers_as_its_model_alone(server, alone, fleet, name) -> None:
    found = server.ask.post(f"/v1/verticals/{name}/predict", json=asked(name))
    assert found.status_code == 200, found.text
    told = found.json()
    assert (told["vertical"], told["model"]) == (name, fleet.get("models", name).id)
    assert same(told["answers"], alone(name, PAIRS if name == "faq" else TEXTS))


def test_several_verticals_answer_as_each_alone(server, alone) -> None:
    names = ["whole", "find", "intent", "spans", "intent"]
    found = server.ask.post("/v1/predict", json={"verticals": names, "texts": TEXTS}).json()["results"]
    assert [one["vertical"] for one in found] == ["whole", "find", "intent", "spans"]
    for one in found:
        assert same(one["answers"], alone(one["vertical"], TEXTS)), one["vertical"]


def test_torch_answers_as_the_models_alone(fleet, start, alone) -> None:
    """The path for GPUs, here on the processor: mixed batches with each vertical's own edits, no graph but where layers are replaced."""
    running = start(fleet, device="cpu")
    assert {one.precision for one in running.service.answers.fleet.deployments.values() if one.shared} == {"float32"}
    names = [name for name in VERTICALS if name != "faq"]
    for one in running.ask.post("/v1/predict", json={"verticals": names, "texts": TEXTS}).json()["results"]:
        assert same(one["answers"], alone(one["vertical"], TEXTS)), one["vertical"]


def test_many_clients_at_once_get_their_own_answers(server, alone) -> None:
    names = [name for name in VERTICALS if name != "faq"]
    expected = {name: alone(name, TEXTS) for name in names}

    def ask(name: str, place: int) -> bool:
        found = server.predict(name, TEXTS[place], TEXTS[(place + 1) % 6]).json()["answers"]
        return same(found, [expected[name][place], expected[name][(place + 1) % 6]])

    assert all(together([lambda name=name, place=place: ask(name, place) for name in names for place in range(6)]))


@pytest.mark.parametrize(
    "records",
    [
        [{"query": text} for text in TEXTS],
        [{"text": text, "kind": "no matter", "spans": [{"start": 1}], "more": {"a": []}, "huge": 2**80} for text in TEXTS],
        [{"query": text} if place % 2 else {"text": text} for place, text in enumerate(TEXTS)],
        [{"text": text, "text_pair": text} for text in TEXTS],
        [{"text": f"tell me {number}"} for number in range(150)],
        [{"text": "tell me of rome and bread " * 1200}],
    ],
    ids=["training names", "more columns", "both names", "two fields", "many", "long"],
)
def test_records_are_read_as_everywhere(server, alone, records) -> None:
    found = server.ask.post("/v1/verticals/intent/predict", json={"records": records})
    assert found.status_code == 200, found.text
    plain = [{key: record[key] for key in record if key in ("text", "text_pair", "query")} for record in records]
    assert same(found.json()["answers"], alone("intent", plain))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["intent", "faq", "find"]), records=st.lists(st.dictionaries(FIELDS, PLAIN, max_size=4), min_size=1, max_size=3)
)
def test_any_records_are_answered_or_refused_as_by_the_model_alone(server, alone, name, records) -> None:
    """The same answers, or the same words."""
    found = server.ask.post(f"/v1/verticals/{name}/predict", json={"records": records})
    if any(isinstance(value, int) and abs(value) >= 2**63 for record in records for value in record.values()):
        assert found.status_code in (200, 422)
        return
    if "expected a text" in found.text:  # of strings only, in JSON
        assert any(isinstance(value, int | float) for record in records for value in record.values())
        return
    expected, refused = [], None
    try:
        expected = alone(name, records)
    except VertuneError as error:
        refused = error
    if refused:
        assert problem(found, refused.http_status) == str(refused)
    else:
        assert found.status_code == 200, found.text
        assert same(found.json()["answers"], expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(FIELDS, st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2)), max_size=3), min_size=1, max_size=3)
)
def test_records_of_any_kind_are_never_the_servers_fault(server, records) -> None:
    assert server.ask.post("/v1/verticals/intent/predict", json={"records": records}).status_code in (200, 422)


def test_cached_answers_are_those_of_the_model_that_is_asked(fleet, start, alone, monkeypatch) -> None:
    running = start(fleet, cache=100, exact=True)
    cache, keys = running.service.answers.cache, []
    put = cache.put
    monkeypatch.setattr(type(cache), "put", lambda self, key, answer: (keys.append(key), put(key, answer))[1])
    for _ in range(2):
        for name in ("intent", "whole", "find"):
            assert same(running.predict(name, *TEXTS).json()["answers"], alone(name, TEXTS))
    assert running.metric("vertune_cache_hits_total", vertical="intent") == len(TEXTS)
    assert same(running.predict("intent", "soup", "never seen", "soup").json()["answers"], alone("intent", ["soup", "never seen", "soup"]))
    pair = {"text": "soup", "text_pair": "rice"}
    found = running.ask.post("/v1/verticals/intent/predict", json={"records": [pair]}).json()["answers"]
    assert same(found, alone("intent", [pair]))  # and not what was cached of the text alone
    assert keys
    assert not [text for text in TEXTS if text in repr(keys)], "a key of the cache holds no text"


# ------------------------------------------------------------------ what can't be answered


def test_a_vertical_that_is_not_there_is_told_with_those_that_are(server) -> None:
    said = problem(server.predict("nobody", "a"), 404)
    assert said == "No model is served under the name 'nobody'. Choose from: faq, find, intent, spans, whole."
    assert problem(server.ask.post("/v1/predict", json={"verticals": ["intent", "nobody"], "texts": ["a"]}), 404) == said
    assert problem(server.ask.get("/v1/nothing"), 404).startswith("There is no endpoint at /v1/nothing")
    assert problem(server.ask.get("/v1/predict/"), 404)  # and no redirect to wherever the Host header leads


SHAPES = [
    {}, [], "text", 7, None, {"texts": []}, {"texts": [1]}, {"texts": "one"}, {"texts": ["a"], "records": [{"text": "a"}]}, {"texts": None},
    {"records": []}, {"records": ["a"]}, {"records": [{"text": "a"}], "more": 1}, {"texts": [["a"]]}, {"records": {"text": "a"}},
    {"texts": ["a"], "verticals": ["intent"]},
]  # fmt: skip


@pytest.mark.parametrize("body", SHAPES, ids=json.dumps)
def test_another_shape_is_refused(server, body) -> None:
    found = server.ask.post("/v1/verticals/intent/predict", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert "not valid" in problem(found, 422)


def test_fields_that_nobody_reads_cost_nothing(server) -> None:
    """A table of all of them would stop the server for half a minute and take gigabytes."""
    records = [{"text": "soup", **{f"c{row}_{place}": 1 for place in range(60)}} for row in range(1000)]
    began = time.monotonic()
    found = server.ask.post("/v1/verticals/intent/predict", json={"records": records})
    assert found.status_code == 200, found.text
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}],
    ids=str,
)
def test_a_body_that_is_no_plain_json_is_refused(server, headers) -> None:
    """One without a type may come from a page of another site, which may send no JSON unasked."""
    assert problem(server.ask.post("/v1/verticals/intent/predict", content=b'{"texts": ["a"]}', headers=headers), 415)


@pytest.mark.parametrize("verticals", [None, [], "intent", ["../../etc/passwd"], [""], ["a" * 81], [1]], ids=str)
def test_wrong_names_of_verticals_are_refused(server, verticals) -> None:
    assert problem(server.ask.post("/v1/predict", json={"verticals": verticals, "texts": ["a"]}), 422)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"texts": ["{SECRET}"], "other": "{SECRET}"}}', f'{{"{SECRET}": 1, "texts": ["a"]}}', f'{{"texts": "{SECRET}"}}',
        f'{{"texts": [{{"{SECRET}": "{SECRET}"}}]}}', f'{{"texts": ["{SECRET}"', f'"{SECRET}"', f'{{"records": ["{SECRET}"]}}',
        f'{{"records": [{{"text": ["{SECRET}"]}}]}}', f'{{"texts": ["{SECRET}", 1]}}', f'{{"texts": ["{SECRET}\\ud800"]}}', SECRET,
        f'{{"records": [{{"text": "a", "{SECRET}": []}}, {{"{SECRET}": 1}}]}}', "{" + f'"{SECRET * 5000}": 1' + "}",
    ],
)  # fmt: skip
def test_what_came_is_not_repeated(server, caplog, body) -> None:
    caplog.set_level("DEBUG", "vertune")
    found = server.ask.post("/v1/verticals/intent/predict", content=body, headers={"Content-Type": "application/json"})
    if found.status_code != 200:
        problem(found, 422)
    assert SECRET not in found.text
    assert SECRET not in caplog.text


def test_half_a_character_is_refused(server) -> None:
    """JSON can write what is no text."""
    found = server.ask.post("/v1/verticals/intent/predict", content=rb'{"texts": ["\ud800"]}', headers={"Content-Type": "application/json"})
    assert problem(found, 422)


def test_deep_nesting_is_refused(server) -> None:
    deep = '{"records": [{"text": ' + "[" * 50_000 + "]" * 50_000 + "}]}"
    found = server.ask.post("/v1/verticals/intent/predict", content=deep, headers={"Content-Type": "application/json"})
    assert problem(found, 422)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/verticals/intent/predict", b'{"texts": [' + b"1," * 1_900_000 + b"1]}"),
        ("/v1/embeddings", b'{"model": "find", "input": [' + b"1," * 1_900_000 + b"1]}"),
        ("/v1/predict", b'{"texts": ["a"], "verticals": [' + b"1," * 1_900_000 + b"1]}"),
        ("/v1/verticals/intent/predict", b'{"records": [' + b"1," * 1_900_000 + b"1]}"),
        ("/v1/verticals/intent/predict", b'{"records": [' + b"{}," * 1_300_000 + b"{}]}"),
        ("/v1/verticals/intent/predict", b"{" + b",".join(b'"%d":1' % number for number in range(350_000)) + b"}"),
        ("/v1/verticals/intent/predict", b'{"records": [{"text": ' + b"1" * 4_000_000 + b"}]}"),
    ],
    ids=["texts", "vectors", "names", "records", "empty", "fields", "digits"],
)
def test_a_body_of_millions_of_mistakes_is_one_mistake(server, path, body) -> None:
    began = time.monotonic()
    found = server.ask.post(path, content=body, headers={"Content-Type": "application/json"})
    assert problem(found, 422)
    assert len(found.content) < 2000
    assert time.monotonic() - began < 3, "errors one by one take 7 s and a gigabyte"


def test_texts_for_a_task_that_reads_two_are_told_how(server) -> None:
    said = problem(server.predict("faq", "a"), 422)
    assert said == (
        "The model 'faq' reads the fields question and context, so one text per record is not enough. "
        "Send records: [{question: …, context: …}]."
    )


def test_an_empty_text_is_refused_as_by_the_model(server, alone) -> None:
    with pytest.raises(VertuneError) as refused:
        alone("intent", ["soup", "  "])
    assert problem(server.predict("intent", "soup", "  "), 422) == str(refused.value)


# ------------------------------------------------------------------ limits


def test_too_much_is_refused(strict) -> None:
    assert "at most 6 records" in problem(strict.predict("intent", *["a"] * 7), 413)
    many = {"verticals": ["intent", "whole"], "texts": ["a"] * 4}
    assert "needs 8 predictions" in problem(strict.ask.post("/v1/predict", json=many), 413)
    assert "has 101 characters; at most 100" in problem(strict.predict("intent", "a", "a" * 101), 413)
    assert strict.predict("intent", *["a" * 100] * 6).status_code == 200
    nested = {"records": [{"text": "a", "odd": ["a" * 60, {"b": "a" * 60}]}]}
    assert strict.ask.post("/v1/verticals/intent/predict", json=nested).status_code == 200  # a column that nobody reads


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large_is_refused(strict, chunked) -> None:
    body = json.dumps({"texts": ["a" * 90] * 30}).encode()
    parts = (body[start : start + 500] for start in range(0, len(body), 500))
    headers = {"Content-Type": "application/json"}
    found = strict.ask.post("/v1/verticals/intent/predict", content=parts if chunked else body, headers=headers)
    assert "at most 2000 bytes" in problem(found, 413)
    assert strict.predict("intent", "soup").status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/xml"]
)
def test_what_is_no_json_is_refused(server, kind) -> None:
    found = server.ask.post("/v1/verticals/intent/predict", content=b'{"texts": ["a"]}', headers={"Content-Type": kind})
    assert "application/json" in problem(found, 415)
    good = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert server.ask.post("/v1/verticals/intent/predict", content=b'{"texts": ["a"]}', headers=good).status_code == 200


@pytest.mark.parametrize("said", ["0", "-5", "soon", "", "nan", "inf", "1e999", "0x10"])
def test_a_deadline_that_is_none_is_refused(server, said) -> None:
    assert "X-Deadline-Ms" in problem(server.predict("intent", "a", X_Deadline_Ms=said), 422)


def test_a_deadline_that_can_not_be_met_is_refused_with_when_to_come_again(server) -> None:
    for _ in range(3):
        found = server.predict("intent", *["tell me of rome"] * 200, X_Deadline_Ms="0.01")
        assert re.search("(could not be|was not) answered within", problem(found, 503))  # the latter if it has passed before that is known
        assert int(found.headers["retry-after"]) >= 1
        assert 0 < int(found.headers["retry-after-ms"]) <= 1000 * int(found.headers["retry-after"])
    assert server.predict("intent", "a", X_Deadline_Ms="5000").status_code == 200


def test_a_method_that_a_path_does_not_take_is_told_with_those_that_it_does(server) -> None:
    for path, allowed in (("/v1/predict", "POST"), ("/v1/verticals/intent", "DELETE, GET, HEAD, PUT"), ("/metrics", "GET, HEAD")):
        found = server.ask.patch(path)
        assert "does not support the method PATCH" in problem(found, 405)
        assert found.headers["allow"] == allowed
