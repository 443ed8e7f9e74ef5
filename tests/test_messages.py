"""The messages of errors: what went wrong, what was expected, what to do, in plain words."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vertune.core import errors

SOURCE = Path(__file__).resolve().parents[1] / "src" / "vertune"
ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.VertuneError) and "__init__" not in vars(kind)
} | {"AccessError", "Busy"}
"""Errors whose first argument is the message; UnknownName and MissingExtra write their own, in core/errors.py."""
VALUE = "\N{BLACK SQUARE}"
"""Stands for each value that a message is formatted with."""
VERBS = frozenset(
    word
    for line in (
        "add allow answer ask call change check choose close compress convert copy correct create decode decrease delete describe",
        "disable divide download enable evaluate export fill fix free give increase install join keep label leave let limit list load log",
        "look lower make map mark measure merge move name open pad pass pick pin prepare print provide prune put raise read reduce remove",
        "rename repair repeat replace report request reset resize restart restore retrain retry return rotate run save see select send set",
        "share shorten show sign simplify sort specify split start state stop store swap switch take test train trim try turn type unset",
        "update upgrade use wait write",
    )
    for word in line.split()
)
"""Verbs that an instruction begins with."""
COMMAND = re.compile(r"\b(vertune|pip|pip3|python|git|mv|kill) [a-z-]+|(?<!\w)--[a-z]")
UNPLAIN = re.compile(
    r"\b(told|untold|said|says?|asked|asks|stands?|lies|bears?|nobody|somebody|everybody|whoever|wherever|learnt|enrolled|anew"
    r"|whole(?! numbers?\b)|(?:none|nothing|neither|else|and \S+) came|of ours|which there are|it does)\b",
    re.IGNORECASE,
)
"""Words that a message has a plainer term for."""


@dataclass(frozen=True)
class Message:
    place: str
    text: str

    @property
    def room(self) -> str:
        return self.place.split("/")[0].split(":")[0].removesuffix(".py")


@functools.cache
def messages() -> tuple[Message, ...]:
    """Every message that is written where its error is made, values replaced."""
    collected = {}
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function, call in _calls(tree, tree):
            for line, text in _texts(call.args[0], function):
                place = f"{file.relative_to(SOURCE).as_posix()}:{line}"
                collected[place] = Message(place, text)
    return tuple(collected.values())


def _calls(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Every call that makes an error, with the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in ERRORS and child.args:
            yield inner, child
        yield from _calls(child, inner)


def _texts(node: ast.expr, function: ast.AST) -> list[tuple[int, str]]:
    """The texts that an expression can be, with their lines; of a variable those that its function assigns to it."""
    if isinstance(node, ast.Name):
        assigned = [one.value for one in ast.walk(function) if isinstance(one, ast.Assign) and any(_is(t, node.id) for t in one.targets)]
        return [text for value in assigned if not isinstance(value, ast.Name) for text in _texts(value, function)]
    text = _text(node)
    return [(node.lineno, text)] if text.replace(VALUE, "").strip() else []


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return VALUE


def faults(text: str) -> list[str]:
    """What is wrong with the form of a message."""
    found = []
    sentences = [part for part in re.split(rf"(?<=[.?!:;…])\s+|(?<=^{VALUE})\s+(?=[A-Z])", text) if part]
    if not re.match(rf"[A-Z0-9'\"`‘“<({VALUE}-]|\w+[._:-]\w*", text):  # the name of an option, a file or a package keeps its letters
        found.append("begins with a small letter")
    if not re.search(rf"[.?!…)'`{VALUE}]$", text) and not _is_command(sentences[-1]):
        found.append("has no end")
    if len(sentences) < 2:
        found.append("is one sentence: what was expected, and what to do?")
    elif not any(_instructs(sentence) for sentence in sentences[1:]) and not re.search(rf"[.?!] {VALUE}\.?$", text):
        found.append("does not say what to do")
    found += [f"has the word '{match[0]}'" for match in UNPLAIN.finditer(text)]
    return found


def _is_command(sentence: str) -> bool:
    return COMMAND.search(sentence) is not None


def _instructs(sentence: str) -> bool:
    """Whether a sentence, or a clause of it, begins with an instruction or names a command."""
    clauses = re.split(r", (?:or|and|then) |, | or | and | to | please ", sentence)
    return _is_command(sentence) or any(re.split(r"[\s,.:;?]", clause.strip("('\"` "))[0].lower() in VERBS for clause in clauses)


def test_messages_are_collected() -> None:
    """The collection sees what the source says, in all ways of saying it."""
    assert len(messages()) > 250
    rooms = {message.room for message in messages()}
    assert {"core", "store", "client", "server", "steps", "cli", "tasks", "runtime"} <= rooms
    tree = ast.parse("""def f():
        why = f"Found {x}." + " Use y."
        raise DataError(why) from error
        return Busy("Wait." "Then go.", 1.0)""")
    assert [text for function, call in _calls(tree, tree) for _, text in _texts(call.args[0], function)] == [
        f"Found {VALUE}. Use y.", "Wait.Then go.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the rate is wrong. Write 600/minute.", "small letter"),
        ("The rate is wrong. Write 600/minute", "has no end"),
        ("The rate is wrong.", "one sentence"),
        ("The rate is wrong. Expected a number.", "what to do"),
        ("The rate is wrong, as the file says. Write 600/minute.", "'says'"),
        (f"There is no scope '{VALUE}'. There are: {VALUE}.", "what to do"),
        ("Expected a scope, and none came. Choose one.", "came'"),
    ],
)
def test_a_message_of_another_form_is_found(text: str, fault: str) -> None:
    assert any(fault in found for found in faults(text)), faults(text)


@pytest.mark.parametrize(
    "text",
    [
        f"The rate is {VALUE}; expected a number of requests per time. Write it such as 600/minute.",
        f"'{VALUE}' has no live model. Choose one: vertune alias {VALUE}@live MODEL",
        f"The database {VALUE} was removed. {VALUE}",
        f"{VALUE} is not available: another program uses it. Choose another: --port 8001",
        "Rate limit exceeded. Retry in 3 s.",
    ],
)
def test_a_message_of_the_right_form_passes(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize("room", sorted({file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in SOURCE.rglob("*.py")}))
def test_messages_of_a_room_have_the_right_form(room: str) -> None:
    wrong = [f"{one.place}: {', '.join(faults(one.text))}: {one.text}" for one in messages() if one.room == room and faults(one.text)]
    assert not wrong, "\n".join(wrong)
