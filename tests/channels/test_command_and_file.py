"""Programs and files as channels: what they get, once each, and what counts as sent."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vertune.channels.command import Command
from vertune.channels.file import File
from vertune.core.errors import VertuneError
from vertune.testing.channels import MESSAGE

OTHER = replace(MESSAGE, id="other")


def lines(file):
    return [json.loads(line)["delivery"] for line in file.read_text(encoding="utf-8").split("\n") if line]


def lines_that_are_whole(file):
    return [json.loads(line)["delivery"] for line in file.read_bytes().split(b"\n") if line.endswith(b"}")]


def test_a_program_reads_the_message_and_finds_its_id_in_the_environment(tmp_path):
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['VERTUNE_DELIVERY'] + sys.stdin.read())"
    Command(command=[sys.executable, "-c", code, str(tmp_path / "got; rm *")]).send(MESSAGE)
    got = (tmp_path / "got; rm *").read_text(encoding="utf-8")
    assert got.startswith(MESSAGE.id + "{")
    assert json.loads(got.removeprefix(MESSAGE.id)) == MESSAGE.as_json()


def test_a_program_that_fails_is_quoted():
    with pytest.raises(VertuneError, match=r"ended with status 3; expected 0\. .* It wrote: no pager"):
        Command(command=["/bin/sh", "-c", "echo no pager; exit 3"]).send(MESSAGE)


def test_an_argument_that_no_program_can_get_is_no_bug():
    with pytest.raises(VertuneError, match="can't be started: embedded null byte"):
        Command(command=["/bin/echo", "a\0b"]).send(MESSAGE)


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    started = time.monotonic()
    with pytest.raises(VertuneError, match=r"took longer than 0\.3 s"):
        Command(command=["/bin/sh", "-c", f"sleep 30 & echo $! > {tmp_path}/child; sleep 30"], timeout=0.3).send(MESSAGE)
    assert time.monotonic() - started < 5
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":  # nobody waits for it yet
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child runs on")


def test_a_message_is_in_the_file_once_however_often_it_is_sent(tmp_path):
    file = tmp_path / "alerts.jsonl"
    for message in (MESSAGE, OTHER, MESSAGE, OTHER):
        File(path=file).send(message)
    assert lines(file) == [MESSAGE.id, "other"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_by_a_kill_damages_no_other(tmp_path):
    file = tmp_path / "alerts.jsonl"
    File(path=file).send(OTHER)
    with file.open("ab") as stream:
        stream.write(json.dumps(MESSAGE.as_json()).encode()[:50])
    File(path=file).send(MESSAGE)
    assert lines_that_are_whole(file) == ["other", MESSAGE.id]


def test_a_message_that_does_not_fit_on_the_disk_does_not_count_as_sent(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # a write takes what fits, and only the next one fails
    try:
        with pytest.raises(VertuneError, match="Can't write"):
            File(path=tmp_path / "alerts.jsonl").send(MESSAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    File(path=tmp_path / "alerts.jsonl").send(MESSAGE)
    assert MESSAGE.id in lines_that_are_whole(tmp_path / "alerts.jsonl")


def test_no_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VertuneError, match="Can't write"):
        File(path=tmp_path / "link").send(MESSAGE)
    assert not (tmp_path / "elsewhere").exists()
