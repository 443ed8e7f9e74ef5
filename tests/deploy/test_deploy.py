"""Files for operating a server: alerts fire and resolve, metrics exist, schemas accept manifests, services are locked down."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.server.conftest import admin

from vertune import __version__

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
TESTED = sorted(DEPLOY.glob("alerts*_test.yaml"))
METRIC = re.compile(r"\bvertune_[a-z_]+")


def documents(path: Path) -> list[dict]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def alerts() -> list[dict]:
    return [rule for group in documents(DEPLOY / "alerts.yaml")[0]["groups"] for rule in group["rules"]]


def run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, cwd=DEPLOY, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_each_alert_fires_and_resolves() -> None:
    run("promtool", "check", "rules", "alerts.yaml")
    run("promtool", "test", "rules", *(path.name for path in TESTED))


def test_each_alert_is_tested_in_both_ways_and_described() -> None:
    cases = [case for path in TESTED for test in documents(path)[0]["tests"] for case in test["alert_rule_test"]]
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in alerts():
        name = rule["alert"]
        fired = [int(case["eval_time"][:-1]) for case in cases if case["alertname"] == name and case["exp_alerts"]]
        quiet = [int(case["eval_time"][:-1]) for case in cases if case["alertname"] == name and not case["exp_alerts"]]
        assert fired and quiet, name  # noqa: PT018
        assert max(quiet) > max(fired), f"{name} resolves"
        assert f"| `{name}` |" in page, f"docs/operations.md does not say what to do when {name} fires"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical", "{{ $labels.severity }}"}, "its own, or that of the metric"


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_alerts_and_the_dashboard_name_metrics_that_exist(home, start, fleet) -> None:
    running = start(home, admin(home))
    assert running.predict("intent", "a").status_code == 200
    running.predict("nobody", "a")
    models = [one.id for one in fleet.shelf("models") if one.manifest_or_empty["name"] == "intent"]
    other = next(one for one in models if one != fleet.aliases()["intent@live"])
    running.ask.post("/v1/verticals/intent/rollout", json={"model": other, "mode": "shadow"})
    page = running.ask.get("/metrics").text
    dashboard = json.loads((DEPLOY / "grafana" / "vertune.json").read_text())
    asked = {name for rule in alerts() for name in METRIC.findall(rule["expr"])}
    asked |= {name for panel in dashboard["panels"] for target in panel["targets"] for name in METRIC.findall(target["expr"])}
    assert len(asked) > 15
    families = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    for name in asked:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert {name, base, name.removesuffix("_total")} & families, name
    reasons = {match for rule in alerts() for match in re.findall(r'reason="(\w+)"', rule["expr"])}
    source = "".join(path.read_text() for path in (ROOT / "src" / "vertune" / "server").rglob("*.py"))
    assert all(f'"{reason}"' in source for reason in reasons)


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana" / "vertune.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("path", [*MANIFESTS, DEPLOY / "copy-home.yaml"], ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["1.28", "1.33"])
def test_manifests_are_what_kubernetes_expects(path, version) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_pods_may_do_little_and_are_found() -> None:
    everything = [document for path in MANIFESTS for document in documents(path)]
    kinds = {document["kind"]: document for document in everything}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds.keys()
    spec = kinds["Deployment"]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert container["image"] == f"vertune:{__version__}"
    assert "replicas" not in kinds["Deployment"]["spec"], "an update would set back what the autoscaler chose"
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = kinds[kind]["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels.items()
    assert kinds["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"] == "vertune_queued_tokens"
    listed = documents(DEPLOY / "kubernetes" / "kustomization.yaml")[0]["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def test_the_pod_that_copies_homes_is_like_a_server_and_gets_no_requests() -> None:
    pod = documents(DEPLOY / "copy-home.yaml")[0]
    server = documents(DEPLOY / "kubernetes" / "deployment.yaml")[0]["spec"]["template"]
    copier, served = pod["spec"]["containers"][0], server["spec"]["containers"][0]
    assert (copier["image"], copier["volumeMounts"]) == (served["image"], served["volumeMounts"])
    assert copier["securityContext"] == served["securityContext"]
    assert copier["env"][0] == served["env"][0]
    assert pod["spec"]["volumes"] == server["spec"]["volumes"]
    assert pod["spec"]["securityContext"].items() <= server["spec"]["securityContext"].items()
    assert not server["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()


def test_nothing_kills_a_server_that_is_stopping() -> None:
    from vertune.server import polling, run
    from vertune.store import jobs, writer

    longest = run._DRAIN_TIMEOUT + run._CLOSE_TIMEOUT + polling._ENDING + jobs.LEASE.total_seconds() + writer._CLOSING + 1
    pod = documents(DEPLOY / "kubernetes" / "deployment.yaml")[0]["spec"]["template"]["spec"]
    first = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert first > 0
    assert pod["terminationGracePeriodSeconds"] >= first + longest
    service = documents(DEPLOY / "compose.yaml")[0]["services"]["vertune"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= longest
    unit = (DEPLOY / "vertune.service").read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= longest
    image = (DEPLOY / "Dockerfile").read_text()
    assert int(re.findall(r"--stop-timeout (\d+)", image)[0]) >= longest


def test_extras_of_images_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = (DEPLOY / "Dockerfile").read_text() + (DEPLOY / "compose.yaml").read_text()
    named = re.findall(r"EXTRAS[=:]-?(?:.*:-)?([a-z][a-z,]*)", texts)
    assert {"serve,postgres,search", "serve,postgres,search,train,minilm,zh"} <= set(named)
    assert {extra for names in named for extra in names.split(",")} <= extras.keys()


def test_servers_have_what_an_app_needs() -> None:
    """The packages that the modules of apps import, which the lines of pyproject.toml name, but for readers, which a product needs once."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    needed, extra = set(), ""
    for line in lines:
        extra = match[1] if (match := re.match(r"([a-z-]+) = \[", line)) else extra
        needed |= {extra} if re.search(r"# .*\b(retrieval|dialogue|products|apps|store)/", line) else set()
    assert {"search", "serve"} <= needed
    image = re.search(r"^ARG EXTRAS=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[1]
    composed = re.search(r"VERTUNE_EXTRAS:-([a-z,]+)", (DEPLOY / "compose.yaml").read_text())[1]
    unit = re.search(r"has vertune\[([a-z,]+)\]", (DEPLOY / "vertune.service").read_text())[1]
    assert needed <= set(image.split(","))
    assert needed <= set(composed.split(","))
    assert needed - {"postgres"} <= set(unit.split(",")), "its database is a file, unless /etc/vertune.env names another one"


def test_prometheus_reads_pods_as_the_job_of_the_alerts(tmp_path) -> None:
    config = documents(DEPLOY / "prometheus.yaml")[0]
    job = config["scrape_configs"][0]
    assert f'job="{job["job_name"]}"' in (DEPLOY / "alerts.yaml").read_text()
    labels = documents(DEPLOY / "kubernetes" / "deployment.yaml")[0]["spec"]["template"]["metadata"]["labels"]
    chosen = next(rule for rule in job["relabel_configs"] if rule.get("action") == "keep")
    assert chosen["source_labels"] == ["__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", name) for name in labels]
    assert [chosen["regex"]] == list(labels.values())
    del job["kubernetes_sd_configs"]  # Debian's promtool is built without it
    (tmp_path / "alerts.yaml").write_text((DEPLOY / "alerts.yaml").read_text())
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    run("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yaml"))


def test_the_image_runs_as_nobody_and_serves() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    command = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    assert services["vertune"]["read_only"]
    assert services["vertune"]["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in services["vertune"]["ports"])
    container = documents(DEPLOY / "kubernetes" / "deployment.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    assert command == container["args"]
    from vertune.server.settings import changed

    changed({"host": "0.0.0.0", "behind_proxy": True, "log": "json"}, []).check()  # what the command asks for is allowed


def test_the_service_of_systemd_is_locked_down(tmp_path) -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "vertune.service")
    service = dict(unit["Service"])
    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "ProtectHome", "RestrictNamespaces"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["Restart"] == "always"
    checked = tmp_path / "vertune.service"
    checked.write_text((DEPLOY / "vertune.service").read_text().replace("/opt/vertune/bin/vertune", "/bin/true"))
    run("systemd-analyze", "verify", str(checked))
