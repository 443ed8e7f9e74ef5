"""Writes the measured figures into README, its Chinese twin and docs/benchmarks.md; knows nothing of how they were measured.

python benchmarks/figures.py            fill every block between <!-- figures: NAME --> and <!-- /figures -->
python benchmarks/figures.py --check    fail if a block differs from what the result files give
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from chatted import chat_bars, chat_figures, chat_kills
from defaults import calibration, choosing, companion, defaults_figures, half, shifts, shots
from labelled import labelling, labelling_bars, labelling_figures
from monitored import estimated_accuracy, watching, watching_bars, watching_feedback, watching_figures
from operating import killing, operating, operating_figures
from released import gating, gating_figures
from retrained import console, console_figures, retraining, retraining_bars, retraining_figures, ring_kills
from robustness import bases, coverage, damage, damage_figures, guesses, hostile, masks, memory, proof, tables
from serviced import service_answers, service_bars, service_behaviour, service_figures, service_slots
from written import NOT_MEASURED, Figure, bar_figures, figures_table, machines, processor_of, results, table

HERE = Path(__file__).resolve().parent
PAGES = {"README.md": "en", "README.zh-CN.md": "zh", "docs/benchmarks.md": "en"}
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
PERCENT = {"accuracy", "f1", "micro_f1"}
"""Metrics that this field writes as percentages."""
HEADLINES = {
    "en": {
        "head": ["what", "measured", "compared with"],
        "accuracy": ["Banking77 (77 intents), `method: full`, test accuracy", "**{ours} %**", "TF-IDF + logistic regression: {baseline} %"],
        "few": ["the same with `method: auto`, 10 examples per intent", "**{ours} %**", "TF-IDF + logistic regression: {baseline} %"],
        "training": ["training throughput, full fine-tuning, float32", "**{ratio} ×**", "transformers `Trainer` with its defaults"],
        "latency": ["latency of one short text, int8, one thread", "**{ratio} × faster**", "`transformers.pipeline`"],
        "serving": ["requests per second, 32 clients", "**{ratio} ×**", "FastAPI with `transformers.pipeline`"],
        "memory": ["memory for each further LoRA model in one server", "**{size} MB**", "{graph} MB for a whole int8 model"],
        "machine": "Measured on: {processor}.",
    },
    "zh": {
        "head": ["内容", "实测", "对照"],
        "accuracy": ["Banking77（77 种意图），`method: full`，测试集准确率", "**{ours} %**", "TF-IDF + 逻辑回归：{baseline} %"],
        "few": ["同上，`method: auto`，每种意图只有 10 个样例", "**{ours} %**", "TF-IDF + 逻辑回归：{baseline} %"],
        "training": ["训练吞吐量，全量微调，float32", "**{ratio} ×**", "默认设置的 transformers `Trainer`"],
        "latency": ["单条短文本的延迟，int8，单线程", "**快 {ratio} ×**", "`transformers.pipeline`"],
        "serving": ["32 个客户端时每秒的请求数", "**{ratio} ×**", "FastAPI 加 `transformers.pipeline`"],
        "memory": ["同一个服务中每多一个 LoRA 模型所占的内存", "**{size} MB**", "一个完整的 int8 模型为 {graph} MB"],
        "machine": "测量所用的处理器：{processor}。",
    },
}
"""The six figures of README, in both of its languages."""

SERVING = {
    "lone": "Added by HTTP to an in-process call, one client, one text, ms",
    "saturation": "32 clients: processor time per text, relative to the bare graph at its best batch size",
    "half": "Load at half of the saturating rate",
    "infinity": "Relative to Infinity 0.0.78, embeddings of the base, both int8",
    "pipeline": "Relative to FastAPI with transformers.pipeline",
    "memory": "A hundred LoRA models (top two layers) in one process",
    "spread": "Throughput of requests spread over 100 models, relative to the same graph serving one",
    "many": "Latency of one text sent to 20 models, relative to one model",
    "overload": "Five times the capacity for one minute",
    "mixed": "Trained models mixed in one batch, test texts",
    "storing": "A server that stores requests with masked texts, relative to one that stores nothing",
}
"""What each part of results/serving.json measures."""


def _runs(name: str, summary: str) -> list[dict[str, Any]]:
    """The measured entries of a result file, without the entry that summarises them."""
    return [entry for key, entry in results(name).items() if key != summary]


def accuracy_rows() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each row of the accuracy table with its definition and its result; the result is empty if it was not measured."""
    for name, row in yaml.safe_load((HERE / "accuracy.yaml").read_text(encoding="utf-8")).items():
        yield name, row, results(f"accuracy/{name}")


def accuracy() -> str:
    """The accuracy table."""
    head = ["row", "what", "metric", "vertune", "95 % interval", "best baseline", "bar", "published by others"]
    rows, seeds = [], []
    for name, row, result in accuracy_rows():
        rows.append(_accuracy_row(name, row, result))
        seeds += list(result.get("seeds", {}).values())
    return table(head, rows) + "\n" + machines(*seeds) + "\n"


def _accuracy_row(name: str, row: dict[str, Any], result: dict[str, Any]) -> list[str]:
    metric = row["metric"]
    start, end = [f"`{name}`", row["about"], metric], [_accuracy_bar(row), row.get("published", "–")]
    if not result:
        return [*start, NOT_MEASURED.strip(), "–", "–", *end]
    spread = f" ± {_figure(metric, result['spread'])}" if result["spread"] is not None else ""
    seeds = "1 seed" if len(result["seeds"]) == 1 else f"{len(result['seeds'])} seeds"
    ours = f"**{_figure(metric, result['mean'])}**{spread} ({seeds}){_further_metrics(metric, row.get('also', {}), result)}"
    interval = f"{_figure(metric, result['low'])} – {_figure(metric, result['high'])}"
    return [*start, ours, interval, _baseline(metric, result["baseline"]), *end]


def _further_metrics(metric: str, also: dict[str, list[str]], result: dict[str, Any]) -> str:
    """Other metrics of the model, and its metric of other baselines, as means over seeds."""
    seeds = list(result["seeds"].values())
    values = [(name, name, [seed["metrics"][name]["value"] for seed in seeds]) for name in also.get("metrics", [])]
    for name in also.get("baselines", []):
        label = "base without training" if name == "base" else name
        values.append((metric, f"{label} {metric}", [seed["baselines"][name][metric]["value"] for seed in seeds]))
    return "".join(f"; {label} {_figure(kind, sum(each) / len(each))}" for kind, label, each in values)


def _baseline(metric: str, best: dict[str, Any] | None) -> str:
    if best is None:
        return "–"
    value, low, high = (_figure(metric, best["difference"][key]) for key in ("value", "low", "high"))
    return f"{best['name']} {_figure(metric, best['mean'])}; difference {value} [{low}, {high}]"


def _accuracy_bar(row: dict[str, Any]) -> str:
    if "bar" in row:
        return f"≥ {_figure(row['metric'], row['bar'])}"
    if "near" in row:
        return f"at most {_figure(row['metric'], row['near']['by'])} below `{row['near']['row']}`"
    return "above the best baseline" if row.get("beats") else "–"


def classes() -> str:
    """Scores of each class of CoNLL-2003."""
    result = results("accuracy/conll2003-full")
    if not result:
        return NOT_MEASURED
    entries = next(iter(result["seeds"].values()))["classes"]
    rows = [[one["label"], *(_figure("f1", one[key]) for key in ("precision", "recall", "f1")), str(one["support"])] for one in entries]
    return table(["class", "precision", "recall", "F1", "entities"], rows)


def training() -> str:
    """Throughput of training beside its peers."""
    head = ["what", "peer", "precision", "vertune, examples/s", "peer, examples/s", "ratio", "lowest – highest", "bar", "memory ratio"]
    measured = results("training")
    rows = [_training_row(name, result, peer, ratio) for name, result in measured.items() for peer, ratio in result["ratios"].items()]
    few = results("few")
    rows += [
        ["`few`", "`setfit`", precision, f"{ours:.0f} s in total", f"{few['setfit']['seconds']:.0f} s in total",
         f"**{few['setfit']['seconds'] / ours:.1f}**", "–", "≥ 20", "–"]
        for precision, ours in _few(few)
    ]  # fmt: skip
    return table(head, rows) + "\n" + machines(*measured.values(), *_runs("few", "share")) + "\n"


def _training_row(name: str, result: dict[str, Any], peer: str, ratio: dict[str, Any]) -> list[str]:
    ours = next(iter(result["sides"]))
    speeds = [
        f"{side['examples_per_second']:.0f}" if "examples_per_second" in side else f"{side['seconds']:.1f} s in total"
        for side in (result["sides"][ours], result["sides"][peer])
    ]
    bar = f"≥ {ratio['bar']:.2f}" if ratio["bar"] else "–"
    spread = f"{ratio['least']:.2f} – {ratio['most']:.2f}"
    return [f"`{name}`", f"`{peer}`", result["precision"], *speeds, f"**{ratio['median']:.2f}**", spread, bar, f"{ratio['memory']:.2f}"]


def _few(measured: dict[str, Any]) -> list[tuple[str, float]]:
    """Precision and seconds of each run on ten rows per class, where SetFit was measured as well."""
    names = [name for name in measured if name.startswith("ours-") and "setfit" in measured]
    return [(name.removeprefix("ours-"), measured[name]["seconds"]) for name in names]


def kept() -> str:
    """What int8 loses on each data set."""
    measured = results("small").get("keep", {})
    rows = []
    for name, result in measured.items():
        if name != "machine":
            parent, small, lost = (_figure(result["goal"], result[key]) for key in ("parent", "small", "lost"))
            rows.append([f"`{name.rpartition('-')[0]}`", result["goal"], parent, f"**{small}**", lost])
    return table(["data", "metric", "trained model", "int8", "lost"], rows) + "\n" + machines(measured) + "\n"


def small() -> str:
    """The chains of compressors on Banking77."""
    head = ["chain", "graph", "test accuracy, trained model", "test accuracy, compressed", "one text, × int8", "many texts, × int8"]
    measured = results("small").get("chains", {})
    rows = []
    for name, result in measured.items():
        if name != "machine":
            parent, compressed = (_figure(result["goal"], result[key]) for key in ("parent", "small"))
            speeds = [f"{result[key]['median']:.2f}" for key in ("times_faster_one", "times_faster_many")]
            rows.append([name, f"{result['graph_bytes'] / 1e6:.1f} MB", parent, f"**{compressed}**", *speeds])
    return table(head, rows) + "\n" + machines(measured) + "\n"


def learning() -> str:
    """What is measured of training besides throughput."""
    parts = [*results("training").values(), *results("growth").values(), results("vocabulary"), results("time_limit")]
    return figures_table(learning_figures()) + "\n" + machines(*parts, *_runs("to_accuracy", "table")) + "\n"


def answering() -> str:
    """Latency, throughput, start and memory of inference in one process."""
    parts = [part for name, part in results("small").items() if name in {"one", "many", "start", "soak"}]
    return figures_table(answering_figures()) + "\n" + machines(*parts) + "\n"


def serving() -> str:
    """What the server costs and what it withstands."""
    return figures_table(serving_figures()) + "\n" + machines(*results("serving").values(), results("soak")) + "\n"


def preparing() -> str:
    """Time and memory of preparing data sets of growing size."""
    measured = results("prepare")
    rows = [
        [f"{run['asked']:,}", f"{run['seconds']:.1f} s", f"{run['processor_seconds']:.1f} s", f"{run['peak_bytes'] / 1e6:.0f} MB"]
        for run in measured.get("runs", [])
    ]
    return table(["rows", "wall time", "processor time", "peak memory"], rows) + "\n" + machines(measured) + "\n"


# ── figures with a bar ───────────────────────────────────────────────────────────────────────────────────────────────


def accuracy_figures() -> Iterator[Figure]:
    """Rows of the accuracy table that have a bar."""
    for name, row, result in accuracy_rows():
        if result and result["met"] is not None:
            value = _figure(row["metric"], result["mean"])
            yield Figure(f"accuracy/{name}", f"{row['about']}, {row['metric']}", value, _accuracy_bar(row), not result["met"])


def training_figures() -> Iterator[Figure]:
    """Ratios of throughput that have a bar."""
    for name, result in results("training").items():
        for peer, ratio in result["ratios"].items():
            if ratio["bar"]:
                what = f"Training throughput, `{name}` relative to `{peer}`"
                yield Figure(
                    f"training/{name}/{peer}", what, f"{ratio['median']:.2f} ×", f"≥ {ratio['bar']:.2f} ×", ratio["median"] < ratio["bar"]
                )
    few = results("few")
    for precision, seconds in _few(few):
        ratio = few["setfit"]["seconds"] / seconds
        yield Figure(f"few/{precision}", f"Ten rows per class, {precision}, relative to SetFit", f"{ratio:.1f} ×", "≥ 20 ×", ratio < 20)


def learning_figures() -> Iterator[Figure]:
    """Use of the processor, growth, vocabulary and time limits."""
    if full := results("training").get("full"):
        what = "`full` in float32: share of the machine's rate of matrix products, counting operations on real tokens only"
        yield Figure("learning/share", what, f"{100 * full['share']:.0f} %", "≥ 60 %", full["share"] < 0.6)
    if found := results("to_accuracy").get("table"):
        what = (
            f"Banking77: processor seconds to {100 * found['wanted']:.1f} % accuracy, "
            f"relative to Trainer at its best learning rate ({found['trainer']:.0f} s)"
        )
        yield Figure("learning/to_accuracy", what, f"{found['ours']:.0f} s; {found['share']:.2f} ×", "≤ 0.25 ×", found["share"] > 0.25)
    for name, found in results("growth").items():
        times = found["times_the_rows"]
        start = f"{times:.0f} × the rows, `{found['method']}`"
        seconds, memory = found["processor_seconds"], found["memory"]
        yield Figure(f"growth/{name}/time", f"{start}: processor time", f"{seconds:.1f} ×", f"≤ {1.1 * times:.0f} ×", seconds > 1.1 * times)
        yield Figure(f"growth/{name}/memory", f"{start}: peak memory", f"{memory:.2f} ×", "≤ 1.20 ×", memory > 1.2)
    if found := results("vocabulary").get("used rows"):
        what = "Time of a step with a vocabulary of 250,002 rows, relative to 30,522 rows"
        measured = f"{found['median']:.2f} × ({found['least']:.2f} – {found['most']:.2f})"
        yield Figure("learning/vocabulary", what, measured, "≤ 1.15 ×", found["median"] > 1.15)
    if found := results("time_limit"):
        what = f"Wall time of training relative to its time limit, worst of {len(found['runs'])} runs"
        yield Figure("learning/time_limit", what, f"{found['worst']:.2f} ×", "≤ 1.10 ×", found["worst"] > 1.1)


def answering_figures() -> Iterator[Figure]:
    """One text, many texts, start and memory."""
    measured = results("small")
    for kind, found in measured.get("one", {}).items():
        if kind != "machine":
            yield from _one_text(kind, found)
    if found := measured.get("many"):
        times, alone = found["times_torch"], found["alone_as_in_a_batch"]
        what = "Texts per second over the test set of Banking77, relative to a length-sorted loop in torch"
        speed = f"{times['median']:.2f} × ({times['least']:.2f} – {times['most']:.2f})"
        yield Figure("answering/many", what, speed, "≥ 1.6 ×", times["median"] < 1.6)
        what = "Answers alone and in a batch: same label; bit for bit equal"
        same = f"{100 * alone['same_label']:.2f} %; {100 * alone['bit_for_bit']:.1f} %"
        yield Figure("answering/batch", what, same, "≥ 99.5 %", alone["same_label"] < 0.995)
    if found := measured.get("start"):
        what = "From an empty Python process to the first answer: time; peak memory"
        value = f"{found['seconds_more']:.2f} s; {found['peak_bytes'] / 1e6:.0f} MB"
        yield Figure("answering/start", what, value, "≤ 0.5 s; ≤ 150 MB", found["seconds_more"] > 0.5 or found["peak_bytes"] > 150e6)
    if found := measured.get("soak"):
        what = f"{found['texts']:,} texts of random lengths: peak memory after warm-up, relative to the start"
        yield Figure("answering/soak", what, f"{found['growth']:.3f} ×", "≤ 1.05 ×", found["growth"] > 1.05)


def _one_text(kind: str, found: dict[str, Any]) -> Iterator[Figure]:
    """Latency of one text, relative to the bare session and, where it was measured, to transformers.pipeline."""
    over, faster = found["over_the_session"], found.get("faster_than_pipeline")
    limit = 1.2 if faster else 1.3
    what = f"{kind}: string to answer on one thread, relative to the bare ONNX session"
    yield Figure(f"answering/{kind}/session", what, f"{over:.2f} ×", f"≤ {limit:.2f} ×", over > limit)
    if faster:
        least = 5 if kind == "short" else 1.8
        what = f"{kind} ({found['tokens']} tokens): times faster than transformers.pipeline"
        yield Figure(f"answering/{kind}/pipeline", what, f"{faster:.1f} ×", f"≥ {least:g} ×", faster < least)


def serving_figures() -> Iterator[Figure]:
    """The bars of serving, and what the soak test found."""
    for part, found in results("serving").items():
        if "bars" in found:
            yield from bar_figures(f"serving/{part}", SERVING[part], found["bars"])
    if soak := results("soak"):
        what = f"{soak['faults']:,} faults under load ({soak['requests']:,} requests): requests that hung; wrong answers"
        yield Figure("soak/faults", what, f"{soak['hung']}; {soak['wrong']}", "0; 0", bool(soak["hung"] or soak["wrong"]))
        found = soak["schemathesis"]
        differ = "0" if found["within_the_document"] else "≥ 1"
        what = f"Schemathesis over the OpenAPI document, {found['requests']:,} requests: status 500; differs from the document"
        missed = bool(found["status_500"] or not found["within_the_document"])
        yield Figure("soak/schemathesis", what, f"{found['status_500']:.0f}; {differ}", "0; 0", missed)


def missed() -> str:
    """Every figure that misses its bar, with the reason that missed.yaml gives."""
    reasons = yaml.safe_load((HERE / "missed.yaml").read_text(encoding="utf-8"))
    sections = (
        accuracy_figures, defaults_figures, training_figures, learning_figures, answering_figures, serving_figures, operating_figures,
        labelling_figures, console_figures, watching_figures, retraining_figures, damage_figures, gating_figures, service_figures,
        chat_figures,
    )  # fmt: skip
    figures = {figure.key: figure for section in sections for figure in section() if figure.missed}
    if figures.keys() != reasons.keys():
        unexplained, outdated = sorted(figures.keys() - reasons.keys()), sorted(reasons.keys() - figures.keys())
        sys.exit(f"benchmarks/missed.yaml explains other figures than those that miss their bar. Add {unexplained}, remove {outdated}.")
    rows = [[one.what, one.measured, one.bar, " ".join(reasons[key].split())] for key, one in figures.items()]
    return table(["what", "measured", "bar", "why"], rows)


# ── README ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def headline(language: str) -> str:
    """The six figures of README."""
    words: dict[str, Any] = HEADLINES[language]
    serving = results("serving")
    throughput = serving["pipeline"]["bars"]["requests a second of 32 clients, its threads: own"]
    memory = serving["memory"]["bars"]["megabytes for each of 100 more"]
    values = {
        "accuracy": _headline_accuracy("banking77-full"),
        "few": _headline_accuracy("banking77-few"),
        "training": {"ratio": f"{results('training')['full']['ratios']['trainer']['median']:.1f}"},
        "latency": {"ratio": f"{results('small')['one']['short']['faster_than_pipeline']:.1f}"},
        "serving": {"ratio": f"{throughput['figure']:.0f}"},
        "memory": {"size": f"{memory['figure']:.1f}", "graph": f"{results('small')['chains']['int8']['graph_bytes'] / 1e6:.0f}"},
    }
    rows = [[cell.format(**value) for cell in words[name]] for name, value in values.items()]
    parts = [*results("accuracy/banking77-full")["seeds"].values(), *results("accuracy/banking77-few")["seeds"].values()]
    parts += [results("training")["full"], results("small")["one"], serving["pipeline"], serving["memory"]]
    processors = ", ".join(dict.fromkeys(processor_of(part.get("machine", part)) for part in parts))
    return table(words["head"], rows) + "\n" + words["machine"].format(processor=processors) + "\n"


def _headline_accuracy(row: str) -> dict[str, str]:
    result = results(f"accuracy/{row}")
    return {"ours": _figure("accuracy", result["mean"]), "baseline": _figure("accuracy", result["baseline"]["mean"])}


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _figure(metric: str, value: float) -> str:
    """A figure as this field writes it: percentages with one digit, correlations with three."""
    return f"{100 * value:.1f}" if metric in PERCENT else f"{value:.3f}"


BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__: block
    for block in (
        accuracy,
        classes,
        calibration,
        shots,
        choosing,
        half,
        companion,
        shifts,
        training,
        learning,
        kept,
        small,
        proof,
        answering,
        serving,
        operating,
        killing,
        labelling,
        labelling_bars,
        console,
        watching_bars,
        watching,
        watching_feedback,
        estimated_accuracy,
        retraining_bars,
        retraining,
        ring_kills,
        gating,
        service_bars,
        service_answers,
        service_behaviour,
        service_slots,
        chat_bars,
        chat_kills,
        damage,
        hostile,
        preparing,
        guesses,
        masks,
        bases,
        tables,
        memory,
        coverage,
        missed,
    )
}
"""The blocks of docs/benchmarks.md by name; README has a block of its own, in two languages."""


def filled(text: str, language: str) -> str:
    """The page with every block as the result files give it."""
    return BLOCK.sub(lambda match: match[1] + (headline(language) if match[2] == "headline" else BLOCKS[match[2]]()) + match[3], text)


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
        sys.exit(f"The figures in {' and '.join(stale)} differ from benchmarks/results. Write them with: make figures")
    print(f"Figures are up to date in {', '.join(PAGES)}." if not stale else f"Figures written into {' and '.join(stale)}.")


if __name__ == "__main__":
    main()
