from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vertune.core import part
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.nn import structure
from vertune.nn.build import trainable
from vertune.tasks.classify import Classify
from vertune.testing import methods as contract
from vertune.testing import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture(scope="module")
def stand(folder: Path) -> contract.MethodCase:
    """A base of four layers."""
    return contract.MethodCase(Text(base=str(tiny.write("bert", folder / "deep", num_hidden_layers=4))), Classify(), rows=12)


@pytest.fixture(scope="module")
def shared(folder: Path) -> contract.MethodCase:
    return contract.MethodCase(Text(base=str(tiny.write("albert", folder / "shared"))), Classify(), rows=12)


def method(name: str, **options: Any) -> Method:
    found: Any = part.find("methods", name)
    return build(found, options)


def depths(name: str, stand: contract.MethodCase, **options: Any) -> set[int]:
    chosen = method(name, **options)
    return {edit.depth for edit in chosen.edits(stand.prepared(chosen))}


@pytest.mark.parametrize("name", ["adalora", "adapter", "bitfit", "dora", "ia3", "lora", "prefix"])
def test_layers_limit_a_method_to_the_top(name: str, stand: contract.MethodCase) -> None:
    assert depths(name, stand, layers=2) == {3, 4, 5}
    assert {1, 2, 3, 4, 5} <= depths(name, stand)


def test_top_layers_leave_what_is_below(stand: contract.MethodCase) -> None:
    assert depths("top_layers", stand, n=3) == {2, 3, 4, 5}
    assert depths("full", stand) == {0, 1, 2, 3, 4, 5}
    assert depths("head", stand) == {5}


@pytest.mark.parametrize("name", ["adalora", "adapter", "bitfit", "dora", "ia3", "lora", "prefix"])
def test_shared_layers_can_only_change_together(name: str, shared: contract.MethodCase) -> None:
    with pytest.raises(ConfigError, match=r"sets of weights\. Choose the method full"):
        shared.prepared(method(name, layers=1))


def test_more_layers_than_there_are_is_refused(stand: contract.MethodCase) -> None:
    with pytest.raises(ConfigError, match="Choose at most 4"):
        stand.prepared(method("top_layers", n=5))


@pytest.mark.parametrize(("sites", "count"), [("attention", 4 * 4), ("auto", 4 * 6), ("all", 4 * 6)])
def test_lora_changes_the_sites_that_it_is_told(stand: contract.MethodCase, sites: str, count: int) -> None:
    chosen = method("lora", sites=sites)
    assert sum(edit.kind == "low_rank" for edit in chosen.edits(stand.prepared(chosen))) == count


def test_lora_of_all_sites_takes_maps_of_relative_positions_too(folder: Path) -> None:
    stand = contract.MethodCase(Text(base=str(tiny.write("deberta-v2", folder / "relative"))), Classify(), rows=8)
    found = {
        sites: {edit.site for edit in method("lora", sites=sites).edits(stand.prepared(method("lora", sites=sites)))}
        for sites in ("auto", "all")
    }
    assert {site.rpartition(".")[2] for site in found["all"] - found["auto"]} == {"pos_key_proj", "pos_query_proj"}


@pytest.mark.parametrize(("placement", "count"), [("houlsby", 8), ("pfeiffer", 4)])
def test_adapters_stand_where_their_papers_put_them(stand: contract.MethodCase, placement: str, count: int) -> None:
    chosen = method("adapter", placement=placement)
    assert sum(edit.kind == "bottleneck" for edit in chosen.edits(stand.prepared(chosen))) == count


@pytest.mark.parametrize("name", ["adalora", "adapter", "bitfit", "dora", "full", "ia3", "lora", "top_layers"])
def test_before_its_first_step_a_method_answers_as_the_base(name: str, stand: contract.MethodCase) -> None:
    assert torch.allclose(stand.answers(stand.fresh()), stand.answers(stand.prepared(method(name))), atol=1e-5)


@pytest.mark.parametrize("name", part.names("methods"))
def test_a_copied_model_is_independent(name: str, stand: contract.MethodCase) -> None:
    model = stand.prepared(method(name))
    before = stand.answers(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in trainable(other).values():
            parameter.add_(1.0)
    assert torch.equal(stand.answers(model), before)


@pytest.mark.parametrize("name", part.names("methods"))
def test_names_of_what_is_trained_tell_its_depth(name: str, stand: contract.MethodCase) -> None:
    """The optimiser sets rates by the names of parameters, and edits say the same depths."""
    chosen = method(name)
    model = stand.prepared(chosen)
    assert {structure.depth_of(model, item) for item in trainable(model)} == {edit.depth for edit in chosen.edits(model)}


@pytest.mark.parametrize("name", ["adalora", "adapter", "bitfit", "head", "ia3", "lora", "prefix", "prompt", "dora"])
def test_thrifty_methods_train_a_small_share(name: str, folder: Path) -> None:
    base = tiny.write("bert", folder / f"wide-{name}", hidden_size=128, intermediate_size=256)
    stand = contract.MethodCase(Text(base=str(base)), Classify(), rows=8)
    model = stand.prepared(method(name, rank=4, target=2) if name == "adalora" else method(name))
    share = sum(item.numel() for item in trainable(model).values()) / sum(item.numel() for item in model.parameters())
    assert share < 0.13


def test_adalora_needs_steps_and_room_to_fall(stand: contract.MethodCase) -> None:
    with pytest.raises(ConfigError, match=r"the training has 0 steps\. Expected at least 1 step"):
        stand.prepared(method("adalora"), steps=0)
    with pytest.raises(ConfigError, match="Lower 'target'"):
        stand.prepared(method("adalora", rank=4, target=4))


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_adalora_survives_any_number_of_steps(stand: contract.MethodCase, steps: int) -> None:
    chosen = method("adalora", rank=4, target=2)
    model = stand.prepared(chosen, steps)
    optimiser = torch.optim.SGD(trainable(model).values(), lr=0.1)
    for step in range(steps + 2):
        stand.step(model, chosen, optimiser, step)
    assert torch.isfinite(stand.answers(model)).all()


def test_adalora_leaves_the_mean_rank_that_it_was_told(stand: contract.MethodCase) -> None:
    chosen = method("adalora", rank=4, target=2)
    model = stand.prepared(chosen, 20)
    optimiser = torch.optim.SGD(trainable(model).values(), lr=0.1)
    for step in range(20):
        stand.step(model, chosen, optimiser, step)
    used = [sum(values) for values in model.ranks.peft_config.rank_pattern.values()]  # type: ignore[union-attr]
    assert sum(used) == 2 * len(used)
    assert len(set(used)) > 1  # ranks went where they matter


def test_the_penalty_of_adalora_is_zero_where_factors_are_orthogonal(stand: contract.MethodCase) -> None:
    chosen = method("adalora", rank=4, target=2)
    model = stand.prepared(chosen)
    first: Any = chosen.penalty(model)
    assert first > 0
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if "lora_A" in name or "lora_B" in name:
                torch.nn.init.orthogonal_(parameter)
    assert float(chosen.penalty(model).detach()) < 1e-5  # type: ignore[union-attr]


def test_a_base_without_biases_is_told_what_to_choose(folder: Path) -> None:
    stand = contract.MethodCase(Text(base=str(tiny.write("modernbert", folder / "bare"))), Classify(), rows=8)
    with pytest.raises(ConfigError, match=r"has no biases.* Choose ia3 or lora"):
        stand.prepared(method("bitfit"))


def test_a_missing_library_is_named(stand: contract.MethodCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(Exception, match=r"pip install 'vertune\[train\]'"):
        stand.prepared(method("lora"))


@pytest.mark.parametrize("name", part.names("methods"))
def test_every_option_says_what_it_does(name: str) -> None:
    found = part.find("methods", name)
    assert all(field.description for field in found.model_fields.values())
