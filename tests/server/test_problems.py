"""Errors are in the language that a client asks for, and so are the reasons why a model is not served."""

from __future__ import annotations

import pytest

from tests.server.running import problem
from vertune.core.sentence import said
from vertune.server.preparing import Pending

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
PREDICT = "/v1/verticals/intent/predict"
REQUESTS = [
    ("GET", "/v1/nothing", None, 404, "/v1/nothing 没有接口。详见 /docs。"),
    ("PUT", "/health/live", None, 405, "/health/live 不支持方法 PUT，应为：GET, HEAD。"),
    ("GET", "/v1/alerts/nothing", None, 404, "没有标识为“nothing”的告警。请用 GET /v1/alerts 列出。"),
    ("POST", PREDICT, {"texts": []}, 422, "请求的正文或参数无效：texts: 应至少有 1 项，而不是 0 项。详见 /docs。"),
    ("POST", PREDICT, {"texts": ["a"], "deadline": 1}, 422, "请求的正文或参数无效：body: 请求含有未知的字段。详见 /docs。"),
    (
        "POST", PREDICT, {"texts": ["a"], "records": [{"text": "a"}]}, 422,
        "请求的正文或参数无效：body: 应恰好有字段 'texts' 和 'records' 中的一个。详见 /docs。",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "text"), REQUESTS, ids=range(len(REQUESTS)))
def test_an_error_is_in_the_language_that_a_client_asks_for_first(server, method, path, body, status, text) -> None:
    answer = server.ask.request(method, path, json=body, headers=CHINESE)
    assert problem(answer, status) == text
    assert answer.headers["content-language"] == "zh"
    for language in ("en, zh", "de", ""):
        other = server.ask.request(method, path, json=body, headers={"Accept-Language": language})
        assert problem(other, status).isascii()
        assert "content-language" not in other.headers


def test_a_stranger_is_told_in_the_language_too(server) -> None:
    answer = server.stranger.get("/v1/verticals", headers=CHINESE)
    assert problem(answer, 401).startswith("请求没有 API 密钥。")
    assert answer.headers["www-authenticate"].startswith("Bearer")


PENDING = [
    (said("unserved.slow", limit="900"), "准备用时超过 900 秒，已停止。请手动运行 `vertune share` 查看原因。"),
    (
        said("unserved.unprepared", error="The weights of a contain NaN or infinity at b; expected finite numbers. Train the model again."),
        "准备未能成功：a 的权重在 b 处含有 NaN 或无穷大，应为有限的数。请重新训练该模型。",
    ),
    ("The file model.onnx is missing. Restore it from a copy of the folder, or train it.", "缺少文件 model.onnx。"),
    ("something of another library", "（以下说明只有英文）something of another library"),
    ("", ""),
]


@pytest.mark.parametrize(("why", "text"), PENDING, ids=range(len(PENDING)))
def test_why_a_model_is_not_served_is_in_the_language_that_is_asked_for(server, monkeypatch, why, text) -> None:
    # with another state, the server would look at the files of this model
    monkeypatch.setattr(server.service.aliases, "pending", {"late": Pending("m-1", "loading", why)})
    for path in ("/v1/verticals", "/v1/verticals/late"):
        found = server.ask.get(path, params={"language": "zh"}).json()
        (late,) = [one for one in found.get("verticals", [found]) if one["name"] == "late"]
        assert late["coming"]["why"].startswith(text)
        assert bool(late["coming"]["why"]) == bool(text)
    assert server.ask.get("/v1/verticals/late").json()["coming"]["why"] == why


def test_outputs_that_are_wrong_are_told_in_the_language(server, monkeypatch) -> None:
    deployment = server.service.answers.fleet.deployments["intent"]
    fault = (
        "The model's outputs contain NaN or infinity; expected finite numbers. Its weights are damaged, or training failed: "
        "restore its files from a copy, or train again."
    )
    monkeypatch.setattr(deployment.health, "fault", fault)
    assert server.ask.get("/v1/verticals/intent", params={"language": "zh"}).json()["fault"].startswith("模型的输出含有 NaN 或无穷大")
