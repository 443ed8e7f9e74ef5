"""Pairs of characters that are frequent in what customers write."""

from __future__ import annotations

import sys
from pathlib import Path

from vertune.retrieval import frequent, pinyin

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import frequent_pairs


def test_pairs_are_counted_and_the_most_frequent_characters_of_a_sound_come_first() -> None:
    counts = frequent.pairs()
    assert all(len(pair) == 2 for pair in counts)
    assert counts["怎么"] > counts["退货"] > 10
    assert frequent.characters()["wo"][0] == "我"
    assert frequent.has_sound(["@xyz", "@tui huo"])
    assert not frequent.has_sound(["@wo wo wo", "tui huo"])


def test_each_character_is_listed_under_a_sound_that_it_has() -> None:
    for sound, several in frequent.characters().items():
        assert set(several) <= set(pinyin.characters()[sound])


def test_only_texts_count_and_no_names_of_settings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- {钥匙: 文字一, list: [文字二, 3]}\n", encoding="utf-8")
    (tmp_path / "run.yaml").write_text("name: 设置\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("text,intent\n问题一,意图\n", encoding="utf-8")
    assert list(frequent_pairs.texts(tmp_path)) == ["文字一", "文字二", "问题一"]
