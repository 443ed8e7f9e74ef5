"""The portable bundle of every task, in a process that may import numpy, onnxruntime and tokenizers alone."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from itertools import product

import pytest

from vertune.core import part
from vertune.core.errors import ModelError
from vertune.core.files import file_hash
from vertune.core.kinds import Export, Method, Task
from vertune.core.parse import build
from vertune.encoders.text import Text
from vertune.nn import edits as changes
from vertune.nn.trained import TrainedModel
from vertune.testing import tiny
from vertune.testing.methods import MethodCase

GUARD = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"vertune", "torch", "transformers", "pydantic", "polars", "onnx", "yaml", "safetensors"}:
            raise ImportError(f"{name} is not among numpy, onnxruntime and tokenizers")
sys.meta_path.insert(0, Guard())
folder, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, folder)
import predict
predict.main()
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return tiny.maker(tmp_path_factory.mktemp("bases"))


def trained(bases, task, family="bert", **options) -> TrainedModel:
    stand = MethodCase(Text(base=str(bases(family)), **options), build(Task, task), rows=16)
    method = build(Method, "full")
    model = stand.prepared(method).eval()
    columns = tuple(name for name in stand.records[0])
    return TrainedModel("my-model", stand.encoder, stand.task, model, [*changes.layer_edits(model), *changes.head_edits(model)], columns)


@pytest.fixture(scope="module")
def models(bases):
    """A function that returns the model of a task, which no test changes."""
    return functools.cache(lambda task: trained(bases, task))


@pytest.fixture(scope="module")
def bundles(models, tmp_path_factory):
    """A function that returns the bundle of that model, which no test changes."""
    return functools.cache(lambda task: written(models(task), tmp_path_factory.mktemp("bundles") / task))


def asked(folder, records):
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    command = [sys.executable, "-I", "-c", GUARD, str(folder)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def near(ours, theirs) -> bool:
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(near(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(near, ours, theirs))
    return theirs == pytest.approx(ours, abs=1e-4) if isinstance(ours, float) else ours == theirs


def written(model, folder):
    folder.mkdir()
    form = build(Export, "onnx")
    form.write(model, folder)
    form.check(model, folder)
    return folder


def write_labels(folder, described) -> None:
    """Write labels.json with the hash that fits, as an export with other labels would."""
    (folder / "labels.json").write_text(json.dumps(described))
    listed = json.loads((folder / "files.json").read_text())
    (folder / "files.json").write_text(json.dumps({**listed, "labels.json": file_hash(folder / "labels.json")}))


@pytest.mark.parametrize("task", part.names("tasks"))
def test_every_task_answers_alike_without_vertune(models, bundles, task):
    model = models(task)
    records = model.records()
    for ours, theirs in zip(model.answers(records), asked(bundles(task), records), strict=True):
        assert near(json.loads(json.dumps(ours)), theirs), (ours, theirs)


TRUNCATIONS = ["head", "tail", "head_tail", "window"]
TASKS = ["classify", "match", "tag", "extract"]
ONE_OF_EACH = [("classify", "head"), ("classify", "tail"), ("match", "head_tail"), ("tag", "window"), ("extract", "window")]
OTHERS = [pytest.param(*pair, marks=pytest.mark.matrix) for pair in product(TASKS, TRUNCATIONS) if pair not in ONE_OF_EACH]


@pytest.mark.parametrize(("task", "truncation"), [*ONE_OF_EACH, *OTHERS])
def test_long_texts_are_cut_as_in_training(bases, tmp_path, task, truncation):
    model = trained(bases, task, max_tokens=24, truncation=truncation)
    folder = written(model, tmp_path / "bundle")
    records = [{name: f"{text} " * 9 for name, text in record.items()} for record in model.records()]
    for ours, theirs in zip(model.answers(records), asked(folder, records), strict=True):
        assert near(json.loads(json.dumps(ours)), theirs), (ours, theirs)


def test_other_families_and_their_special_tokens(bases, tmp_path):
    model = trained(bases, "classify", "roberta")
    folder = written(model, tmp_path / "bundle")
    for ours, theirs in zip(model.answers(model.records()), asked(folder, model.records()), strict=True):
        assert near(json.loads(json.dumps(ours)), theirs)


def test_the_folder_holds_what_it_says_and_refuses_other_labels(bundles, tmp_path):
    folder = shutil.copytree(bundles("classify"), tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} >= {"model.onnx", "tokenizer.json", "labels.json", "predict.py", "README.md"}
    assert "vertune" not in (folder / "requirements.txt").read_text()
    described = json.loads((folder / "labels.json").read_text())
    described["size"] = 7
    write_labels(folder, described)
    with pytest.raises(subprocess.CalledProcessError) as error:
        asked(folder, [{"text": "a card"}])
    assert "don't belong together" in error.value.stderr


@pytest.mark.parametrize("task", ["classify", "match", "extract"])
def test_the_page_s_example_runs_in_the_folder(bundles, task):
    folder = bundles(task)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert "probability" in done.stdout


@pytest.mark.parametrize(
    ("task", "record"), [("match", {"text": "one alone"}), ("extract", {"question": "who?"}), ("classify", {"text": 3})]
)
def test_a_record_that_lacks_a_field_is_refused(bundles, task, record):
    with pytest.raises(subprocess.CalledProcessError) as error:
        asked(bundles(task), [record])
    assert "needs a text under" in error.value.stderr


def test_a_bundle_that_answers_otherwise_is_not_kept(bases, tmp_path):
    model = trained(bases, "classify")
    folder = written(model, tmp_path / "bundle")
    described = json.loads((folder / "labels.json").read_text())
    described["options"]["labels"] = described["options"]["labels"][::-1]
    write_labels(folder, described)
    with pytest.raises(ModelError, match=r"for example record 1, its script predict\.py predicts"):
        build(Export, "onnx").check(model, folder)


def test_a_changed_file_is_refused(bundles, tmp_path):
    folder = shutil.copytree(bundles("classify"), tmp_path / "bundle")
    for name in ("model.onnx", "tokenizer.json", "labels.json", "parts/vertune.decoders.classify.py"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept.replace(b"e", b"f", 1) if name == "tokenizer.json" else kept + b" ")
        with pytest.raises(subprocess.CalledProcessError) as told:
            asked(folder, [{"text": "a card"}])
        assert f"{name} has changed" in told.value.stderr
        (folder / name).write_bytes(kept)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        asked(folder, [{"text": "a card"}])
