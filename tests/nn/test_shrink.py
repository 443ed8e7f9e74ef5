"""What is taken out of a model is what a mask over the whole model takes away; the oracle keeps every weight."""

from __future__ import annotations

import copy

import pytest
import torch

from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.nn import shrink, structure
from vertune.testing import tiny
from vertune.testing.methods import MethodCase

PLAIN = ["bert", "roberta", "distilbert", "electra", "mpnet", "deberta-v2", "modernbert", "roformer"]
SEPARATE = ["bert", "roberta", "distilbert", "electra", "roformer"]
"""Families whose query, key and value are maps of their own, and whose code asks the maps how many heads there are."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    make = tiny.maker(tmp_path_factory.mktemp("bases"))
    made: dict[str, MethodCase] = {}

    def find(family: str) -> MethodCase:
        if family not in made:
            made[family] = MethodCase(Text(base=str(make(family))), build(Task, "classify"), rows=12)
        return made[family]

    return find


def answer(model, found):
    with torch.no_grad():
        return model.eval()(found.inputs)


def feed(found):
    return lambda model: answer(model, found)


@pytest.mark.parametrize("family", PLAIN)
def test_inner_rows_that_go_are_those_that_a_zero_would_silence(stand, family):
    found = stand(family)
    whole = found.fresh().eval()
    weights = shrink.inner_weights(whole, feed(found))
    kept = {name: shrink.largest(value, 0.5) for name, value in weights.items()}
    small = shrink.copied(whole)
    shrink.keep_inner(small, kept)
    masked = copy.deepcopy(whole)
    with torch.no_grad():
        for name, rows in kept.items():
            weight = masked.backbone.get_submodule(name).weight
            gone = torch.ones(weight.shape[1], dtype=torch.bool)
            gone[rows] = False
            weight[:, gone] = 0
    torch.testing.assert_close(answer(small, found), answer(masked, found), atol=1e-5, rtol=1e-5)
    assert sum(value.numel() for value in small.parameters()) < sum(value.numel() for value in whole.parameters())


@pytest.mark.parametrize("family", SEPARATE)
def test_heads_that_go_are_those_that_a_zero_would_silence(stand, family):
    found = stand(family)
    whole = found.fresh().eval()
    weights = shrink.head_weights(whole, feed(found))
    kept = {layer: shrink.largest(value, 0.5) for layer, value in weights.items()}
    small = shrink.copied(whole)
    shrink.keep_heads(small, kept)
    masked = copy.deepcopy(whole)
    with torch.no_grad():
        for layer, heads in kept.items():
            weight = masked.backbone.get_submodule(f"{layer}.{structure.sites(whole.backbone, layer)['attention_output'][0]}").weight
            gone = torch.ones(2, dtype=torch.bool)
            gone[heads] = False
            weight.reshape(len(weight), 2, -1)[:, gone] = 0
    torch.testing.assert_close(answer(small, found), answer(masked, found), atol=1e-5, rtol=1e-5)


def test_one_map_for_query_key_and_value_is_refused(stand):
    found = stand("modernbert")
    weights = shrink.head_weights(found.fresh().eval(), feed(found))
    with pytest.raises(ConfigError, match="one module computes query, key and value"):
        shrink.keep_heads(found.fresh(), {layer: shrink.largest(value, 0.5) for layer, value in weights.items()})


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_heads_that_are_counted_elsewhere_too_are_refused(stand, family):
    found = stand(family)
    weights = shrink.head_weights(found.fresh().eval(), feed(found))
    with pytest.raises(ConfigError, match="heads"):
        shrink.keep_heads(shrink.copied(found.fresh()), {layer: shrink.largest(value, 0.5) for layer, value in weights.items()})


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "roformer"])
def test_layers_that_stay_are_the_only_ones_that_run(stand, family):
    found = stand(family)
    small = shrink.copied(found.fresh())
    shrink.keep_layers(small, [1])
    whole = found.fresh().eval()
    first = next(iter(structure.layers(whole.backbone).values()))
    form = []
    handle = first.register_forward_hook(lambda module, args, out: form.append(isinstance(out, tuple)))
    answer(whole, found)
    handle.remove()

    def passing(module, args, kwargs, out):
        states = args[0] if args else kwargs["hidden_states"]
        return (states, *out[1:]) if form[0] else states

    first.register_forward_hook(passing, with_kwargs=True)
    torch.testing.assert_close(answer(small, found), answer(whole, found), atol=1e-5, rtol=1e-5)
    assert structure.count(small.backbone) == 1


def test_shared_layers_are_refused(stand):
    with pytest.raises(ConfigError, match="share weights or are not all in one ModuleList"):
        shrink.keep_layers(stand("albert").fresh(), [0])


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_layers_that_stay_lie_as_far_apart_as_they_can(count):
    for number in range(1, count + 1):
        places = shrink.evenly(count, number)
        assert len(places) == number
        assert places == sorted(set(places))
        assert places[-1] == count - 1
    with pytest.raises(ConfigError, match=f"Choose a number of layers from 1 to {count}"):
        shrink.evenly(count, count + 1)


def test_tokens_that_stay_keep_their_rows(stand):
    found = stand("bert")
    whole, small = found.fresh().eval(), shrink.copied(found.fresh())
    used = sorted({0, *found.inputs["input_ids"].flatten().tolist()})
    shrink.keep_tokens(small, torch.tensor(used))
    places = {old: new for new, old in enumerate(used)}
    inputs = {**found.inputs, "input_ids": found.inputs["input_ids"].apply_(lambda place: places[place])}
    with torch.no_grad():
        expected = whole({**inputs, "input_ids": torch.tensor(used)[inputs["input_ids"]]})
        torch.testing.assert_close(small(inputs), expected)
    assert small.backbone.get_input_embeddings().num_embeddings == len(used)
