"""How much of a start goes into hashing files and into comparing reference outputs; `python benchmarks/integrity.py HOME [--exact]`.

HOME holds live models. Each of five processes loads all of them and answers one text. Prints the median processor seconds as JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

CODE = """
import json, sys, time
began = time.process_time()
from vertune.answering.service import AnswerOptions, AnswerService, example_record
from vertune.core import integrity
from vertune.core.artifact import Home
from vertune.runtime.fleet import Deployment

spent = {}

def timed(name, function):
    def call(*given, **options):
        started = time.process_time()
        try:
            return function(*given, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - started
    return call

for name in ("cached_hash", "checksum"):
    setattr(integrity, name, timed(name, getattr(integrity, name)))
Deployment.check = timed("reference", Deployment.check)
with AnswerService.open(Home(sys.argv[1]), options=AnswerOptions(threads=1, exact="--exact" in sys.argv)) as service:
    deployments = service.fleet.deployments
    name, deployment = next(iter(deployments.items()))
    service.ask(name, [example_record(deployment, "Where is my card?")])
    print(json.dumps({**spent, "models": len(deployments), "all": time.process_time() - began}))
"""


def main() -> None:
    command = [sys.executable, "-c", CODE, *sys.argv[1:]]
    runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    median = {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
    hashing = median["cached_hash"] + median["checksum"]
    print(json.dumps({**median, "hashing": f"{hashing / median['all']:.1%}", "references": f"{median['reference'] / median['all']:.1%}"}))


if __name__ == "__main__":
    main()
