"""Every method on every family and every task keeps the contract; methods, tasks and families find themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vertune.core import part
from vertune.core.errors import ConfigError
from vertune.core.kinds import Method, Task
from vertune.encoders.text import Text
from vertune.testing import methods as contract
from vertune.testing import tiny

METHODS = part.names("methods")
TASKS = part.names("tasks")
REFUSED = {("bitfit", "modernbert"): "has no biases", ("top_layers", "albert"): "share"}
"""Method and family that can't work, and a word of the reason that is given."""

VARIED = {"full", "lora", "prefix"}
"""Methods that stand for the others on most families and tasks: they train all weights, change layers, or add positions. The others
are tried there in the whole product."""
FAMILY = "bert"
"""Every method is tried on it; only the varied methods on the other families."""

LIMITED = [
    (name, family)
    for name in METHODS
    for family in tiny.FAMILIES
    if "layers" in part.find("methods", name).model_fields and (name, family) not in REFUSED and family != "albert"
]
"""Methods that can be limited to the top layers, on the families whose layers are not one."""

Stands = Callable[..., contract.MethodCase]
"""`stand(task, family)`, or with the family's own head `stand(task, family, "native")`."""


def chosen(names: Sequence[str], always: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a method and a family or task: all methods with those that are always tried, the varied methods with all."""
    return [(name, other) for name in METHODS for other in names if other in always or name in VARIED or (name, other) in REFUSED]


def method(name: str) -> Method:
    """The method with options that suit a base of two layers."""
    few = {"positions": 4}  # more would drown the ten tokens of an example
    options: dict[str, dict[str, Any]] = {"top_layers": {"n": 1}, "adalora": {"rank": 4, "target": 2}, "prefix": few, "prompt": few}
    found = part.find("methods", name)
    assert issubclass(found, Method)
    return found(**options.get(name, {}))


@cache
def task(name: str) -> Task:
    found = part.find("tasks", name)
    assert issubclass(found, Task)
    return found()


def words() -> set[str]:
    """Every word of the tasks' examples, and every character beyond ASCII, so that tiny bases can tell them apart."""
    text = " ".join(str(value) for name in TASKS for record in task(name).example(32) for value in record.values()).lower()
    return {word for word in text.split() if word.isalpha() and word.isascii()} | {letter for letter in text if not letter.isascii()}


@pytest.fixture(scope="session")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Stands:
    make = tiny.maker(tmp_path_factory.mktemp("bases"), words())

    @cache
    def stand(task_name: str, family: str, pooling: Any = "auto") -> contract.MethodCase:
        return contract.MethodCase(Text(base=str(make(family)), pooling=pooling), task(task_name), rows=16)

    return stand


def keep(name: str, stand: contract.MethodCase, folder: Path, checks: tuple[Any, ...] = contract.CHECKS) -> None:
    for check in checks:
        check(method(name), stand)
    contract.check_saved_and_loaded_answers_are_equal(method(name), stand, folder)


def attempt(name: str, task_name: str, family: str, stands: Stands, folder: Path) -> None:
    """Keep the contract, or be refused with the reason where that is known to be right."""
    stand = stands(task_name, family)
    reason = REFUSED.get((name, family))
    if name == "head" and not list(stand.fresh().head.parameters()):
        reason = "no weights"
    if reason is None:
        return keep(name, stand, folder)
    with pytest.raises(ConfigError, match=reason) as error:
        stand.prepared(method(name))
    assert "Choose" in str(error.value)
    return None


@pytest.mark.parametrize(("name", "family"), chosen(tiny.FAMILIES, (FAMILY,)))
def test_methods_work_on_all_families(name: str, family: str, stands: Stands, tmp_path: Path) -> None:
    attempt(name, "classify", family, stands, tmp_path)


@pytest.mark.parametrize(("name", "task_name"), chosen([name for name in TASKS if name != "classify"], ("tag",)))
def test_methods_work_on_all_tasks(name: str, task_name: str, stands: Stands, tmp_path: Path) -> None:
    attempt(name, task_name, FAMILY, stands, tmp_path)


@pytest.mark.parametrize("family", [FAMILY, "modernbert"])
@pytest.mark.parametrize("name", sorted(VARIED))
def test_methods_work_under_a_native_head(name: str, family: str, stands: Stands, tmp_path: Path) -> None:
    keep(name, stands("classify", family, "native"), tmp_path)


@pytest.mark.parametrize(("name", "family"), LIMITED)
def test_the_layers_below_are_remembered(name: str, family: str, stands: Stands) -> None:
    limited = method(name).model_copy(update={"layers": 1})
    contract.check_depth_is_that_of_the_lowest_edit(limited, stands("classify", family))
    assert limited.depth(2) == 2


@pytest.mark.parametrize("name", METHODS)
def test_methods_resume_exactly(name: str, stands: Stands) -> None:
    contract.check_training_resumes_exactly(method(name), stands("classify", "bert"))


@pytest.mark.matrix
@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_methods_work_under_every_native_head(name: str, family: str, stands: Stands, tmp_path: Path) -> None:
    if (name, family) not in REFUSED:
        keep(name, stands("classify", family, "native"), tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("name", METHODS)
def test_the_whole_product(name: str, task_name: str, family: str, stands: Stands, tmp_path: Path) -> None:
    attempt(name, task_name, family, stands, tmp_path)


def test_what_is_refused_exists() -> None:
    assert {name for name, _ in REFUSED} <= set(METHODS)
    assert {family for _, family in REFUSED} <= set(tiny.FAMILIES)
