"""A task with field names of its own, a part of each other kind, and a command are one new file each, and no edit.

They are added once by a package of their own, and once as files in the tree; a vertical made of them goes through its life.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vertune

FILES = Path(__file__).parent / "plugins"
ROOT = FILES.parents[1]
PARTS = {
    "tasks": "rate", "sources": "piped", "splits": "hashed", "methods": "only_head", "exports": "words", "compressors": "halves",
    "cleaners": "no_numbers", "augmenters": "shouted", "cli": "greet",
}  # fmt: skip
"""One file for each room that is open to others; a command is no part, and is found in the same way."""


def package(folder: Path) -> list[Path]:
    """The parts as a distribution of their own; the folders that Python must look in."""
    (folder / "reviews").mkdir()
    (folder / "reviews" / "__init__.py").touch()
    for name in (*PARTS.values(), "grades"):
        shutil.copy(FILES / f"{name}.py", folder / "reviews")
    about = folder / "reviews-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: reviews\nVersion: 1.0\n")
    groups = "".join(f"[vertune.{kind}]\n{name} = reviews.{name}\n" for kind, name in PARTS.items())
    (about / "entry_points.txt").write_text(groups)
    return [folder, Path(vertune.__file__).parents[1]]


def tree(folder: Path) -> list[Path]:
    """A copy of vertune with the parts as files in their folders."""
    shutil.copytree(Path(vertune.__file__).parent, folder / "vertune", ignore=shutil.ignore_patterns("__pycache__"))
    for kind, name in {**PARTS, "decoders": "grades"}.items():
        text = (FILES / f"{name}.py").read_text(encoding="utf-8").replace("reviews.grades", "vertune.decoders.grades")
        (folder / "vertune" / kind / f"{name}.py").write_text(text, encoding="utf-8")
    return [folder]


@pytest.fixture(scope="module", params=[package, pytest.param(tree, marks=pytest.mark.matrix)], ids=lambda make: make.__name__)
def life(request, tmp_path_factory, forks):
    """What came of a vertical that is made of the new parts. A copy of vertune needs a process that has not imported the other one."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    (folder / "code").mkdir()
    path = os.pathsep.join(map(str, [*request.param(folder / "code"), ROOT]))
    script = str(FILES / "run.py")
    words = forks.words(script) if request.param is package else [script]
    done = subprocess.run(
        [sys.executable, *words, str(folder)],
        env={**os.environ, "PYTHONPATH": path, "VERTUNE_HOME": str(folder / "home")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_dataset_is_described_by_the_fields_of_the_task(life):
    report = life["report"]
    (target,) = report["targets"]
    assert target["name"] == "rating"
    assert {item["label"] for item in target["labels"]} == {"1", "2", "3", "4"}
    assert report["rows"]["rejected"] == 2
    assert report["conflicts"]["texts"] == 1, "two ratings of one review are noticed"
    assert "the soup was awful 0!" in report["conflicts"]["examples"][0]["text"]


def test_it_learns_and_is_measured(life):
    measured = life["measured"]
    assert measured["goal"] == "accuracy"
    assert set(measured["baselines"]) == {"majority", "words"}
    assert measured["metrics"]["accuracy"]["value"] > measured["baselines"]["majority"]["accuracy"]["value"]


def test_rows_that_were_learnt_and_what_cleaning_changed_are_in_the_report(life):
    notes = "\n".join(life["given"]["notes"])
    assert "have a text that is also in the training rows" in notes
    assert "rate: 6 of 302 reviews were shouted." in notes


def test_cleaners_and_augmenters_are_links_of_the_chain(life):
    notes = {(note["where"], note["count"]) for note in life["report"]["notes"]}
    assert ("no_numbers", 1) in notes, "the dropped row is counted"
    assert life["report"]["added"] == life["report"]["rows"]["train"] / 2, "each training row was shouted once"


def test_the_command_is_in_the_help_and_runs(life):
    assert life["greeting"] == "Hello, Li."
    assert "greet" in life["help"]


def test_every_way_to_ask_gives_the_same_answers(life):
    for way in ("smaller", "bundle", "served"):
        assert [answer["stars"] for answer in life[way]] == [answer["stars"] for answer in life["alone"]], way
        gaps = [abs(one["sure"] - other["sure"]) for one, other in zip(life[way], life["alone"], strict=True)]
        assert max(gaps) < (2e-3 if way == "smaller" else 1e-4), way
    assert len({answer["stars"] for answer in life["alone"]}) > 1


def test_the_server_knows_its_labels_and_fields(life):
    assert not life["troubles"]
    assert life["labels"] == ["1", "2", "3", "4"]
    assert life["listed"]["labels"] == life["labels"]
    assert list(life["listed"]["fields"]) == ["review"]
    named = {line.split('label="')[1].split('"')[0] for line in life["counted"]}
    assert named == {answer["stars"] for answer in life["alone"]}
