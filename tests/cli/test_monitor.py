"""`vertune monitor` prints what has changed, and where the page is."""

from __future__ import annotations

import json

import pytest

from tests.steps.test_monitor import requests
from vertune.cli import main
from vertune.core.errors import ConfigError, DataError


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["monitor", "support", *words])
    return int(left.value.code or 0)


def test_a_log_is_compared(home, tmp_path, capsys):
    requests().write_csv(tmp_path / "log.csv")
    options = ["--file", str(tmp_path / "log.csv"), "--reference", "2030-01-01..2030-01-02", "--window", "200"]
    options += ["--set", "watch.monitors=[text_drift, label_shares]"]
    assert run(*options) == 0
    printed = capsys.readouterr()
    assert "text_drift" in printed.out
    assert "changed" in printed.out
    assert "report.html" in printed.err
    assert run(*options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["confirmed"] for one in found["monitors"]] == [True, True]


def test_options_that_can_not_work_are_refused(home, tmp_path, capsys):
    requests(20).write_csv(tmp_path / "log.csv")
    assert run("--file", str(tmp_path / "log.csv"), "--column", "time") == ConfigError.exit_code
    assert "expected ROLE=COLUMN" in capsys.readouterr().err
    assert run("--file", str(tmp_path / "log.csv"), "--reference", "soon") == ConfigError.exit_code
    assert run("--file", str(tmp_path / "log.csv")) == DataError.exit_code
    assert run() == DataError.exit_code  # there is no stored traffic
