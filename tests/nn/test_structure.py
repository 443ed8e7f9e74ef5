from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vertune.core.errors import ConfigError
from vertune.encoders.text import Text
from vertune.nn import structure
from vertune.nn.inputs import declare
from vertune.nn.vertical import VerticalModel
from vertune.testing import tiny


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> tiny.Maker:
    return tiny.maker(tmp_path_factory.mktemp("bases"))


def backbone(make: tiny.Maker, family: str, **options: object) -> nn.Module:
    return Text(base=str(make(family, **options))).model()


def states(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_has_attention_and_feed_forward(make: tiny.Maker, family: str) -> None:
    model = backbone(make, family)
    for name, layer in structure.layers(model).items():
        roles = structure.sites(model, name)
        assert {"attention_output", "up", "down"} <= set(roles)
        assert {"qkv"} <= set(roles) or {"query", "key", "value"} <= set(roles)
        named = [site for sites in roles.values() for site in sites]
        assert sorted(named) == sorted(inside for inside, part in layer.named_modules() if isinstance(part, nn.Linear))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_query_and_key_are_told_from_value(make: tiny.Maker, family: str) -> None:
    """With queries and keys at zero all tokens are seen alike, so that the order of the words before them does not matter."""
    model = backbone(make, family)
    if "qkv" in structure.sites(model, next(iter(structure.layers(model)))):
        pytest.skip("one map makes all three")
    with torch.no_grad():
        for name, layer in structure.layers(model).items():
            for site in structure.sites(model, name)["value"]:
                linear = layer.get_submodule(site)
                linear.weight.zero_()  # type: ignore[operator,union-attr]
                linear.bias.zero_()  # type: ignore[operator,union-attr]
    model.eval()
    one, other = torch.tensor([[7, 8, 9, 10]]), torch.tensor([[7, 20, 30, 40]])
    if family == "deberta-v2":
        pytest.skip("its convolution mixes tokens besides attention")
    assert torch.allclose(states(model, one)[:, 0], states(model, other)[:, 0], atol=1e-6)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_stage_changes_nothing_below_it(make: tiny.Maker, family: str) -> None:
    """Noise in the weights of a stage leaves the input of every earlier layer as it was."""
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    for piece, depth in structure.stages(backbone(make, family)).items():
        model = backbone(make, family).eval()
        before = inputs_of_layers(model, ids)
        with torch.no_grad():
            for parameter in model.get_submodule(piece).parameters():
                parameter.add_(torch.randn_like(parameter))
        after = inputs_of_layers(model, ids)
        for place in range(min(depth, len(before))):
            assert torch.equal(before[place], after[place]), f"{piece} at depth {depth} changes the input of layer {place}"


def inputs_of_layers(model: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    with structure.probing(model) as hooks:
        for layer in structure.layers(model).values():
            hooks.append(layer.register_forward_pre_hook(lambda _, args, kwargs: seen.append(args[0].clone()), with_kwargs=True))
        states(model, ids)
    return seen


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_parameter_lies_in_one_stage_or_a_pooler(make: tiny.Maker, family: str) -> None:
    model = backbone(make, family)
    owners = [*structure.stages(model), *structure.poolers(model)]
    for name, _ in model.named_parameters():
        assert sum(structure.within(name, owner) for owner in owners) == 1, name


def test_depths_count_from_embeddings_to_head(make: tiny.Maker) -> None:
    model = VerticalModel(backbone(make, "bert"), nn.Linear(tiny.WIDTH, 2), "mean")
    names = {"backbone.embeddings.word_embeddings": 0, "backbone.encoder.layer.0": 1, "backbone.encoder.layer.1.output": 2, "head": 3}
    assert {name: structure.depth_of(model, name) for name in names} == names
    assert structure.depth_of(model, "backbone.pooler.dense") == 3


def test_layers_that_share_weights_are_counted_by_their_passes(make: tiny.Maker) -> None:
    model = backbone(make, "albert")
    assert (len(structure.layers(model)), structure.count(model), structure.shares_layers(model)) == (1, 2, True)
    with pytest.raises(ConfigError, match="layers share"):
        structure.top(model, 1)


def test_more_layers_than_there_are_is_an_error(make: tiny.Maker) -> None:
    with pytest.raises(ConfigError, match="Choose at most 2"):
        structure.top(backbone(make, "bert"), 3)


@pytest.mark.parametrize("module", [nn.Linear(3, 3), nn.Sequential(nn.ReLU())])
def test_what_is_no_encoder_is_an_error(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match="Choose a transformer encoder"):
        structure.layers(module)


def test_a_base_that_can_t_compute_its_inputs_is_an_error() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.ModuleList([nn.Linear(2, 2)])

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

    with pytest.raises(ConfigError, match="declares no input arrays"):
        structure.stages(Deaf())
    with pytest.raises(ConfigError, match="can't run on the arrays of its encoder alone"):
        structure.stages(declare(Deaf(), Text()))


def test_quiet_stages_give_the_same_states_each_time(make: tiny.Maker) -> None:
    model = VerticalModel(backbone(make, "bert"), nn.Linear(tiny.WIDTH, 2), "mean").train()
    ids = torch.tensor([[7, 8, 9, 10]])
    structure.quiet_below(model, 3)
    assert torch.equal(states(model.backbone, ids), states(model.backbone, ids))
    model.train()
    structure.quiet_below(model, 2)
    assert not torch.equal(states(model.backbone, ids), states(model.backbone, ids))


def test_looking_at_a_model_leaves_its_modes_and_the_random_generator(make: tiny.Maker) -> None:
    model = backbone(make, "bert").train()
    model.get_submodule("embeddings").eval()
    modes, random = [module.training for module in model.modules()], torch.random.get_rng_state()
    structure.stages(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_lowest_trained_depth_is_read_from_the_parameters(make: tiny.Maker) -> None:
    model = VerticalModel(backbone(make, "bert"), nn.Linear(tiny.WIDTH, 2), "mean")
    assert structure.lowest(model) == 0
    model.backbone.requires_grad_(False)
    assert structure.lowest(model) == 3
    model.get_submodule("backbone.encoder.layer.1").requires_grad_(True)
    assert structure.lowest(model) == 2


def test_roles_survive_a_base_that_is_defined_in_another_order() -> None:
    """The order of use tells the roles, and the names tell queries from keys where keys come first."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(12, 8), nn.Linear(8, 12)
            self.out, self.key, self.value, self.query = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            states = self.out(self.key(hidden_states) + self.value(hidden_states) + self.query(hidden_states))
            return self.down(self.up(states))

    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(64, 8)
            self.layers = nn.ModuleList([Layer()])

        def get_input_embeddings(self) -> nn.Module:
            return self.words

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.layers[0](self.words(input_ids))

    expected = {"query": ["query"], "key": ["key"], "value": ["value"], "attention_output": ["out"], "up": ["up"], "down": ["down"]}
    assert structure.sites(declare(Base(), Text()), "layers.0") == expected


def test_tiny_bases_are_written_once(tmp_path: Path) -> None:
    make = tiny.maker(tmp_path)
    assert make("bert") == make("bert")
    assert make("bert", num_hidden_layers=3) != make("bert")
