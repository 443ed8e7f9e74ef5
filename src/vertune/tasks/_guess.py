"""Chooses, for the method `guess` of tasks, the columns of a table that a task could read; independent of what the task predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.kinds import Task
from vertune.core.profile import ColumnProfile, Guess, Kind, Role, TableProfile, simple

_PAIRS = (
    "text text_pair", "text_a text_b", "text1 text2", "sentence1 sentence2", "sentence_a sentence_b", "s1 s2", "question1 question2",
    "q1 q2", "premise hypothesis", "sentence target", "claim evidence",
    "文本1 文本2", "文本a 文本b", "句子1 句子2", "句子a 句子b", "问题1 问题2",
    "问句1 问句2", "前提 假设", "text_1 text_2", "sentence_1 sentence_2",
)  # fmt: skip
"""Usual names of two texts that are compared, in their order."""
_FIRST = "question questions query 问题 提问 查询 标准问题 标准问 问句 咨询 instruction user_query search_query anchor search_term 搜索词"
_SECOND = (
    "answer answers reply response passage document title doc product positive output "
    "答案 回答 回复 答复 标题 文档 段落 解答 网页标题 文章 商品"
)
"""Usual names of a question or query and of the text that belongs to it, which may or may not be an input."""
_STUDENT = "student_answer answer response student_response 学生答案 作答 学生作答 回答"
_EXPECTED = (
    "desired_answer reference_answer reference model_answer expected_answer correct_answer gold_answer sample_answer "
    "参考答案 标准答案 question 问题 题目"
)
_USEFUL_TEXT = 25
"""Mean length in characters below which a text beside a table of numbers is a name rather than a text to be read."""
_MOST_CODES = 20
"""Number of distinct whole numbers above which they are a quantity rather than codes of categories."""
_BELONGING = 0.6
"""How surely a question and the text that belongs to it are read together: less than two texts that are compared."""
_LABEL = 0.9
"""How strongly a name must suggest a label, so that the column is no text, whatever it contains."""
_LEAST_FLAGS = 3
"""Least number of columns of 0 and 1 that are regarded as one label each."""
_BASE: dict[Kind, float] = {"category": 0.3, "flags": 0.32, "number": 0.25, "labels": 0.45}


@dataclass(slots=True)
class Inputs:
    """The columns that the inputs of a task are read from."""

    fields: dict[str, list[str]]
    reasons: dict[str, str]
    pair: float = 0.0
    """How surely the inputs are two texts that are read together, from 0 to 1."""
    options: dict[str, Any] = field(default_factory=dict)


def target(
    table: TableProfile, kinds: Sequence[Kind], role: Role, fits: Callable[[ColumnProfile], bool]
) -> tuple[ColumnProfile, float] | None:
    """Return the column that is most likely the target, with a score; None if no column can be.

    A target has one of the `kinds`, and `fits` is true for it; the user's choice is always accepted.
    """
    requested = table.label is not None
    found = [(column, _target_score(column, role, table.rows)) for column in table.targets(*kinds) if requested or fits(column)]
    if len(found) == 1:  # the name of the only column that can be the target does not speak against it
        column, score = found[0]
        return column, max(score, _BASE.get(column.kind, 0.0))
    return max(found, key=lambda item: item[1], default=None)


def _target_score(column: ColumnProfile, role: Role, rows: int) -> float:
    """Return how likely a column is the target, from its kind, its name, the repetition of its values, and its place in the table."""
    named = column.role(role)
    score = _BASE.get(column.kind, 0.1) + 0.5 * named + 0.12 * column.last + 0.08 * min(1.0, math.log10(max(1.0, column.repeats)))
    for other in ("meta", "id", "reply"):
        if column.role(other) > named:
            score -= 0.35 * column.role(other)
    return score - 0.2 * (1 - column.filled / max(1, rows))


def inputs(table: TableProfile, chosen: ColumnProfile | None, names: Sequence[str]) -> Inputs | None:
    """Return the one or two texts that a task reads as its fields `names`; None if no column contains texts.

    `chosen` is the target, which is not an input.
    """
    rest = table if chosen is None else table.without(chosen)
    if table.texts:
        return _requested(rest, names)
    rest = _varying(rest)
    found = pair(rest, chosen) if len(names) > 1 else None
    # a topic is predicted from a question before there is an answer; a grade says how well the two match
    if found is not None and (found[2] > _BELONGING or chosen is None or chosen.kind == "number" or _graded(chosen)):
        first, second, sure = found
        columns = dict(zip(names, (first, second), strict=False))
        return _as_inputs({name: [column] for name, column in columns.items()}, sure)
    best = best_text(rest)
    return None if best is None else _as_inputs({names[0]: [best]})


def _varying(table: TableProfile) -> TableProfile:
    """Return a copy without the columns that have the same value in each row, from which nothing can be predicted."""
    return table.without(*(column for column in table.columns if column.unique == 1 and column.filled > 1))


def _as_inputs(columns: dict[str, list[ColumnProfile]], sure: float = 0.0) -> Inputs:
    reasons = {name: read[0].description if len(read) == 1 else "joined as `name: value`" for name, read in columns.items()}
    return Inputs({name: [column.name for column in read] for name, read in columns.items()}, reasons, sure)


def _requested(table: TableProfile, names: Sequence[str]) -> Inputs | None:
    """Return the inputs for the columns that the user requested: one each, or all joined if there are more than the task has inputs."""
    by_name = {column.name: column for column in table.columns}
    read = [by_name[name] for name in table.texts if name in by_name]
    if not read:
        return None
    if len(read) > len(names) or (len(read) > 1 and any(column.kind in {"number", "flags", "date"} for column in read)):
        return _as_inputs({names[0]: read})
    return _as_inputs({name: [column] for name, column in zip(names, read, strict=False)}, 1.0 if len(read) > 1 else 0.0)


def best_text(table: TableProfile) -> ColumnProfile | None:
    """Return the column that is most likely the text to be read; None if no column contains texts."""
    texts = [
        column for column in table.columns if column.kind == "text" or (column.kind in {"category", "id"} and column.role("text") >= 0.6)
    ]
    return max(texts, key=_text_score, default=None)


def _text_score(column: ColumnProfile) -> float:
    """Return how likely a column is the text to be read: named like one, long, and different in each row.

    Texts that were written in reply, and facts about the row, are less likely, because they are not known when the model is used.
    """
    score = 0.5 * column.role("text") - 0.5 * column.role("reply") - 0.3 * column.role("meta", "id") + 0.3 * (column.kind == "text")
    return score + 0.25 * min(column.length, 200) / 200 + 0.3 * min(1.0, column.unique / max(1, column.filled))


def pair(table: TableProfile, chosen: ColumnProfile | None) -> tuple[ColumnProfile, ColumnProfile, float] | None:
    """Return two columns of texts that are read together, and how surely, from 0 to 1; None if there is no such pair.

    It is 1 for names of two texts that are compared, and less for a question and its answer, which may be the reply to it.
    """
    readable = TableProfile(tuple(table.of("text", "category", "id")), table.rows)
    for names in _PAIRS:
        found = readable.named(*names.split())
        if len(found) == 2:
            return found[0], found[1], 1.0
    numbered = _numbered(readable)
    if numbered is not None:
        return *numbered, 1.0
    if chosen is not None and chosen.kind in {"number", "category", "flags"} and max(chosen.role("number"), _graded(chosen)) > 0:
        answer, expected = _first(readable, _STUDENT), _first(readable, _EXPECTED)
        if answer is not None and expected is not None and answer is not expected and len(readable.of("text", "category")) > 1:
            return expected, answer, 0.9 if chosen.kind == "number" else _BELONGING + 0.1
    question, belonging = _first(readable, _FIRST), _first(readable, _SECOND)
    return (question, belonging, _BELONGING) if question is not None and belonging is not None and question is not belonging else None


def _graded(column: ColumnProfile) -> float:
    """Return 1 if the values of a column are few whole numbers, such as grades of relevance, else 0."""
    return float(column.kind == "flags" or (column.whole and column.unique <= 6))


def _first(table: TableProfile, names: str) -> ColumnProfile | None:
    """Return the first column with one of these names, which are separated by blanks; also accepts names that end with one of them."""
    listed = names.split()
    exact = table.named(*listed)
    if exact:
        return exact[0]
    ends = ((column, name) for name in listed for column in table.columns if simple(column.name).endswith(name) and len(name) > 1)
    return next((column for column, _ in ends), None)


def _numbered(table: TableProfile) -> tuple[ColumnProfile, ColumnProfile] | None:
    """Return two columns of texts whose names differ only in a final 1 and 2, or a and b."""
    texts = {simple(column.name): column for column in table.of("text", "category")}
    for name, column in texts.items():
        for end, other in (("1", "2"), ("a", "b"), ("一", "二"), ("甲", "乙")):
            second = texts.get(name[: -len(end)] + other)
            # a name such as `data` must not become the first of a pair
            if name.endswith(end) and second is not None and len(name) > 1 and column.kind == second.kind:
                return column, second
    return None


def is_table(table: TableProfile, chosen: ColumnProfile) -> bool:
    """Return whether the inputs are columns of numbers and categories rather than a text: there is no text, or only a short name."""
    rest = table.without(chosen)
    columns = _table_columns(rest)
    best = best_text(rest)
    if table.texts or not columns:
        return False
    return best is None or (len(columns) >= 3 and best.role("text") < 0.4 and best.length < _USEFUL_TEXT)


def _table_columns(table: TableProfile) -> list[ColumnProfile]:
    """Return the columns of numbers and categories that do not identify a row, a user or a thing."""
    return [column for column in table.of("number", "category", "flags") if column.role("id") < 0.6]


def table_inputs(table: TableProfile, chosen: ColumnProfile) -> Inputs:
    """Return the columns of numbers and categories as inputs of their types, as the option `inputs` of a task expects them."""
    columns = _table_columns(table.without(chosen))
    types = {column.name: _input_type(column) for column in columns}
    decimal = {"decimal": "comma"} if any(column.decimal == "comma" for column in columns) else {}
    taken = {chosen.name, "label", "labels", "score"}
    fields = {_field_name(name, taken): name for name in types}
    return Inputs(
        {key: [name] for key, name in fields.items()},
        {column_field: column.description for column_field, column in zip(fields, columns, strict=True)},
        options={"inputs": {key: types[name] for key, name in fields.items()}, **decimal},
    )


def _field_name(column: str, taken: set[str]) -> str:
    """Return a name for the input that is read from a column, other than the names of the targets."""
    return f"{column}_input" if column in taken else column


def _input_type(column: ColumnProfile) -> str:
    """Return the type of an input: `number` or `category`; many distinct whole numbers are a quantity."""
    quantity = column.kind == "number" or (column.kind == "category" and column.whole and column.unique > _MOST_CODES)
    return "number" if quantity else "category"


def flag_columns(table: TableProfile) -> tuple[ColumnProfile, ...]:
    """Return the longest run of columns of 0 and 1, or yes and no, that follow one another; empty if it has fewer than three columns.

    A column with the name of a label, such as `is_duplicate`, or of a fact about the row is not part of it.
    """
    runs: list[list[ColumnProfile]] = [[]]
    for column in table.columns:
        if column.marks and column.role("label", "meta") < 0.9:
            runs[-1].append(column)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    return tuple(longest) if len(longest) >= _LEAST_FLAGS and table.label is None else ()


def flags_score(flags: Sequence[ColumnProfile], rows: int) -> float:
    """Return how likely these columns of 0 and 1 are one label each: a little more than one of them with the name of a label is the target.

    It is 0 if only the last one has such a name, because a label often stands after columns of facts.
    """
    named = [column for column in flags if column.role("label") >= 0.6]
    if named == [flags[-1]]:
        return 0.0
    return max((_target_score(column, "label", rows) + 0.02 for column in named), default=0.0)


def two_texts(table: TableProfile, names: Sequence[str]) -> Inputs | None:
    """Return the only two columns of texts as two inputs; None if there are more or fewer, or if one is a fact about the row."""
    texts = [column for column in _varying(table).of("text") if column.role("meta") < 0.6 and column.role("label") < _LABEL]
    return _as_inputs({name: [column] for name, column in zip(names, texts, strict=True)}) if len(texts) == len(names) else None


def single(task: Task, table: TableProfile, found: tuple[ColumnProfile, float] | None, why: str) -> Guess | None:
    """Return the guess of a task that predicts one target for a text, for a pair of texts, or for columns of numbers and categories.

    `found` is the target and its score, `why` says what the target contains, as the end of a sentence. None if there is no target, or no
    column to read.
    """
    if found is None:
        return None
    chosen, score = found
    names = [column.name for column in task.input_columns]
    if getattr(task, "inputs", None):
        read: Inputs | None = _declared(table, names)
    elif is_table(table, chosen) and "inputs" in type(task).model_fields:
        read = table_inputs(table, chosen)
    else:
        read = inputs(table, chosen, names)
    if read is None or not read.fields:
        return None
    field_name = task.target_columns[0].name
    return Guess(
        score + 0.02 * read.pair,
        {**read.fields, field_name: [chosen.name]},
        {**read.reasons, field_name: chosen.description, "task": f"'{short(chosen.name)}' {why}"},
        read.options,
    )


def _declared(table: TableProfile, names: Sequence[str]) -> Inputs:
    """Return the inputs that the option `inputs` of a task declares, for those that are columns of the table."""
    found = {name: column for name in names for column in table.columns if column.name == name}
    return Inputs({name: [name] for name in found}, {name: column.description for name, column in found.items()})


def short(name: str, most: int = 40) -> str:
    """Return the name of a column on one line, cut to `most` characters."""
    flat = " ".join(name.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
