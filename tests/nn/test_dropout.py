from __future__ import annotations

import pytest
import torch
from torch import nn

from vertune.nn.dropout import Dropout, quicken


@pytest.mark.parametrize("p", [0.1, 0.5, 0.003])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_as_many_elements_go_as_are_asked_for_and_the_mean_stays(p, kind):
    torch.manual_seed(0)
    states = torch.ones(401, 1003, dtype=kind)
    out = Dropout(p)(states)
    share = (out == 0).double().mean().item()
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / states.numel()) ** 0.5)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).to(kind).item()}
    gone = (out == 0).double().flatten() - share
    for lag in range(1, 9):  # four come from one number
        assert (gone[lag:] * gone[:-lag]).mean().item() == pytest.approx(0, abs=6 * p * (1 - p) / states.numel() ** 0.5)


def test_the_gradient_passes_where_the_element_did():
    torch.manual_seed(0)
    states = torch.randn(20, 7, requires_grad=True)
    out = Dropout(0.3)(states)
    out.sum().backward()
    assert torch.equal(states.grad == 0, out == 0)
    assert torch.allclose(out, states * states.grad)


def test_the_seed_decides_and_answers_are_left_alone():
    drop, states = Dropout(0.4), torch.ones(9, 5)
    torch.manual_seed(3)
    first = drop(states)
    torch.manual_seed(3)
    assert torch.equal(first, drop(states))
    assert not torch.equal(first, drop(states))
    assert torch.equal(drop.eval()(states), states)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_are_those_of_torch(p):
    assert torch.equal(Dropout(p)(torch.ones(5)), nn.Dropout(p)(torch.ones(5)))


def test_every_plain_dropout_is_replaced_and_keeps_its_mode():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2), nn.ReLU()), nn.Dropout(0.3).eval())
    model[2].eval()
    quicken(model)
    found = [(type(module), module.p, module.training) for module in (model[1][0], model[2])]
    assert found == [(Dropout, 0.2, True), (Dropout, 0.3, False)]
