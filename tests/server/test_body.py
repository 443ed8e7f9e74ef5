"""What is no strict JSON is refused with a plain reason, and after the key was checked."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.running import problem
from vertune.core.errors import DataError
from vertune.server.body import _PLAIN, check_json
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
JSON = {"Content-Type": "application/json"}
PREDICT, CHOOSE = "/v1/verticals/intent/predict", "/v1/verticals/intent"
NOT_STRICT = {
    "NaN": (b'{"texts": ["a"], "more": NaN}', "NaN"),
    "Infinity": (b'{"records": [{"text": "a", "more": -Infinity}]}', "Infinity"),
    "too large": (b'{"records": [{"text": "a", "more": 1e400}]}', "too large"),
    "5,000 digits": (b'{"records": [{"text": "a", "more": ' + b"9" * 5000 + b"}]}", "digits"),
    "a field twice": (b'{"texts": ["a"], "texts": ["b"]}', "twice"),
    "a field twice, escaped": (b'{"texts": ["a"], "te\\u0078ts": ["b"]}', "twice"),
    "a field twice in a record": (b'{"records": [{"text": "a", "text": "b"}]}', "twice"),
    "half a character": (b'{"texts": ["\\ud800"]}', "Unicode"),
    "the other half": (b'{"records": [{"text": "a", "more": "\\uDFFF"}]}', "Unicode"),
    "no UTF-8": (b'{"texts": ["\xff"]}', "UTF-8"),
    "half a character as bytes": (b'{"texts": ["\xed\xa0\x80"]}', "UTF-8"),
    "UTF-16": ('{"texts": ["a"]}'.encode("utf-16"), "UTF-8"),
    "deep": (b'{"texts": ["a"], "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    "deep objects": (b'{"more": ' * 5_000 + b"1" + b"}" * 5_000, "nested"),
    "cut": (b'{"texts": ["a"', "not valid JSON"),
    "two values": (b'{"texts": ["a"]} {}', "not valid JSON"),
    "a comment": (b'{"texts": ["a"]} // b', "not valid JSON"),
    "quotes": (b"{'texts': ['a']}", "not valid JSON"),
}


@pytest.mark.parametrize("name", NOT_STRICT)
def test_what_is_no_strict_json_is_refused_with_a_reason(server, name) -> None:
    content, reason = NOT_STRICT[name]
    for method, path in (("POST", PREDICT), ("POST", "/v1/predict"), ("POST", "/v1/embeddings"), ("PUT", CHOOSE)):
        said = problem(server.ask.request(method, path, content=content, headers=JSON), 422)
        assert reason in said, (path, said)
        assert said.count(". ") >= 1, "what to do"


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1])
def test_an_integer_of_more_than_64_bits_is_refused_where_it_may_be_stored(server, number) -> None:
    assert "64 bits" in problem(server.ask.put(CHOOSE, json={"model": "a", "more": number}), 422)
    last = number - 1 if number > 0 else number + 1
    assert "64 bits" not in problem(server.ask.put(CHOOSE, json={"model": "a", "more": last}), 422)


@pytest.mark.parametrize("name", NOT_STRICT)
def test_a_key_without_the_permission_is_refused_before_the_body_is_looked_at(server, name) -> None:
    with closing(Keys(Database(server.service.home.folder / "server.db"))) as keys:
        secret, _ = keys.create("reader", ["feedback"])
    for method, path in (("POST", PREDICT), ("POST", "/v1/predict"), ("POST", "/v1/embeddings"), ("PUT", CHOOSE)):
        headers = {**JSON, "Authorization": f"Bearer {secret}"}
        assert "permission" in problem(server.stranger.request(method, path, content=NOT_STRICT[name][0], headers=headers), 403)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.booleans())
def test_all_that_is_strict_json_is_taken(value, ascii) -> None:
    check_json(json.dumps(value, ensure_ascii=ascii).encode("utf-8", "strict"))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), st.data())
def test_a_field_twice_is_found_wherever_it_is(fields, data) -> None:
    pairs = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
    again = data.draw(st.sampled_from(list(fields)))
    pairs.insert(data.draw(st.integers(0, len(pairs))), f"{json.dumps(again, ensure_ascii=False)}: 1")
    depth = data.draw(st.integers(0, 5))
    text = '{"a": [' * depth + "{" + ", ".join(pairs) + "}" + "]}" * depth
    with pytest.raises(DataError, match="twice"):
        check_json(text.encode("utf-8"))


@settings(max_examples=60, deadline=None)
@given(st.text('{}[]:," a', max_size=12) | st.text(max_size=5))
def test_what_is_recognised_without_parsing_is_strict_json(inner) -> None:
    for content in (f'{{"texts": ["{inner}"]}}'.encode(), f'{{"texts": ["a", "{inner}", "b"]}}'.encode()):
        if _PLAIN.fullmatch(content):
            assert list(json.loads(content)) == ["texts"]
            assert all(isinstance(text, str) for text in json.loads(content)["texts"])


def test_backslashes_before_an_escape_are_told_from_the_escape() -> None:
    check_json(rb'{"a": "\\ud800"}')
    check_json(rb'{"a": "\ud83d\ude00"}')
    for half in (rb'{"a": "\\\ud800"}', rb'{"a": "\ude00\ud83d"}', rb'{"\udc00": 1}', rb'{"a": "\ud83d\\ude00"}'):
        with pytest.raises(DataError, match="Unicode"):
            check_json(half)


@pytest.mark.parametrize(
    ("value", "kind"), [("true", "true or false"), ("false", "true or false"), ("12", "a number"), ("1.5", "a number")]
)
@pytest.mark.parametrize("field", ["text", "query"])
def test_a_text_is_a_string(server, value, kind, field) -> None:
    body = f'{{"records": [{{"text": "soup"}}, {{"{field}": {value}}}]}}'
    said = problem(server.ask.post(PREDICT, content=body, headers=JSON), 422)
    assert said == f"The field '{field}' of record 2 is {kind}; expected a text. Send a JSON string, which is written in quotes."
    both = f'{{"verticals": ["whole", "intent"], {body[1:]}'
    assert "expected a text" in problem(server.ask.post("/v1/predict", content=both, headers=JSON), 422)
    unread = f'{{"records": [{{"text": "soup", "more": {value}}}]}}'
    assert server.ask.post(PREDICT, content=unread, headers=JSON).status_code == 200


@pytest.mark.parametrize("more", ['"dimensions": true', '"dimensions": "32"', '"dimensions": 32.0', '"user": 1', '"encoding_format": 1'])
def test_values_are_not_converted(server, more) -> None:
    body = f'{{"model": "find", "input": ["a"], {more}}}'
    assert more.split('"')[1] in problem(server.ask.post("/v1/embeddings", content=body, headers=JSON), 422)
