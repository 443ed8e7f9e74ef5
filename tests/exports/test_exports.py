"""Every export is loaded in the other library and gives the same outputs, or is refused with the reason."""

import json

import pytest
import torch

from vertune.core import part
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Export, Method, Task
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.nn import edits as changes
from vertune.nn.trained import TrainedModel, check_same_outputs
from vertune.testing import tiny
from vertune.testing.methods import MethodCase


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tiny.maker(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="session")
def trained(base):
    """A model with a change of every edit: prepared by a method, its weights moved at random."""
    made = {}

    def make(family="bert", task="classify", method="lora", pooling="auto"):
        key = (family, task, str(method), pooling)
        if key not in made:
            stand = MethodCase(Text(base=str(base(family)), pooling=pooling), build(Task, task), rows=16)
            chosen = build(Method, method)
            model = stand.prepared(chosen)
            generator = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
            edits = chosen.edits(model)
            fresh = stand.fresh()
            changes.apply(fresh, edits)
            made[key] = TrainedModel("support", stand.encoder, stand.task, fresh.eval(), edits)
        return made[key]

    return make


def exported(model, form, folder):
    export = build(Export, form)
    folder.mkdir()
    export.write(model, folder)
    export.check(model, folder)
    return folder


@pytest.mark.parametrize("method", ["lora", "dora", "adalora", "ia3"])
@pytest.mark.parametrize("pooling", ["mean", "native"])
def test_peft_loads_the_adapter_and_answers_the_same(trained, tmp_path, method, pooling):
    folder = exported(trained(method=method, pooling=pooling), "peft", tmp_path / "out")
    assert (folder / "adapter_model.safetensors").exists()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == ("IA3" if method == "ia3" else "LORA")
    assert (folder / "head.safetensors").exists() == (pooling == "mean")


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "modernbert"])
def test_peft_takes_native_heads_of_other_shapes(trained, tmp_path, family):
    exported(trained(family=family, pooling="native"), "peft", tmp_path / "out")


@pytest.mark.parametrize("method", ["full", "head", "adapter", "prompt", "prefix", "bitfit"])
def test_peft_refuses_what_it_has_no_adapter_for(trained, tmp_path, method):
    with pytest.raises(ConfigError, match="PEFT has adapters for"):
        build(Export, "peft").write(trained(method=method), tmp_path)


@pytest.mark.parametrize("method", ["full", "lora", "dora", "ia3", "bitfit", "top_layers", "head"])
def test_transformers_loads_a_native_model(trained, tmp_path, method):
    folder = exported(
        trained(method={"name": method, "n": 1} if method == "top_layers" else method, pooling="native"), "transformers", tmp_path / "out"
    )
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert list(config["id2label"].values()) == list(trained(method="full", pooling="native").task.labels)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "albert", "mpnet", "modernbert", "deberta-v2"])
def test_transformers_loads_every_family_with_a_native_head(trained, tmp_path, family):
    exported(trained(family=family, method="full", pooling="native"), "transformers", tmp_path / "out")


@pytest.mark.parametrize(("task", "kind"), [("tag", "BertForTokenClassification"), ("extract", "BertForQuestionAnswering")])
def test_transformers_takes_a_linear_head_on_tokens(trained, tmp_path, task, kind):
    folder = exported(trained(task=task, method="lora"), "transformers", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [kind]


def test_transformers_names_the_tags(trained, tmp_path):
    model = trained(task="tag", method="lora")
    folder = exported(model, "transformers", tmp_path / "out")
    names = json.loads((folder / "config.json").read_text())["id2label"]
    assert len(names) == model.task.size
    assert names["0"] == "O"


def test_transformers_refuses_pooling_that_it_has_no_head_for(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"pooling=native"):
        build(Export, "transformers").write(trained(method="full", pooling="mean"), tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("task", ["classify", "embed", "regress", "match", "multilabel"])
def test_sentence_transformers_gives_equal_vectors(trained, tmp_path, task, pooling):
    exported(trained(task=task, method="full", pooling=pooling), "sentence_transformers", tmp_path / "out")


@pytest.mark.parametrize(("options", "said"), [({"pooling": "native"}, "native"), ({"task": "tag"}, "tokens")])
def test_sentence_transformers_refuses_what_it_can_not_pool(trained, tmp_path, options, said):
    with pytest.raises(ConfigError, match=f"no module for pooling '{said}'"):
        build(Export, "sentence_transformers").write(trained(method="full", **options), tmp_path)


@pytest.mark.parametrize("form", [form for form in part.names("exports") if not part.find("exports", form).takes_graphs])
def test_added_modules_have_no_form_in_plain_weights(trained, tmp_path, form):
    with pytest.raises(ConfigError):
        build(Export, form).write(trained(method="adapter", pooling="native" if form == "transformers" else "mean"), tmp_path)


@pytest.mark.parametrize(
    ("form", "pooling", "file"),
    [
        ("transformers", "native", "model.safetensors"),
        ("sentence_transformers", "mean", "model.safetensors"),
        ("peft", "mean", "adapter_model.safetensors"),
    ],
)
def test_a_wrong_weight_is_found(trained, tmp_path, form, pooling, file):
    from safetensors.torch import load_file, save_file

    model = trained(pooling=pooling)
    folder = exported(model, form, tmp_path / "out")
    weights = load_file(folder / file)
    name = next(name for name in sorted(weights) if "query" in name or "lora_B" in name)
    weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, folder / file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="differ from the model's"):
        build(Export, form).check(model, folder)


def test_what_is_not_a_number_is_not_the_same():
    import numpy as np

    with pytest.raises(ModelError):
        check_same_outputs([np.zeros(2)], [np.array([0.0, np.nan])], "x")


@pytest.mark.parametrize("form", part.names("exports"))
def test_the_page_says_how_to_load_it(trained, tmp_path, form):
    folder = exported(trained(pooling="native" if form == "transformers" else "mean"), form, tmp_path / "my-model")
    page = (folder / "README.md").read_text()
    assert "my-model" in page or form == "onnx"  # which is used from inside its folder
    assert "FOLDER" not in page
    described = folder / ("labels.json" if form == "onnx" else "task.json")
    assert json.loads(described.read_text())["task"]["name"] == "classify"
