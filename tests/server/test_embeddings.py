"""The official client of OpenAI gets the vectors that the model alone makes, in both forms that it knows."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from tests.server.conftest import TEXTS
from tests.server.running import problem

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def official(server):
    import httpx

    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=server._key, http_client=http, max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("form", ["float", "base64", None])
@pytest.mark.parametrize("asked", [TEXTS, TEXTS[0]], ids=["list", "string"])
def test_vectors_are_those_of_the_model_alone(official, alone, form, asked) -> None:
    """Without a form named, the client asks for base64 and decodes it itself."""
    options = {"encoding_format": form} if form else {}
    found = official.embeddings.create(model="find", input=asked, user="somebody", **options)
    vectors = [np.frombuffer(base64.b64decode(one.embedding), "<f4") if form == "base64" else np.array(one.embedding) for one in found.data]
    expected = [answer["vector"] for answer in alone("find", [asked] if isinstance(asked, str) else asked)]
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert [one.index for one in found.data] == list(range(len(expected)))
    assert (found.model, found.object) == ("find", "list")
    assert found.usage.total_tokens == found.usage.prompt_tokens > 2 * len(expected)


def test_tokens_are_counted_as_the_model_reads_them(server, official) -> None:
    served = server.service.answers.fleet.get("find")
    encoder = served.predictor.encoder
    for texts in (["soup"], ["soup", "tell me of rome"], ["tell me of rome " * 700] * 2):
        features = encoder.encode([{"text": text} for text in texts], served.task.views(["text"]))
        assert official.embeddings.create(model="find", input=texts).usage.total_tokens == sum(feature.cost for feature in features)


def refused(kind: type[openai.APIStatusError], ask) -> str:
    """What the server says of it."""
    with pytest.raises(kind) as raised:
        ask()
    return raised.value.body["detail"]


def test_the_size_of_a_vector_is_the_models_own(official) -> None:
    found = official.embeddings.create(model="find", input="soup", dimensions=32)
    assert len(found.data[0].embedding) == 32
    ask = lambda: official.embeddings.create(model="find", input="soup", dimensions=16)  # noqa: E731
    assert "have 32 numbers" in refused(openai.UnprocessableEntityError, ask)


@pytest.mark.parametrize(
    ("kind", "asked", "says"),
    [
        (openai.NotFoundError, {"model": "nobody", "input": "soup"}, "No model is served under the name 'nobody'"),
        (openai.UnprocessableEntityError, {"model": "intent", "input": "soup"}, "does not return vectors: its task is classify"),
        (openai.UnprocessableEntityError, {"model": "find", "input": ["soup", " "]}, "text is empty"),
    ],
)
def test_errors_are_those_that_the_client_knows(official, kind, asked, says) -> None:
    assert says in refused(kind, lambda: official.embeddings.create(**asked))


def test_a_stranger_is_told_so(official) -> None:
    other = official.with_options(api_key="vt_0123456789ab_other")
    assert "not known" in refused(openai.AuthenticationError, lambda: other.embeddings.create(model="find", input="soup"))


@pytest.mark.parametrize("asked", ["", [], [1, 2], [[1]], None, {"text": "a"}, [["a"]]], ids=str)
def test_what_is_no_text_is_refused(server, asked) -> None:
    assert problem(server.ask.post("/v1/embeddings", json={"model": "find", "input": asked}), 422)


@pytest.mark.parametrize("more", [{"encoding_format": "hex"}, {"dimensions": 0}, {"dimensions": "many"}, {"model": "../find"}])
def test_wrong_options_are_refused(server, more) -> None:
    assert problem(server.ask.post("/v1/embeddings", json={"model": "find", "input": "a", **more}), 422)
