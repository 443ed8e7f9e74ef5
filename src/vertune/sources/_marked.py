"""Converts records of annotation tools to texts with marked spans; independent of the files that contain the records.

Each form of a record has one function, which returns None for a record of another form:

- `of_tokens`: a list of tokens and a list of their tags, as in data sets of the Hugging Face hub; or a text and one text with its tags;
- `_of_task`: a task of Label Studio with its annotations (JSON export);
- `_of_paragraphs`: a document in the JSON format of spaCy 2;
- `_of_pair`: a list of a text and its entities, as in the training data of spaCy;
- `_of_offsets`: a text and a list of spans, as in exports of doccano, Prodigy and Label Studio (CSV and JSON-MIN), or the labels of
  CLUENER with lists of places for each text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.conll import join
from vertune.core.documents import parse_json
from vertune.sources import _answered, conll

_TEXTS = ("text", "raw", "sentence", "content", "document", "data", "文本", "内容")
_SPANS = ("spans", "entities", "label", "labels", "annotations", "annotation", "ner", "entity", "标注", "实体")
_TOKENS = ("tokens", "words", "token", "chars", "text", "sentence")
_TAGS = ("ner_tags", "tags", "ner", "labels", "label", "bio", "bio_tags", "tag", "word_labels")
_STARTS = ("start", "start_offset", "begin", "start_idx", "start_pos", "startOffset")
_ENDS = ("end", "end_offset", "stop", "end_idx", "end_pos", "endOffset")
_LABELS = ("label", "labels", "type", "entity_group", "tag", "entity", "entity_type", "category")
_SURFACES = ("text", "word", "surface", "mention", "span", "value")

"""Type of a column of spans."""
Span = dict[str, Any]


@dataclass(slots=True)
class Marked:
    """A text with its spans, each a dict of start, end (exclusive, in code points) and label; and the other values of the record."""

    text: str | None
    spans: list[Span] | None
    error: str | None = None
    """The reason why the record can't be used, or None."""
    others: dict[str, Any] = field(default_factory=dict)


def convert(value: Any, names: Sequence[str] = ()) -> list[Marked] | None:
    """Convert one record to texts with spans; return None if it has none of the forms that this module reads.

    `names` are the tags that numbers stand for, in their order.
    """
    for form in (of_tokens, _of_task, _of_paragraphs, _of_pair, _of_offsets):
        found = form(value, names)
        if found is not None:
            return found
    return None


def shows_tool(value: Any) -> bool:
    """Return whether the form of a record alone shows that a tool for marking spans wrote it, even if no span is marked."""
    if isinstance(value, dict):
        return isinstance(value.get("data"), dict) and isinstance(value.get("annotations"), list)
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict) and isinstance(value[1].get("entities"), list)


def has_texts(value: Any) -> bool:
    """Return whether the tokens of a record are texts rather than words: none has a tag that says that it is outside of a span."""
    found = _tokens(value)
    return found is not None and found[2][0] in _TEXTS and "O" not in found[1]


def numbered_tags(value: Any) -> list[int] | None:
    """Return the tags of the tokens of a record if they are numbers, else None."""
    found = _tokens(value)
    return found[1] if found and found[1] and all(isinstance(tag, int) for tag in found[1]) else None


def usual_names(sentences: Sequence[Sequence[int]]) -> list[str] | None:
    """Return names for tags that are numbers, if the usual order fits: O, then B and I of each label.

    If an even number follows another number than itself and the one below, each number is a label of its own. The labels are named
    `label_1`, `label_2` and so on. Returns None if 0 is not the most frequent tag, because then O has another number.
    """
    counts = Counter(tag for sentence in sentences for tag in sentence)
    if not counts or min(counts) < 0 or counts[0] < max(counts.values()):
        return None
    pairs = [(before, tag) for sentence in sentences for before, tag in zip((0, *sentence), sentence, strict=False)]
    if all(before in (tag, tag - 1) for before, tag in pairs if tag and tag % 2 == 0):
        return ["O", *(f"{'BI'[tag % 2 == 0]}-label_{(tag + 1) // 2}" for tag in range(1, max(counts) + 1))]
    return ["O", *(f"I-label_{tag}" for tag in range(1, max(counts) + 1))]


def _others(record: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """Return the single values of a record, such as its id, without the keys in `used`."""
    hidden = {*used, "text", "spans"}
    return {key: value for key, value in record.items() if key not in hidden and isinstance(value, (str, int, float)) and key[:2] != "__"}


def _tokens(value: Any) -> tuple[list[str], list[Any], tuple[str, str]] | None:
    """Return the tokens of a record, their tags, and the keys of both; None if it has no two lists of the same length."""
    if not isinstance(value, dict):
        return None
    for key in _TOKENS:
        tokens = value.get(key)
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            continue
        for other in _TAGS:
            tags = value.get(other)
            if other != key and isinstance(tags, list) and len(tags) == len(tokens) and all(type(tag) in (str, int) for tag in tags):
                return tokens, tags, (key, other)
    return None


def of_tokens(value: Any, names: Sequence[str] = ()) -> list[Marked] | None:
    """Convert a record with a list of tokens and a list of their tags; return None if it has no two such lists."""
    found = _tokens(value)
    if found is None:
        return _of_words(value)
    tokens, tags, used = found
    others = _others(value, *used)
    wrong = next((tag for tag in tags if not isinstance(tag, str) and not 0 <= tag < len(names)), None)
    if wrong is not None:
        return [Marked(None, None, f"has the tag {wrong}, but there are only names for 0 to {len(names) - 1}", others)]
    if not all(token.strip() for token in tokens):
        return [Marked(None, None, "has an empty token", others)]
    return [_tagged([token.strip() for token in tokens], [tag if isinstance(tag, str) else names[tag] for tag in tags], others)]


def _of_words(value: Any) -> list[Marked] | None:
    """Convert a text and the tags of its words, or of its characters, that are one text, such as `O B-PER O`; else return None."""
    texts = {key: one for key, one in value.items() if isinstance(one, str)} if isinstance(value, dict) else {}
    for other in _TAGS:
        tags = texts.get(other, "").split()
        if len(tags) < 2 or not all(tag == "O" or conll.is_tag(tag) for tag in tags):
            continue
        for key in _TOKENS:
            for tokens in (texts.get(key, "").split(), list("".join(texts.get(key, "").split()))):
                if key != other and len(tokens) == len(tags):
                    return [_tagged(tokens, tags, _others(value, key, other), texts[key])]
    return None


def _tagged(tokens: Sequence[str], tags: Sequence[str], others: dict[str, Any], raw: str | None = None) -> Marked:
    """Join tokens to a text, unless the text `raw` is known, and convert their tags to spans."""
    text, offsets = join(tokens)
    if raw is not None:
        text, offsets, place = raw, [], 0
        for token in tokens:
            start = raw.find(token, place)
            if start < 0:
                return Marked(raw, None, f"has the token '{token}', which is not in its text", others)
            place = start + len(token)
            offsets.append((start, place))
    if all("-" not in tag for tag in tags):
        tags = ["O" if tag in ("O", "") else f"I-{tag}" for tag in tags]  # a label without a scheme
    wrong = next((tag for tag in tags if not conll.is_tag(tag)), None)
    if wrong is not None:
        return Marked(text, None, f"has the tag '{wrong}', where O or one such as B-PER is expected", others)
    return Marked(text, conll.spans(tags, offsets), None, others)


def _of_task(value: Any, names: Sequence[str]) -> list[Marked] | None:
    data = value.get("data") if isinstance(value, dict) else None
    annotations = value.get("annotations", value.get("completions")) if isinstance(value, dict) else None
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return None
    key = _text_key(data)
    if key is None:
        return None
    text, others = data[key], {**_others(data, key), **_others(value)}
    if not annotations:
        return [Marked(text, None, "has not been annotated", others)]
    found = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            found.append(Marked(text, None, "was skipped by its annotator", others))
            continue
        regions = [item.get("value") for item in annotation.get("result") or () if isinstance(item, dict)]
        marked = [region for region in regions if isinstance(region, dict) and "start" in region]
        found.append(placed(text, marked, {**others, **_answered.about_annotation(annotation), **_answered.answers_of(annotation)}))
    return found


def _of_paragraphs(value: Any, names: Sequence[str]) -> list[Marked] | None:
    paragraphs = value.get("paragraphs") if isinstance(value, dict) else None
    if not isinstance(paragraphs, list) or any(isinstance(one, dict) and "qas" in one for one in paragraphs):
        return None
    found = []
    for paragraph in paragraphs:
        if not isinstance(paragraph, dict):
            return None
        raw, sentences = paragraph.get("raw"), paragraph.get("sentences")
        if isinstance(raw, str) and isinstance(paragraph.get("entities"), list):
            found.append(placed(raw, paragraph["entities"], _others(value)))
        elif isinstance(sentences, list):
            tokens = [token for sentence in sentences for token in sentence["tokens"]]
            tags = ["O" if token.get("ner", "O") == "-" else token.get("ner", "O") for token in tokens]
            words = [str(token["orth"]).strip() for token in tokens]
            kept = [(word, tag) for word, tag in zip(words, tags, strict=True) if word]
            found.append(
                _tagged([word for word, _ in kept], [tag for _, tag in kept], _others(value), raw if isinstance(raw, str) else None)
            )
    return found or None


def _of_pair(value: Any, names: Sequence[str]) -> list[Marked] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    first, second = value
    if isinstance(first, list) and isinstance(second, list):
        return of_tokens({"tokens": first, "tags": second}, names)
    spans = second.get("entities") if isinstance(second, dict) else None
    if not isinstance(first, str) or not isinstance(spans, list):
        return None
    labels = _answered.categories_of(second)
    return [placed(first, spans, {} if labels is None else {"label": labels})]


def _of_offsets(value: Any, names: Sequence[str]) -> list[Marked] | None:
    if not isinstance(value, dict):
        return None
    text_key = _text_key(value, _TEXTS)
    if text_key is None:
        return None
    text = value[text_key]
    if value.get("answer") in ("reject", "ignore"):  # Prodigy
        return [Marked(text, None, f"has the answer '{value['answer']}' of its annotator", _others(value, text_key))]
    for key in _SPANS:
        spans = _parsed(value.get(key))
        if isinstance(spans, dict):
            spans = list(_listed(spans))
        if isinstance(spans, list) and key != text_key and all(map(_is_span, spans)):
            return [placed(text, spans, _others(value, text_key, key))]
    if "annotation_id" in value or value.get("answer") == "accept":  # an annotator found nothing in this text
        return [Marked(text, [], None, _others(value, text_key))]
    return None


def _text_key(record: Mapping[str, Any], names: Sequence[str] = ()) -> str | None:
    """Return the key of the text: one of `names`, or without names the usual one or that of the longest text; None if there is none."""
    usual = next((key for key in names or _TEXTS if isinstance(record.get(key), str)), None)
    texts = [key for key, value in record.items() if isinstance(value, str)]
    return usual if usual or names or not texts else max(texts, key=lambda key: len(record[key]))


def _parsed(cell: Any) -> Any:
    """Parse a text that is a JSON list or object, as in a column of a CSV file; return other values unchanged."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return parse_json(cell)
    except ValueError:
        return cell


def _listed(labels: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the spans of an object such as {"name": {"Ada": [[0, 2]]}}, whose ends are inclusive; yield None if it is another object."""
    for label, places in labels.items():
        for surface, found in places.items() if isinstance(places, dict) else [(None, None)]:
            for place in found if isinstance(found, list) else [None]:
                if not isinstance(place, list) or len(place) != 2:
                    yield None
                else:
                    yield {"start": place[0], "end": place[1], "label": label, "text": surface}


def _is_span(item: Any) -> bool:
    """Return whether a value looks like a span: a list of start, end and label, or an object with these keys."""
    try:
        start, end, labels, _ = _fields(item)
    except (TypeError, ValueError, LookupError):
        return False
    return type(start) in (int, float) and type(end) in (int, float) and bool(labels)


def _fields(item: Any) -> tuple[Any, Any, list[str], str | None]:
    """Return start, end, labels, and the marked text, if it is stated, of one span."""
    if isinstance(item, dict):
        start, end, label = _first(item, _STARTS), _first(item, _ENDS), _first(item, _LABELS)
        surface = next((item[key] for key in _SURFACES if isinstance(item.get(key), str)), None)
    else:
        start, end, label, *_ = item
        surface = None
    labels = label if isinstance(label, list) else [label]
    return start, end, [str(one) for one in labels if isinstance(one, (str, int)) and str(one).strip()], surface


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the value of the first of these keys that the item has; raise LookupError if it has none."""
    return item[next((key for key in keys if key in item), keys[0])]


def placed(text: str, items: Sequence[Any], others: dict[str, Any]) -> Marked:
    """Return the text with these spans; with an error if one of them is no span, or is not where its own text stands."""
    wrong = next((item for item in items if not _is_span(item)), None)
    if wrong is not None:
        return Marked(text, None, f"has a span without start, end and label: {wrong!r:.80}", others)
    fields = [_fields(item) for item in items]
    for start, end, _, _ in fields:
        if start != int(start) or end != int(end):
            return Marked(text, None, f"has a span from {start} to {end}, where whole numbers are expected", others)
    stated = [(int(start), int(end), surface) for start, end, _, surface in fields]
    lost = None
    for convert_place in (_of_units, _exclusive, _inclusive):
        places = [convert_place(text, start, end) if surface else (start, end) for start, end, surface in stated]
        lost = next(
            (one for one, (a, b) in zip(stated, places, strict=True) if one[2] and (not 0 <= a <= b <= len(text) or text[a:b] != one[2])),
            None,
        )
        if lost is None:
            spans = [{"start": a, "end": b, "label": label} for (a, b), one in zip(places, fields, strict=True) for label in one[2]]
            return Marked(text, spans, None, others)
    return Marked(text, None, f"has the span '{lost[2] if lost else ''}', which is not where the record says in its text", others)


def _of_units(text: str, start: int, end: int) -> tuple[int, int]:
    """Convert UTF-16 units to code points. Tools that run in a browser count these units; an emoji has two of them."""
    units = text.encode("utf-16-le", "surrogatepass")
    before, inside = (units[: 2 * place].decode("utf-16-le", "ignore") for place in (start, end))
    return (len(before), len(inside)) if 0 <= start <= end <= len(units) // 2 else (start, end)


def _exclusive(text: str, start: int, end: int) -> tuple[int, int]:
    return start, end


def _inclusive(text: str, start: int, end: int) -> tuple[int, int]:
    return start, end + 1
