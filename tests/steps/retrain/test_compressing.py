"""A retraining of a vertical whose live model is compressed: its candidate is compressed in the same way, or the gate says why not."""

import polars as pl
import pytest

from tests.conftest import rows, unmeasured
from vertune.steps.compress import CompressOptions, compress
from vertune.steps.gate import COMPRESSION_FAILED, Terms, gate, read_release
from vertune.steps.retrain import Request, retrain, sets
from vertune.steps.retrain.sources import parse_sources

TERMS = Terms(speed=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """These tests need no figure of speed."""
    unmeasured(monkeypatch)
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)


@pytest.fixture
def live(home):
    """A live model that was compressed with other options than those of its config."""
    options = ["compress.chain=[trim_vocabulary, int8]", "compress.tolerance=1", "compress.folds=0", "seed=5"]
    made = compress(home.get("models", "support"), home, options)
    home.alias("support@live", made.id)
    return made


@pytest.fixture
def request_(tmp_path):
    path = tmp_path / "new.csv"
    pl.DataFrame([{**row, "query": f"{row['query']} please"} for row in rows(40)]).write_csv(path)
    return Request(parse_sources(str(path), "support", None))


def verdicts(report):
    return {check.name: check for check in read_release(report).checks}


def test_a_candidate_is_compressed_as_the_live_model_was(home, live, request_):
    told = []
    done = retrain("support", home, request_, TERMS, lambda kind, **fields: told.append((kind, fields)))
    made = done.model.manifest
    assert made["step"] == "compress"
    assert [one["name"] for one in made["candidates"]] == ["float32", "trim_vocabulary", "int8"]
    assert made["config"]["compress"] == live.manifest["config"]["compress"]
    assert made["config"]["seed"] == 5
    trained = home.get("models", done.model.parents[0])
    assert trained.manifest["config"]["compress"]["chain"] != made["config"]["compress"]["chain"]
    assert list(trained.parents) == [done.dataset.id]
    assert ("as_live", {"live": live.id, "chain": "trim_vocabulary, int8"}) in told
    checks = verdicts(done.report)
    assert list(done.report.parents) == [done.model.id, live.id]
    assert (checks["size"].verdict, checks["compression"].verdict) == ("pass", "pass")
    assert {entry["name"] for entry in made["forgetting"]["slices"]} == {"first", "round 1"}
    assert done.compression.startswith(f"{done.model.id} was made of {trained.id} as {live.id} was: accepted, ")
    before = [len(home.shelf(shelf)) for shelf in ("datasets", "models", "reports")]
    assert retrain("support", home, request_, TERMS).report.id == done.report.id
    assert [len(home.shelf(shelf)) for shelf in ("datasets", "models", "reports")] == before


def test_a_killed_compression_of_a_candidate_goes_on(home, live, request_):
    def die(kind, **fields):
        if kind == "compressing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain("support", home, request_, TERMS, die)
    (run,) = [run for run in home.runs() if run.manifest["step"] == "compress"]
    assert retrain("support", home, request_, TERMS).model.id == run.id


def test_a_candidate_that_loses_too_much_stays_as_it_was_trained_and_fails_with_the_reason(home, live, request_, monkeypatch):
    monkeypatch.setattr("vertune.evaluation.gate.decide", lambda *given: ("refused", "it loses far too much"))
    told = []
    done = retrain("support", home, request_, TERMS, lambda kind, **fields: told.append((kind, fields)))
    assert done.model.manifest["step"] == "train"
    assert done.model.manifest[COMPRESSION_FAILED]["live"] == live.id
    (warning,) = [fields["message"] for kind, fields in told if kind == "warning" and "not compressed" in fields["message"]]
    assert "it loses far too much" in warning
    check = verdicts(done.report)["compression"]
    assert (done.verdict, check.verdict) == ("fail", "fail")
    assert check.why.startswith(f"The candidate could not be compressed as {live.id} was. The smaller model did not pass")
    assert done.compression.startswith(f"{done.model.id} could not be compressed as {live.id} was.")
    runs = len(home.runs())
    assert retrain("support", home, request_, TERMS).model.id == done.model.id
    assert len(home.runs()) == runs  # what was refused is not made again


def test_a_candidate_of_which_its_rows_can_t_tell_waits_for_a_person(home, live, request_, monkeypatch):
    monkeypatch.setattr("vertune.evaluation.gate.decide", lambda *given: ("undecided", "nobody knows"))
    done = retrain("support", home, request_, TERMS)
    assert done.model.manifest["step"] == "compress"
    assert "accepted" not in done.model.manifest
    check = verdicts(done.report)["compression"]
    assert (check.verdict, check.why) == ("unknown", "Compared with the model before: nobody knows.")


def test_the_gate_can_t_tell_of_a_compression_that_a_person_accepted(home, live, request_, monkeypatch):
    done = retrain("support", home, request_, TERMS)
    monkeypatch.setattr("vertune.evaluation.gate.decide", lambda *given: ("undecided", "nobody knows"))
    trained = home.get("models", done.model.parents[0])
    accepted = compress(trained, home, ["compress.folds=0"], options=CompressOptions(accept=True))
    report = gate(accepted, live, home, sets(done.dataset), TERMS)
    assert verdicts(report)["compression"].verdict == "unknown"
    uncompressed = gate(trained, live, home, sets(done.dataset), TERMS)
    assert verdicts(uncompressed)["compression"].verdict == "unknown"


def test_a_candidate_of_a_live_model_that_is_not_compressed_stays_as_it_is(home, request_):
    done = retrain("support", home, request_, TERMS)
    assert done.model.manifest["step"] == "train"
    assert done.compression == ""
    assert "compression" not in verdicts(done.report)
