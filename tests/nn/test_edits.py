from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, ModelError
from vertune.encoders.text import Text
from vertune.nn import edits, structure
from vertune.nn.vertical import VerticalModel
from vertune.testing import tiny

SITE = "backbone.encoder.layer.1.attention.self.value"
WIDTH = tiny.WIDTH


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write("bert", tmp_path_factory.mktemp("bert"))


def vertical(base: Path) -> VerticalModel:
    torch.manual_seed(0)
    return VerticalModel(Text(base=str(base)).model(), nn.Linear(WIDTH, 2), "mean").eval()


def low_rank(**more: Any) -> Edit:
    torch.manual_seed(1)
    return Edit("low_rank", SITE, 2, {"a": torch.randn(2, WIDTH), "b": torch.randn(WIDTH, 2), **more}, {"scaling": 0.5})


def test_a_low_rank_change_is_the_change_of_the_weight(base: Path) -> None:
    model, edit = vertical(base), low_rank()
    linear: Any = model.get_submodule(SITE)
    x = torch.randn(3, WIDTH)
    expected = nn.functional.linear(x, linear.weight + 0.5 * edit.tensors["b"] @ edit.tensors["a"], linear.bias)
    edits.apply(model, [edit])
    assert torch.allclose(linear(x), expected, atol=1e-5)


def test_a_magnitude_is_the_norm_of_each_row(base: Path) -> None:
    magnitude = torch.rand(WIDTH) + 0.5
    model = vertical(base)
    edits.merge(model, [low_rank(magnitude=magnitude)])
    weight: Any = model.get_submodule(SITE).weight
    assert torch.allclose(weight.norm(dim=1), magnitude, atol=1e-5)


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_scale_multiplies_one_side(base: Path, side: str) -> None:
    scale = torch.rand(WIDTH)
    model = vertical(base)
    linear: Any = model.get_submodule(SITE)
    x = torch.randn(3, WIDTH)
    expected = linear(x * scale) if side == "input" else linear(x) * scale
    edits.apply(model, [Edit("scale", SITE, 2, {"scale": scale}, {"side": side})])
    assert torch.allclose(linear(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    "edit", [low_rank(), low_rank(magnitude=torch.ones(WIDTH)), Edit("scale", SITE, 2, {"scale": torch.rand(WIDTH)}, {"side": "output"})]
)
def test_merged_and_applied_answer_alike(base: Path, edit: Edit) -> None:
    ids = {"input_ids": torch.tensor([[7, 8, 9]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    applied, merged = vertical(base), vertical(base)
    plain = applied(ids)
    edits.apply(applied, [edit])
    edits.merge(merged, [edit])
    assert torch.allclose(applied(ids), merged(ids), atol=1e-5)
    assert not torch.allclose(applied(ids), plain, atol=1e-3)
    assert set(merged.state_dict()) == set(vertical(base).state_dict())


def test_what_adds_modules_is_not_merged(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"prefix_states can't be merged.*lora"):
        edits.merge(vertical(base), [Edit("prefix_states", "backbone.encoder.layer.1", 2, {"rows": torch.zeros(2, WIDTH)})])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit("low_rank", "backbone.nowhere", 1, low_rank().tensors, {"scaling": 1.0}), "backbone.nowhere"),
        (
            Edit("low_rank", "backbone.encoder.layer.1", 1, low_rank().tensors, {"scaling": 1.0}),
            "trained weights are for a module .* of type Linear",
        ),
        (Edit("head", "head", 3, {"weight": torch.zeros(5, WIDTH)}), r"\(5, 32\).*\(2, 32\)"),
        (Edit("layers", "backbone.encoder.layer.1", 3, {"magic": torch.zeros(5)}), "no tensor there"),
        (Edit("prefix_states", "backbone.nowhere", 1, {"rows": torch.zeros(2, WIDTH)}), "backbone.nowhere"),
    ],
)
def test_an_edit_of_another_model_is_refused(base: Path, edit: Edit, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        edits.apply(vertical(base), [edit])


def test_edits_are_copies(base: Path) -> None:
    model = vertical(base)
    (head,) = edits.head_edits(model)
    before = head.tensors["weight"].clone()
    with torch.no_grad():
        model.head.weight.zero_()  # type: ignore[union-attr,operator]
    assert torch.equal(head.tensors["weight"], before)


def test_an_applied_edit_does_not_share_memory_with_its_tensors(base: Path) -> None:
    edit, model = low_rank(), vertical(base)
    edits.apply(model, [edit])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert edit.tensors["a"].abs().sum() > 0


def test_a_native_head_takes_the_pooler_with_it(base: Path) -> None:
    whole: Any = Text(base=str(base)).native("pooled", 3)
    model = VerticalModel(whole.base_model, nn.Identity(), "tokens", native=whole)
    assert {edit.site for edit in edits.head_edits(model)} == {"native", "backbone.pooler.dense"}
    assert set(structure.head_parameters(model)) == {
        "native.classifier.weight",
        "native.classifier.bias",
        "backbone.pooler.dense.weight",
        "backbone.pooler.dense.bias",
    }
