"""The Helm chart makes the manifests of deploy/kubernetes, each value does something, and what it makes is what Kubernetes expects."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.deploy.test_deploy import DEPLOY, MANIFESTS, documents, run

from vertune import __version__
from vertune.server.settings import changed
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys

CHART = DEPLOY / "helm" / "vertune"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FREE = {"settings", "nodeSelector", "affinity", "podAnnotations", "podLabels", "annotations", "labels", "tlsConfig", "resources"}
"""Values whose content is that of the user, or of Kubernetes."""
ALL = {
    "image": {"repository": "registry.example.com/vertune", "tag": "1.2.3", "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]},
    "resources": {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"memory": "8Gi", "cpu": "2500m"}},
    "home": {"storageClass": "nfs"},
    "settings": {
        "memory": 4294967296, "rate": "600/minute", "exact": True, "limits": {"deadline": 12.5, "body": 16777216}, "jobs": {"cores": 2},
    },
    "plans": "plans:\n  free: {requests: 50000000, rate: 60/minute}\ndefault: free\n",
    "sources": "news: {name: csv, path: /data/news.csv}\n",
    "watch": "every: 30m\nchannels:\n  - {name: webhook, url: 'https://chat.example.com/hook', secret_env: ALERT_SECRET}\n",
    "chat": "actions:\n  track_order: {url: 'https://shop.example.com/hooks/orders', secret_env: ORDERS_SECRET}\n",
    "extraArgs": ["support"],
    "environment": [{"name": "NEWS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "news", "key": "password"}}}],
    "tls": {"secret": "vertune-tls"},
    "service": {"annotations": {"example.com/pool": "internal"}},
    "ingress": {
        "enabled": True, "className": "nginx", "host": "models.example.com", "tlsSecret": "models-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "100m"},
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "egress": [{"ports": [{"port": 4318}]}],
    },
    "monitoring": {
        "serviceMonitor": {
            "enabled": True, "secret": "metrics", "labels": {"release": "prometheus"}, "tlsConfig": {"serverName": "models"},
        },
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "backup": {"enabled": True, "claim": "backups"},
    "serviceAccount": {"create": True, "name": "models", "annotations": {"example.com/owner": "ml"}},
    "podAnnotations": {"example.com/team": "ml"},
    "podLabels": {"team": "ml"},
    "priorityClassName": "serving",
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "models", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
            }
        }
    },
    "extraVolumes": [{"name": "news", "persistentVolumeClaim": {"claimName": "news"}}],
    "extraVolumeMounts": [{"name": "news", "mountPath": "/data", "readOnly": True}],
}  # fmt: skip
SETS = {
    "defaults": {},
    "all": ALL,
    "fixed": {"autoscaling": {"enabled": False}, "replicas": 3},
    "single": {
        "autoscaling": {"enabled": False}, "replicas": 1, "database": {"secret": ""}, "home": {"accessModes": ["ReadWriteOnce"]},
        "backup": {"enabled": True, "claim": "backups"},
    },
    "ingress": {"ingress": {"enabled": True, "host": "models.example.com"}},
    "claim": {"home": {"existingClaim": "models"}},
    "secret": {"database": {"secret": "postgres-app", "key": "uri"}, "networkPolicy": {"databasePort": 6432}},
    "open": {"networkPolicy": {"enabled": False}, "disruptionBudget": False, "backup": {"enabled": True, "claim": "backups"}},
}  # fmt: skip
REFUSED = {
    "an unknown value": ({"replica": 3}, "additional properties 'replica' not allowed"),
    "an unknown inner value": ({"home": {"claim": "x"}}, "additional properties 'claim' not allowed"),
    "a negative number": ({"replicas": -1}, "/replicas"),
    "half a server": ({"replicas": 1.5}, "/replicas"),
    "a text as number": ({"autoscaling": {"cpu": "80"}}, "/autoscaling/cpu"),
    "a port that the chart sets": ({"settings": {"port": 9000}}, "invalid propertyName 'port'"),
    "a list as setting": ({"settings": {"jobs": {"cores": [2]}}}, "/settings/jobs"),
    "a file of the watch as setting": ({"settings": {"watch": "watch.yaml"}}, "invalid propertyName 'watch'"),
    "plans that are no text": ({"plans": {"default": "free"}}, "/plans"),
    "an ingress without a host": ({"ingress": {"enabled": True}}, "/ingress/host"),
    "a monitor without a key": ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "/monitoring/serviceMonitor/secret"),
    "backups without a claim": ({"backup": {"enabled": True}}, "/backup/claim"),
    "no backups kept": ({"backup": {"keep": 0}}, "/backup/keep"),
    "a schedule of four fields": ({"backup": {"schedule": "17 2 * *"}}, "/backup/schedule"),
    "a size without a unit that exists": ({"home": {"size": "20GB"}}, "/home/size"),
    "a name with capitals": ({"database": {"secret": "Vertune"}}, "/database/secret"),
    "a number as label": ({"podLabels": {"team": 1}}, "/podLabels/team"),
    "a policy that does not exist": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    "several servers with SQLite": ({"database": {"secret": ""}}, "several servers can't share SQLite"),
    "two servers with SQLite": (
        {"database": {"secret": ""}, "autoscaling": {"enabled": False}, "replicas": 2}, "several servers can't share SQLite",
    ),
}  # fmt: skip


def leaves(values: dict, path: tuple[str, ...] = ()):
    """Yield each value with its path; the content of free values is one."""
    for name, value in values.items():
        if isinstance(value, dict) and name not in FREE:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def merged(values: dict, more: dict) -> dict:
    both = {name: merged(values[name], more[name]) for name in values.keys() & more.keys() if isinstance(more[name], dict)}
    return {**values, **more, **both}


def at(values: dict, path: tuple[str, ...]):
    for name in path:
        values = values[name]
    return values


def set_at(path: tuple[str, ...], value) -> dict:
    for name in reversed(path):
        value = {name: value}
    return value


def helm(requests: list[dict]) -> dict:
    """Render the chart with values, once for each request."""
    if importlib.util.find_spec("helm_python") is None:
        pytest.skip("helm-python-sdk, which contains Helm, is not installed: pip install -e '.[dev]'")
    script = Path(__file__).with_name("render.py")
    done = subprocess.run(
        [sys.executable, script, CHART], input=json.dumps(requests), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(result: dict) -> list[str]:
    assert "files" in result, result
    return [text for name, text in sorted(result["files"].items()) if name.endswith(".yaml")]


def objects(result: dict) -> list[dict]:
    return [one for text in texts(result) for one in yaml.safe_load_all(text) if one]


def without_helm(value):
    """Remove the labels and annotations that Helm asks charts for, and what is empty then."""
    if not isinstance(value, dict):
        return [without_helm(one) for one in value] if isinstance(value, list) else value
    added = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}
    kept = {name: without_helm(one) for name, one in value.items() if name not in added and not name.startswith("helm.sh/")}
    return {name: one for name, one in kept.items() if name != "annotations" or one}


def by_name(found: list[dict]) -> dict[tuple[str, str], dict]:
    named = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(named) == len(found), "two objects have one name"
    return named


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict]:
    requests = [{"values": values, "name": "vertune"} for values in SETS.values()]
    return dict(zip(SETS, helm(requests)["results"], strict=True))


@pytest.fixture(scope="module")
def everything(rendered) -> dict[tuple[str, str], dict]:
    return by_name(objects(rendered["all"]))


def server_of(found: dict) -> tuple[dict, dict]:
    spec = found["Deployment", "vertune"]["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def test_the_chart_makes_the_manifests(rendered) -> None:
    made = by_name([without_helm(one) for one in objects(rendered["defaults"])])
    expected = by_name([document for path in MANIFESTS for document in documents(path)])
    assert made.keys() == expected.keys()
    for name, document in expected.items():
        assert made[name] == document, name


def test_helm_finds_no_fault() -> None:
    lint = helm([])["lint"]
    assert lint["total_charts_linted"] == 1
    assert lint["errors"] == []
    assert [message["error"] for message in lint["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.28", "1.33"])
@pytest.mark.parametrize("name", SETS)
def test_objects_are_what_kubernetes_expects(rendered, name, version) -> None:
    native = [one for one in objects(rendered[name]) if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert len(native) > 3
    for one in native:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.fixture(scope="module")
def refused() -> dict[str, dict]:
    requests = [{"values": values, "name": "vertune"} for values, _ in REFUSED.values()]
    return dict(zip(REFUSED, helm(requests)["results"], strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_can_not_work_are_refused(refused, name) -> None:
    assert REFUSED[name][1] in refused[name].get("error", "")


def other(value):
    """Return another value of the same type, which the schema allows for most values."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return f"1{value}" if value[:1].isdigit() else f"{value}x"
    return []


def test_each_value_changes_what_is_made(rendered) -> None:
    special = {
        ("replicas",): {"autoscaling": {"enabled": False}, "replicas": 5},
        ("home", "accessModes"): {"home": {"accessModes": ["ReadWriteOnce"]}},
        ("image", "pullPolicy"): {"image": {"pullPolicy": "Never"}},
        ("service", "type"): {"service": {"type": "NodePort"}},
        ("monitoring", "serviceMonitor", "interval"): {"monitoring": {"serviceMonitor": {"interval": "15s"}}},
        ("backup", "schedule"): {"backup": {"schedule": "@daily"}},
    }
    compared = {"replicas": merged(ALL, {"autoscaling": {"enabled": False}})}
    full = merged(DEFAULTS, ALL)
    requests, paths = [], [path for path, _ in leaves(DEFAULTS)]
    for path in paths:
        value = at(full, path)
        change = special.get(path) or set_at(path, None if isinstance(value, dict) else other(value))
        requests += [{"values": compared.get(path[0], ALL), "name": "vertune"}, {"values": merged(ALL, change), "name": "vertune"}]
    results = helm(requests)["results"]
    for path, before, after in zip(paths, results[::2], results[1::2], strict=True):
        assert texts(before) != texts(after), f"{'.'.join(path)} changes nothing"


def test_templates_use_the_values_that_exist() -> None:
    used = {
        tuple(name.split("."))
        for path in (CHART / "templates").iterdir()
        for name in re.findall(r"\.Values\.([A-Za-z][A-Za-z.]*[A-Za-z])", path.read_text())
    }
    known = {path for path, _ in leaves(DEFAULTS)}
    assert used == known


def test_each_value_is_described() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    inside = 0
    for above, line in pairwise(lines):
        indent = len(line) - len(line.lstrip())
        if inside and indent >= inside:
            continue  # the content of a free value
        inside = 0
        if name := re.match(r" *(\w+):", line):
            assert above.strip().startswith("# "), f"{line} has no description above it"
            assert above.endswith("."), line
            inside = indent + 2 if name[1] in FREE else 0


def test_the_schema_knows_the_same_values() -> None:
    def compare(values: dict, schema: dict, where: str) -> None:
        assert schema["additionalProperties"] is False, where
        assert schema["properties"].keys() - {"global"} == values.keys(), where
        for name, value in values.items():
            if isinstance(value, dict) and name not in FREE:
                compare(value, schema["properties"][name], f"{where}.{name}")

    compare(DEFAULTS, SCHEMA, "values")


def test_versions_and_alerts_are_those_of_the_server(everything, tmp_path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert (CHART / "alerts.yaml").read_bytes() == (DEPLOY / "alerts.yaml").read_bytes()
    rules = everything["PrometheusRule", "vertune"]
    assert rules["spec"] == documents(DEPLOY / "alerts.yaml")[0]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules["spec"]))
    run("promtool", "check", "rules", str(file))


def test_the_monitor_reads_metrics_with_a_key_as_the_job_of_the_alerts(everything) -> None:
    monitor = everything["ServiceMonitor", "vertune"]
    service = everything["Service", "vertune"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert f'job="{job}"' in (DEPLOY / "alerts.yaml").read_text()
    endpoint = monitor["spec"]["endpoints"][0]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"] == {"credentials": {"name": "metrics", "key": "key"}}
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"serverName": "models"})
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_server_understands_its_settings_and_files(everything, tmp_path, monkeypatch) -> None:
    from vertune.core.watch import Watch, WatchFile
    from vertune.server.chat.file import ChatFile
    from vertune.server.job_requests import Sources
    from vertune.store.plans import read_plans

    spec, container = server_of(everything)
    args = container["args"]
    settings = changed({}, [args[place + 1] for place, arg in enumerate(args) if arg == "--set"])
    assert (settings.memory, settings.rate, settings.exact) == (4 << 30, "600/minute", True)
    assert (settings.limits.deadline, settings.limits.body, settings.jobs.cores) == (12.5, 16 << 20, 2)
    mounted = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "files")
    assert {"name": "files", "configMap": {"name": "vertune"}} in spec["volumes"]
    files = everything["ConfigMap", "vertune"]["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    watch = Path(args[args.index("--watch") + 1])
    assert {Path(mounted, name) for name in files} == {settings.plans, settings.jobs.sources, settings.chat.file, watch}
    assert [one.called for one in WatchFile.read(tmp_path / watch.name).watch("support", Watch()).channels] == ["webhook"]
    monkeypatch.setenv("ORDERS_SECRET", "s" * 32)
    assert list(ChatFile.read(tmp_path / "chat.yaml").actions) == ["track_order"]
    assert read_plans(tmp_path / "plans.yaml").plans["free"].requests == 50_000_000
    assert Sources.read(tmp_path / "sources.yaml").declared["news"]["path"] == "/data/news.csv"
    assert args[-1] == "support"


def test_new_plans_restart_the_servers_and_nothing_else_does(rendered) -> None:
    other_plans = merged(ALL, {"plans": "plans: {}\n"})
    before, same, after = (
        by_name(objects(one))["Deployment", "vertune"]["spec"]["template"]
        for one in helm([{"values": values, "name": "vertune"} for values in (ALL, ALL, other_plans)])["results"]
    )
    assert before == same
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]
    assert before["spec"] == after["spec"]


def test_tls_up_to_the_server(everything) -> None:
    spec, container = server_of(everything)
    assert "--behind-proxy" not in container["args"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "tls")
    mounted = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "tls")
    assert volume["secret"]["secretName"] == "vertune-tls"
    assert container["args"][container["args"].index("--tls-cert") + 1] == f"{mounted}/tls.crt"
    assert container["args"][container["args"].index("--tls-key") + 1] == f"{mounted}/tls.key"
    assert {container[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("startup", "liveness", "readiness")} == {"HTTPS"}
    address = {"host": "0.0.0.0", "tls": {"cert": f"{mounted}/tls.crt", "key": f"{mounted}/tls.key"}}
    changed({"host": address["host"]}, [f"tls.{name}={file}" for name, file in address["tls"].items()]).check()


def test_one_server_with_sqlite_ends_before_the_next_one_starts(rendered) -> None:
    found = by_name(objects(rendered["single"]))
    deployment = found["Deployment", "vertune"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert "VERTUNE_DATABASE" not in json.dumps(list(found.values()))
    assert ("HorizontalPodAutoscaler", "vertune") not in found
    assert ("PodDisruptionBudget", "vertune") not in found, "it would keep the only server from ever being moved"
    pod = found["CronJob", "vertune-backup"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    term = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["labelSelector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]


def test_an_autoscaler_is_not_set_back_by_an_update(rendered) -> None:
    assert "replicas" not in by_name(objects(rendered["defaults"]))["Deployment", "vertune"]["spec"]
    found = by_name(objects(rendered["fixed"]))
    assert found["Deployment", "vertune"]["spec"]["replicas"] == 3
    assert ("HorizontalPodAutoscaler", "vertune") not in found
    assert ("PodDisruptionBudget", "vertune") in found


def test_claims_and_secrets_that_exist_are_used(rendered) -> None:
    found = by_name(objects(rendered["claim"]))
    assert not [kind for kind, _ in found if kind == "PersistentVolumeClaim"]
    spec, _ = server_of(found)
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "models"}} in spec["volumes"]
    found = by_name(objects(rendered["secret"]))
    _, container = server_of(found)
    assert {"name": "VERTUNE_DATABASE", "valueFrom": {"secretKeyRef": {"name": "postgres-app", "key": "uri"}}} in container["env"]
    assert {"ports": [{"port": 6432}]} in found["NetworkPolicy", "vertune"]["spec"]["egress"]


def test_two_releases_in_one_namespace_share_nothing() -> None:
    requests = [{"values": ALL, "name": name} for name in ("vertune", "staging")]
    first, second = (by_name(objects(one)) for one in helm(requests)["results"])
    names = {name for kind, name in second if kind != "ServiceAccount"}
    assert names == {"staging-vertune", "staging-vertune-home", "staging-vertune-backup"}
    service = second["Service", "staging-vertune"]["spec"]["selector"]
    for found in (first.values(), [second["CronJob", "staging-vertune-backup"]["spec"]["jobTemplate"]]):
        for one in found:
            labels = one["spec"].get("template", {}).get("metadata", {}).get("labels", {}) if "spec" in one else {}
            assert not service.items() <= labels.items()


def test_notes_say_how_to_reach_the_servers(rendered) -> None:
    notes = {name: rendered[name]["files"]["vertune/templates/NOTES.txt"] for name in ("defaults", "all", "claim")}
    assert "port-forward service/vertune 8000:80" in notes["defaults"]
    assert "without encryption" in notes["defaults"]
    assert "https://models.example.com/docs" in notes["all"]
    assert "without encryption" not in notes["all"]
    assert "the claim models." in notes["claim"]


def test_a_release_that_is_removed_leaves_its_models(rendered) -> None:
    claim = by_name(objects(rendered["defaults"]))["PersistentVolumeClaim", "vertune-home"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_backups_are_complete_restorable_and_the_oldest_ones_go(rendered, tmp_path) -> None:
    pod = by_name(objects(rendered["single"]))["CronJob", "vertune-backup"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    home, folder, empty = (tmp_path / name for name in ("home", "backups", "empty"))
    model = home / "models" / "0190" / "manifest.json"
    for one in (model.parent, folder / "unfinished", empty):
        one.mkdir(parents=True)
    model.write_text('{"name": "support"}')
    with closing(Database(home / FILE)) as database:
        Keys(database).create("website", ["predict"])
    old = [folder / f"vertune-2020010{day}T021700Z.tar" for day in range(1, 9)]
    for file in [*old, folder / "unfinished" / "vertune-20200109T021700Z.tar"]:
        file.touch()
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VERTUNE_HOME": str(home)}
    kept = {entry["name"]: entry["value"] for entry in container["env"]}
    subprocess.run(container["command"], cwd=folder, env=environment | kept, check=True, timeout=120, capture_output=True)
    left = sorted(folder.iterdir())
    assert left[:-1] == old[2:], "seven are kept, with the new one"
    assert left[-1].name > old[-1].name

    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    command = re.search(r"sh -c '(cd /home/vertune/home && vertune restore [^']*)'", page)
    assert command is not None
    left[-1].rename(empty / "backup.tar")
    restore = command[1].replace("/home/vertune/home", str(empty))
    subprocess.run(["sh", "-c", restore], env=environment, check=True, timeout=120, capture_output=True)
    assert (empty / model.relative_to(home)).read_text() == model.read_text()
    with closing(Database(empty / FILE)) as database:
        assert len(Keys(database)) == 1
    assert not (empty / "new").exists()
