"""ONNX Runtime: the model as an ONNX graph, its tokenizer, and a script that predicts with only numpy, onnxruntime and tokenizers.

Works for trained and for compressed models. The script contains a copy of the task's decoder, the code that converts the outputs of
the graph to predictions. If the decoder does not work without vertune, or if the task has inputs other than texts, the graph and its
tokenizer are written without the script.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vertune.core.documents import lines
from vertune.core.errors import ModelError
from vertune.core.files import storage_errors, write_json, write_text
from vertune.core.integrity import hash_files
from vertune.core.kinds import Export
from vertune.core.records import equal_values
from vertune.core.source_files import source_files
from vertune.exports import _files
from vertune.lexical import companion as mix

if TYPE_CHECKING:
    from vertune.nn.trained import TrainedModel

_log = logging.getLogger(__name__)
_SCRIPTS = ("predict.py", "texts.py", "parts/__init__.py")
_USED = ("vertune.core.records", "vertune.encoders._tokens")
"""The modules of vertune that the scripts use in addition to the task's decoder; the export contains copies of them."""


class Onnx(Export):
    """Export for ONNX Runtime; it has no options."""

    takes_graphs: ClassVar[bool] = True
    takes_companion: ClassVar[bool] = True

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the ONNX graph, the tokenizer and a README; also the script predict.py if it can make the predictions of this model.

        Raises ConfigError if a module that the script needs can't be copied.
        """
        with storage_errors(folder):
            if model.graph is not None:
                shutil.copyfile(model.graph, folder / "model.onnx")
            else:
                (folder / "model.onnx").write_bytes(_graph(model))
            encoder: Any = model.encoder
            if encoder.input_names.sequence is not None:
                encoder.complete_tokenizer.save(str(folder / "tokenizer.json"))
        if _is_portable(model):
            _write_script(model, folder)
        else:
            _write_graph_readme(model, folder)

    def check(self, model: TrainedModel, folder: Path) -> None:
        """Check that the exported files give the same results as the model for the example records of the task; else raise ModelError.

        If predict.py was written, it is run in a new process and the predictions are compared. Otherwise, the graph is run and its
        outputs are compared.
        """
        if _is_portable(model):
            _check_answers(model, folder)
        else:
            _check_outputs(model, folder)


def _is_portable(model: TrainedModel) -> bool:
    """Return whether the exported script predict.py can make the predictions of this model.

    For this, the decoder of the task (the code that converts outputs to predictions) must work without vertune, and all inputs of the
    task must be texts.
    """
    return model.task.portable and all(column.type == "text" for column in model.task.input_columns)


def _write_script(model: TrainedModel, folder: Path) -> None:
    """Write the script predict.py with its helper scripts, which predict without vertune, and the files that they need.

    These files are copies of the vertune modules that the scripts import, labels.json (the settings of decoder and tokenizer),
    requirements.txt, a README, and files.json with the SHA-256 of each file.
    """
    assert model.task.decoder is not None
    source = Path(__file__).parent / "portable"
    (folder / "parts").mkdir()
    for name in _SCRIPTS:
        write_text(folder / name, (source / name).read_text(encoding="utf-8"))
    modules = [model.task.decoder, *_USED]
    if model.companion is not None:
        model.companion.save(folder / mix.FILE)
        modules.append(mix.__name__)
    for module in modules:
        for name, file in source_files(module).items():
            write_text(folder / "parts" / f"{name}.py", file.read_text(encoding="utf-8"))
    write_json(folder / "labels.json", _described(model))
    write_text(folder / "requirements.txt", "numpy\nonnxruntime\ntokenizers\n")
    record = dict.fromkeys(_required(model), "a text")
    code = f"from predict import Model\n\nprint(Model().answer([{json.dumps(record)}]))"
    write_text(
        folder / "README.md",
        f"# {model.name}, portable\n\nPredicts with only numpy, onnxruntime and tokenizers: `pip install -r requirements.txt`, then "
        f"in this folder `python predict.py {' '.join(json.dumps(text) for text in record.values())}`, or\n\n```python\n{code}\n```\n",
    )
    write_json(folder / "files.json", hash_files(folder))  # last: predict.py compares every file with it


def _write_graph_readme(model: TrainedModel, folder: Path) -> None:
    """Write a README that shows how to run the ONNX graph and explains why the folder has no predict.py; also log this reason."""
    why = (
        f"The task '{model.task.name}' has no decoder that works without vertune"
        if not model.task.portable
        else f"The task '{model.task.name}' reads fields that are not texts"
    )
    _log.warning(
        "The export has no script predict.py. Reason: %s. Predict with vertune, or "
        "convert the outputs of model.onnx to predictions yourself.",
        why,
    )
    _files.write_readme(
        model,
        folder,
        "ONNX Runtime",
        'import onnxruntime\n\nsession = onnxruntime.InferenceSession("FOLDER/model.onnx")\n'
        "print([entry.name for entry in session.get_inputs()], [entry.name for entry in session.get_outputs()])",
        f"{why}, so there is no predict.py: model.onnx returns the outputs of the head (the last layer), which `task.json` describes.",
    )


def _check_answers(model: TrainedModel, folder: Path) -> None:
    """Run predict.py on the example records of the task; raise ModelError if it fails or predicts something else than the model."""
    records = model.records()
    sent = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    command = [sys.executable, "-P", "-E", "-c", _RUN, str(folder)]
    done = subprocess.run(command, input=sent, capture_output=True, text=True, encoding="utf-8", check=False)  # noqa: S603 - ours
    if done.returncode:
        raise ModelError(
            f"The export was not kept, because its script predict.py ends with this error: {done.stderr.strip()[-300:]}. "
            "Report this as a bug, with the names of the pretrained model and the task."
        )
    answers = [json.loads(line) for line in lines(done.stdout)]
    expected = [json.loads(json.dumps(answer)) for answer in model.answers(records)]
    for place, (ours, theirs) in enumerate(zip(expected, answers, strict=True)):
        if not equal_values(ours, theirs):
            raise ModelError(
                f"The export was not kept: for example record {place + 1}, its script predict.py predicts {theirs}, but the model predicts "
                f"{ours}. Report this as a bug, with the names of the pretrained model and the task."
            )


def _check_outputs(model: TrainedModel, folder: Path) -> None:
    """Run the exported graph on the example records of the task; raise ModelError if its outputs differ from those of the model."""
    import onnxruntime

    from vertune.nn.trained import check_same_outputs

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    records = model.records()
    features = model.encoder.encode(records, model.task.views(sorted({key for record in records for key in record})))
    found = []
    for feature in features:
        arrays = model.encoder.collate([feature])
        found.append(session.run(None, {name: arrays[name] for name in names})[0][0])
    check_same_outputs(model.outputs(), found, "ONNX Runtime")


_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[:] = ['predict.py']; import predict; predict.main()"


def _required(model: TrainedModel) -> list[str]:
    """Return the names of the input fields that every record of the task must have."""
    return [column.name for column in model.task.input_columns if column.required]


def _graph(model: TrainedModel) -> bytes:
    """Convert a model to an ONNX graph and return the serialised graph.

    Raises ConfigError if the model can't be converted, and ModelError if the outputs of the graph differ from those of the model for
    the example records of the task.
    """
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
    """Return the content of labels.json, from which the exported predict.py reads its settings.

    It describes the decoder (the code that converts outputs to predictions) with its options, the record fields of each model input,
    and how texts are truncated.
    """
    encoder: Any = model.encoder
    views = model.task.views([column.name for column in model.task.input_columns])
    templates = {
        str(number): {
            name: [list(pair) for pair in getattr(template, name)] if name != "types" else list(template.types)
            for name in ("before", "between", "after", "types")
        }
        for number, template in encoder.templates.items()
    }
    return {
        "task": model.task.model_dump(mode="json"),
        "decoder": model.task.decoder,
        "options": model.task.decoder_options(),
        "size": model.task.size,
        "required": _required(model),
        "views": [{"role": view.role, "fields": list(view.fields), "cut": view.cut, "windows": view.windows} for view in views],
        "encoder": {
            "max_tokens": encoder.longest if encoder.max_tokens == "auto" else encoder.max_tokens,
            "truncation": encoder.cutting(views), "stride": encoder.stride, "templates": templates,
        },
    }  # fmt: skip
