"""Copies measured figures into README and its Chinese twin; knows nothing of how they were measured.

python benchmarks/figures.py            fill every block between <!-- figures: NAME --> and <!-- /figures -->
python benchmarks/figures.py --check    fail when a block is not what the result files say
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PAGES = {"README.md": "en", "README.zh-CN.md": "zh"}
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
PERCENT = {"accuracy", "f1", "micro_f1"}
"""Metrics that this field writes as percentages."""
WORDS = {
    "en": {
        "head": ["row", "what", "metric", "this project", "95 % interval", "best baseline", "bar", "published by others"],
        "none": "not measured yet",
        "beats": "above the best baseline",
        "near": "at most {by} below `{row}`",
        "differs": "difference {value} [{low}, {high}]",
        "said": "{seeds} seeds",
        "one": "1 seed",
        "classes": ["class", "precision", "recall", "F1", "entities"],
        "base": "the base untrained",
        "training": ["ours", "peer", "precision", "ours, examples/s", "peer, examples/s", "ratio", "least – most", "bar", "memory, ratio"],
        "seconds": "{value} s in all",
    },
    "zh": {
        "head": ["行", "内容", "指标", "本项目", "95 % 区间", "最好的基线", "标准", "他人发表的结果"],
        "none": "尚未测量",
        "beats": "高于最好的基线",
        "near": "比 `{row}` 至多低 {by}",
        "differs": "差 {value} [{low}, {high}]",
        "said": "{seeds} 个种子",
        "one": "1 个种子",
        "classes": ["类别", "精确率", "召回率", "F1", "实体"],
        "base": "未训练的基座",
        "training": ["本项目", "对照", "精度", "本项目，样本/秒", "对照，样本/秒", "比值", "最小 – 最大", "标准", "内存，比值"],
        "seconds": "共 {value} 秒",
    },
}


def accuracy(language: str) -> str:
    """The accuracy table."""
    words: dict[str, Any] = WORDS[language]
    rows = yaml.safe_load((HERE / "accuracy.yaml").read_text(encoding="utf-8"))
    lines = [_line(words["head"]), _line(["---"] * len(words["head"]))]
    return "\n".join(lines + [_line(_row(name, row, words)) for name, row in rows.items()]) + "\n"


def _row(name: str, row: dict[str, Any], words: dict[str, Any]) -> list[str]:
    """The cells of one row of the accuracy table."""
    metric = row["metric"]
    file = HERE / "results" / "accuracy" / f"{name}.json"
    start, end = [f"`{name}`", row["about"], metric], [_bar(row, words), row.get("published", "–")]
    if not file.exists():
        return [*start, words["none"], "–", "–", *end]
    result = json.loads(file.read_text(encoding="utf-8"))
    spread = f" ± {_figure(metric, result['spread'])}" if result["spread"] is not None else ""
    seeds = words["one"] if len(result["seeds"]) == 1 else words["said"].format(seeds=len(result["seeds"]))
    ours = f"**{_figure(metric, result['mean'])}**{spread} ({seeds})"
    ours += _also(metric, row.get("also", {}), result, words)
    interval = f"{_figure(metric, result['low'])} – {_figure(metric, result['high'])}"
    return [*start, ours, interval, _baseline(metric, result["baseline"], words), *end]


def _also(metric: str, also: dict[str, list[str]], result: dict[str, Any], words: dict[str, Any]) -> str:
    """Other metrics of the model, and its metric of other baselines, as means over seeds."""
    seeds = list(result["seeds"].values())
    found = [(name, name, [seed["metrics"][name]["value"] for seed in seeds]) for name in also.get("metrics", [])]
    found += [
        (metric, f"{words.get(name, name)} {metric}", [seed["baselines"][name][metric]["value"] for seed in seeds])
        for name in also.get("baselines", [])
    ]
    return "".join(f"; {said} {_figure(kind, sum(values) / len(values))}" for kind, said, values in found)


def classes(language: str) -> str:
    """Scores of each class of CoNLL-2003."""
    words: dict[str, Any] = WORDS[language]
    file = HERE / "results" / "accuracy" / "conll2003-full.json"
    found = next(iter(json.loads(file.read_text(encoding="utf-8"))["seeds"].values()))["classes"]
    rows = [[one["label"], *(_figure("f1", one[key]) for key in ("precision", "recall", "f1")), str(one["support"])] for one in found]
    return "\n".join([_line(words["classes"]), _line(["---"] * len(words["classes"])), *map(_line, rows)]) + "\n"


def training(language: str) -> str:
    """Speed of training beside its peers."""
    words: dict[str, Any] = WORDS[language]
    file = HERE / "results" / "training.json"
    if not file.exists():
        return words["none"] + "\n"
    lines = [_line(words["training"]), _line(["---"] * len(words["training"]))]
    for result in json.loads(file.read_text(encoding="utf-8")).values():
        names = list(result["sides"])
        for peer, ratio in result["ratios"].items():
            speeds = [_speed(result["sides"][side], words) for side in (names[0], peer)]
            spread = f"{ratio['least']:.2f} – {ratio['most']:.2f}"
            bar = f"≥ {ratio['bar']:.2f}" if ratio["bar"] else "–"
            cells = [f"`{names[0]}`", f"`{peer}`", result["precision"], *speeds, f"**{ratio['median']:.2f}**", spread, bar]
            lines.append(_line([*cells, f"{ratio['memory']:.2f}"]))
    return "\n".join([*lines, *_few(words)]) + "\n"


def _few(words: dict[str, Any]) -> list[str]:
    """Ten rows a class beside SetFit, from a cold start to a model."""
    file = HERE / "results" / "few.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    peer = results.get("setfit")
    found = []
    for name, side in results.items():
        if peer and name.startswith("ours-"):
            seconds = [words["seconds"].format(value=f"{one['seconds']:.0f}") for one in (side, peer)]
            ratio = f"**{peer['seconds'] / side['seconds']:.1f}**"
            found.append(_line(["`few`", "`setfit`", name.removeprefix("ours-"), *seconds, ratio, "–", "≥ 20", "–"]))
    return found


def _speed(side: dict[str, Any], words: dict[str, Any]) -> str:
    if "examples_per_second" in side:
        return f"{side['examples_per_second']:.0f}"
    return str(words["seconds"].format(value=f"{side['seconds']:.1f}"))


def _baseline(metric: str, best: dict[str, Any] | None, words: dict[str, Any]) -> str:
    if best is None:
        return "–"
    difference = {key: _figure(metric, value) for key, value in best["difference"].items()}
    return f"{best['name']} {_figure(metric, best['mean'])}; {words['differs'].format(**difference)}"


def _bar(row: dict[str, Any], words: dict[str, Any]) -> str:
    if "bar" in row:
        return f"≥ {_figure(row['metric'], row['bar'])}"
    if "near" in row:
        return str(words["near"].format(by=_figure(row["metric"], row["near"]["by"]), row=row["near"]["row"]))
    return str(words["beats"]) if row.get("beats") else "–"


def _figure(metric: str, value: float) -> str:
    """A figure as this field writes it: percentages with one digit, correlations with three."""
    return f"{100 * value:.1f}" if metric in PERCENT else f"{value:.3f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


BLOCKS = {"accuracy": accuracy, "classes": classes, "training": training}


def filled(text: str, language: str) -> str:
    """A page with every block as the result files say."""
    return BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]](language) + found[3], text)


def main() -> None:
    """Fill the pages, or check them."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for name, language in PAGES.items():
        page = HERE.parent / name
        text = page.read_text(encoding="utf-8")
        new = filled(text, language)
        if new != text:
            stale.append(name)
            if not check:
                page.write_text(new, encoding="utf-8")
    if check and stale:
        sys.exit(f"The figures in {' and '.join(stale)} are not those of benchmarks/results. Write them with: make figures")
    print(f"Figures are up to date in {' and '.join(PAGES)}." if not stale else f"Figures written into {' and '.join(stale)}.")


if __name__ == "__main__":
    main()
