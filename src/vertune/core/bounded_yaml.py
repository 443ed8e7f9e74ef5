"""Reads YAML that users wrote, within limits of size and depth; independent of its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vertune.core.errors import ConfigError

MAX_BYTES = 1 << 20
"""Largest size of a YAML file; a config has some thousand bytes."""
_MAX_DEPTH = 40
"""Largest number of mappings and lists inside each other in YAML."""
_MAX_DIGITS = 300
"""Largest number of characters of a number in YAML; the largest float has 309 digits."""
_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file; raise ConfigError if it is not UTF-8, too large, or not YAML in the sense of `parse_yaml`."""
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(
            f"{file} has {size:,} bytes; a config has at most {MAX_BYTES:,}. Name a config, or write one with: vertune init {file.name}"
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}. Correct the file, and save it in UTF-8.") from error
    return parse_yaml(text, str(file))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML; raise ConfigError, which names the line, for text that is not YAML or that a config never contains.

    Refused are aliases, because a few bytes of them can stand for gigabytes; deep nesting; and keys that are written twice, of which one
    would have no effect. `where` names the text in messages.
    """
    try:
        return yaml.load(text, Loader=_BoundedLoader)  # noqa: S506 (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where}{_place(text, error)} is not valid YAML: {getattr(error, 'problem', None) or getattr(error, 'reason', error)}. "
            "Correct it there; put quotes around texts with special characters."
        ) from error


def _place(text: str, error: yaml.YAMLError) -> str:
    """Return the line and column of an error in YAML, in the form `, line 3, column 5`; empty if they are unknown."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        return f", line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _refusal(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


class _BoundedLoader(yaml.SafeLoader):
    """A YAML loader that refuses what a config never contains."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next node of the document; raise YAMLError for an alias or a node that is nested too deeply."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(f"the alias *{event.anchor} is not supported; write the value itself", event.start_mark)
        if self._depth >= _MAX_DEPTH:
            raise _refusal(f"it is nested more than {_MAX_DEPTH} levels deep", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; raise YAMLError if it is not of the type that it seems to be, such as the date 2024-13-45."""
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            raise _refusal(f"the number {node.value[:20]}… has {len(node.value):,} characters, more than {_MAX_DIGITS}", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError, AttributeError) as error:
            raise _refusal(f"the value {str(node.value)[:60]!r} can't be read ({error})", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node; raise YAMLError if a key is written twice."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _refusal(f"the key '{key.value}' is written twice; remove one of the lines", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)
