"""A mixed batch on one graph answers as each vertical alone in torch: every kind of edit, random verticals, lengths, orders, sizes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core import banks as shapes_of
from vertune.core.edits import EDIT_KINDS
from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Method, Task
from vertune.graphs import editing, shared
from vertune.nn import banks, edits, run
from vertune.nn.build import build
from vertune.nn.vertical import headless_backbone
from vertune.runtime.backbone import END, Backbone, Banks, Slot
from vertune.runtime.eager import TorchSegment as Torch
from vertune.runtime.graph import GraphSegment
from vertune.testing import tiny

METHODS: list[dict[str, Any]] = [
    {"name": "lora"},
    {"name": "lora", "rank": 3, "layers": 1},
    {"name": "adalora"},
    {"name": "dora"},
    {"name": "ia3"},
    {"name": "bitfit"},
    {"name": "adapter"},
    {"name": "prefix", "positions": 4},
    {"name": "prompt", "positions": 3},
    {"name": "head"},
    {"name": "top_layers", "n": 1},
]
TASKS: list[dict[str, Any]] = [
    {"name": "classify", "labels": ["a", "b", "c"]}, {"name": "tag", "labels": ["X"]}, {"name": "embed"}, {"name": "regress"},
    {"name": "multilabel", "labels": ["u", "v"]}, {"name": "extract"},
]  # fmt: skip
UNSHARED: dict[str, dict[str, str]] = {
    "albert": {
        "{'name': 'lora', 'rank': 3, 'layers': 1}": "share 1 sets of weights",
        "{'name': 'top_layers', 'n': 1}": "share 1 sets of weights",
    },
    "deberta-v2": {"{'name': 'bitfit'}": "is Conv1d"},
    "modernbert": {"{'name': 'bitfit'}": "has no biases"},
}
"""What can't be done on a family, and what is said of it; anything else must be built."""
TEXTS = ["tell me of rome", "tell " * 9, "me", "rome of " * 5, "of of"]


@dataclass
class Scene:
    backbone: Backbone
    features: list[Any]
    places: list[Slot]
    alone: list[list[np.ndarray]]
    names: list[str]


def scene(folder, family: str, engine: str = "graph") -> Scene:
    """Every method with some task on one backbone, and the outputs of each alone in torch."""
    tiny.write(family, folder / family, ["tell", "me", "of", "rome"])
    encoder = Encoder.model_validate({"name": "text", "base": str(folder / family), "max_tokens": 32})
    plain = Task.model_validate(TASKS[0])
    features = encoder.encode([{"text": text} for text in TEXTS], plain.views(["text"]))
    torch.manual_seed(0)
    found, refused = [], {}
    for number, written in enumerate(METHODS):
        task = plain if written["name"] == "head" else Task.model_validate(TASKS[number % len(TASKS)])
        model, method = build(encoder, task), Method.model_validate(written)
        try:
            method.prepare(model, task, 10)
        except ConfigError as error:
            refused[str(written)] = str(error)
            continue
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        changes = method.edits(model)
        alone = build(encoder, task)
        edits.apply(alone, changes)
        top = any(edit.kind == "layers" for edit in changes)
        try:
            rows = {} if top else banks.bank_rows(build(encoder, task), changes)
        except ConfigError as error:
            refused[str(written)] = str(error)
            continue
        found.append((str(written), task, changes, rows, run.outputs(alone.eval(), encoder, features), top))
    _all_built(family, refused, {edit.kind for _, _, changes, *_ in found for edit in changes})
    shapes = shapes_of.merge_shapes(rows for *_, rows, _, _ in found)
    cuts = sorted({_begin(changes) for _, _, changes, *_ in found} - {END, -1})
    fresh = headless_backbone(encoder)
    if engine == "torch":
        stretches: list[Any] = [Torch(banks.MixedBackbone(fresh.backbone, shapes), "cpu")]
        found = [one for one in found if not one[-1]]
    else:
        stretches = _stretches(folder, shared.export(fresh, encoder, shapes, features), cuts, 0)
    backbone = Backbone(encoder, stretches, Banks(shapes), "float32")
    places = []
    for number, (_, task, changes, rows, _, top) in enumerate(found, 1):
        head = {name: tensor.numpy() for edit in changes if edit.kind == "head" for name, tensor in edit.tensors.items()}
        own = ()
        if top:
            other = headless_backbone(encoder)
            edits.apply_merged(other, [edit for edit in changes if edit.kind != "head"])
            graphs = _stretches(folder, shared.export(other, encoder, {}, features), cuts, number)
            own = tuple(one for one in graphs if one.start is not None and one.start >= _begin(changes))
        places.append(backbone.add(rows, Slot(_begin(changes), task, encoder.pooling_of(task.states), head, top=own)))
    return Scene(backbone, features, places, [one[4] for one in found], [one[0] for one in found])


def _all_built(family: str, refused: dict[str, str], kinds: set[str]) -> None:
    expected = UNSHARED.get(family, {})
    assert refused.keys() == expected.keys(), refused
    assert all(words in refused[name] for name, words in expected.items()), refused
    if family == "bert":
        assert kinds == set(EDIT_KINDS)


def _begin(changes) -> int:
    depths = [edit.depth for edit in changes if edit.kind != "head"]
    return min(depths) - 1 if depths else END


def _stretches(folder, graph, cuts, number) -> list[GraphSegment]:
    made = []
    for start, end, part in editing.split_at(graph, cuts):
        file = folder / f"{number}-{end}.onnx"
        onnx.save(part, file)
        made.append(GraphSegment(file, start, end, 1))
    return made


@pytest.fixture(scope="module", params=["bert", "mpnet"])
def mixed(request, tmp_path_factory) -> Scene:
    return scene(tmp_path_factory.mktemp("mixed"), request.param)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mixed_batch_answers_as_each_vertical_alone(mixed: Scene, data) -> None:
    check(mixed, data)


def check(mixed: Scene, data) -> None:
    verticals = st.lists(st.integers(0, len(mixed.places) - 1), min_size=1, max_size=5, unique=True)
    asked = data.draw(st.lists(st.tuples(st.integers(0, len(TEXTS) - 1), verticals), min_size=1, max_size=9))
    found = mixed.backbone.compute([(mixed.features[text], [mixed.places[number] for number in numbers]) for text, numbers in asked])
    for (text, numbers), outputs in zip(asked, found, strict=True):
        for number, output in zip(numbers, outputs, strict=True):
            np.testing.assert_allclose(output, mixed.alone[number][text], atol=1e-4, err_msg=mixed.names[number])


@pytest.mark.matrix
@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_every_family_mixes(tmp_path, family: str) -> None:
    made = scene(tmp_path, family)
    if family in ("deberta-v2", "modernbert"):  # the distance of a prompt's rows is felt, so that the step refuses to share them
        kept = [number for number, name in enumerate(made.names) if "prompt" not in name]
        made = Scene(made.backbone, made.features, *([part[n] for n in kept] for part in (made.places, made.alone, made.names)))
    settings(max_examples=40, deadline=None)(given(data=st.data())(lambda data: check(made, data)))()


def test_the_path_in_torch_answers_alike(tmp_path) -> None:
    made = scene(tmp_path, "bert", "torch")
    settings(max_examples=20, deadline=None)(given(data=st.data())(lambda data: check(made, data)))()


def test_two_batches_at_once_in_torch_keep_their_own_rows(tmp_path) -> None:
    made = scene(tmp_path, "bert", "torch")
    embeddings = made.backbone.segments[0].mixed.backbone.embeddings
    with embeddings.register_forward_pre_hook(lambda *given: time.sleep(0.02)), ThreadPoolExecutor(2) as pool:
        numbers = [*range(len(made.places))] * 3
        calls = [pool.submit(made.backbone.compute, [(made.features[0], [made.places[number]])]) for number in numbers]
        for number, call in zip(numbers, calls, strict=True):
            np.testing.assert_allclose(call.result()[0][0], made.alone[number][0], atol=1e-4, err_msg=made.names[number])


def test_slots_are_free_again_when_nobody_holds_the_place(mixed: Scene) -> None:
    shapes = mixed.backbone.banks.shapes
    rows = {name: np.ones(shape, np.float32) for name, shape in shapes.items() if not name.endswith(":open")}
    task = Task.model_validate(TASKS[2])
    seen = set()
    for _ in range(50):
        place = mixed.backbone.add(rows, Slot(-1, task, "mean", {}))
        seen.add(place.slot)
        del place
    assert len(seen) == 1


def test_banks_grow_and_keep_what_they_hold() -> None:
    banks = Banks({"x:a": (3, 2), "y:gain": (4,)})
    held = {banks.put({"x:a": np.full((3, 1), number, np.float32)}): number for number in range(1, 200)}
    assert len(held) == 199
    assert 0 not in held
    for slot, number in held.items():
        assert banks.arrays["x:a"][slot, :, 0].tolist() == [number] * 3
        assert not banks.arrays["x:a"][slot, :, 1].any()
        assert banks.arrays["y:gain"][slot].tolist() == [1.0] * 4
    assert not banks.arrays["x:a"][0].any()


def test_a_batch_keeps_its_slot_while_the_vertical_is_replaced(mixed: Scene) -> None:
    """What a place holds is not overwritten as long as a request in progress holds it."""
    shapes = mixed.backbone.banks.shapes
    task = Task.model_validate(TASKS[2])
    name = next(name for name in shapes if name.endswith(":a"))
    first = mixed.backbone.add({name: np.full(shapes[name], 0.1, np.float32)}, Slot(-1, task, "mean", {}))
    payload = [(mixed.features[0], (first,))]
    expected = mixed.backbone.compute(payload)[0][0]
    others = [mixed.backbone.add({name: np.full(shapes[name], 9.0, np.float32)}, Slot(-1, task, "mean", {})) for _ in range(20)]
    assert first.slot not in {other.slot for other in others}
    np.testing.assert_array_equal(mixed.backbone.compute(payload)[0][0], expected)


def test_rows_that_do_not_fit_are_told() -> None:
    small, large = {"x:a": np.zeros((4, 2), np.float32)}, {"x:a": np.zeros((4, 8), np.float32)}
    assert shapes_of.fits_into(small, shapes_of.merge_shapes([small, large]))
    assert not shapes_of.fits_into(large, shapes_of.merge_shapes([small]))
    assert not shapes_of.fits_into({"y:a": np.zeros((4, 2), np.float32)}, shapes_of.merge_shapes([small]))


def test_layers_that_nobody_changed_run_once(mixed: Scene, monkeypatch) -> None:
    """One text asked of several verticals is one row until the first of their changes."""
    sizes = []
    for segment in mixed.backbone.segments:
        own = segment.run
        monkeypatch.setattr(
            segment, "run", lambda arrays, *more, own=own: sizes.append(len(arrays["attention_mask"])) or own(arrays, *more)
        )
    late = [place for place, name in zip(mixed.places, mixed.names, strict=True) if "'layers': 1" in name or "'head'" in name]
    mixed.backbone.compute([(mixed.features[0], late)])
    assert sizes[0] == 1
    assert sizes[-1] == len(late)
