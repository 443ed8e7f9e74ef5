from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vertune.learning.rows import EmbeddingRows

RATE, DECAY = 0.01, 0.1


def stepped(embedding: nn.Embedding, batches: list[torch.Tensor], target: torch.Tensor) -> EmbeddingRows:
    """The embedding after a step on each batch, by rows."""
    rows = EmbeddingRows(embedding, RATE, DECAY)
    rows.rate = RATE
    for ids in batches:
        with rows.gathered(ids):
            (embedding(ids) - target[ids]).square().sum().backward()
        rows.step()
    return rows


def dense(embedding: nn.Embedding, batches: list[torch.Tensor], target: torch.Tensor) -> None:
    optimiser = torch.optim.AdamW(embedding.parameters(), lr=RATE, weight_decay=DECAY)
    for ids in batches:
        optimiser.zero_grad()
        (embedding(ids) - target[ids]).square().sum().backward()
        optimiser.step()


@pytest.mark.parametrize("padding", [None, 0])
def test_rows_that_every_step_uses_move_as_under_adamw(padding):
    torch.manual_seed(0)
    plain = nn.Embedding(30, 8, padding_idx=padding)
    ours, target = copy.deepcopy(plain), torch.randn(30, 8)
    batches = [torch.cat([torch.randperm(30), torch.randint(0, 30, (20,))]).view(5, 10) for _ in range(20)]
    dense(plain, batches, target)
    stepped(ours, batches, target)
    assert torch.allclose(plain.weight, ours.weight, atol=2e-5)


def test_only_used_rows_move():
    torch.manual_seed(0)
    embedding = nn.Embedding(30, 8)
    before = embedding.weight.detach().clone()
    stepped(embedding, [torch.tensor([[3, 5], [5, 7]]), torch.tensor([[3, 9]])], torch.randn(30, 8))
    moved = (embedding.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [3, 5, 7, 9]
    assert embedding.weight.grad is None


def test_a_row_first_used_late_takes_a_step_of_the_usual_size():
    torch.manual_seed(0)
    embedding = nn.Embedding(4, 8)
    before = embedding.weight.detach().clone()
    stepped(embedding, [torch.tensor([1])] * 50 + [torch.tensor([2])], torch.zeros(4, 8) + 5)
    step = (embedding.weight - before * (1 - RATE * DECAY))[2].abs()
    assert torch.allclose(step, torch.full_like(step, RATE), rtol=1e-3)


def test_the_module_is_itself_again_outside():
    embedding = nn.Embedding(10, 4)
    rows = EmbeddingRows(embedding, RATE, DECAY)
    with rows.gathered(torch.tensor([1, 2])):
        inside = embedding(torch.tensor([2, 1]))
    assert torch.equal(inside, embedding(torch.tensor([2, 1])))
    assert embedding(torch.tensor([9])).shape == (1, 4)


def test_the_state_goes_on_where_it_stopped():
    torch.manual_seed(0)
    whole, parts, target = nn.Embedding(30, 8), nn.Embedding(30, 8), torch.randn(30, 8)
    parts.load_state_dict(whole.state_dict())
    batches = [torch.randint(0, 30, (4, 3)) for _ in range(10)]
    stepped(whole, batches, target)
    kept = {name: tensor.clone() for name, tensor in stepped(parts, batches[:6], target).state().items()}
    rows = EmbeddingRows(parts, RATE, DECAY)
    rows.restore(kept)
    rows.rate = RATE
    for ids in batches[6:]:
        with rows.gathered(ids):
            (parts(ids) - target[ids]).square().sum().backward()
        rows.step()
    assert torch.equal(whole.weight, parts.weight)


def test_the_work_of_a_step_does_not_grow_with_the_vocabulary():
    shapes = []
    for size in (1_000, 50_000):
        embedding = nn.Embedding(size, 16)
        rows = EmbeddingRows(embedding, RATE, DECAY)
        with rows.gathered(torch.arange(200)) as table:
            embedding(torch.arange(200)).sum().backward()
        shapes.append((table.shape, table.grad.shape, embedding.weight.grad))
    assert shapes[0] == shapes[1]
