"""`vertune label`: from a file to the first label, in a process of its own, as a person does it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from vertune.core.errors import NotFound
from vertune.steps.label.file import Wanted, add_file, project_of_file
from vertune.store.database import FILE, Database

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.enable_socket]
ROOT = Path(__file__).parents[2]


def send(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_a_file_is_labelled_after_one_command(tmp_path):
    (tmp_path / "mails.csv").write_text(
        "".join(f"{line}\n" for line in ["message", *(f"Where is my card {number}?" for number in range(50))])
    )
    command = [sys.executable, "-m", "vertune", "label", "mails.csv", "--labels", "card, other", "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        line = next(line for line in process.stdout if "Label at" in line)
        page = line.split()[2].rstrip(".")
        url, _, place = page.partition("/#")
        try:
            assert place == "/label/mails"
            (one,) = send("POST", f"{url}/v1/projects/mails/next", {"count": 1})["records"]
            given = {"record": one["record"], "state": "done", "target": {"label": "card"}, "version": 1}
            assert send("PUT", f"{url}/v1/projects/mails/labels", {"labels": [given]})["stored"] == [one["record"]]
            project = send("GET", f"{url}/v1/projects/mails")
            assert (project["records"], project["given"], project["mine"]) == (50, 1, {"done": 1})
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_labels_that_an_opened_project_lacks_are_counted(tmp_path):
    with closing(Database(tmp_path / FILE)) as database:
        (tmp_path / "mails.csv").write_text("message\nWhere is my card?\nWhere is yours?\n")
        assert project_of_file(database, Wanted(tmp_path / "mails.csv", labels=["card"])).notes == []
        (note,) = project_of_file(database, Wanted(tmp_path / "mails.csv", labels=["card", "fee"])).notes
        assert note.sentence.startswith("label: 1 of 2 given labels is not in the project 'mails'")
        assert project_of_file(database, Wanted(tmp_path / "mails.csv", labels=["card"])).notes == []


def test_a_further_file_is_added_to_a_project(tmp_path):
    texts = [f"Where is my card {number}?" for number in range(9)]
    with closing(Database(tmp_path / FILE)) as database:
        (tmp_path / "mails.csv").write_text("".join(f"{line}\n" for line in ["message", *texts[:6]]))
        (tmp_path / "more.csv").write_text("".join(f"{line}\n" for line in ["body", *texts[4:]]))
        project_of_file(database, Wanted(tmp_path / "mails.csv", labels=["card"]))
        added = add_file(database, tmp_path / "more.csv", "mails")
        assert (added.added, added.known, added.project.records) == (3, 2, 9)
        with pytest.raises(NotFound, match="no project 'letters'"):
            add_file(database, tmp_path / "more.csv", "letters")
