from __future__ import annotations

import pytest
import torch
from torch import nn

from vertune.nn.dropout import Dropout, attention, use_fast_dropout
from vertune.testing import tiny


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
    use_fast_dropout(model)
    found = [(type(module), module.p, module.training) for module in (model[1][0], model[2])]
    assert found == [(Dropout, 0.2, True), (Dropout, 0.3, False)]


@pytest.mark.parametrize("kind", [torch.bool, torch.float32, None])
def test_attention_without_its_dropout_is_that_of_torch(kind):
    torch.manual_seed(0)
    states = [torch.randn(3, 2, 7, 8, requires_grad=True) for _ in range(3)]
    seen = torch.ones(3, 1, 1, 7, dtype=torch.bool)
    seen[1, ..., 5:] = False
    mask = None if kind is None else seen if kind == torch.bool else torch.zeros(3, 1, 1, 7).masked_fill(~seen, -1e9)
    found, _ = attention(nn.Identity(), *states, mask, dropout=1e-9)  # rounded to none
    plain = nn.functional.scaled_dot_product_attention(*states, attn_mask=mask).transpose(1, 2)
    assert torch.allclose(found, plain, atol=1e-6)
    gradients = [torch.autograd.grad(out.square().sum(), states) for out in (found, plain)]
    assert all(torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in zip(*gradients, strict=True))


def test_attention_drops_shares_and_answers_are_those_of_torch(tmp_path):
    from transformers import AutoModel

    base = AutoModel.from_pretrained(tiny.write("bert", tmp_path, attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0))
    ids = torch.randint(5, 40, (4, 9))
    mask = torch.ones_like(ids)
    mask[2, 6:] = 0
    with torch.no_grad():
        expected = base.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        use_fast_dropout(base)
        assert base.config._attn_implementation == "vertune"
        assert torch.equal(base(input_ids=ids, attention_mask=mask).last_hidden_state, expected)
        base.train()
        drawn = torch.stack([base(input_ids=ids, attention_mask=mask).last_hidden_state for _ in range(3)])
    assert (drawn[0] - drawn[1]).abs().max() > 1e-2
    changed = ids.clone()
    changed[2, 6:] = 7  # what the mask hides changes nothing
    torch.manual_seed(1)
    first = base(input_ids=ids, attention_mask=mask).last_hidden_state[2, :6]
    torch.manual_seed(1)
    assert torch.allclose(first, base(input_ids=changed, attention_mask=mask).last_hidden_state[2, :6], atol=1e-6)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_answers_as_before_and_still_drops_in_training(family, tmp_path):
    from transformers import AutoModel

    base = AutoModel.from_pretrained(tiny.write(family, tmp_path)).eval()
    ids = torch.randint(8, 40, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        expected = base(input_ids=ids, attention_mask=mask).last_hidden_state
        use_fast_dropout(base)
        assert torch.allclose(base(input_ids=ids, attention_mask=mask).last_hidden_state, expected, atol=1e-6)
    base.train()
    first, second = (base(input_ids=ids, attention_mask=mask).last_hidden_state for _ in range(2))
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)
