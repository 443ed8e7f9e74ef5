"""`vertune parts`: every folder of parts is listed, and every option of every part."""

import pytest

from tests.cli.test_main import leave
from vertune.core import kinds, part
from vertune.core.catalogue import KINDS


def test_every_kind_is_listed():
    found = {kind.folder for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, part.Part) and kind.folder}
    assert found == set(KINDS)


def test_all_parts_are_listed(capsys):
    assert leave(["parts"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for folder in KINDS for name in part.names(folder))


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in KINDS for name in part.names(folder)])
def test_every_option_has_a_type_and_says_what_it_does(folder, name, capsys):
    assert leave(["parts", folder, name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert part.about(folder, name) in lines[0]
    fields = part.find(folder, name).model_fields
    for field in fields:
        line = next(line for line in lines if line.startswith((f"{field} ", f"{fields[field].alias} ")))
        assert len(line.split("  ")) > 2, line


@pytest.mark.parametrize("words", [["metods"], ["methods", "lorra"]])
def test_a_typo_names_the_nearest(words, capsys):
    assert leave(["parts", *words]) == 2
    assert "Did you mean '" in capsys.readouterr().err
