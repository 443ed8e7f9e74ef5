"""Predicts with the model in this folder; needs only numpy, onnxruntime and tokenizers.

    python predict.py "a text" ["a second text"]        one prediction as JSON
    python predict.py < texts.txt                       one prediction per line; a line that starts with { is a JSON record

In Python: `from predict import Model; Model(folder).answer([{"text": "a text"}])`.
"""

# exports/onnx.py of vertune copies this file into a portable bundle, with texts.py, parts/ and labels.json.

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import parts
from texts import Feature, Texts

Record = dict[str, Any]


class Model:
    """The exported model: an ONNX graph, the tokenisation of its inputs, and the decoder of its outputs."""

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        folder = Path(folder)
        check_files(folder)
        labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        self.views, self.required = labels["views"], labels["required"]
        self.decode, self.options = parts.load(labels["decoder"]).decode, labels["options"]
        file = folder / "companion.safetensors"
        self.companion = parts.load("vertune.lexical.companion").Companion.load(file) if file.exists() else None
        self.texts = Texts(folder / "tokenizer.json", labels["encoder"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs()]
        last = self.session.get_outputs()[0].shape[-1]
        if labels["size"] and isinstance(last, int) and labels["size"] != last:
            raise ValueError(
                f"labels.json describes {labels['size']} outputs, but model.onnx has {last} outputs. These two files don't belong "
                "together. Export the model again."
            )

    def answer(self, records: list[Record]) -> list[Record]:
        """Return one prediction per record.

        Raises ValueError if a text field that labels.json lists under `required` is missing, or if a field that the model reads is
        empty or is not a text.
        """
        fields = {name for view in self.views for name in view["fields"]}
        for place, record in enumerate(records):
            for name in fields:
                needed = name in record or name in self.required
                if needed and not (isinstance(record.get(name), str) and record[name].strip()):
                    raise ValueError(
                        f"Record {place + 1} needs a text under '{name}', but this record is {record}. Write a text that is not empty."
                    )
        features = self.texts.encode(records, self.views)
        outputs = [self.output(feature) for feature in features]
        if self.companion is not None:
            outputs = self.companion.mixed(records, features, outputs)
        return self.decode(records, features, outputs, **self.options)

    def output(self, feature: Feature) -> np.ndarray:
        """Return the graph's output for one token sequence: one vector, or one vector per token if the task reads tokens."""
        arrays = self.texts.arrays(feature)
        return self.session.run(None, {name: arrays[name] for name in self.names})[0][0]


def check_files(folder: Path) -> None:
    """Raise ValueError if a file from which the model is loaded is missing or has changed since the export, as files.json shows."""
    listed = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    companion = ["companion.safetensors"] if "companion.safetensors" in listed or (folder / "companion.safetensors").exists() else []
    for name in ("model.onnx", "tokenizer.json", "labels.json", *companion, *(name for name in listed if name.startswith("parts/"))):
        file = folder / name
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
        if found != listed.get(name):
            raise ValueError(
                f"{name} has changed since the export: expected SHA-256 {str(listed.get(name))[:12]}…, found {found[:12]}…. "
                "Copy the folder again, or export the model again."
            )


def main() -> None:
    """Print the prediction for the texts on the command line, one text per field, as JSON.

    Without such texts, print one prediction for each line of standard input.
    """
    model = Model()
    fields = list(dict.fromkeys(name for view in model.views for name in view["fields"]))
    if sys.argv[1:]:
        print(json.dumps(model.answer([dict(zip(fields, sys.argv[1:], strict=False))])[0], ensure_ascii=False, indent=1))
        return
    for line in sys.stdin:
        if line.strip():
            record = json.loads(line) if line.lstrip().startswith("{") else {fields[0]: line.strip()}
            print(json.dumps(model.answer([record])[0], ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
