"""Sentences in two languages: the catalogues fit each other and what the code says, and what another version stored is readable."""

from __future__ import annotations

import copy
import pickle
import re
import string
from pathlib import Path

import pytest

import vertune
from vertune.core.sentence import FOLDER, Sentence, _patterns, said, stored, titled, written

LANGUAGES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(vertune.__file__).parent.rglob("*.py")))


def fields(pattern: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(pattern) if name}


def test_no_language_lacks_a_sentence_or_a_figure():
    assert LANGUAGES == ["en", "zh"]
    catalogues = [_patterns(language) for language in LANGUAGES]
    assert catalogues[0].keys() == catalogues[1].keys()
    for key in catalogues[0]:
        assert fields(catalogues[0][key]) == fields(catalogues[1][key]), key


def test_the_code_says_what_is_in_the_catalogue_and_nothing_is_there_for_nothing():
    known = set(_patterns("en")) - {"and"}
    named = set(re.findall(r'\b(?:said|_judged)\(\s*"([^"{]+)"', SOURCES))
    assert named <= known
    named |= set(re.findall(r'"([a-z_]+\.[a-z_]+)"', SOURCES)) & known  # one of two keys
    composed = set(re.findall(r'\bsaid\(f"([a-z_]+\.[a-z_]*)\{', SOURCES))
    unused = {key for key in known - named if not key.startswith((*composed, "column."))}
    assert unused == set()


def test_a_stored_sentence_is_written_in_both_languages_with_its_figures():
    rise = said("feedback_quality.rise", detectors=["ADWIN", said("feedback_quality.interval")])
    sentence = said("feedback_quality", rate="12.0 %", count="1,000", before=said("feedback_quality.all", share="8.0 %"), seen=rise)
    assert (
        sentence == "12.0 % of the last 1,000 answers with feedback are wrong, 8.0 % of all; ADWIN and the sequential interval sees a rise."
    )
    kept = stored(sentence)
    assert written(kept, "en") == sentence
    assert written(kept, "zh") == "最近 1,000 个有反馈的答案中，12.0 % 是错的，总体为 8.0 %；ADWIN、序贯区间发现错误增多。"


def test_a_copy_keeps_the_key_and_the_figures():
    sentence = said("loss.large", lost=said("loss.points", value="1.00"), where=said("loss.validation"), allowed="0.5")
    for copied in (copy.deepcopy(sentence), pickle.loads(pickle.dumps(sentence))):
        assert copied == sentence
        assert written(stored(copied), "zh") == "在验证集上损失 1.00 个百分点，超过允许的 0.5"


def test_titles_of_evidence_are_in_the_language_and_unknown_ones_stay():
    rows = [{"": "half are below", "word": "word", "my own": 1}]
    assert titled(rows, "en") == rows
    assert titled(rows, "zh") == [{"": "一半低于", "词": "word", "my own": 1}]
    titles = {key.removeprefix("column.") for key in _patterns("en") if key.startswith("column.")}
    assert all(f'"{name}"' in SOURCES for name in titles - {"accuracy", "mean confidence"}), "each is a title that a monitor gives"


def test_figures_may_look_like_patterns_and_are_quoted_as_they_are():
    sentence = said("fairness.few", column='{column} "x" {0}', least=30)
    assert written(stored(sentence), "zh").startswith('“{column} "x" {0}”中没有一个组')


OTHERS = [
    "It changed.", "", '{"key": broken', "{}", '{"key": "shares"}', '{"key": "shares", "figures": [], "text": "x"}',
    '{"key": "lacks.window", "figures": {"what": {"key": "unknown"}}, "text": "x"}',
    '{"key": "lacks.window", "figures": {"what": [{"key": "need.times", "figures": {}, "text": 1}]}, "text": "x"}',
    '{"key":' + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", OTHERS, ids=range(len(OTHERS)))
def test_what_is_no_stored_sentence_stays_as_a_person_wrote_it(text):
    assert stored(text) == text
    assert written(text, "zh") == text


def test_what_another_version_said_is_written_in_english():
    newer = stored(Sentence("12 cats came.", "cats", {"count": 12}))
    assert [written(newer, language) for language in ("en", "zh")] == ["12 cats came."] * 2
    fewer = stored(Sentence("The text of then.", "shares", {"share": "1 %"}))  # the pattern has got more figures since
    assert written(fewer, "zh") == "The text of then."
