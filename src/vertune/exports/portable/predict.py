"""Answers with the model in this folder; needs numpy, onnxruntime and tokenizers, and nothing else.

    python predict.py "a text" ["a second text"]        one answer as JSON
    python predict.py < texts.txt                       one answer a line; a line that starts with { is a record

In Python: `from predict import Model; Model(folder).answer([{"text": "a text"}])`.
"""

# Written into a portable bundle by exports/onnx.py, with texts.py, parts/ and labels.json.

from __future__ import annotations

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
    """The graph, what makes its inputs, and what turns its outputs into answers."""

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        folder = Path(folder)
        labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        self.views, self.required = labels["views"], labels["required"]
        self.decode, self.options = parts.load(labels["decoder"]).decode, labels["options"]
        self.texts = Texts(folder / "tokenizer.json", labels["encoder"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs()]
        last = self.session.get_outputs()[0].shape[-1]
        if labels["size"] and isinstance(last, int) and labels["size"] != last:
            raise ValueError(f"labels.json describes {labels['size']} outputs, but model.onnx gives {last}: they don't belong together.")

    def answer(self, records: list[Record]) -> list[Record]:
        """One answer a record; a record holds the fields that labels.json names under `views`."""
        fields = {name for view in self.views for name in view["fields"]}
        for place, record in enumerate(records):
            for name in fields:
                needed = name in record or name in self.required
                if needed and not (isinstance(record.get(name), str) and record[name].strip()):
                    raise ValueError(f"Record {place + 1} needs a text under '{name}'; it has {record}.")
        features = self.texts.encode(records, self.views)
        return self.decode(records, features, [self.output(feature) for feature in features], **self.options)

    def output(self, feature: Feature) -> np.ndarray:
        """What the graph gives for one sequence."""
        arrays = self.texts.arrays(feature)
        return self.session.run(None, {name: arrays[name] for name in self.names})[0][0]


def main() -> None:
    """Answer the command line, or standard input."""
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
