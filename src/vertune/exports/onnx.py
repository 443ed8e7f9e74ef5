"""A folder that answers with numpy, onnxruntime and tokenizers alone: no vertune, no torch, no transformers.

It holds model.onnx, tokenizer.json, labels.json and predict.py; the answers are the model's. Works for trained models and for
compressed ones.
"""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.errors import ConfigError, ModelError
from vertune.core.files import storage_errors, write_json, write_text
from vertune.core.kinds import Export

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel

_NEAR = 1e-4
"""Numbers of two answers that differ by less are the same: one was computed in a batch, one alone."""


class Onnx(Export):
    """It has no options."""

    takes_graphs: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write graph, tokenizer, labels and script; ConfigError where the task is none that the script knows."""
        if not model.task.portable:
            raise ConfigError(f"predict.py does not know how to answer the task '{model.task.name}'. Answer with vertune.")
        with storage_errors(folder):
            if model.graph is not None:
                shutil.copyfile(model.graph, folder / "model.onnx")
            else:
                (folder / "model.onnx").write_bytes(_graph(model))
            encoder: Any = model.encoder
            encoder.tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "labels.json", _described(model))
        write_text(folder / "predict.py", _source(str(Path(__file__).parent / "portable" / "predict.py")))
        _write_parts(folder / "parts")
        write_text(folder / "requirements.txt", "numpy\nonnxruntime\ntokenizers\n")
        record = dict.fromkeys(_required(model), "a text")
        code = f"from predict import Model\n\nprint(Model().answer([{json.dumps(record)}]))"
        write_text(
            folder / "README.md",
            f"# {model.name}, portable\n\nAnswers with numpy, onnxruntime and tokenizers alone: `pip install -r requirements.txt`, then "
            f"in this folder `python predict.py {' '.join(json.dumps(text) for text in record.values())}`, or\n\n```python\n{code}\n```\n",
        )

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Run predict.py in a process of its own on the task's examples; ModelError unless the answers are the model's."""
        records = model.records()
        asked = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        command = [sys.executable, "-P", "-E", "-c", _RUN, str(folder)]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, encoding="utf-8", check=False)  # noqa: S603 - ours
        if done.returncode:
            raise ModelError(f"predict.py does not run: {done.stderr.strip()[-300:]}. The export was not kept.")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        expected = [json.loads(json.dumps(answer)) for answer in model.answers(records)]
        for place, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
            if not _same(ours, theirs):
                raise ModelError(f"predict.py answers otherwise than the model: {theirs} for record {place + 1}, the model {ours}.")


_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[:] = ['predict.py']; import predict; predict.main()"


def _required(model: TrainedModel) -> list[str]:
    """The fields that every record must have."""
    return [column.name for column in model.task.columns if column.role == "input" and column.required]


def _graph(model: TrainedModel) -> bytes:
    """The graph of a trained model, checked on the task's examples."""
    from vertune.graphs import tracing as graph
    from vertune.nn import edits
    from vertune.nn.build import build

    body = build(model.encoder, model.task)
    edits.apply_merged(body, model.edits)
    records = model.records()
    features = model.encoder.encode(records, model.task.views(sorted({key for record in records for key in record})))
    made: bytes = graph.export(body.eval(), model.encoder, features).SerializeToString()
    return made


def _described(model: TrainedModel) -> dict[str, Any]:
    """What the script must know of task and encoder."""
    encoder: Any = model.encoder
    columns = [column.name for column in model.task.columns if column.role == "input"]
    views = model.task.views(columns)
    templates = {
        str(number): {
            name: [list(pair) for pair in getattr(template, name)] if name != "types" else list(template.types)
            for name in ("before", "between", "after", "types")
        }
        for number, template in encoder.templates.items()
    }
    return {
        "task": model.task.model_dump(mode="json"),
        "size": model.task.size,
        "required": _required(model),
        "views": [{"role": view.role, "fields": list(view.fields), "cut": view.cut, "windows": view.windows} for view in views],
        "encoder": {
            "max_tokens": encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens,
            "truncation": encoder.cutting(views), "stride": encoder.stride, "templates": templates,
        },
    }  # fmt: skip


def _write_parts(folder: Path) -> None:
    """The NumPy modules of ours that the script shares with the tasks, word for word."""
    import vertune

    home = Path(vertune.__file__).parent
    renamed = {
        "vertune.core.records": "parts.records",
        "vertune.metrics.words": "parts.words",
        "vertune.core.errors": "parts.errors",
    }
    parts = {"records": "core/records.py", "words": "metrics/words.py", "bio": "tasks/_bio.py", "errors": "core/errors.py"}
    for name, source in parts.items():
        text = _source(str(home / source))
        for ours, theirs in renamed.items():
            text = text.replace(f"from {ours} import", f"from {theirs} import")
        write_text(folder / f"{name}.py", text)
    write_text(folder / "__init__.py", '"""NumPy modules of vertune."""\n')
    write_text(folder / "answers.py", _answers())


def _answers() -> str:
    """The module of extractive answers, with the two functions that read outputs."""
    import importlib

    module = importlib.import_module("vertune.tasks._answers")
    head = '"""Places of answers in outputs."""\n\nfrom __future__ import annotations\n\nfrom typing import Any\n\nimport numpy as np\n'
    head += "from numpy.typing import NDArray\nfrom parts.errors import ModelError\nfrom parts.records import Feature\n\n\n"
    return head + "\n\n".join(inspect.getsource(function) for function in (module.best, module.nowhere))


def _source(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _same(ours: Any, theirs: Any) -> bool:
    """Whether two answers are the same but for the last digits."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if isinstance(ours, float):
        return isinstance(theirs, (int, float)) and abs(ours - theirs) <= _NEAR * max(1.0, abs(ours))
    return bool(ours == theirs)
