"""Writes tiny models with random weights in the format of the transformers library, one per model family such as BERT.

Their predictions are meaningless. The models serve to test code that depends on the structure of a model.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

WIDTH = 32
LAYERS = 2
LONGEST = 128

_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": LONGEST,
}
_ROBERTA: dict[str, Any] = {**_SHAPE, "max_position_embeddings": LONGEST + 2, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _SHAPE,
    "roberta": _ROBERTA,
    "distilbert": {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": LONGEST},
    "electra": {**_SHAPE, "embedding_size": 24},
    "albert": {**_SHAPE, "embedding_size": 24, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    "mpnet": {**_ROBERTA, "relative_attention_num_buckets": 32},
    "xlm-roberta": _ROBERTA,
    "deberta-v2": {
        **_SHAPE, "relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm",
        "position_biased_input": False, "type_vocab_size": 0, "conv_kernel_size": 3, "share_att_key": False,
    },
    "ernie": _SHAPE,
    "modernbert": {
        **_SHAPE, "local_attention": 16, "global_attn_every_n_layers": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
        "cls_token_id": 2, "sep_token_id": 3, "embedding_dropout": 0.1, "mlp_dropout": 0.1, "attention_dropout": 0.1,
    },
    "roformer": {**_SHAPE, "embedding_size": WIDTH},
}  # fmt: skip
"""Config values of the tiny model of each family, by its name in transformers; vertune has no code that is specific to the last one."""

_CLASSIC = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SENTENCE = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def write(family: str, folder: Path, words: Iterable[str] = (), seed: int = 0, **options: Any) -> Path:
    """Write `config.json`, `model.safetensors` and `tokenizer.json` of a tiny model, and return the folder.

    `family` is a key of FAMILIES. Each of `words` becomes one token of the tokenizer; `options` override values of the
    model's config. The random weights are larger than usual, so that a change of the input changes the outputs
    noticeably.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    tokenizer = wordpiece(_SENTENCE if FAMILIES[family].get("pad_token_id") == 1 else _CLASSIC, words)
    settings = {"vocab_size": tokenizer.get_vocab_size(), "initializer_range": 0.1, **FAMILIES[family], **options}
    config = AutoConfig.for_model(family, **settings)
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        _perturb_vectors(model)
        model.save_pretrained(folder)
    finally:
        torch.random.set_rng_state(state)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _perturb_vectors(model: Any) -> None:
    """Add noise to the biases and the weights of normalisation layers.

    They are initialised to 0 or 1, so tests would not notice a method that ignores them.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def wordpiece(special: Sequence[str] = _CLASSIC, words: Iterable[str] = ()) -> tokenizers.Tokenizer:
    """Build a WordPiece tokenizer.

    Its vocabulary consists of the special tokens, letters, digits, punctuation and `words`, each of which becomes one
    token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = string.ascii_lowercase + string.digits
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *sorted(set(words))]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    classic = tuple(special) == _CLASSIC
    unknown, first, last = ("[UNK]", "[CLS]", "[SEP]") if classic else ("<unk>", "<s>", "</s>")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    types = (":0", ":1") if classic else ("", "")
    pair = f"{first}{types[0]} $A{types[0]} {last}{types[0]} $B{types[1]} {last}{types[1]}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=pair, special_tokens=[(token, vocabulary[token]) for token in (first, last)]
    )
    tokenizer.add_special_tokens(list(special))
    return tokenizer


Maker = Callable[..., Path]
"""A function `make(family, **options)` that returns the folder of a tiny model, written on the first call."""


def maker(root: Path, words: Iterable[str] = ()) -> Maker:
    """Return a function `make(family, **options)` that returns the folder of a tiny model.

    The first call for a family and options writes the model into a folder below `root`; later calls return the same
    folder.
    """
    vocabulary = sorted(set(words))
    made: dict[str, Path] = {}

    def make(family: str, **options: Any) -> Path:
        key = "-".join([family, *(f"{name}={value}" for name, value in sorted(options.items()))])
        if key not in made:
            made[key] = write(family, root / key, vocabulary, **options)
        return made[key]

    return make
