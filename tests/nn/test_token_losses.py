"""Losses of tokens against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vertune.nn.losses import focal
from vertune.nn.token_losses import labelled, pointed


def test_labelled_is_the_mean_over_each_features_labelled_tokens() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, 5, 4)
    targets = torch.tensor([[0, 3, -100, 1, -100], [-100] * 5, [2, 2, 2, 2, 2]])
    found = labelled(outputs, targets)
    assert found[0].item() == pytest.approx(functional.cross_entropy(outputs[0], targets[0]).item())
    assert found[1] == 0
    assert found[2].item() == pytest.approx(functional.cross_entropy(outputs[2], targets[2]).item())


def test_pointed_is_cross_entropy_over_the_allowed_places() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(1, 6, 2)
    targets = torch.tensor([[0, -100, 1, 0, 2, -100]])
    allowed = outputs[0, [0, 2, 3, 4]]
    expected = (functional.cross_entropy(allowed[:, 0], torch.tensor(1)) + functional.cross_entropy(allowed[:, 1], torch.tensor(3))) / 2
    assert pointed(outputs, targets).item() == pytest.approx(expected.item(), abs=1e-5)


def test_pointed_takes_any_of_several_marked_places_and_padding_changes_nothing() -> None:
    outputs = torch.zeros(1, 4, 2, requires_grad=True)
    both = torch.tensor([[3, 3, 0, -100]])
    loss = pointed(outputs, both)
    assert loss.item() == pytest.approx(torch.log(torch.tensor(3 / 2)).item(), abs=1e-5)
    loss.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert (outputs.grad[0, 3] == 0).all()
    longer = functional.pad(both, (0, 3), value=-100)
    assert pointed(torch.zeros(1, 7, 2), longer).item() == pytest.approx(loss.item())


def test_labelled_can_be_smoothed_and_turn_to_what_is_not_yet_right() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(1, 4, 3), torch.tensor([[0, 2, -100, 1]])
    kept = outputs[0, [0, 1, 3]], torch.tensor([0, 2, 1])
    smooth = functional.cross_entropy(*kept, label_smoothing=0.1)
    assert labelled(outputs, targets, smoothing=0.1).item() == pytest.approx(smooth.item(), abs=1e-6)
    assert labelled(outputs, targets, gamma=2.0).item() == pytest.approx(focal(*kept, gamma=2.0).mean().item(), abs=1e-6)
    both = focal(*kept, gamma=1.5, smoothing=0.1).mean()
    assert labelled(outputs, targets, 0.1, 1.5).item() == pytest.approx(both.item(), abs=1e-6)
