"""The manifest of `deploy/kubernetes`: the schema of Kubernetes, and what a gateway needs."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from tests.rig.code_calls import ROOT
from transport.cli.config_file import read_toml
from transport.daemon.milestones import FLUSH_TIMEOUT

MANIFEST = ROOT / "deploy" / "kubernetes" / "telgw.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
LABELS = {"app.kubernetes.io/name": "telgw"}


def one(kind: str, name: str = "telgw") -> dict[str, Any]:
    return next(item for item in OBJECTS if (item["kind"], item["metadata"]["name"]) == (kind, name))


POD = one("StatefulSet")["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
OPTIONS = tomllib.loads(one("ConfigMap")["data"]["telgw.toml"])


@pytest.mark.parametrize("version", ["1.28", "1.33"])
@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_an_object_fits_the_schema(item: dict[str, Any], version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    schemas.validate(item, version, strict=True)


def test_the_options_are_those_of_the_gateway(tmp_path: Any) -> None:
    file = tmp_path / "telgw.toml"
    file.write_text(one("ConfigMap")["data"]["telgw.toml"])
    assert read_toml(file)["listen"] == ["0.0.0.0:5027"]


def test_a_pod_has_time_to_stop_in_order() -> None:
    before = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] >= before + OPTIONS["shutdown-timeout"] + 2 * FLUSH_TIMEOUT


def test_the_probes_ask_the_pages_of_the_gateway() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert OPTIONS["metrics"].endswith(f":{ports['metrics']}")
    assert OPTIONS["listen"] == [f"0.0.0.0:{ports['devices']}"]


def test_devices_keep_their_addresses_and_one_gateway_ends_at_a_time() -> None:
    service = one("Service")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one("StatefulSet")["spec"]["serviceName"] == one("Service", "telgw-pods")["metadata"]["name"]
    for item in OBJECTS[1:]:
        selector = item["spec"]["selector"]
        assert selector.get("matchLabels", selector) == LABELS


def test_a_pod_has_no_rights_that_it_does_not_need() -> None:
    assert (POD["automountServiceAccountToken"], POD["securityContext"]["runAsNonRoot"]) == (False, True)
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_url_of_redis_is_a_secret() -> None:
    given = {item["name"]: item.get("value") for item in CONTAINER["env"]}
    mounts = {item["name"]: item["mountPath"] for item in CONTAINER["volumeMounts"]}
    secret = next(volume for volume in POD["volumes"] if "secret" in volume)
    assert given["TELGW_REDIS_FILE"].startswith(mounts[secret["name"]])
    assert "redis://" not in MANIFEST.read_text(encoding="utf-8")
