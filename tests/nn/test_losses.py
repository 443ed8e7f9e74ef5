from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vertune.nn import losses

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])
PRESENT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


def test_cross_entropy_is_the_surprise_of_each_row():
    expected = -LOGITS.softmax(-1)[range(3), LABELS].log()
    torch.testing.assert_close(losses.cross_entropy(LOGITS, LABELS), expected)


def test_smoothing_spreads_the_target_over_all_classes():
    target = functional.one_hot(LABELS, 3) * 0.9 + 0.1 / 3
    torch.testing.assert_close(losses.cross_entropy(LOGITS, LABELS, 0.1), -(target * LOGITS.log_softmax(-1)).sum(-1))


def test_focal_loss_without_focus_is_cross_entropy_and_with_it_turns_to_hard_rows():
    torch.testing.assert_close(losses.focal(LOGITS, LABELS, 0.0), losses.cross_entropy(LOGITS, LABELS))
    right = LOGITS.softmax(-1)[range(3), LABELS]
    torch.testing.assert_close(losses.focal(LOGITS, LABELS, 2.0), (1 - right) ** 2 * -right.log())
    share = losses.focal(LOGITS, LABELS) / losses.cross_entropy(LOGITS, LABELS)
    assert share[1] > share[0] > share[2]


def test_binary_losses_are_sums_over_labels():
    chance = torch.where(PRESENT > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    torch.testing.assert_close(losses.binary_cross_entropy(LOGITS, PRESENT), -chance.log().sum(-1))
    torch.testing.assert_close(losses.binary_focal(LOGITS, PRESENT, 0.0), losses.binary_cross_entropy(LOGITS, PRESENT))
    torch.testing.assert_close(losses.binary_focal(LOGITS, PRESENT, 2.0), ((1 - chance) ** 2 * -chance.log()).sum(-1))


def test_losses_of_numbers():
    outputs, values = torch.tensor([[0.5], [3.0]]), torch.tensor([0.0, 0.0])
    torch.testing.assert_close(losses.squared_error(outputs, values), torch.tensor([0.25, 9.0]))
    torch.testing.assert_close(losses.huber(outputs, values), torch.tensor([0.125, 2.5]))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_stay_finite_where_the_answer_is_certain(gamma):
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    (losses.focal(logits, torch.tensor([0]), gamma) + losses.binary_focal(logits, torch.tensor([[1.0, 0.0]]), gamma)).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())
