"""The index: rankings against formulas written out, filters, updates against building anew, damage, several processes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vertune.core.errors import ConfigError, Conflict, DataError, ModelError, StorageError
from vertune.retrieval import index as indexes
from vertune.retrieval import merging, normalise
from vertune.retrieval.index import Index, Joining
from vertune.retrieval.passages import Passage
from vertune.retrieval.ranking import K1, SINGLE, B, Ranker
from vertune.retrieval.segment import text_hash

WORDS = (
    "card",
    "bank",
    "fee",
    "loan",
    "limit",
    "account",
    "transfer",
    "password",
    "lost",
    "blocked",
    "abroad",
    "interest",
    "rate",
    "office",
)
FAQ = [
    Passage("lost", "信用卡丢了怎么办", "请立即致电客服挂失。", answer="请挂失。", questions=("信用卡丢了怎么办", "卡片遗失如何处理")),
    Passage("code", "如何修改密码", "登录后在设置里修改登录口令。", answer="登录后修改。", questions=("如何修改密码",)),
    Passage("late", "还款晚了一天有影响吗", "有三天的宽限期。", answer="有三天的宽限期。", questions=("还款晚了一天有影响吗",)),
    Passage("city", "长沙银行网点在哪里", "地图里可以查到。", answer="地图里可以查到。", questions=("长沙银行网点在哪里",)),
    Passage("block", "Lost card", "Block your card in the application immediately.", answer="Block it.", questions=("I lost my card",)),
]  # fmt: skip


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector for each text, which depends on the text alone."""
    return np.stack([np.random.default_rng(text_hash(text) % 2**32).normal(size=24) for text in texts]).astype(np.float32)


def _random(count: int, seed: int = 0) -> list[Passage]:
    draw = random.Random(seed)
    return [Passage(f"p{number}", "", " ".join(draw.choices(WORDS, k=draw.randint(3, 20)))) for number in range(count)]


@pytest.fixture(scope="module")
def faq(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(tmp_path_factory.mktemp("faq") / "index", FAQ, None)


@pytest.fixture(scope="module")
def mixed_scripts(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(tmp_path_factory.mktemp("scripts") / "index", FAQ, _vectors)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(tmp_path_factory.mktemp("mixed") / "index", _random(60), _vectors)


def _found(index: Index, text: str, **options: Any) -> list[str]:
    return [hit.id for hit in index.search(text, 5, **options)]


def test_frequent_terms_add_to_units_with_a_rare_one(tmp_path: Path) -> None:
    passages = [Passage(f"p{number}", "", f"card {'statement ' * (number < 50)}{'fee ' * (number % 7)}") for number in range(900)]
    ranker = Ranker(Index.build(tmp_path / "i", passages, None)._state.ranker.segments, chinese=False)
    query, allowed = ranker.query("statement card fee"), [np.ones(900, np.bool_)]
    every = list(ranker.by_words(query, allowed, 900))
    assert len(every) == 900  # too few have the rare word to leave out the others
    assert {place.passage for place in every[:50]} == set(range(50))
    assert list(ranker.by_words(query, allowed, 10)) == every[:10]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("信用卡丢了", "lost"), ("信用卡丟了怎麼辦", "lost"), ("xin yong ka diu le", "lost"), ("xinyongka diule zenmeban", "lost"),
        ("新用咖丢勒", "lost"), ("信用ka丢了", "lost"), ("ｍｉｍａ修改", "code"), ("xiu gai mi ma", "code"), ("还宽晚了", "late"),
        ("huan kuan wan le", "late"), ("changsha yinhang", "city"), ("my crad is lost", "block"), ("aplication", "block"),
        ("blocking of cards", "block"), ("BLOCK", "block"),
    ],
)  # fmt: skip
def test_questions_are_found_however_they_are_written(faq: Index, question: str, expected: str) -> None:
    assert _found(faq, question)[:1] == [expected]


def test_hits_carry_what_the_passage_has(faq: Index) -> None:
    hit = faq.search("信用卡丢了怎么办", 1)[0]
    assert (hit.title, hit.text, hit.answer, hit.url, hit.meaning) == (FAQ[0].title, FAQ[0].text, "请挂失。", None, None)
    assert 0 < hit.score <= Joining().words


@pytest.mark.parametrize("text", ["", " ", "？！", "zzzzqqqq", "\0", "\ud800"])
def test_texts_without_known_terms_find_nothing(faq: Index, text: str) -> None:
    assert faq.search(text, 3) == []


def test_spelling_corrects_unknown_long_words_alone(faq: Index) -> None:
    assert faq.spelled("Imediately blok my crad, xinyongka 卡") == "immediately blok my crad, 信用卡 卡"
    assert faq.spelled("aplicatoin") == "application"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("xin yong ka diu le zen me ban", "信用卡丢了怎么办"), ("xinyongkadiulezenmeban？", "信用卡丢了怎么办?"),
        ("信用ka丢了", "信用卡丢了"), ("信用卡丟了", "信用卡丟了"), ("如何修改蜜码", "如何修改密码"), ("xyz mima", "xyz 密码"),
        ("请 xiugai mima 谢谢", "请 修改密码 谢谢"), ("天气很好", "天气很好"), ("Lost my card", "Lost my card"), ("ka", "ka"),
    ],
)  # fmt: skip
def test_sounds_are_written_in_the_characters_of_the_index(faq: Index, text: str, expected: str) -> None:
    assert faq.spelled(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wo yao shenqing daikuan", "我要申请贷款"), ("tuihuo de yunfei shui chu", "退货的运费谁出"),
        ("网上银杭怎么开通", "网上银行怎么开通"),
        ("kuaidi dao nali le", "快递到哪里了"), ("who made the wine", "who made the wine"), ("china pandas", "china pandas"),
    ],
)  # fmt: skip
def test_sounds_that_no_passage_has_are_written_as_customers_write_them(faq: Index, text: str, expected: str) -> None:
    assert faq.spelled(text) == expected


def test_vectors_of_texts_that_are_known_by_sound_alone_count_nothing(mixed_scripts: Index) -> None:
    vector = _vectors(["如何修改密码"])[0]
    asked = mixed_scripts.spelled("xinyongka diule")
    assert _found(mixed_scripts, "xinyongka diule", vector=vector)[0] == "lost"
    assert _found(mixed_scripts, asked, vector=vector)[0] == _found(mixed_scripts, "信用卡丢了", vector=vector)[0]


def test_spelling_uses_no_passages_of_other_customers(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", [Passage("a", "", "机密计划", customer="acme"), Passage("b", "", "公开的内容")], None)
    assert "机密" not in index.spelled("jimi jihua")
    assert index.spelled("jimi jihua", "acme") == "机密计划"


def test_only_the_beginning_of_long_questions_is_read(faq: Index) -> None:
    assert _found(faq, "z" * 990 + " card") == ["block"]
    assert _found(faq, "z" * 1_000 + " card") == []
    assert faq.spelled(" ".join(f"{'q' * number}mmediately" for number in range(2, 12)) + " imediately").endswith(" imediately")


def test_bm25_is_the_formula(mixed: Index) -> None:
    documents = [normalise.terms(one.text) for one in _random(60)]
    mean = sum(map(len, documents)) / len(documents)
    for question in ("lost card", "interest rate abroad abroad"):
        asked = normalise.terms(question)
        scores = []
        for document in documents:
            score = 0.0
            for term in asked:
                having = sum(term in other for other in documents)
                count = document.count(term)
                rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
                score += rarity * count * (K1 + 1) / (count + K1 * (1 - B + B * len(document) / mean))
            scores.append(score)
        expected = [f"p{number}" for number in sorted(range(60), key=lambda number: (-scores[number], number)) if scores[number] > 0]
        assert [hit.id for hit in mixed.search(question, 60)] == expected


def test_single_characters_count_less_than_pairs(tmp_path: Path) -> None:
    index = Index.build(
        tmp_path / "i", [Passage("apart", "", "卡了一张丢"), Passage("pair", "", "丢卡一张了"), Passage("x", "", "别的")], None
    )
    assert SINGLE < 1
    assert _found(index, "丢卡")[0] == "pair"


def test_scores_of_rankings_are_added(mixed: Index) -> None:
    passages = _random(60)
    vector = _vectors(["anything"])[0]
    cosines = {one.id: _cosine(one.text, vector) for one in passages}
    low, high = min(cosines.values()), max(cosines.values())
    expected = {name: (cosine - low) / (high - low) for name, cosine in cosines.items()}
    for hit in mixed.search("lost card", 100):
        expected[hit.id] += hit.score
    hits = mixed.search("lost card", 10, vector=vector)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:10], abs=5e-3)
    assert all(hit.score == pytest.approx(expected[hit.id], abs=5e-3) for hit in hits)
    assert all(hit.meaning == pytest.approx(cosines[hit.id], abs=2e-3) for hit in hits)


def test_equal_cosines_decide_nothing(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", _random(9), lambda texts: np.ones((len(texts), 4)))
    words, joined = index.search("lost card", 9), index.search("lost card", 9, vector=np.ones(4))
    assert [hit.id for hit in joined][: len(words)] == [hit.id for hit in words]


def _cosine(text: str, vector: NDArray[np.float32]) -> float:
    other = _vectors([text])[0]
    return float(other @ vector / np.linalg.norm(other) / np.linalg.norm(vector))


def test_a_vector_alone_finds_what_no_word_does(mixed: Index) -> None:
    wanted = _random(60)[7]
    hit = mixed.search("zzzz", 1, vector=_vectors([wanted.text])[0])[0]
    assert (hit.id, hit.meaning) == (wanted.id, pytest.approx(1, abs=2e-3))


def test_weights_of_rankings_are_kept(tmp_path: Path) -> None:
    Index.build(tmp_path / "i", _random(20), _vectors, joining=Joining(words=0.5, vectors=0.0))
    default = Index.build(tmp_path / "j", _random(20), _vectors)
    index, vector = Index.open(tmp_path / "i"), _vectors(["x"])[0]
    words = default.search("lost card", 20)
    assert [hit.id for hit in index.search("lost card", 20, vector=vector)][: len(words)] == [hit.id for hit in words]
    assert index.search("lost card", 1)[0].score == pytest.approx(words[0].score / Joining().words * 0.5)


def test_long_vectors_of_many_units_are_found_along_their_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "EXACT", 50)
    monkeypatch.setattr(merging, "AXES", 8)
    passages = _random(200)
    index = Index.build(tmp_path / "i", passages, _vectors)
    vector = _vectors(["anything"])[0]
    expected = sorted(passages, key=lambda one: -_cosine(one.text, vector))[:5]
    assert _found(index, "zzzz", vector=vector) == [one.id for one in expected]


def test_vectors_that_are_in_memory_are_not_read_from_their_file(mixed: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = _vectors(["anything"])[0]
    expected = {one.id: _cosine(one.text, vector) for one in _random(60)}
    monkeypatch.setattr("vertune.retrieval.segment.os.pread", lambda *_: pytest.fail("a file was read"), raising=False)
    hits = mixed.search("lost card", 10, vector=vector)
    assert len(hits) == 10
    assert all(hit.meaning == pytest.approx(expected[hit.id], abs=2e-3) for hit in hits)


CUSTOMERS = [
    Passage("all", "", "fees of the bank"), Passage("acme", "", "fees of acme, confidential roadmap", customer="acme"),
    Passage("other", "", "fees of other, confidential", customer="other"),
    Passage("summer", "", "fees in summer", valid_from="2026-06-01", valid_until="2026-08-31"),
    Passage("from", "", "fees of tomorrow", valid_from="2026-09-01T12:00:00+08:00"),
]  # fmt: skip


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(tmp_path_factory.mktemp("customers") / "index", CUSTOMERS, _vectors)


@pytest.mark.parametrize(
    ("customer", "at", "expected"),
    [
        (None, None, {"all", "summer", "from"}), ("acme", None, {"all", "summer", "from", "acme"}),
        ("nobody", None, {"all", "summer", "from"}),
        (None, "2026-05-31", {"all"}), (None, "2026-06-01", {"all", "summer"}), (None, "2026-08-31T23:59:59", {"all", "summer"}),
        (None, "2026-09-01", {"all"}), (None, "2026-09-01T04:00:00", {"all", "from"}), ("other", "2026-09-02", {"all", "other", "from"}),
    ],
)  # fmt: skip
def test_filters_hold_for_words_and_vectors(customers: Index, customer: str | None, at: str | None, expected: set[str]) -> None:
    assert set(_found(customers, "fees", customer=customer, at=at)) == expected
    assert set(_found(customers, "zzzz", customer=customer, at=at, vector=_vectors(["x"])[0])) == expected


def test_spelling_shows_no_words_of_other_customers(customers: Index) -> None:
    assert customers.spelled("confidentail") == "confidentail"
    assert customers.spelled("confidentail", "acme") == customers.spelled("confidentail", "other") == "confidential"


def test_a_filter_leaves_enough_results(tmp_path: Path) -> None:
    many = [Passage(f"o{number}", "", "fees fees fees", customer="other") for number in range(500)]
    index = Index.build(tmp_path / "i", [*many, *CUSTOMERS], _vectors)
    assert set(_found(index, "fees")) == {"all", "summer", "from"}
    assert set(_found(index, "zzzz", vector=_vectors(["fees fees fees"])[0])) == {"all", "summer", "from"}


def test_bad_dates_and_vectors_are_refused(customers: Index, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'soon' is no date"):
        customers.search("fees", 1, at="soon")
    with pytest.raises(DataError, match="has 3 dimensions"):
        customers.search("fees", 1, vector=np.ones(3))
    with pytest.raises(ModelError, match="expected one row"):
        Index.build(tmp_path / "i", CUSTOMERS, lambda texts: np.ones((1, 4)))
    with pytest.raises(ModelError, match="not all finite"):
        Index.build(tmp_path / "i", CUSTOMERS, lambda texts: np.full((len(texts), 4), np.nan))
    assert not (tmp_path / "i").exists()
    with pytest.raises(ConfigError, match="has vectors"):
        customers.update([Passage("n", "", "new")], [], None)
    with pytest.raises(Conflict, match="not empty"):
        Index.build(customers.folder, CUSTOMERS, None)


def test_updates_are_as_good_as_building_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_BLOCK", 16)
    draw = random.Random(3)
    current = {one.id: one for one in _random(40)}
    index = Index.build(tmp_path / "a", current.values(), _vectors)
    for turn in range(8):
        added = [replace(one, id=f"p{draw.randrange(60)}") for one in _random(draw.randint(0, 9), seed=turn + 10)]
        removed = draw.sample(sorted(current), 4)
        index.update(added, removed, _vectors)
        for name in removed:
            del current[name]
        current |= {one.id: one for one in added}
    again = Index.open(tmp_path / "a")
    index.compact()
    anew = Index.build(tmp_path / "b", index.passages(), _vectors)
    assert {one.id: one for one in again.passages()} == {one.id: one for one in anew.passages()} == current
    assert len(index) == len(again) == len(anew) == len(current)
    for question in ("lost card", "interest", "office loan abroad"):
        vector = _vectors([question])[0]
        assert index.search(question, 8, vector=vector) == anew.search(question, 8, vector=vector)
        assert {hit.id for hit in again.search(question, 99)} <= set(current)


def test_segments_stay_few(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", _random(4), None)
    for number in range(20):
        index.update([Passage(f"n{number}", "", f"word{number} card")], [], None)
    assert len(list((tmp_path / "i" / "segments").iterdir())) <= 6
    assert [_found(index, f"word{number}")[0] for number in range(20)] == [f"n{number}" for number in range(20)]


def test_a_second_process_sees_an_update_when_it_opens_again(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", FAQ, None)
    reader = Index.open(tmp_path / "i")
    index.update([Passage("new", "", "quarterly statement")], ["lost"], None)
    assert index.is_current()
    assert not reader.is_current()
    assert _found(reader, "信用卡丢了")[0] == "lost"  # the files that it has open are still there
    reader.update([Passage("newer", "", "annual statement")], [], None)
    assert set(_found(reader, "statement")) == {"new", "newer"}
    assert "lost" not in _found(reader, "信用卡丢了")
    assert set(_found(Index.open(tmp_path / "i"), "statement")) == {"new", "newer"}


def test_changes_are_what_an_update_needs(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", FAQ, None)
    wanted = [*FAQ[1:], replace(FAQ[0], text="新的说法"), Passage("new", "", "new")]
    wanted = [one for one in wanted if one.id != "city"]
    added, removed = index.changes(wanted)
    assert ({one.id for one in added}, removed) == ({"lost", "new"}, ["city"])
    index.update(added, removed, None)
    assert index.changes(wanted) == ([], [])


def test_the_last_of_equal_ids_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_BLOCK", 2)
    passages = [Passage("a", "", "old card"), Passage("b", "", "loan"), Passage("a", "", "new card"), Passage("a", "", "newest card")]
    done: list[int] = []
    index = Index.build(tmp_path / "i", passages, None, done.append)
    assert ([one.text for one in index.passages()], done) == (["loan", "newest card"], [2, 4])


def test_an_empty_index_can_be_filled(tmp_path: Path) -> None:
    index = Index.build(tmp_path / "i", [], _vectors)
    assert index.search("card", 3, vector=np.ones(24)) == []
    index.update([Passage("a", "", "card")], [], _vectors)
    index.update([], ["a"], None)
    assert (len(index), _found(index, "card"), index.spelled("x")) == (0, [], "x")


@pytest.mark.parametrize("name", ["index.json", "segments/*/units.npy", "segments/*/passages.jsonl", "segments/*/vectors.npy"])
@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damage_is_found_when_it_is_opened(tmp_path: Path, name: str, damage: str) -> None:
    Index.build(tmp_path / "i", _random(5), _vectors)
    [file] = (tmp_path / "i").glob(name)
    if damage == "remove":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    with pytest.raises(StorageError):
        Index.open(tmp_path / "i")


def test_a_crash_before_the_end_of_an_update_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.build(tmp_path / "i", _random(5), None)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(indexes, "_write_entries", crash)
        with pytest.raises(KeyboardInterrupt):
            index.update([Passage("n", "", "unheard")], ["p0"], None)
    opened = Index.open(tmp_path / "i")
    assert ([one.id for one in opened.passages()], _found(opened, "unheard")) == ([f"p{n}" for n in range(5)], [])
    opened.update([Passage("n", "", "unheard")], [], None)
    assert _found(opened, "unheard") == ["n"]
    assert len(list((tmp_path / "i" / "segments").iterdir())) <= 2  # what the crash left is deleted


# ------------------------------------------------------------------ two indexes as one


def test_two_joined_indexes_find_what_one_with_all_passages_finds(tmp_path: Path) -> None:
    many, few = _random(60), [replace(one, id=f"n{one.id}") for one in _random(7, seed=5)]
    joined = Index.build(tmp_path / "a", many, _vectors).joined(Index.build(tmp_path / "b", few, _vectors))
    anew = Index.build(tmp_path / "c", [*many, *few], _vectors)
    assert len(joined) == len(anew) == 67
    for question in ("lost card", "interest", "office loan abroad", "trnsfer fee"):
        vector = _vectors([question])[0]
        expected = {hit.id: hit.score for hit in anew.search(question, 99, vector=vector)}
        assert {hit.id: hit.score for hit in joined.search(question, 99, vector=vector)} == pytest.approx(expected, abs=1e-5)
        assert joined.spelled(question) == anew.spelled(question)


def test_a_joined_index_stays_as_it_was_joined_and_is_not_updated(tmp_path: Path) -> None:
    base, other = Index.build(tmp_path / "a", FAQ, None), Index.build(tmp_path / "b", [Passage("new", "", "quarterly statement")], None)
    joined = base.joined(other)
    other.update([Passage("newer", "", "annual statement")], ["new"], None)
    assert _found(joined, "statement") == ["new"]
    assert _found(base.joined(other), "statement") == ["newer"]
    before = (tmp_path / "a" / "index.json").read_bytes()
    for change in (lambda: joined.update([Passage("x", "", "x")], [], None), joined.compact):
        with pytest.raises(ConfigError, match="joined with another one"):
            change()
    assert (tmp_path / "a" / "index.json").read_bytes() == before
    assert _found(base, "statement") == []


def test_a_joined_index_hides_passages_from_one_customer_or_from_all(customers: Index, tmp_path: Path) -> None:
    other = Index.build(tmp_path / "b", [Passage("new", "", "fees anew", customer="acme")], _vectors)
    joined = customers.joined(other, {"acme": ["all", "unknown"], None: ["from"]})
    assert set(_found(joined, "fees", customer="acme")) == {"new", "acme", "summer"}
    assert set(_found(joined, "zzzz", customer="acme", vector=_vectors(["x"])[0])) == {"new", "acme", "summer"}
    assert set(_found(joined, "fees")) == {"all", "summer"}
    assert set(_found(joined, "fees", customer="other")) == {"all", "summer", "other"}
    assert set(_found(customers, "fees", customer="acme")) == {"all", "summer", "from", "acme"}, "the index itself is as it was"
    assert joined.has("all")
    assert not joined.has("from")
    assert not customers.has("new")


def test_a_passage_is_returned_by_its_id_to_those_who_may_find_it(customers: Index) -> None:
    assert customers.get("acme", customer="acme").text == "fees of acme, confidential roadmap"
    assert customers.get("acme") is customers.get("acme", customer="other") is customers.get("nothing") is None
    assert customers.get("summer", at="2026-07-01").id == "summer"
    assert customers.get("summer", at="2026-09-01") is None
    assert customers.joined(None, {"acme": ["all"]}).get("all", customer="acme") is None
