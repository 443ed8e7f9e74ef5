"""Renders the chart with Helm itself, in a process of its own: reads a JSON list of requests, and writes one result for each.

A request has the values that differ from the defaults, and the name of the release. Helm is a library in Go, whose threads would stay in
the process of the tests.
"""

from __future__ import annotations

import json
import sys

import helm_python


def render(chart: helm_python.Chart, values: dict, name: str) -> dict:
    """Return the text that each template makes, or the error with which Helm refuses the values."""
    try:
        chart.validate_schema(values)
        return {"files": chart.render(values, name=name, namespace="models")}
    except helm_python.HelmError as error:
        return {"error": str(error)}


def main() -> None:
    folder = sys.argv[1]
    with helm_python.Chart.load(folder) as chart:
        results = [render(chart, request["values"], request["name"]) for request in json.load(sys.stdin)]
    lint = helm_python.lint(folder, strict=True, kube_version="v1.28.0")
    json.dump({"results": results, "lint": lint}, sys.stdout)


if __name__ == "__main__":
    main()
