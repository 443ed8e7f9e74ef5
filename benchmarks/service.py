"""What customer service answers, how often it is wrong, and whether it does what people want.

    python benchmarks/service.py intents             Banking77 with messages outside, all training rows
    python benchmarks/service.py few                 the same with ten training rows of each intent
    python benchmarks/service.py few-both            and with ten validation rows of each intent for the thresholds
    python benchmarks/service.py behaviour           the behaviour sets, with the packs shop_zh, bank_zh and bank_en
    python benchmarks/service.py dialogues           Schema-Guided Dialogue, banks and payments, with the pack bank_en

Models are trained with one thread if OMP_NUM_THREADS is 1. Products are kept in .work/service, so that a part that was interrupted goes on;
--again trains them anew. Results go to benchmarks/results/service.json.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import accuracy
import service_dialogues
import service_intents
import training

from vertune.core.artifact import Home
from vertune.core.conversation import read_conversations
from vertune.core.pack import open_pack
from vertune.metrics.drift import share_interval
from vertune.products import figures
from vertune.products.product import Product
from vertune.products.replay import Outcome, replay
from vertune.products.training import train

OUT = training.HERE / "results" / "service.json"
WORK = accuracy.WORK / "service"
SETS = training.HERE / "data"
PACKS = ("shop_zh", "bank_zh", "bank_en")
LIMIT = 240
"""Seconds that the training of intents may take."""


def product(pack: str, limit: int | None = None) -> tuple[Product, Home]:
    """Return the product of a pack, which is trained if it does not exist yet; `limit` replaces the time limits of the pack."""
    home = Home(WORK / pack)
    found = open_pack(pack if limit is None else _limited(open_pack(pack).folder, limit))
    known = [one for one in home.shelf("products") if Product.content_of(one).digest == found.digest()]
    return Product.open(home, known[-1].id if known else train(found, pack.replace("_", "-"), home).product.id), home


def _limited(pack: Path, limit: int) -> Path:
    """Return a copy of a pack whose models are trained for another number of seconds."""
    folder = WORK / "packs" / pack.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pack, folder)
    for file in folder.glob("*/run.yaml"):
        file.write_text(re.sub(r"time_limit: \d+", f"time_limit: {limit}", file.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def intents(limit: int, few: bool, few_valid: bool = False) -> dict[str, Any]:
    """Measure Banking77 with messages outside."""
    started = time.monotonic()
    data = training.data().parent / "banking77_oos"
    work = WORK / ("oos-few-both" if few_valid else "oos-few" if few else "oos")
    found = service_intents.measure(data, work, few, limit, few_valid)
    return found | {"bars": intent_bars(found, few), "seconds": round(time.monotonic() - started)}


def intent_bars(found: dict[str, Any], few: bool) -> dict[str, Any]:
    """Return the bars: what is answered at 2 %, what is recognised, and whether each stated rate holds."""
    two = found["targets"]["0.02"]["mixture, corrected"]
    bars = {
        "share of messages answered at once, false answers ≤ 2 %": _least(
            two["containment"], 0.4 if few else 0.6, two["containment_low"], two["containment_high"]
        )
    }
    if not few:
        bars |= {
            f"area under the ROC curve, {kind}": _least(found["recognised"]["corrected"]["auroc"][kind], bar)
            for kind, bar in (("out-of-domain", 0.96), ("in-domain", 0.85))
        }
    for target, one in found["targets"].items():
        mixture = one["mixture, corrected"]
        bars[f"false answers of those given, {float(target):.0%} stated"] = {
            "figure": mixture["false_rate"] or 0.0, "low": mixture["false_low"], "high": mixture["false_high"], "bar": float(target),
            "is": "most", "met": mixture["holds"],
        }  # fmt: skip
    return bars


def _least(figure: float, bar: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {
        "figure": figure, "low": figure if low is None else low, "high": figure if high is None else high, "bar": bar, "is": "least",
        "met": figure >= bar,
    }  # fmt: skip


def behaviour(packs: Sequence[str], limit: int | None) -> dict[str, Any]:
    """Replay the behaviour sets; a case is right if each of its replies is."""
    found = {}
    for pack in packs:
        opened, _ = product(pack, limit)
        outcomes = replay(read_conversations(SETS / f"behaviour_{pack}.jsonl"), opened.reply)
        found[pack] = {
            "time_limit": limit,
            "cases": cases(outcomes), "kinds": {kind: cases(rows) for kind, rows in _by_kind(outcomes).items()},
            "figures": {name: one.as_json() for name, one in figures.figures(outcomes).items()},
            "wrong": [{"kind": one.kind, "text": one.text, "problem": one.problem} for one in outcomes if not one.right],
        }  # fmt: skip
    return found


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.kind, []).append(one)
    return groups


def cases(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return how many conversations are right in all turns, how many of these without asking which intent is meant, and the turns."""
    right: dict[int, bool] = {}
    asked: dict[int, bool] = {}
    for one in outcomes:
        right[one.conversation] = right.get(one.conversation, True) and one.right
        asked[one.conversation] = asked.get(one.conversation, False) or (one.reply.action == "clarify" and not one.expected.outside)
    hits, at_once = sum(right.values()), sum(whole and not asked[number] for number, whole in right.items())
    low, high = share_interval(hits, len(right))
    return {
        "right": hits, "of": len(right), "value": hits / len(right), "low": low, "high": high, "at_once": at_once,
        "turns_right": sum(one.right for one in outcomes), "turns": len(outcomes),
    }  # fmt: skip


def behaviour_bars(found: dict[str, Any]) -> dict[str, Any]:
    """Return the bar of the behaviour sets, by language: at least nine of ten cases are right."""
    bars = {}
    for language, packs in (("Chinese", ("shop_zh", "bank_zh")), ("English", ("bank_en",))):
        measured = [found[pack]["cases"] for pack in packs if pack in found]
        if measured:
            hits, of = (sum(one[name] for one in measured) for name in ("right", "of"))
            bars[f"behaviour cases with the right action, {language}"] = _least(hits / of, 0.9, *share_interval(hits, of))
    return bars


def dialogues(split: str, limit: int | None) -> dict[str, Any]:
    """Measure slots and scripted users on dialogues of Schema-Guided Dialogue."""
    opened, _ = product("bank_en", limit)
    rows = service_dialogues.read(training.data().parent / "sgd_banks" / f"{split}.jsonl")
    found = {
        "split": split,
        "time_limit": limit,
        "slots": service_dialogues.joint_accuracy(opened, rows),
        "slots_chosen": service_dialogues.joint_accuracy(opened, rows, chooses=True),
        "users": service_dialogues.success(opened, rows),
    }
    whole = found["users"]["success"]
    return found | {"bars": {"tasks of scripted users that succeed": _least(whole["value"], 0.9, whole["low"], whole["high"])}}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["intents", "few", "few-both", "behaviour", "dialogues"])
    parser.add_argument("--packs", nargs="+", choices=PACKS, default=list(PACKS))
    parser.add_argument("--split", default="test", choices=["train", "dev", "test"], help="dialogues: another split is a trial")
    parser.add_argument("--limit", type=int, help="seconds that a training may take instead of the time limit of the pack")
    parser.add_argument("--again", action="store_true", help="train again")
    options = parser.parse_args()
    if options.again:
        shutil.rmtree(WORK, ignore_errors=True)
    results: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    if options.part == "behaviour":
        packs = results.get("behaviour", {}).get("packs", {}) | behaviour(options.packs, options.limit)
        found: dict[str, Any] = {"packs": packs, "bars": behaviour_bars(packs)}
    else:
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "intents": lambda: intents(options.limit or LIMIT, few=False), "few": lambda: intents(options.limit or LIMIT, few=True),
            "few-both": lambda: intents(options.limit or LIMIT, few=True, few_valid=True),
            "dialogues": lambda: dialogues(options.split, options.limit),
        }  # fmt: skip
        found = parts[options.part]()
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if options.split == "test":
        OUT.write_text(json.dumps(results | {options.part: found | {"machine": training.machine(1)}}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
