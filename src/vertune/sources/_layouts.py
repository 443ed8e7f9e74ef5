"""Finds the rows in JSON that is no plain list of objects: wrapped lists, columns, lists of cells; knows nothing of files.

Each form has one function, which returns None for a value of another form:

- `_of_frame`: `columns` and `data`, as pandas writes with `orient="split"`;
- `_of_parts`: lists of records by the names of splits, as in `{"train": […], "test": […]}`, or by other names;
- `_of_series`: objects by column or by row, as pandas writes with `orient="columns"` and `orient="index"`;
- `_of_columns`: a list for each column, all of the same length;
- `_of_labels`: a list of texts for each label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from vertune.core.column_names import roles
from vertune.core.profile import SPLIT_WORDS
from vertune.sources import _header

_Value = tuple[Any, str | None]
_Rows = list[dict[str, Any]]
_USUAL = 0.6
"""How strongly the name of a list must suggest what it contains (`column_names.roles`), so that it is a column and no label."""
_PLACES = frozenset({"start", "end", "start_offset", "end_offset", "answer_start"})
"""Keys of an object that is a part of a text, which a task reads as it is."""
_MOST_KEYS = 50
"""Number of keys above which objects are mappings from one thing to another, and no records."""
_CONVERSATIONS = (("role", "content"), ("from", "value"))
"""The keys of who speaks and of what is said, in the messages of a conversation."""
_DEEPEST = 5
"""Number of levels of objects that become columns."""
_SPLITS = frozenset(word for words in SPLIT_WORDS.values() for word in words)
_HEADER_ROWS = 100


def rows(values: Iterable[_Value]) -> tuple[Iterator[_Value], str | None]:
    """Return the rows in the JSON values of a file, and a sentence about where they were found; None if each value is a row.

    A pair has a value and None, or None and the reason why it can't be used.
    """
    rest = iter(values)
    first = list(islice(rest, 2))
    known = [value for value, error in first if error is None]
    if len(first) == 1 and known and isinstance(known[0], dict):
        found = _unwrapped(known[0])
        return (((row, None) for row in found[0]), found[1]) if found else (iter(first), None)
    if known and all(isinstance(value, list) for value in known):
        return _of_cells([*first, *rest])
    return chain(first, rest), None


def flattened(table: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Add to each column of objects a column for each of their keys, such as `data.text`; not for parts of texts and large mappings.

    A column of conversations, in which each role says one thing, gets a column for each role, such as `messages.user`.
    """
    found = dict(table)
    for name, values in table.items():
        found |= {key: said for key, said in _said(name, values).items() if key not in found}
    names = list(table)
    for _ in range(_DEEPEST):
        added: dict[str, list[Any]] = {}
        for name in names:
            flat = {f"{name}.{key}": [None if value is None else value.get(key) for value in found[name]] for key in _keys(found[name])}
            if not set(flat) & set(found):
                added |= flat
        found |= added
        names = list(added)
    return found


def _said(name: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """Return what each role says in a column of conversations; empty if it contains other values, or longer conversations."""
    known = [value for value in values if value is not None]
    for role, content in _CONVERSATIONS:
        if known and all(
            isinstance(value, list) and all(isinstance(one, dict) and {role, content} <= set(one) for one in value) for value in known
        ):
            turns = [{str(one[role]): one[content] for one in value or ()} for value in values]
            if all(len(turn) == len(value or ()) for turn, value in zip(turns, values, strict=True)):
                roles_found = dict.fromkeys(key for turn in turns for key in turn)
                return {f"{name}.{key}": [turn.get(key) for turn in turns] for key in roles_found} if len(roles_found) <= _MOST_KEYS else {}
    return {}


def _keys(values: Iterable[Any]) -> list[str]:
    """Return the keys of the objects in a column; empty if there is another value, or if they are no records."""
    known = [value for value in values if value is not None]
    if not known or not all(isinstance(value, dict) for value in known):
        return []
    keys = list(dict.fromkeys(key for value in known for key in value))
    return [] if len(keys) > _MOST_KEYS or _PLACES & set(keys) else keys


def _unwrapped(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    """Return the rows of a file that is one object, and a sentence about where they were found; None if it is a row itself."""
    for form in (_of_frame, _of_parts, _of_series, _of_columns, _of_labels):
        found = form(value)
        if found is not None:
            return found
    return None


def _of_frame(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    names, cells = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(cells, list) or not all(isinstance(name, str) for name in names):
        return None
    if not cells or not all(isinstance(row, list) and len(row) == len(names) for row in cells):
        return None
    return [dict(zip(names, row, strict=True)) for row in cells], "The rows are the list 'data', and 'columns' has the names."


def _of_parts(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    if any(isinstance(one, str) and roles(name).get("text", 0.0) >= _USUAL for name, one in value.items()):
        return None  # the only row of a file, whose lists belong to its text
    parts = {name: items for name, items in value.items() if isinstance(items, list) and len(items) > 1}
    converted = {name: found for name, items in parts.items() if (found := _objects(items)) is not None}
    if not converted:
        return None
    splits = {name: items for name, items in converted.items() if name.lower() in _SPLITS}
    if len(splits) > 1:
        made = [{**row, "split": name.lower()} for name, items in splits.items() for row in items]
        return made, f"The lists {_listed(splits)} are read together; the column 'split' says which list a row is from."
    if len(converted) > 1:
        made = [{**row, "list": name} for name, items in converted.items() for row in items]
        return made, f"The lists {_listed(converted)} are read together; the column 'list' says which list a row is from."
    name, items = next(iter(converted.items()))
    return items, f"The rows are the list '{name}'."


def _objects(items: Sequence[Any]) -> _Rows | None:
    """Return a list of records, or of lists of cells, as rows; None for another list."""
    if all(isinstance(item, dict) and not _PLACES & set(item) for item in items):
        return list(items)
    return _as_rows(items) if all(isinstance(item, list) for item in items) else None


def _of_series(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    inner = list(value.values())
    if not inner or not all(isinstance(one, dict) and one for one in inner):
        return None
    if all(key.isdigit() for one in inner for key in one):
        order = list(dict.fromkeys(key for one in inner for key in one))
        return [{name: one.get(key) for name, one in value.items()} for key in order], "Each object of the file is a column."
    if len(inner) < 2 or len(set(chain.from_iterable(inner))) > _MOST_KEYS or not set(inner[0]).intersection(*inner[1:]):
        return None
    return [{"key": key, **one} for key, one in value.items()], "Each object of the file is a row; the column 'key' has its name."


def _of_columns(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    lists = {name: items for name, items in value.items() if isinstance(items, list) and len(items) > 1}
    if len(lists) < 2 or len({len(items) for items in lists.values()}) > 1 or len(lists) < len(value):
        return None
    if not any(max(roles(name).values(), default=0.0) >= _USUAL for name in lists):
        return None
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)], "Each list of the file is a column."


def _of_labels(value: Mapping[str, Any]) -> tuple[_Rows, str] | None:
    lists = list(value.values())
    if len(lists) < 2 or not all(isinstance(items, list) and items for items in lists):
        return None
    if not all(isinstance(one, str) for items in lists for one in items):
        return None
    made = [{"text": text, "label": label} for label, texts in value.items() for text in texts]
    return made, "Each list of the file contains the texts of one label."


def _of_cells(values: Sequence[_Value]) -> tuple[Iterator[_Value], str | None]:
    """Return rows made of lists of cells, as of a table; the lists unchanged if they are no rows of one table."""
    lists = [value for value, error in values if error is None]
    found = _as_rows(lists) if all(isinstance(value, list) for value in lists) else None
    if found is None:
        return iter(values), None
    if len(found) < len(lists):
        lead = next(place for place, (_, error) in enumerate(values) if error is None)
        values = [*values[:lead], *values[lead + 1 :]]
        note = "Each list of the file is a row; the first one has the names of the columns."
    else:
        note = f"Each list of the file is a row; the columns are called {', '.join(list(found[0])[:3])}."
    made = iter(found)
    return ((next(made), None) if error is None else (None, error) for _, error in values), note


def _as_rows(lists: Sequence[Sequence[Any]]) -> _Rows | None:
    """Return lists of cells as rows; the first one has the names of the columns, if it is a header. None if they are no table."""
    widths = {len(cells) for cells in lists}
    if len(widths) != 1 or 0 in widths or len(lists) < 2 or any(isinstance(cell, (dict, list)) for cells in lists for cell in cells):
        return None
    shown = [["" if cell is None else str(cell).strip() for cell in cells] for cells in lists[:_HEADER_ROWS]]
    # unlike tables, lists seldom have a header, so that all names must be usual ones
    usual = all(max(roles(cell).values(), default=0.0) >= _USUAL for cell in shown[0])
    if usual and _header.row_of_names(shown) == 0 and len(set(shown[0])) == len(shown[0]):
        names, lists = shown[0], lists[1:]
    else:
        names = [f"column_{place}" for place in range(1, len(shown[0]) + 1)]
    return [dict(zip(names, cells, strict=True)) for cells in lists]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
