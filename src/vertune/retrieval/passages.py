"""What search finds: passages of documents and entries of FAQs, and how files are read as such; knows nothing of indexes.

Documents are cut at their headings and paragraphs. A passage keeps its id as long as its document and its text stay the same, so that an
index need only take up what has changed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vertune.core.errors import DataError, NotFound
from vertune.core.records import MAX_EXAMPLES, Note
from vertune.core.regular import check_tree, regular_file
from vertune.retrieval.cutting import cut
from vertune.retrieval.readers import faq, html, markdown, pdf, plain
from vertune.retrieval.readers.block import Document, Losses, decoded

SIZE = 1_200
"""Characters that a passage has at most, without its headings."""
_LARGEST = 100 * 1024 * 1024
"""Bytes of the largest file that is read."""
_DOCUMENTS: dict[str, Callable[[str], Document]] = {
    ".md": markdown.read, ".markdown": markdown.read, ".html": html.read, ".htm": html.read, ".xhtml": html.read, ".txt": plain.read,
}  # fmt: skip
_ENTRIES = (".csv", ".tsv", ".jsonl", ".yaml", ".yml")
_UNREAD = "files are of a kind that can't be read and were left out"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, or an entry of an FAQ."""

    id: str
    """Differs within an index."""
    title: str
    """The headings above it, or the question of an entry."""
    text: str
    """What is searched and shown."""
    url: str | None = None
    answer: str | None = None
    """The curated answer, which is given word for word; None for a part of a document."""
    customer: str | None = None
    """Who alone may find it; None is everybody."""
    language: str | None = None
    questions: tuple[str, ...] = ()
    """Ways to ask for it. Each one is compared with a question by itself."""
    valid_from: str | None = None
    """The first day or moment at which it may be found, in ISO 8601; a moment without a zone is in UTC."""
    valid_until: str | None = None
    """The last day or moment at which it may be found."""


def passages_of(path: Path, size: int = SIZE, notes: list[Note] | None = None) -> Iterator[Passage]:
    """Read the passages of a file, or of all files in a folder that can be read, in the order of their names.

    Markdown, HTML, plain text and PDF are documents; CSV, TSV, JSONL and YAML are FAQs. What has no text, such as a scanned page, is
    described in `notes`, or logged if there is no list. Raises DataError for a file that can't be read, and NotFound if there is none.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder '{path}'. Name a document, an FAQ, or a folder of them.")
    seen: Counter[str] = Counter()
    losses = Losses()
    if path.is_dir():
        check_tree(path)
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    else:
        files = [path]
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        losses.examined[_UNREAD] += 1
        if path.is_dir() and not is_readable(file):
            losses.add(_UNREAD, name, None, file.suffix)
            continue
        yield from _of_file(file, name, size, losses, seen)
    _report(path, losses, notes)


def is_readable(path: Path) -> bool:
    """Return whether the ending of a file's name is one that `passages_of` reads."""
    return path.suffix.lower() in {*_DOCUMENTS, *_ENTRIES, ".pdf"}


def text_passages(document: Document, name: str, size: int, seen: Counter[str]) -> Iterator[Passage]:
    """Cut a document into passages; `seen` counts the ids that exist already, and `name` begins each id."""
    for headings, text in cut(document.blocks, size):
        title = " › ".join(dict.fromkeys(part for part in (document.title, *headings) if part))
        yield Passage(_id(name, title, text, seen), title, text, language=document.language)


def _of_file(file: Path, name: str, size: int, losses: Losses, seen: Counter[str]) -> Iterator[Passage]:
    regular_file(file.parent, file.name, limit=_LARGEST)
    suffix = file.suffix.lower()
    if suffix in _ENTRIES:
        for entry in faq.read(file, losses):
            given = entry.id or _id(name, entry.questions[0], entry.answer, Counter())
            seen[given] += 1
            one = given if seen[given] == 1 else f"{given}-{seen[given]}"
            title, answer = entry.title or entry.questions[0], entry.answer
            yield Passage(one, title, answer, answer=answer, questions=entry.questions, **entry.rest)
        return
    if suffix == ".pdf":
        document = pdf.read(file, losses)
    elif reader := _DOCUMENTS.get(suffix):
        document = reader(decoded(file))
    else:
        raise DataError(
            f"'{file}' has the ending '{suffix}'; expected one of {', '.join([*_DOCUMENTS, '.pdf', *_ENTRIES])}. Convert the file first."
        )
    yield from text_passages(document if document.title else Document(document.blocks, file.stem, document.language), name, size, seen)


def _id(name: str, title: str, text: str, seen: Counter[str]) -> str:
    """Return the name with a hash of the content, and with a number if this content occurs again."""
    content = f"{title}\0{text}".encode("utf-8", "surrogatepass")
    given = f"{name}#{hashlib.sha256(content).hexdigest()[:12]}"
    seen[given] += 1
    return given if seen[given] == 1 else f"{given}-{seen[given]}"


def _report(path: Path, losses: Losses, notes: list[Note] | None) -> None:
    """Describe what was not read, by reason."""
    for reason, places in losses.found.items():
        examples = tuple({"file": file, "row": row, "value": value} for file, row, value in places[:MAX_EXAMPLES])
        note = Note(path.name, reason, len(places), losses.examined[reason], examples)
        if notes is None:
            _log.warning("%s Examples: %s", note.sentence, ", ".join(str(example["file"]) for example in examples))
        else:
            notes.append(note)
