"""Answers with the model in this folder; needs numpy, onnxruntime and tokenizers, and nothing else.

    python predict.py "a text" ["a second text"]        one answer as JSON
    python predict.py < texts.txt                       one answer a line; a line that starts with { is a record

In Python: `from predict import Model; Model(folder).answer([{"text": "a text"}])`.
"""

# Written as `predict.py` into a portable bundle by exports/onnx.py; `parts` are NumPy modules of vertune beside it.

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from parts.records import Feature, Places
from tokenizers import Tokenizer

Record = dict[str, Any]


class Model:
    """The graph, its tokenizer, and what turns outputs into answers."""

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        place = Path(folder)
        said = json.loads((place / "labels.json").read_text(encoding="utf-8"))
        self.task, self.views, self.encoder = said["task"], said["views"], said["encoder"]
        self.required = said["required"]
        self.tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(str(place / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs()]
        last = self.session.get_outputs()[0].shape[-1]
        if self.task.get("labels") and said["size"] != last:
            raise ValueError(f"labels.json describes {said['size']} outputs, but model.onnx gives {last}: they don't belong together.")

    def answer(self, records: list[Record]) -> list[Record]:
        """One answer a record; a record holds the fields that labels.json names under `views`."""
        fields = {name for view in self.views for name in view["fields"]}
        for place, record in enumerate(records):
            for name in fields:
                asked = name in record or name in self.required
                if asked and not (isinstance(record.get(name), str) and record[name].strip()):
                    raise ValueError(f"Record {place + 1} needs a text under '{name}'; it has {record}.")
        features = [feature for row, record in enumerate(records) for view in self.views for feature in self.features(row, record, view)]
        return DECODE[self.task["name"]](self.task, records, features, [self.output(feature) for feature in features])

    def output(self, feature: Feature) -> np.ndarray:
        """What the graph gives for one sequence; alone, so that nothing is padded."""
        ids, types = (part.astype(np.int64)[None] for part in feature.payload)
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        return self.session.run(None, {name: arrays[name] for name in self.names})[0][0]

    def features(self, row: int, record: Record, view: Record) -> list[Feature]:
        """The token sequences of one view of a record, cut as in training."""
        fields = [name for place, name in enumerate(view["fields"]) if place == 0 or record.get(name)]
        if view["role"] == "document" and not record.get(view["fields"][0]):
            return []
        pieces = []
        for name in fields:
            found = self.tokenizer.encode(record[name], add_special_tokens=False)
            pieces.append((np.array(found.ids, np.int32), np.array(found.offsets, np.int32).reshape(-1, 2)))
        template = self.encoder["templates"][str(len(fields))]
        room = self.encoder["max_tokens"] - sum(len(template[name]) for name in ("before", "between", "after"))
        lengths = [len(ids) for ids, _ in pieces]
        if sum(lengths) <= room:
            return [self.feature((row, view["role"], 0, 0), pieces, template)]
        cut = view["cut"] if view["cut"] is not None and view["cut"] < len(pieces) else int(np.argmax(lengths))
        others = sum(lengths) - lengths[cut]
        if others > room // 2:
            pieces = [
                take(piece, kept(len(piece[0]), max(1, room // 2), "head")) if place != cut else piece for place, piece in enumerate(pieces)
            ]
            others = sum(len(ids) for place, (ids, _) in enumerate(pieces) if place != cut)
        room = max(1, room - others)
        how = self.encoder["truncation"]
        if how == "window" and view["windows"]:
            lost = sum(lengths) - lengths[cut] - others
            stretches = windows(lengths[cut], room, self.encoder["stride"])
        else:
            stretches = [kept(lengths[cut], room, "head" if how == "window" else how)]
            lost = sum(lengths) - others - len(stretches[0])
        return [
            self.feature((row, view["role"], lost, number), [take(p, stretch) if i == cut else p for i, p in enumerate(pieces)], template)
            for number, stretch in enumerate(stretches)
        ]

    @staticmethod
    def feature(about: tuple, pieces: list, template: Record) -> Feature:
        """Put special tokens around the pieces."""
        ids, segments, offsets, types = [], [], [], []

        def add(tokens, places, kinds, segment):
            ids.append(np.asarray(tokens, np.int32))
            offsets.append(np.asarray(places, np.int32).reshape(-1, 2))
            types.append(np.asarray(kinds, np.int8))
            segments.append(np.full(len(tokens), segment, np.int8))

        def special(pairs):
            add([token for token, _ in pairs], np.zeros((len(pairs), 2)), [kind for _, kind in pairs], -1)

        special(template["before"])
        for place, (tokens, places) in enumerate(pieces):
            if place:
                special(template["between"])
            add(tokens, places, np.full(len(tokens), template["types"][place]), place)
        special(template["after"])
        row, role, lost, window = about
        ids, segments, offsets, types = (np.concatenate(part) for part in (ids, segments, offsets, types))
        return Feature(row, role, len(ids), (ids, types), Places(segments, offsets), lost, window)


def take(piece, index):
    return piece[0][index], piece[1][index]


def kept(length, room, how):
    """Which tokens stay of a longer text."""
    if length <= room:
        return np.arange(length)
    if how == "head":
        return np.arange(room)
    if how == "tail":
        return np.arange(length - room, length)
    return np.concatenate([np.arange(room - room // 2), np.arange(length - room // 2, length)])


def windows(length, room, stride):
    """Overlapping stretches that cover all tokens."""
    step = max(1, int(room * (1 - stride)))
    return [np.arange(start, min(start + room, length)) for start in range(0, max(1, length - room + step), step) if start < max(1, length)]


def merged(records, features, values):
    """Mean over the windows of each record, weighted by their tokens."""
    total, tokens = np.zeros((len(records), values.shape[1])), np.zeros(len(records))
    for feature, value in zip(features, values, strict=True):
        total[feature.record] += value * feature.cost
        tokens[feature.record] += feature.cost
    return total / np.maximum(tokens, 1)[:, None]


def truncated(records, features):
    lost = {feature.record for feature in features if feature.truncated}
    return [row in lost for row in range(len(records))]


def classify(task, records, features, outputs):
    logits = np.stack(outputs).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows, found = merged(records, features, powers / powers.sum(axis=1, keepdims=True)).tolist(), []
    for row, lost in zip(rows, truncated(records, features), strict=True):
        best = int(np.argmax(row))
        probabilities = dict(zip(task["labels"], row, strict=True))
        found.append({"label": task["labels"][best], "probability": row[best], "probabilities": probabilities, "truncated": lost})
    return found


def multilabel(task, records, features, outputs):
    rows = merged(records, features, 0.5 * (1 + np.tanh(0.5 * np.stack(outputs).astype(np.float64))))
    labels, size = task["labels"], len(task["labels"])
    limits = np.full(size, task["threshold"]) if task["threshold"] != "auto" else np.array(task["thresholds"] or [0.5] * size)
    sure = 0 if task["at_least"] == "auto" else min(task["at_least"], size)
    found = []
    for row, lost in zip(rows, truncated(records, features), strict=True):
        order = np.argsort(-row, kind="stable")
        given = row >= limits
        given[order[:sure]] = True
        probabilities = dict(zip(labels, row.tolist(), strict=True))
        found.append({"labels": [labels[place] for place in order if given[place]], "probabilities": probabilities, "truncated": lost})
    return found


def regress(task, records, features, outputs):
    mean, deviation = task["mean"] or 0.0, 1.0 if task["deviation"] is None else task["deviation"]
    values = merged(records, features, np.stack(outputs).astype(np.float64))[:, 0] * deviation + mean
    values = np.clip(values, *task["bounds"]) if task["bounds"] else values
    return [{"score": value, "truncated": lost} for value, lost in zip(values.tolist(), truncated(records, features), strict=True)]


def embed(task, records, features, outputs):
    found = [{"truncated": lost} for lost in truncated(records, features)]
    sides = [{} for _ in records]
    for feature, output in zip(features, outputs, strict=True):
        sides[feature.record][feature.role] = output
    for answer, side in zip(found, sides, strict=True):
        answer["vector"] = side["query"].tolist()
        if "document" in side:
            answer["vector_pair"] = side["document"].tolist()
            answer["score"] = float(side["query"].astype(np.float64) @ side["document"])
    return found


def tag(task, records, features, outputs):
    from parts import bio

    found = []
    for row, (record, lost) in enumerate(zip(records, truncated(records, features), strict=True)):
        numbers = [number for number, feature in enumerate(features) if feature.record == row]
        held, inside = [features[number] for number in numbers], bio.inside(record["text"])
        whole, window = bio.merge([bio.units(record["text"], feature, inside) for feature in held], held)
        logits = [outputs[numbers[place]][token] for place, token in zip(window, whole.tokens, strict=True)]
        shifted = np.stack(logits).astype(np.float64) if logits else np.zeros((0, 1 + 2 * len(task["labels"])))
        shifted = shifted - shifted.max(axis=1, keepdims=True, initial=-np.inf)
        scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        (path,) = bio.viterbi([scores])
        sure = np.take_along_axis(scores, path[:, None], axis=1)[:, 0]
        spans = [{**span, "probability": float(np.exp(sure[at].sum()))} for span, at in bio.spans(path, whole, task["labels"])]
        found.append({"spans": spans, "truncated": lost})
    return found


def extract(task, records, features, outputs):
    from parts import answers

    longest = task["longest"] if task["longest"] != "auto" else 64
    none, best = np.zeros(len(records)), [(-np.inf, 0, 0)] * len(records)
    for feature, output in zip(features, outputs, strict=True):
        refused, score, start, end = answers.best(feature, output, longest)
        none[feature.record] = min(none[feature.record], refused)
        best[feature.record] = max(best[feature.record], (score, start, end), key=lambda entry: entry[0])
    found = []
    for row, lost in enumerate(truncated(records, features)):
        score, start, end = best[row]
        refuse = (task["unanswerable"] is True and none[row] - score > task["threshold"]) or not np.isfinite(score)
        probability = float(np.exp(none[row] if refuse else score))
        if refuse:
            found.append({"spans": [], "text": "", "probability": probability, "truncated": lost})
            continue
        text = records[row]["context"][start:end]
        start, text = start + len(text) - len(text.lstrip()), text.strip()
        spans = [{"start": start, "end": start + len(text), "label": "answer"}]
        found.append({"spans": spans, "text": text, "probability": probability, "truncated": lost})
    return found


DECODE = {
    "classify": classify, "match": classify, "multilabel": multilabel, "regress": regress, "embed": embed, "tag": tag, "extract": extract,
}  # fmt: skip


def main() -> None:
    """Answer what the command line or standard input says."""
    model = Model()
    fields = [name for view in model.views for name in view["fields"]]
    if sys.argv[1:]:
        print(json.dumps(model.answer([dict(zip(fields, sys.argv[1:], strict=False))])[0], ensure_ascii=False, indent=1))
        return
    for line in sys.stdin:
        if line.strip():
            record = json.loads(line) if line.lstrip().startswith("{") else {fields[0]: line.strip()}
            print(json.dumps(model.answer([record])[0], ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
