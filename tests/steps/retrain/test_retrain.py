"""A retraining from feedback, labels and files to the verdict of the gate, on a tiny vertical."""

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime

import polars as pl
import pytest

from tests.learning.conftest import FILLERS, TOPICS, sentences
from vertune.core.artifact import Home
from vertune.core.config import Config, build
from vertune.core.errors import ConfigError, DataError, NoRows, NotFound
from vertune.core.ids import time_ordered_id
from vertune.data import dataset as stored
from vertune.data.chain import ChainLog
from vertune.evaluation.release import Bounds
from vertune.runtime.predictor import Predictor
from vertune.steps.fit import fit
from vertune.steps.gate import Terms
from vertune.steps.retrain import HELD, Lineage, Request, look_again, reading, retrain, sets
from vertune.steps.retrain.sources import parse_sources
from vertune.store import labels, projects
from vertune.store.database import Database, file_in, format_time
from vertune.store.feedback import add
from vertune.store.projects import Project
from vertune.testing import tiny

TERMS = Terms(speed=False)


@pytest.fixture(scope="module")
def vertical(tmp_path_factory):
    """A home with a live model that knows money and travel, trained on nearly 300 rows."""
    folder = tmp_path_factory.mktemp("retrain")
    words = [*FILLERS, *(word for members in TOPICS.values() for word in members)]
    base = tiny.write("bert", folder / "bert", words)
    rows = [row for row in sentences(420) if row["label"] != "food"]
    pl.DataFrame(rows).unique("text", maintain_order=True).write_csv(folder / "rows.csv")
    config = build(Config, {
        "name": "topics", "data": {"source": str(folder / "rows.csv")}, "base": str(base), "method": "full",
        "device": {"threads": 1, "precision": "float32"}, "training": {"epochs": 2, "refit": "never", "optimiser": {"rate": 3e-3}},
    })  # fmt: skip
    home = Home(folder / "home")
    fit(config, home, accept=True)
    return home, folder


@pytest.fixture
def home(vertical, tmp_path, monkeypatch):
    """A copy of that home."""
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)
    shutil.copytree(vertical[0].folder, tmp_path / "home")
    return Home(tmp_path / "home")


def file_of(folder, rows):
    path = folder / "new.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def feedback(home, rows):
    with closing(Database(file_in(home.folder))) as database:
        for text, label, author, trust in rows:
            row = {
                "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "customer": "default", "vertical": "topics", "trust": trust,
                "record": json.dumps({"text": text}), "target": json.dumps({"label": label}), "digest": b"", "author": author, "key": "app",
            }  # fmt: skip
            add(database, row)


@pytest.fixture(scope="module")
def retrained(vertical, tmp_path_factory):
    """What a retraining with a new label made, from the live model; and what it told."""
    home = Home(tmp_path_factory.mktemp("retrained") / "home")
    shutil.copytree(vertical[0].folder, home.folder)
    new = file_of(home.folder, sentences(160, seed=7))
    told = []
    request = Request(parse_sources(str(new), "topics", None), "warm")
    made = retrain("topics", home, request, TERMS, lambda kind, **fields: told.append((kind, fields)))
    return home, made, request, told


def test_a_new_label_is_learnt_and_nothing_is_forgotten(retrained):
    home, made, _, _ = retrained
    dataset, model = made.dataset.manifest, made.model.manifest
    assert model["continues"] == made.live.id
    assert model["chosen"]["start"] == "live"
    found = model["forgetting"]
    assert [entry["name"] for entry in found["slices"]] == ["first", "round 1"]
    assert found["slices"][0]["after"] > 0.9
    assert found["slices"][1]["after"] > found["slices"][1]["before"]
    assert {entry["name"]: entry["before"] for entry in found["labels"]}["food"] == 0
    read = pl.read_csv(home.folder / "new.csv").height
    assert sum(dataset["assembled"].values()) == read == dataset["read"]
    assert dataset["parents"] == [Lineage.of(made.live, home).dataset.id]
    assert Predictor.open(made.model).answer([{"text": "the bread was late"}])[0]["label"] == "food"


def test_the_gate_has_its_say_and_no_alias_moves(retrained):
    home, made, _, _ = retrained
    assert made.report.manifest["step"] == "gate"
    assert made.verdict in ("pass", "fail", "unknown")
    assert home.aliases()["topics@live"] == made.live.id
    rows = sets(made.dataset)
    assert rows["gold"].height == stored.read(Lineage.of(made.live, home).dataset, "test").height
    assert set(rows["new"].columns) == {"text", "label"}
    assert rows["new"].height == made.dataset.manifest["assembled"]["test"]


def test_a_repeated_retraining_makes_nothing_twice(retrained):
    home, made, request, _ = retrained
    before = [len(home.shelf(shelf)) for shelf in ("datasets", "models", "reports")]
    again = retrain("topics", home, request, TERMS)
    assert (again.dataset.id, again.model.id, again.report.id) == (made.dataset.id, made.model.id, made.report.id)
    assert [len(home.shelf(shelf)) for shelf in ("datasets", "models", "reports")] == before


def test_other_bounds_are_judged_anew(retrained):
    home, made, request, _ = retrained
    again = retrain("topics", home, request, Terms(Bounds(tolerance=0.5, slice_loss=0.9), speed=False))
    assert again.model.id == made.model.id
    assert again.report.id != made.report.id
    assert retrain("topics", home, request, TERMS).report.id == made.report.id


def labelled(home, rows):
    """A labelling project with the name of the vertical, in which these rows have labels; return its source."""
    project = Project(time_ordered_id(), "", "default", "topics", upload="", task={"name": "classify"}, settings={}, state="filling")
    records = [
        {"number": number, "record": json.dumps({"text": row["text"]}), "fingerprint": b"", "held": 0, "places": 1, "rank": number,
         "suggestion": None, "confidence": None}
        for number, row in enumerate(rows)
    ]  # fmt: skip
    changes = [labels.Change(number, "done", {"label": row["label"]}, None, 1) for number, row in enumerate(rows)]
    with closing(Database(file_in(home.folder))) as database:
        projects.add(database, project)
        projects.add_records(database, project, records)
        labels.save(database, project, "ann", changes, datetime.now(UTC))
    return parse_sources("labels", "topics", home.folder)


def test_another_look_counts_labels_that_came_later_as_gold_rows_and_no_row_twice(retrained, tmp_path):
    made = retrained[1]
    home = Home(shutil.copytree(retrained[0].folder, tmp_path / "home"))
    candidate = home.get("models", made.model.id)
    splits = [stored.read(made.dataset, name) for name in ("train", "validation", "test", "gold")]
    known = {text for frame in splits for text in frame["text"]}
    fresh = [row for row in sentences(60, seed=77) if row["text"] not in known]
    old = splits[0].head(5).to_dicts()
    source = labelled(home, [*fresh, fresh[0], *({"text": row["text"].upper(), "label": row["label"]} for row in old)])
    again = look_again(candidate, home, source, TERMS)
    assert again.report.manifest["rows"]["gold"] == made.report.manifest["rows"]["gold"] + len({row["text"] for row in fresh})
    assert again.report.manifest["rows"]["new"] == made.report.manifest["rows"]["new"]
    assert (made.report.manifest["look"], again.report.manifest["look"]) == (1, 2)
    assert list(again.report.parents) == [candidate.id, made.live.id]
    with pytest.raises(DataError, match="There is no label that came after"):
        look_again(candidate, home, [], TERMS)


def test_a_training_from_the_live_model_that_was_killed_goes_on(home, tmp_path):
    request = Request(parse_sources(str(file_of(tmp_path, sentences(40, seed=5))), "topics", None), "warm")

    def die(kind, **fields):
        if kind == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain("topics", home, request, TERMS, die)
    (run,) = [run for run in home.runs() if run.manifest["step"] == "train"]
    assert retrain("topics", home, request, TERMS).model.id == run.id
    assert not [one for one in home.runs() if one.manifest["step"] == "train"]


def test_gold_rows_stay_over_two_rounds(retrained, tmp_path):
    home, made, _, _ = retrained
    home.alias("topics@live", made.model.id)
    try:
        file = file_of(tmp_path, sentences(80, seed=11))
        again = retrain("topics", home, Request(parse_sources(str(file), "topics", None), "warm"), TERMS)
    finally:
        home.alias("topics@live", made.live.id)
    assert again.dataset.manifest["round"] == 2
    assert again.dataset.manifest["gold"] == made.dataset.manifest["gold"]
    gold = set(sets(again.dataset)["gold"]["text"])
    assert not gold & set(stored.read(again.dataset, "train")["text"])
    assert [entry["name"] for entry in again.model.manifest["forgetting"]["slices"]] == ["first", "round 1", "round 2"]
    assert set(sets(again.dataset)) == {"gold", "round 1", "new"}


def test_feedback_counts_by_its_trust_and_what_could_poison_is_held_back(home, vertical):
    known = Predictor.open(home.get("models", "topics"))
    rows = sentences(120, seed=21)
    honest = [(row["text"], row["label"], f"person {place % 9}", 0.5) for place, row in enumerate(rows) if row["label"] != "food"]
    turned = [row for row in sentences(60, seed=22) if row["label"] != "food"]
    turned = [(row["text"], "money" if row["label"] == "travel" else "travel", "mallory", 1.0) for row in turned]
    surely = [answer["probability"] for answer in known.answer([{"text": text} for text, *_ in turned])]
    assert min(surely) > 0.6
    feedback(home, [*honest, *turned, ("the soup was bread", "food", "person 1", 1.0)])
    made = retrain("topics", home, Request(parse_sources("feedback", "topics", home.folder)), TERMS)
    lines = [json.loads(line) for line in (made.dataset.folder / HELD).read_text(encoding="utf-8").splitlines()]
    held = {line["text"]: line["held_check"] for line in lines}
    assert len(set(held) & {text for text, *_ in turned}) > 0.9 * len(turned)
    assert held["the soup was bread"] == "new label"
    assert len(held) < len(turned) + 10
    new = stored.read(made.dataset, "train").filter(pl.col("__round") == 1)
    assert set(new.filter(pl.col("text").is_in([text for text, *_ in honest]))["__trust"]) == {0.5}
    assert made.dataset.manifest["assembled"].get("test", 0) == 0  # nobody reviewed them


def test_a_retired_label_is_mapped_everywhere(home, tmp_path):
    file = file_of(tmp_path, [row for row in sentences(80, seed=31) if row["label"] != "food"])
    request = Request(parse_sources(str(file), "topics", None), "scratch", {"travel": "journey", "trvel": "journey"})
    told = []
    made = retrain("topics", home, request, TERMS, lambda kind, **fields: told.append((kind, fields)))
    assert [fields["message"] for kind, fields in told if kind == "warning" and "trvel" in fields["message"]] == [
        "No row has the label 'trvel', which was to be replaced; rows have: money, travel."
    ]
    labels = set(stored.read(made.dataset, "train")["label"]) | set(sets(made.dataset)["gold"]["label"])
    assert labels == {"money", "journey"}
    found = {entry["name"]: entry for entry in made.model.manifest["forgetting"]["labels"]}
    assert found["journey"]["before"] > 0.8  # what the live model called travel
    assert made.model.manifest["chosen"]["retrained"] == "trained from the pretrained model, because it was asked for"


@pytest.mark.parametrize("trust", ["high", "85", "-0.5", "nan"])
def test_a_trust_that_is_no_share_is_refused(home, tmp_path, trust):
    rows = [{**row, "feedback_trust": value} for row, value in zip(sentences(2, seed=51), ("0.5", trust), strict=True)]
    with pytest.raises(DataError, match=r"new\.csv, row 2: feedback_trust is .*; expected a number from 0 to 1"):
        retrain("topics", home, Request(parse_sources(str(file_of(tmp_path, rows)), "topics", None)), TERMS)


def test_a_compressed_model_is_trained_again_from_the_model_that_it_was_made_of(home):
    trained = home.get("models", "topics")
    lineage = Lineage.of(trained, home)
    parents, config = [trained.id, lineage.dataset.id], trained.manifest["config"]
    run = home.begin("models", "topics", step="compress", asked={"config": config, "parents": parents}, parents=parents, config=config)
    compressed = home.finish(run)
    found = Lineage.of(compressed, home)
    assert (found.live.id, found.trained.id, found.dataset.id) == (compressed.id, trained.id, lineage.dataset.id)
    assert found.config == lineage.config
    shutil.rmtree(trained.folder)
    alone = Lineage.of(compressed, home)
    assert (alone.trained.id, alone.dataset.id, alone.config.data.source) == (compressed.id, lineage.dataset.id, lineage.config.data.source)


def test_nothing_new_is_an_error_that_says_what_became_of_the_rows(home, tmp_path, vertical):
    old = pl.read_csv(vertical[1] / "rows.csv").head(20)
    with pytest.raises(DataError, match=r"none of the 20 rows can be used \((\d+ gold|\d+ known)"):
        retrain("topics", home, Request(parse_sources(str(file_of(tmp_path, old.to_dicts())), "topics", None)), TERMS)
    with pytest.raises(NotFound, match="There is no alias"):
        retrain("nobody", home, Request([]))


def test_warm_is_refused_where_it_is_impossible(home, tmp_path, monkeypatch):
    live = home.get("models", "topics")
    for name in ("delta.safetensors", "edits.json"):
        (live.folder / name).rename(live.folder / f"{name}.gone")
    monkeypatch.setattr(Predictor, "open", classmethod(lambda cls, *given, **options: pytest.fail("no model is needed to refuse")))
    file = file_of(tmp_path, sentences(40, seed=41))
    with pytest.raises(ConfigError, match="Training can't go on from topics-"):
        retrain("topics", home, Request(parse_sources(str(file), "topics", None), "warm"), TERMS)


@pytest.mark.parametrize("stored_some", [False, True])
def test_a_source_that_has_no_rows_yet_is_named_and_the_others_are_read(home, tmp_path, stored_some):
    if stored_some:
        labelled(home, [])
        feedback(home, [("the soup", "food", "ann", 1.0)])
    lineage = Lineage.of(home.get("models", "topics"), home)
    (tmp_path / "none.csv").write_text("text,label\n")
    named = ["labels", str(tmp_path / "none.csv"), str(file_of(tmp_path, sentences(12, seed=61)))]
    told = []
    log = ChainLog(lambda kind, **fields: told.append((kind, fields)))
    rows = reading.read(parse_sources(",".join(["feedback", *named]), "topics", home.folder), lineage.config, (), log)
    assert rows.height == log.read == 12 + stored_some
    warnings = [fields["message"] for kind, fields in told if kind == "warning"]
    missing = ["No record of the project 'topics'"] if stored_some else ["There is no database of a server"] * 2
    assert len(warnings) == len(missing) + 1
    for what, warning in zip([*missing, "none.csv has a header (text, label), but no rows"], warnings, strict=True):
        assert warning.startswith("Only the other sources are learnt. ")
        assert what in warning


def test_sources_that_are_all_empty_or_can_not_be_read_are_errors(home, tmp_path):
    config, log = Lineage.of(home.get("models", "topics"), home).config, ChainLog(lambda kind, **fields: None)
    file = file_of(tmp_path, sentences(12, seed=61))
    with pytest.raises(NoRows, match=r"nothing new to learn\. The sources have no rows"):
        reading.read(parse_sources("feedback,labels", "topics", home.folder), config, (), log)
    with pytest.raises(NotFound, match="There is no database"):
        reading.read(parse_sources("feedback", "topics", home.folder), config, (), log)
    labelled(home, [])
    with pytest.raises(NotFound, match="mails"):
        reading.read(parse_sources(f"labels:mails,{file}", "topics", home.folder), config, (), log)
    with pytest.raises(NoRows, match="There is no feedback on 'topics'"):
        reading.read(parse_sources("feedback", "topics", home.folder), config, (), log)


def test_another_look_does_not_pass_over_a_source_that_can_not_be_read(retrained, tmp_path):
    home, made, _, _ = retrained
    rows = [{**row, "feedback_trust": "high"} for row in sentences(2, seed=71)]
    with pytest.raises(DataError, match="feedback_trust is 'high'"):
        look_again(home.get("models", made.model.id), home, parse_sources(str(file_of(tmp_path, rows)), "topics", None), TERMS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("feedback", [("feedback", {"vertical": "topics"})]),
        ("labels:mails , feedback", [("labels", {"project": "mails"}), ("feedback", {})]),
        ("labels", [("labels", {"project": "topics"})]),
    ],
)  # fmt: skip
def test_what_on_names(text, found, tmp_path):
    sources = parse_sources(text, "topics", tmp_path)
    assert [source.name for source in sources] == [name for name, _ in found]
    for source, (_, options) in zip(sources, found, strict=True):
        assert source.home == str(tmp_path)
        assert all(getattr(source, name) == value for name, value in options.items())


def test_on_must_name_something(tmp_path):
    with pytest.raises(ConfigError, match="--on names nothing"):
        parse_sources(" , ", "topics", None)
    with pytest.raises(ConfigError, match="No source reads files such as"):
        parse_sources("nothing.xyz", "topics", None)
    assert parse_sources(str(file_of(tmp_path, sentences(3))), "topics", tmp_path)[0].name == "csv"
