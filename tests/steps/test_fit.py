from __future__ import annotations

import json
import os
import random
from collections import Counter

import pytest

from vertune.core.artifact import Home
from vertune.core.config import Evaluation, load
from vertune.core.errors import NotFound
from vertune.core.files import read_json, write_json
from vertune.data.dataset import read
from vertune.encoders import _tokens
from vertune.reports.verdict import best_baseline
from vertune.steps import fit as fit_step
from vertune.steps.fit import fit, prepared
from vertune.steps.train import train


def test_a_dataset_is_reused_exactly_while_what_the_chain_reads_is_the_same(home, fitted, table, run_yaml, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / table.name).write_bytes(table.read_bytes())
    (folder / "run.yaml").write_bytes(run_yaml.read_bytes())
    config = load(folder / "run.yaml")
    first = prepared(config, home)
    assert prepared(config, home) == first
    os.utime(folder / table.name)
    assert prepared(config, home) == first
    changed = bytearray(table.read_bytes())
    changed[-2] ^= 1
    (folder / table.name).write_bytes(changed)
    os.utime(folder / table.name, (1e9, 1e9))  # its time of writing is long past
    assert prepared(config, home) != first
    (folder / table.name).write_bytes(table.read_bytes())
    assert prepared(config, home) == first
    by_channel = config.model_copy(update={"evaluate": Evaluation(slices=["channel"])})
    assert prepared(by_channel, home) == first  # data.keep has that column already
    by_query = config.model_copy(update={"evaluate": Evaluation(slices=["query"])})
    assert "query" in read(prepared(by_query, home), "train").columns
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 3.0})})
    assert prepared(longer, home) == first
    assert prepared(config.model_copy(update={"name": "other"}), home) != first


def test_a_run_that_was_killed_before_its_manifest_is_no_obstacle(home, run_yaml):
    (home.folder / "runs" / "support-20990101-000000-abcd").mkdir(parents=True)
    config = load(run_yaml)
    dataset = prepared(config, home, resume=True)
    with pytest.raises(NotFound, match="without --resume"):
        train(config, dataset, home, resume=True)


def test_a_damaged_dataset_is_no_obstacle(home, run_yaml):
    config = load(run_yaml)
    damaged = prepared(config, home)
    (damaged.folder / "manifest.json").write_text('{"format": 1, "id"')
    assert prepared(config, home).id != damaged.id


def test_a_fit_tokenises_each_training_and_validation_text_once(run_yaml, table, tmp_path, monkeypatch):
    counts: Counter[str] = Counter()
    tokenise = _tokens.tokenise

    def counting(tokenizer, texts):
        counts.update(texts)
        return tokenise(tokenizer, texts)

    monkeypatch.setattr(_tokens, "tokenise", counting)
    fitted = fit(load(run_yaml, ["training.refit=always", "method=full"]), Home(tmp_path))
    learnt = [text for split in ("train", "validation") for text in read(fitted.dataset, split)["text"]]
    assert len(learnt) > 40
    assert {counts[text] for text in learnt} == {1}


def losing(monkeypatch):
    """Let every model be measured as clearly worse than its best baseline."""
    real = fit_step.evaluate

    def measured_worse(*given):
        report = real(*given)
        figures = read_json(report.folder / "metrics.json")
        name, goal = best_baseline(figures), figures["goal"]
        figures["differences"][name][goal] = {"value": -0.2, "low": -0.3, "high": -0.1}
        figures["verdicts"][name] = {"winner": "baseline", "sentence": "The model is worse."}
        write_json(report.folder / "metrics.json", figures)
        return report

    monkeypatch.setattr(fit_step, "evaluate", measured_worse)


def test_a_model_that_is_worse_than_its_baseline_does_not_go_live(run_yaml, tmp_path, monkeypatch):
    losing(monkeypatch)
    home, config = Home(tmp_path), load(run_yaml)
    found = fit(config, home)
    assert found.worse_than is not None
    assert home.aliases() == {}
    assert f"vertune alias support@live {found.model.id}" in found.warning
    assert "support@live was not pointed to it" in found.warning
    accepted = fit(config, home, accept=True)
    assert (accepted.worse_than, accepted.warning) == (None, "")
    assert home.aliases() == {"support@live": accepted.model.id}
    worse = fit(config, home)
    assert worse.worse_than is not None
    assert home.aliases() == {"support@live": accepted.model.id}


def test_a_real_model_that_loses_to_counting_words_does_not_go_live(tiny_base, tmp_path):
    """The label is one word of many, which counting sees at once and a frozen random base hardly does."""
    rng = random.Random(0)
    words = [f"w{number}" for number in range(60)]
    rows = []
    for _ in range(600):
        chosen = rng.sample(words, 12)
        rows.append({"text": " ".join(chosen), "label": "yes" if "w0" in chosen or "w1" in chosen else "no"})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "run.yaml").write_text(
        f"name: words\ndata: {{source: rows.jsonl, split: {{name: stratified, test: 0.3}}}}\nbase: {tiny_base}\n"
        "method: head\ntraining: {start: random, epochs: 1, evaluations: 0, refit: never}\n"
    )
    alone = fit(load(tmp_path / "run.yaml", ["companion=none"]), Home(tmp_path / "alone"))
    assert alone.worse_than == "tfidf"
    assert Home(tmp_path / "alone").aliases() == {}
    mixed = fit(load(tmp_path / "run.yaml"), Home(tmp_path / "mixed"))  # with its words, it does not lose to them
    assert mixed.worse_than is None
    assert Home(tmp_path / "mixed").aliases() == {"words@live": mixed.model.id}
