from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vertune.core.errors import ConfigError
from vertune.encoders.text import Text
from vertune.nn import prefix, structure
from vertune.testing import tiny

Change = Callable[[nn.Module], None]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> tiny.Maker:
    return tiny.maker(tmp_path_factory.mktemp("bases"))


def deep(model: nn.Module) -> None:
    prefix.attach_prefix(model, prefix.initial(model, 3)[1])


def top(model: nn.Module) -> None:
    name, rows = list(prefix.initial(model, 3)[1].items())[-1]
    prefix.attach_prefix(model, {name: rows})


def prompt(model: nn.Module) -> None:
    prefix.attach_prompt(model, prefix.initial(model, 3)[0])


@torch.no_grad()
def states(model: nn.Module, rows: list[list[int]], pad: int = 0) -> Tensor:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return model(input_ids=ids, attention_mask=mask).last_hidden_state


def base(make: tiny.Maker, family: str, **options: object) -> nn.Module:
    torch.manual_seed(3)
    return Text(base=str(make(family, **options))).model().eval()


@pytest.mark.parametrize("change", [deep, top, prompt])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_answer_does_not_depend_on_the_padding_of_the_batch(make: tiny.Maker, family: str, change: Change) -> None:
    model = base(make, family)
    change(model)
    pad = model.config.pad_token_id or 0
    short, long = [7, 8, 9, 10], list(range(7, 27))
    alone, beside = states(model, [short], pad), states(model, [short, long], pad)
    assert alone.shape == (1, 4, tiny.WIDTH)
    assert beside.shape == (2, 20, tiny.WIDTH)
    assert torch.allclose(alone[0], beside[0, :4], atol=2e-5)
    assert torch.allclose(states(model, [long], pad)[0], beside[1], atol=2e-5)


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name != "albert"])
def test_layers_below_the_top_ones_do_not_change(make: tiny.Maker, family: str) -> None:
    """What enters the layer with states is what enters it without, for every real token."""
    model = base(make, family)
    rows = [[7, 8, 9, 10], list(range(7, 27))]
    name, layer = list(structure.layers(model).items())[-1]
    seen: list[Tensor] = []

    def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].clone())

    handle = layer.register_forward_pre_hook(look)
    plain = states(model, rows)
    handle.remove()
    layer.register_forward_pre_hook(look)
    prefix.attach_prefix(model, {name: torch.randn(3, tiny.WIDTH)})
    changed = states(model, rows)
    assert torch.allclose(seen[0][0, :4], seen[1][0, 3:7], atol=1e-5)
    assert torch.allclose(seen[0][1], seen[1][1, 3:], atol=1e-5)
    assert not torch.allclose(plain, changed, atol=1e-3)


def test_positions_that_no_layer_opens_change_nothing(make: tiny.Maker) -> None:
    """Real tokens keep their own positions: with the rows never put in, the base answers as it is."""
    model = base(make, "roberta")
    plain = states(model, [[7, 8, 9]])
    rows = {name: torch.zeros(2, tiny.WIDTH) for name in structure.layers(model)}
    prefix.attach_prefix(model, rows)
    for layer in structure.layers(model).values():
        layer._forward_pre_hooks.clear()  # what would open the positions
        layer._forward_pre_hooks_with_kwargs.clear()
    assert torch.allclose(plain, states(model, [[7, 8, 9]]), atol=1e-5)


def test_a_sequence_as_long_as_the_base_takes_still_fits(make: tiny.Maker) -> None:
    model = base(make, "bert")
    deep(model)
    assert states(model, [[7] * tiny.LONGEST]).shape[1] == tiny.LONGEST


def test_a_base_that_counts_positions_in_its_layers_says_what_fits(make: tiny.Maker) -> None:
    model = base(make, "roformer")
    deep(model)
    with pytest.raises(ConfigError, match=f"max_tokens: {tiny.LONGEST - 3}"):
        states(model, [[7] * tiny.LONGEST])


def test_a_copy_uses_its_own_rows(make: tiny.Maker) -> None:
    model = base(make, "bert")
    deep(model)
    before = states(model, [[7, 8]])
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.endswith("prefix.rows"):
                parameter.zero_()
    assert torch.equal(states(model, [[7, 8]]), before)
    assert not torch.allclose(states(other, [[7, 8]]), before)


def test_gradients_reach_the_rows_and_nothing_that_is_frozen(make: tiny.Maker) -> None:
    model = base(make, "modernbert").requires_grad_(False)
    deep(model)
    ids = torch.tensor([[7, 8, 9]])
    model(input_ids=ids).last_hidden_state.square().sum().backward()
    grads = {name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.abs().sum() > 0}
    assert grads == {f"{name}.prefix.rows" for name in structure.layers(model)}


def test_the_pooler_reads_the_first_real_token(make: tiny.Maker) -> None:
    """A native head gets what it would get from the states that come out."""
    for family in ("bert", "albert"):
        model = base(make, family)
        deep(model)
        ids = torch.tensor([[7, 8, 9]])
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            first = out.last_hidden_state[:, 0]
            pooler = model.get_submodule("pooler")
            expected = pooler(out.last_hidden_state) if family == "bert" else torch.tanh(pooler(first))
        assert torch.allclose(out.pooler_output, expected, atol=1e-6)


def test_states_of_several_lengths_are_an_error(make: tiny.Maker) -> None:
    model = base(make, "bert")
    names = list(structure.layers(model))
    with pytest.raises(ConfigError, match="different lengths"):
        prefix.attach_prefix(model, {names[0]: torch.zeros(2, tiny.WIDTH), names[1]: torch.zeros(3, tiny.WIDTH)})


def test_rows_begin_where_real_words_are(make: tiny.Maker) -> None:
    model = base(make, "albert")
    rows, layers = prefix.initial(model, 5)
    assert rows.shape == (5, 24)  # as wide as its embeddings
    assert {name: states.shape for name, states in layers.items()} == dict.fromkeys(structure.layers(model), (5, tiny.WIDTH))
    assert 0.3 < float(rows.std()) < 3  # after the norm, as words are
