"""A labelling project of a file: which columns its texts are read from, and that the same file is one project."""

from contextlib import closing

import polars as pl
import pytest

from tests import databases
from vertune.core.errors import ConfigError, DataError, NotFound, UnknownName
from vertune.steps.label.file import Wanted, project_of_file
from vertune.store import labels, projects
from vertune.store.database import FILE, Database

TEXTS = [f"Please tell me where my card number {number} is, I have waited for weeks." for number in range(30)]


@pytest.fixture
def database(tmp_path):
    with closing(Database(databases.new(tmp_path / FILE))) as opened:
        yield opened


def file(folder, name="mails.csv", **columns):
    pl.DataFrame(columns).write_csv(folder / name)
    return folder / name


def first_fields(database, project):
    with database.reading() as connection:
        return projects.records(connection, project.id, [0])[0].fields


@pytest.mark.parametrize(
    "columns",
    [
        {"id": range(30), "message": TEXTS, "channel": ["web", "phone"] * 15},
        {"number": [f"A-{place}" for place in range(30)], "内容": TEXTS},
        {"text": TEXTS, "body": [f"{text} {text}" for text in TEXTS]},
    ],
)
def test_the_column_of_the_texts_is_guessed(database, tmp_path, columns):
    made = project_of_file(database, Wanted(file(tmp_path, **columns), labels=["a", "b"]))
    assert made.project.name == "mails"
    assert first_fields(database, made.project)["text"] == TEXTS[0]


def test_a_file_of_texts_without_columns_has_a_record_in_each_line(database, tmp_path):
    lines = [text.replace(",", " and") for text in TEXTS]  # one comma in each line would divide columns
    (tmp_path / "mails.txt").write_text("\n".join(lines), encoding="utf-8")
    made = project_of_file(database, Wanted(tmp_path / "mails.txt", labels=["a", "b"]))
    assert first_fields(database, made.project)["text"] == lines[0]


def test_columns_that_are_named_are_read_and_two_texts_are_found(database, tmp_path):
    path = file(tmp_path, question=TEXTS, reply=[text[::-1] for text in TEXTS])
    made = project_of_file(database, Wanted(path, labels=["a"], texts=["reply"], name="replies"))
    assert first_fields(database, made.project) == {"text": TEXTS[0][::-1]}
    made = project_of_file(database, Wanted(path, "match", ["same", "other"], name="pairs"))
    assert first_fields(database, made.project) == {"text": TEXTS[0], "text_pair": TEXTS[0][::-1]}
    with pytest.raises(UnknownName, match="replies"):
        project_of_file(database, Wanted(path, labels=["a"], texts=["replies"], name="x"))
    with pytest.raises(DataError, match="--text"):
        project_of_file(database, Wanted(file(tmp_path, text=TEXTS), "match", ["a"], name="y"))


def test_labels_in_the_file_are_there_and_the_same_file_is_opened_again(database, tmp_path):
    path = file(tmp_path, text=TEXTS, label=["a"] * 5 + ["b"] * 5 + [None] * 20)
    made = project_of_file(database, Wanted(path)).project
    assert {one["name"] for one in made.settings["labels"]} == {"a", "b"}
    assert len(list(labels.each_labelled(database, made.id))) == 10
    again = project_of_file(database, Wanted(path))
    assert again.project == made
    with pytest.raises(NotFound, match="no file"):
        project_of_file(database, Wanted(tmp_path / "nothing.csv"))
    with pytest.raises(ConfigError, match="no labels"):
        project_of_file(database, Wanted(file(tmp_path, "plain.csv", text=TEXTS)))
