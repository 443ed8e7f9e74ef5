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
        "single": "1 seed",
        "classes": ["class", "precision", "recall", "F1", "entities"],
        "base": "the base untrained",
        "training": ["ours", "peer", "precision", "ours, examples/s", "peer, examples/s", "ratio", "least – most", "bar", "memory, ratio"],
        "seconds": "{value} s in all",
        "facts": ["what", "measured", "bar"],
        "share": "`full` in float32: share of the machine's rate of matrix products, operations counted on real tokens",
        "to_accuracy": "Banking77: processor seconds to {wanted} %, beside Trainer at its best rate ({trainer} s)",
        "growth": "{times} × the rows, `{method}`: processor time, memory",
        "vocabulary": "a step with a vocabulary of 250,002 beside 30,522 rows",
        "time_limit": "the worst training of {runs} against its time limit",
        "small": ["model", "graph", "test, model itself", "test, smaller", "one text, × int8", "many texts, × int8"],
        "kept": ["data", "metric", "model itself", "int8", "lost"],
        "one": "{kind}: string to answer on one thread, in times of the bare session",
        "pipeline": "{kind} ({tokens} tokens): times faster than transformers.pipeline",
        "many": "texts a second over the test set of Banking77, in times of a length-sorted loop in torch",
        "alone": "answers alone and in a batch: same label, bit for bit",
        "start": "from an empty Python to the first answer, and peak memory",
        "soak": "{texts} texts of random lengths: largest memory after warm-up, in times of the first",
        "serving": {
            "lone": "one client, one text: milliseconds that HTTP adds to the call in the process",
            "saturation": "32 clients: processor time of the server for a text, in times of the bare graph at its best batch",
            "half": "half of the rate that saturates it",
            "infinity": "beside Infinity 0.0.78, vectors of the base, both int8",
            "pipeline": "beside FastAPI with transformers.pipeline, times its requests a second",
            "memory": "a hundred models in one process, LoRA on the top two layers: memory",
            "spread": "requests spread over a hundred models, in times of the same graph holding one",
            "many": "one text asked of twenty models, in times of one",
            "overload": "five times what it can, for a minute",
            "mixed": "trained models mixed in one batch, on test texts",
            "faults": "{faults:,} faults under load ({requests:,} requests): hung, wrong",
            "search": "schemathesis over the whole document, {cases:,} requests: answered by 500; otherwise than it says",
        },
    },
    "zh": {
        "head": ["行", "内容", "指标", "本项目", "95 % 区间", "最好的基线", "标准", "他人发表的结果"],
        "none": "尚未测量",
        "beats": "高于最好的基线",
        "near": "比 `{row}` 至多低 {by}",
        "differs": "差 {value} [{low}, {high}]",
        "said": "{seeds} 个种子",
        "single": "1 个种子",
        "classes": ["类别", "精确率", "召回率", "F1", "实体"],
        "base": "未训练的基座",
        "training": ["本项目", "对照", "精度", "本项目，样本/秒", "对照，样本/秒", "比值", "最小 – 最大", "标准", "内存，比值"],
        "seconds": "共 {value} 秒",
        "facts": ["内容", "实测", "标准"],
        "share": "float32 的 `full`：占机器矩阵乘法速率的份额，按真实词元计算",
        "to_accuracy": "Banking77：达到 {wanted} % 所用的处理器秒数，对照为取最佳学习率的 Trainer（{trainer} 秒）",
        "growth": "行数为 {times} 倍，`{method}`：处理器时间，内存",
        "vocabulary": "词表 250,002 行与 30,522 行相比，一步所用的时间",
        "time_limit": "{runs} 次训练中最差的一次与其时限之比",
        "small": ["模型", "图", "测试集，原模型", "测试集，小模型", "单条文本，为 int8 的倍数", "多条文本，为 int8 的倍数"],
        "kept": ["数据", "指标", "原模型", "int8", "损失"],
        "one": "{kind}：单线程从文本到回答，为裸会话的倍数",
        "pipeline": "{kind}（{tokens} 个词元）：比 transformers.pipeline 快的倍数",
        "many": "Banking77 测试集每秒文本数，为 torch 中按长度排序的循环的倍数",
        "alone": "单独回答与成批回答：标签相同，逐位相同",
        "start": "从空的 Python 到第一个回答所多的时间，以及内存峰值",
        "soak": "{texts} 条随机长度的文本：预热之后内存的最大值，为起初的倍数",
        "serving": {
            "lone": "一个客户端、一条文本：HTTP 比进程内调用多用的毫秒",
            "saturation": "32 个客户端：服务每条文本的处理器时间，为裸图在最佳批量下的倍数",
            "half": "饱和速率的一半",
            "infinity": "与 Infinity 0.0.78 相比，基座的向量，双方均为 int8",
            "pipeline": "与 FastAPI 加 transformers.pipeline 相比，每秒请求数的倍数",
            "memory": "一个进程中的一百个模型，LoRA 在最上两层：内存",
            "spread": "请求分散到一百个模型，为同一张图只装一个模型时的倍数",
            "many": "一条文本问二十个模型，为问一个的倍数",
            "overload": "五倍于其能力，持续一分钟",
            "mixed": "训练好的模型混在一个批次中，测试文本",
            "faults": "负载下的 {faults:,} 次故障（{requests:,} 个请求）：卡住、答错",
            "search": "schemathesis 检验整个文档，{cases:,} 个请求：以 500 回答；与文档不符",
        },
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
    seeds = words["single"] if len(result["seeds"]) == 1 else words["said"].format(seeds=len(result["seeds"]))
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


def learning(language: str) -> str:
    """What is measured of training besides its speed."""
    words: dict[str, Any] = WORDS[language]
    rows = []
    if found := _read("training").get("full"):
        rows.append([words["share"], f"**{100 * found['share']:.0f} %**", "≥ 60 %"])
    if found := _read("to_accuracy").get("table"):
        said = words["to_accuracy"].format(wanted=f"{100 * found['wanted']:.1f}", trainer=f"{found['trainer']:.0f}")
        rows.append([said, f"{found['ours']:.0f} s; **{found['share']:.2f} ×**", "≤ 0.25 ×"])
    for found in _read("growth").values():
        said = words["growth"].format(times=f"{found['times_the_rows']:.0f}", method=found["method"])
        bars = f"≤ {1.1 * found['times_the_rows']:.0f} ×; ≤ 1.20 ×"
        rows.append([said, f"**{found['processor_seconds']:.1f} ×**; **{found['memory']:.2f} ×**", bars])
    if found := _read("vocabulary").get("used rows"):
        rows.append([words["vocabulary"], f"**{found['median']:.2f} ×** ({found['least']:.2f} – {found['most']:.2f})", "≤ 1.15 ×"])
    if found := _read("time_limit"):
        rows.append([words["time_limit"].format(runs=len(found["runs"])), f"**{found['worst']:.2f} ×**", "≤ 1.10 ×"])
    return _table(words["facts"], rows, words)


def kept(language: str) -> str:
    """What int8 loses on each data set."""
    words: dict[str, Any] = WORDS[language]
    rows = []
    for name, found in _read("small").get("keep", {}).items():
        if name != "machine":
            goal = found["goal"]
            cells = [_figure(goal, found[key]) for key in ("parent", "small", "lost")]
            rows.append([f"`{name.rpartition('-')[0]}`", goal, cells[0], f"**{cells[1]}**", cells[2]])
    return _table(words["kept"], rows, words)


def small(language: str) -> str:
    """The chains on Banking77."""
    words: dict[str, Any] = WORDS[language]
    rows = []
    for name, found in _read("small").get("chains", {}).items():
        if name != "machine":
            cells = [_figure(found["goal"], found[key]) for key in ("parent", "small")]
            speeds = [f"{found[key]['median']:.2f}" for key in ("times_faster_one", "times_faster_many")]
            rows.append([name, f"{found['graph_bytes'] / 1e6:.1f} MB", cells[0], f"**{cells[1]}**", *speeds])
    return _table(words["small"], rows, words)


def answering(language: str) -> str:
    """How fast one and many texts are answered, and what that takes."""
    words: dict[str, Any] = WORDS[language]
    results, rows = _read("small"), []
    for kind, found in results.get("one", {}).items():
        if kind != "machine":
            bar = "≤ 1.20 ×" if "faster_than_pipeline" in found else "≤ 1.30 ×"
            rows.append([words["one"].format(kind=kind), f"**{found['over_the_session']:.2f} ×**", bar])
            if "faster_than_pipeline" in found:
                said = words["pipeline"].format(kind=kind, tokens=found["tokens"])
                rows.append([said, f"**{found['faster_than_pipeline']:.1f} ×**", "≥ 5 ×" if kind == "short" else "≥ 1.8 ×"])
    if found := results.get("many"):
        times, alone = found["times_torch"], found["alone_as_in_a_batch"]
        rows.append([words["many"], f"**{times['median']:.2f} ×** ({times['least']:.2f} – {times['most']:.2f})", "≥ 1.6 ×"])
        rows.append([words["alone"], f"**{100 * alone['same_label']:.2f} %**; {100 * alone['bit_for_bit']:.1f} %", "≥ 99.5 %"])
    if found := results.get("start"):
        rows.append([words["start"], f"**{found['seconds_more']:.2f} s**; **{found['peak_bytes'] / 1e6:.0f} MB**", "≤ 0.5 s; ≤ 150 MB"])
    if found := results.get("soak"):
        rows.append([words["soak"].format(texts=f"{found['texts']:,}"), f"**{found['growth']:.3f} ×**", "≤ 1.05 ×"])
    return _table(words["facts"], rows, words)


def serving(language: str) -> str:
    """What serving costs and bears, with its bars."""
    words: dict[str, Any] = WORDS[language]
    rows = []
    for part, found in _read("serving").items():
        for name, one in found.get("bars", {}).items() if isinstance(found, dict) else ():
            sign = "≥" if one["is"] == "least" else "≤"
            said = f"**{_short(one['figure'])}** ({_short(one['low'])} – {_short(one['high'])})"
            rows.append([f"{words['serving'][part]}: `{name}`", said, f"{sign} {_short(one['bar'])}"])
    soak = _read("soak")
    if soak:
        about = words["serving"]["faults"].format(faults=soak["faults"], requests=soak["requests"])
        rows.append([about, f"**{soak['hung']}**, **{soak['wrong']}**", "0, 0"])
        found = soak["schemathesis"]
        about = words["serving"]["search"].format(cases=found["requests"])
        rows.append([about, f"**{found['status_500']:.0f}**, **{0 if found['within_the_document'] else '≥ 1'}**", "0, 0"])
    return _table(words["facts"], rows, words)


def _short(value: float) -> str:
    """Three digits that matter, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 or not value else f"{value:.6f}"


def _read(name: str) -> dict[str, Any]:
    """The results of a benchmark; nothing where it was not run."""
    file = HERE / "results" / f"{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _table(head: list[str], rows: list[list[str]], words: dict[str, Any]) -> str:
    """A table, or that nothing was measured yet."""
    return "\n".join([_line(head), _line(["---"] * len(head)), *map(_line, rows)]) + "\n" if rows else f"{words['none']}\n"


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


BLOCKS = {
    "accuracy": accuracy, "classes": classes, "training": training, "learning": learning, "kept": kept, "small": small,
    "answering": answering, "serving": serving,
}  # fmt: skip


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
