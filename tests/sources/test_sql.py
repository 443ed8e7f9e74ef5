from __future__ import annotations

import json
import sqlite3

import pytest

from vertune.core.config import dump
from vertune.core.errors import ConfigError, DataError, StorageError
from vertune.sources.sql import Sql


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "tickets.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table tickets (text text, score real)")
        connection.executemany("insert into tickets values (?, ?)", [("one", 1.5), ("", 2.0), ("three", None)])
    connection.close()
    return path


def test_types_and_marks(database):
    frame = Sql(url=f"sqlite:///{database}", query="select * from tickets order by rowid").read()
    assert frame["text"].to_list() == ["one", "", "three"]
    assert frame["score"].to_list() == [1.5, 2.0, None]
    assert frame["__row"].to_list() == [1, 2, 3]


def test_the_environment_fills_the_url_and_never_the_manifest(database, monkeypatch):
    monkeypatch.setenv("TICKETS_URL", f"sqlite:///{database}")
    source = Sql(url="${TICKETS_URL}", query="select text from tickets")
    frame = source.read()
    assert frame.height == 3
    assert str(database) not in json.dumps(dump(source)) + str(frame["__file"].to_list())
    monkeypatch.delenv("TICKETS_URL")
    with pytest.raises(ConfigError, match="TICKETS_URL, which is not set"):
        source.read()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:geheim@host/db",
        "postgresql://ada:ge@heim@host/db",
        "mysql+pymysql://:geheim@host/db",
        "postgresql://host/db?user=ada&password=geheim",
        "mssql+pyodbc:///?odbc_connect=DRIVER=x;UID=ada;PWD=geheim",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dada%3BPWD%3Dgeheim",
        "postgresql://ada:${DB}geheim@host/db",
    ],
)
def test_a_written_password_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="environment variable") as caught:
        Sql(url=url, query="select 1")
    assert "heim" not in str(caught.value)


def test_a_password_by_name_is_taken_and_escaped(monkeypatch):
    from vertune.sources.sql import _with_environment

    monkeypatch.setenv("DB_PASSWORD", "a/b@c:d")
    source = Sql(url="postgresql://ada:${DB_PASSWORD}@host/db", query="select 1")
    assert _with_environment(source.url) == "postgresql://ada:a%2Fb%40c%3Ad@host/db"


def test_a_secret_is_cut_out_of_what_a_driver_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_FOLDER", str(tmp_path / "hidden"))
    with pytest.raises(StorageError, match="can't be reached") as caught:
        Sql(url="sqlite:///${SECRET_FOLDER}/no.db", query="select 1").read()
    assert "hidden" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_wrong_queries_and_drivers(database):
    with pytest.raises(ConfigError, match=r"refused the query.*no such table"):
        Sql(url=f"sqlite:///{database}", query="select * from absent").read()
    with pytest.raises(DataError, match="returned no rows"):
        Sql(url=f"sqlite:///{database}", query="select * from tickets where text = 'x'").read()
    with pytest.raises(ConfigError, match="driver"):
        Sql(url="nosuchdb://host/db", query="select 1").read()
    with pytest.raises(ConfigError, match="SQLAlchemy URL"):
        Sql(url="tickets.db", query="select 1")
