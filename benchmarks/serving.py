"""Serving on one machine: what HTTP adds, what a request costs, beside its peers, and a hundred verticals in one process.

    python benchmarks/serving.py                     every part that was not measured with this very code yet, so a killed run goes on
    python benchmarks/serving.py --only lone many    these parts, measured again
    python benchmarks/serving.py --quick             a trial of everything in short, into benchmarks/.work/serving/quick.json

Servers run as `vertune serve` on loopback with answers not kept, and with as many threads as they take by themselves; load comes
from benchmarks/load.py, a process of its own on the same processors, whose own work is said. Sides take turns, and who waits for
its turn is stopped. A bar is judged by the median of its rounds. Models are made by benchmarks/matrix.py, peers started by
benchmarks/peers.py, which needs VERTUNE_INFINITY_PYTHON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import in_process
import load
import matrix
import peers
import training
from servers import Pace, Side, bar, brief, busy, key, limited, p50, rate, serving, source, stopped, turn, turns, written

OUT = training.HERE / "results" / "serving.json"
TRIAL = matrix.WORK / "quick.json"
ALONE = ("bank-lora", "bank-head")
"""The verticals that single figures are of: one that changes the top two layers, one that is a head alone."""
CLIENTS = 32
COUNTS = (1, 10, 100, 300)
"""Verticals in a process."""
CUSTOMERS = 3
TIMES = 5
"""Of its capacity, that an overloaded server is asked."""
DEADLINE = 2.0


QUICK = Pace(2, 0.6, 96, 6.0)


# ── one vertical ─────────────────────────────────────────────────────────────────────────────────────────────────────


def limits(pace: Pace) -> dict[str, Any]:
    """What the machine does at most: an empty round trip over HTTP, products of float32 matrices, copies of memory."""
    import numpy as np

    with serving(matrix.trained(), ALONE) as side:
        empty = side.at("/health/live")
        trips = {f"{clients} clients": brief([empty.load(clients, pace.seconds, method="GET")]) for clients in (1, CLIENTS)}
    source = np.ones(1 << 26, np.float32)
    target = np.empty_like(source)
    copies = [in_process.seconds(lambda: np.copyto(target, source)) for _ in range(8)]
    threads = range(1, len(os.sched_getaffinity(0)) + 1)
    return {
        "empty_round_trip": trips,
        "float32_products_per_second": {str(count): training.rate(count, "float32") for count in threads},
        "copied_bytes_per_second": source.nbytes / min(copies[1:]),
    }


def lone(pace: Pace) -> dict[str, Any]:
    """Milliseconds that HTTP adds to one text of a client that is alone, over the same vertical in this process."""
    home, texts, found = matrix.trained(), peers.texts(), {}
    with serving(home, ALONE) as server:
        for name in ALONE:
            inside, side = in_process.Verticals(home, [name]), server.of(name)
            side.load(1, 1.0)
            in_process.calls(inside.answer, texts, 0.5)
            asked, called, trips = [], [], []
            for _ in range(pace.rounds):
                asked.append(side.load(1, pace.seconds))
                trips.append(side.at("/health/live").load(1, pace.seconds / 4, method="GET"))
                with stopped(side):
                    called.append(statistics.median(in_process.calls(inside.answer, texts, pace.seconds)))
            more = [1000 * (p50(over) - within) for over, within in zip(asked, called, strict=True)]
            found[name] = {"milliseconds_more": more, "http": brief(asked), "in_process_p50": statistics.median(called)}
            found[name] |= {"empty_round_trip_p50": statistics.median(map(p50, trips)), "threads": inside.threads}
    return {"bars": {name: bar(one["milliseconds_more"], 2.0) for name, one in found.items()}, **found}


def saturation(pace: Pace) -> dict[str, Any]:
    """Processor seconds of the server for a text, by 32 clients, in times of those that its graph takes at its best batch size."""
    home, found = matrix.trained(), {}
    with serving(home, ALONE) as server:
        for name in ALONE:
            side = server.of(name)
            with stopped(side):
                raw = in_process.Raw(home, name, peers.texts(pace.texts), CLIENTS)
            side.load(CLIENTS, 1.0)
            asked, bare = [], []
            for _ in range(pace.rounds):
                asked.append(side.load(CLIENTS, pace.seconds))
                with stopped(side):
                    bare.append(raw.measure())
            over = [one["server_cpu_per_answer"] for one in asked]
            times = {order: in_process.ratios(over, [one[order] for one in bare]) for order in raw.orders}
            found[name] = {
                "times": times,
                "http": brief(asked),
                "threads": raw.verticals.threads,
                "best_size": raw.best,
                "tried": raw.tried,
            }
            found[name]["seconds_a_text"] = {order: statistics.median(one[order] for one in bare) for order in raw.orders}
    bars = {f"{name}, texts {order}": bar(times, 1.33) for name, one in found.items() for order, times in one["times"].items()}
    return {"bars": bars, **found}


def half(pace: Pace) -> dict[str, Any]:
    """The slowest answers of a hundred over the middle one, at half the rate that saturates the server; arrivals at random."""
    found = []
    with serving(matrix.trained(), ALONE) as server:
        side = server.of(ALONE[0])
        side.load(CLIENTS, 1.0)
        for number in range(pace.rounds):
            most = rate(side.load(CLIENTS, pace.seconds))
            found.append(side.load(CLIENTS, 3 * pace.seconds, rate=most / 2, seed=number) | {"saturated": most})
    tails = [one["answered"]["p99"] / p50(one) for one in found]
    return {"bars": {"p99 over p50": bar(tails, 5.0)}, "http": brief(found), "rounds": found}


# ── beside peers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def infinity(pace: Pace) -> dict[str, Any]:
    """Vectors of the base from Infinity and from here, both in 8 bits; by their own number of threads, then on one."""
    bodies = written("embeddings", [{"model": "plain", "input": [text]} for text in peers.texts()])
    bars, found = {}, {}
    for threads in ("own", "1"):
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(
                serving(matrix.trained("bare", ["bank-head"]), ["plain"], *(["threads=1"] if threads == "1" else []))
            )
            peer = stack.enter_context(limited(threads, lambda: peers.start("infinity")))
            theirs = Side(peer.process, peer.url, peer.bodies(peers.texts(), matrix.WORK / "infinity.jsonl"))
            sides = {"ours": ours.at("/v1/embeddings", bodies), "infinity": theirs}
            one, many = turns(sides, 1, pace), turns(sides, CLIENTS, pace)
            if threads == "own":
                found["cosines_with_float32"] = {name: cosines(side, min(50, pace.texts)) for name, side in sides.items()}
        latency = [p50(a) / p50(b) for a, b in zip(one["ours"], one["infinity"], strict=True)]
        speed = [rate(a) / rate(b) for a, b in zip(many["ours"], many["infinity"], strict=True)]
        bars |= {f"p50 of one client, threads: {threads}": bar(latency, 0.4)}
        bars |= {f"requests a second of {CLIENTS} clients, threads: {threads}": bar(speed, 1.6, least=True)}
        found[f"threads: {threads}"] = {name: {"1 client": brief(one[name]), f"{CLIENTS} clients": brief(many[name])} for name in sides}
    return {"bars": bars, "versions": peers.versions("infinity"), **found}


def cosines(side: Side, count: int) -> dict[str, float]:
    """Of a server's vectors with those of the base in float32: the least and the mean."""
    import numpy as np

    kept = matrix.WORK / "kept.jsonl"
    load.run(side.url, side.bodies, clients=1, requests=count, keep=kept)
    told = np.array([json.loads(line)["answer"]["data"][0]["embedding"] for line in kept.read_text().strip().split("\n")])
    true = matrix.vectors(peers.texts(count))
    found = (told * true).sum(1) / np.linalg.norm(told, axis=1) / np.linalg.norm(true, axis=1)
    return {"least": float(found.min()), "mean": float(found.mean())}


def pipeline(pace: Pace) -> dict[str, Any]:
    """Answers a second of a model with the head of its family, beside FastAPI and transformers.pipeline on the same model."""
    home, right = matrix.trained(), matrix.truth(2 * pace.texts)
    bars, found, said = {}, {}, {}
    for threads in ("own", "1"):
        with serving(home, ["bank-native"]) as server, limited(threads, lambda: peers.start("pipeline", matrix.exported(home))) as peer:
            theirs = Side(peer.process, peer.url, peer.bodies(peers.texts(), matrix.WORK / "pipeline.jsonl"))
            sides = {"ours": server.of("bank-native"), "pipeline": theirs}
            one, many = turns(sides, 1, pace), turns(sides, CLIENTS, pace)
            said = said or {name: spoken(side, sides, len(right)) for name, side in sides.items()}
        speed = [rate(a) / rate(b) for a, b in zip(many["ours"], many["pipeline"], strict=True)]
        bars[f"requests a second of {CLIENTS} clients, its threads: {threads}"] = bar(speed, 6.0, least=True)
        found[f"its threads: {threads}"] = {name: {"1 client": brief(one[name]), f"{CLIENTS} clients": brief(many[name])} for name in sides}
    return {
        "bars": bars, "versions": peers.versions("pipeline"), "texts": len(right),
        "same_label": in_process.same(said["ours"], said["pipeline"]),
        "accuracy": {name: in_process.same(labels, right) for name, labels in said.items()}, **found,
    }  # fmt: skip


def spoken(side: Side, sides: dict[str, Side], count: int) -> list[str]:
    """The labels that a server gives to the first texts."""
    kept = matrix.WORK / "kept.jsonl"
    with turn(side, list(sides.values())):
        load.run(side.url, side.bodies, clients=8, requests=count, keep=kept)
    answers = [json.loads(line)["answer"] for line in kept.read_text().strip().split("\n")]
    return [answer["answers"][0]["label"] if "answers" in answer else answer["label"] for answer in answers]


# ── many verticals ───────────────────────────────────────────────────────────────────────────────────────────────────


def names(count: int, prefix: str = "v") -> list[str]:
    """So many untrained verticals."""
    return [f"{prefix}{place:03d}" for place in range(count)]


def asking(several: Sequence[Sequence[str]], count: int = 3000) -> Path:
    """Requests of one text each for these verticals, one group a request, in turn."""
    texts = peers.texts()
    bodies = [{"verticals": several[place % len(several)], "texts": [texts[place % len(texts)]]} for place in range(count)]
    return written(f"asking-{len(several)}-{len(several[0])}", bodies)


def memory(pace: Pace) -> dict[str, Any]:
    """Megabytes of resident memory for each vertical more in one process, each with LoRA on the top two layers."""
    home, seen = matrix.untrained("top"), {count: [] for count in COUNTS}
    for _ in range(min(3, pace.rounds)):
        for count, found in seen.items():
            found.append(resident(home, count, pace))
    matrix.live(home, names(COUNTS[2]))
    held = {count: [one["bytes"] for one in found] for count, found in seen.items()}
    each = {count: [(a - b) / (count - 1) / 1e6 for a, b in zip(held[count], held[1], strict=True)] for count in COUNTS[1:]}
    grown = {count: statistics.median(values) * (count - 1) for count, values in each.items()}
    return {
        "bars": {f"megabytes for each of {COUNTS[2]} more": bar(each[COUNTS[2]], 0.7)},
        "megabytes_each": each,
        "exponent": math.log(grown[COUNTS[3]] / grown[COUNTS[2]]) / math.log((COUNTS[3] - 1) / (COUNTS[2] - 1)),
        "verticals": {str(count): {key: statistics.median(one[key] for one in found) for key in found[0]} for count, found in seen.items()},
    }


def resident(home: Any, count: int, pace: Pace) -> dict[str, float]:
    """Bytes of a server of so many verticals after each was asked, seconds of its start, and its work while nobody asks."""
    matrix.live(home, names(count))
    started = time.monotonic()
    with serving(home) as server:
        ready = time.monotonic() - started
        side = server.at("/v1/predict", asking([[name] for name in names(count)]))
        load.run(side.url, side.bodies, clients=CLIENTS, requests=3000 if pace.rounds > 2 else 600)
        held, before = load.resident(server.process.pid), load.process_cpu(server.process.pid)
        time.sleep(2 * pace.seconds)
        idle = (load.process_cpu(server.process.pid) - before) / (2 * pace.seconds)
    return {"bytes": held, "seconds_to_ready": ready, "idle_share_of_a_processor": idle}


def spread(pace: Pace) -> dict[str, Any]:
    """Answers a second with requests for all of a hundred verticals, in times of the same graph with one; and three ways to mix."""
    bars, found = {}, {}
    for kind, (limit, about) in {"top": (0.85, "LoRA on the top two layers"), "all": (0.65, "LoRA on all layers")}.items():
        home = matrix.untrained(kind)
        matrix.live(home, names(100))
        mixed = in_process.spread(home, peers.texts(pace.texts // 2), pace.rounds)
        with serving(home, ["v000"]) as one, serving(home) as many:
            sides = {
                "one": one.at("/v1/predict", asking([["v000"]])),
                "all": many.at("/v1/predict", asking([[name] for name in names(100)])),
            }
            rounds = turns(sides, CLIENTS, pace)
        http = [rate(a) / rate(b) for a, b in zip(rounds["all"], rounds["one"], strict=True)]
        bars |= {f"{about}, {size}": bar(told["ratios"], limit, least=True) for size, told in mixed.items()}
        bars[f"{about}, {CLIENTS} clients"] = bar(http, limit, least=True)
        found[kind] = {"lane": mixed, "http": {name: brief(told) for name, told in rounds.items()}}
    found["ways_to_mix"] = in_process.strategies(matrix.untrained("top"), peers.texts(pace.texts // 2), pace.rounds)
    return {"bars": bars, **found}


def many(pace: Pace) -> dict[str, Any]:
    """The time of one text asked of 20 verticals, in times of one vertical's; by 20 requests too."""
    home, bars, found = matrix.untrained("top"), {}, {}
    texts = peers.texts(max(5, pace.texts // 16))
    matrix.live(home, [*names(20), *names(20, "h")])
    with serving(home) as server:
        for prefix, (limit, about) in {"h": (1.5, "heads alone"), "v": (8.0, "LoRA on the top two layers")}.items():
            group = names(20, prefix)
            sides = {"one": server.at("/v1/predict", asking([group[:1]])), "all": server.at("/v1/predict", asking([group]))}
            rounds = turns(sides, 1, pace)
            apart = server.at("/v1/predict", asking([[name] for name in group]))
            at_once = [20 / rate(apart.load(20, pace.seconds)) for _ in range(pace.rounds)]
            with stopped(server):
                bars[f"{about}, in process"] = bar(in_process.many(home, prefix, texts, pace.rounds), limit)
            bars[f"{about}, over HTTP"] = bar([p50(a) / p50(b) for a, b in zip(rounds["all"], rounds["one"], strict=True)], limit)
            found[about] = {name: brief(told) for name, told in rounds.items()} | {
                "20_requests_one_by_one_in_times_of_one_for_all": 20 * p50_of(rounds["one"]) / p50_of(rounds["all"]),
                "20_requests_at_once_in_times_of_one_for_all": statistics.median(at_once) / p50_of(rounds["all"]),
            }  # fmt: skip
    matrix.live(home, names(100))
    return {"bars": bars, **found}


def p50_of(rounds: Sequence[dict[str, Any]]) -> float:
    """The median of the rounds."""
    return statistics.median(map(p50, rounds))


def mixed(pace: Pace) -> dict[str, Any]:
    """Trained verticals in mixed batches beside each alone: of all their texts, with the lowest and the highest vertical."""
    found = in_process.agreement(6 * pace.texts)
    small = [one for one in found.values() if one["served_in"] == "int8"]
    texts = sum(one["texts"] for one in small)

    def share(of: str) -> dict[str, Any]:
        return bar([one[of] for one in small], 0.995, True, sum(one[of] * one["texts"] for one in small) / texts)

    gaps = [one["largest_gap_in_float32"] for one in found.values()]
    return {
        "bars": {
            "same label as alone in float32": share("as_float32_in_torch"), "same label as alone in 8 bits": share("as_alone_in_8_bits"),
            "largest gap in float32": bar(gaps, 1e-4, figure=max(gaps)),
        },
        "verticals": found,
    }  # fmt: skip


# ── too much ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def storing(pace: Pace) -> dict[str, Any]:
    """What storing requests with masked texts costs, beside a server of the same models that stores nothing."""
    home, name = matrix.trained(), ALONE[0]
    with serving(home, [name]) as storing, serving(home, [name], "traffic.keep=false") as forgetting:
        sides = {"storing": storing.of(name), "forgetting": forgetting.of(name)}
        many, one = turns(sides, CLIENTS, pace), turns(sides, 1, pace)
    rates = [rate(here) / rate(there) for here, there in zip(many["storing"], many["forgetting"], strict=True)]
    more = [1000 * (p50(here) - p50(there)) for here, there in zip(one["storing"], one["forgetting"], strict=True)]
    bars = {"requests a second of 32 clients": bar(rates, 0.95, least=True), "milliseconds more for one client": bar(more, 0.3)}
    found = {side: {"many": brief(many[side]), "one": brief(one[side])} for side in sides}
    return {"bars": bars, **found}


def overload(pace: Pace) -> dict[str, Any]:
    """A server that is asked five times what it can, by three customers with 32 texts a request, for a minute."""
    home, texts = matrix.trained(), peers.texts()
    bodies = written("batches", [{"texts": texts[start : start + 32]} for start in range(0, len(texts) - 31, 32)])
    (home.folder / "server.db").unlink(missing_ok=True)
    keys = [key(home, f"customer-{place}") for place in range(CUSTOMERS)]
    with serving(home, ALONE[:1], keys=True) as server:
        side = server.at(f"/v1/verticals/{ALONE[0]}/predict", bodies)
        header = [f"Authorization: Bearer {secret}" for secret in keys]
        side.load(8, 1.0, header=header[0])
        most = statistics.median(rate(side.load(8, pace.seconds, header=header[0])) for _ in range(pace.rounds))
        told, sizes = flood(side, header, TIMES * most / CUSTOMERS, pace)
        ready = side.at("/health/ready").load(1, 1.0, method="GET")
    later = sizes[len(sizes) // 4 :]
    slope = statistics.linear_regression([at for at, _ in later], [size for _, size in later]).slope
    answered, refused = ([one[what]["p99"] for one in told if one[what]] for what in ("answered", "refused"))
    return {
        "bars": {
            "p99 of answers, seconds": bar(answered, DEADLINE), "p99 of refusals, seconds": bar(refused, 0.05),
            "memory at the end, in times of a quarter on": bar([size / later[0][1] for _, size in later], 1.05),
        },
        "texts_per_second_at_most": 32 * most, "answered_texts_per_second": 32 * sum(map(rate, told)), "seconds": pace.overload,
        "megabytes_grown_a_minute": 60 * slope / 1e6, "megabytes": [round(size / 1e6, 1) for _, size in sizes],
        "failures": sum(one["failures"] + one["unanswered"] for one in told), "ready_afterwards": ready["codes"], "customers": told,
    }  # fmt: skip


def flood(side: Side, headers: Sequence[str], each: float, pace: Pace) -> tuple[list[dict[str, Any]], list[tuple[float, int]]]:
    """The loads of customers that all ask at once, so many requests a second each, and the server's memory on the way."""
    deadline, told = f"X-Deadline-Ms: {1000 * DEADLINE:.0f}", []
    options = {"clients": 8, "seconds": pace.overload, "rate": each}

    def ask(place: int) -> None:
        told.append(load.run(side.url, side.bodies, header=[headers[place], deadline], seed=place, **options))

    asking = [threading.Thread(target=ask, args=(place,)) for place in range(len(headers))]
    started, sizes = time.monotonic(), []
    for thread in asking:
        thread.start()
    while any(thread.is_alive() for thread in asking):
        sizes.append((time.monotonic() - started, load.resident(side.process.pid)))
        time.sleep(min(2.0, pace.overload / 12))
    return told, sizes


# ── all of it ────────────────────────────────────────────────────────────────────────────────────────────────────────

PARTS: dict[str, Callable[[Pace], dict[str, Any]]] = {
    "limits": limits, "lone": lone, "saturation": saturation, "half": half, "infinity": infinity, "pipeline": pipeline, "memory": memory,
    "spread": spread, "many": many, "mixed": mixed, "storing": storing, "overload": overload,
}  # fmt: skip


def measured(name: str, pace: Pace) -> dict[str, Any]:
    """One part, with when and on what it was measured."""
    share, started = busy(), time.monotonic()
    if share > 0.1:
        print(f"  {name}: others use {share:.0%} of the processors; figures will be off", flush=True)
    found = PARTS[name](pace)
    told = {"busy_before": share, "seconds": time.monotonic() - started, "source": source()}
    return found | {"machine": training.machine(len(os.sched_getaffinity(0))) | told}


def show(name: str, found: dict[str, Any]) -> None:
    """One part as a person reads it."""
    print(f"{name}: {found['machine']['seconds']:.0f} s", flush=True)
    for about, one in found.get("bars", {}).items():
        spanned = f"{one['figure']:.4g} ({one['low']:.4g} to {one['high']:.4g})"
        print(f"  {'met ' if one['met'] else 'MISSED'} {about}: {spanned}, at {one['is']} {one['bar']:g}", flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="measure these, also where they are measured")
    parser.add_argument("--quick", action="store_true", help="a trial in short")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *given: sys.exit("Stopped; the parts that are measured stay."))  # so that servers end as well
    out, pace = (TRIAL, QUICK) if options.quick else (OUT, Pace())
    matrix.all_of_them()
    results = json.loads(out.read_text()) if out.exists() else {}
    for name in options.only or PARTS:
        if not options.only and results.get(name, {}).get("machine", {}).get("source") == source():
            print(f"{name}: measured with this very code", flush=True)
            continue
        results[name] = measured(name, pace)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
        show(name, results[name])


if __name__ == "__main__":
    main()
