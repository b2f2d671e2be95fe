"""The Kubernetes manifests: valid by Kubernetes' own schemas, and what they promise."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from shared.pools import PoolKind

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [
    thing
    for name in KUSTOMIZATION["resources"]
    for thing in yaml.safe_load_all((FOLDER / name).read_text())
]
PODS = {
    thing["metadata"]["name"]: thing["spec"]["template"]["spec"]
    for thing in OBJECTS
    if "template" in thing.get("spec", {})
}


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("thing", OBJECTS, ids=lambda t: f"{t['kind']}-{t['metadata']['name']}")
def test_every_manifest_is_valid(thing, version):
    kubernetes_validate.validate(thing, version, strict=True)


def test_every_manifest_is_listed():
    listed = {FOLDER / name for name in KUSTOMIZATION["resources"]}

    assert set((FOLDER / "kubernetes").glob("*.yaml")) == listed


def test_there_is_a_worker_for_each_pool_and_what_they_need():
    assert set(PODS) == {kind.value for kind in PoolKind} | {"redis", "flower", "metrics"}
    for kind in PoolKind:
        (container,) = PODS[kind.value]["containers"]
        assert {f"--pool={kind.value}", f"--queues={kind.value}"} <= set(container["command"])


@pytest.mark.parametrize("name", PODS)
def test_every_pod_is_hardened_and_limited(name):
    pod = PODS[name]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert "readinessProbe" in container


@pytest.mark.parametrize("name", PODS)
def test_every_secret_and_setting_that_is_named_is_made(name):
    secrets = {one["name"] for one in KUSTOMIZATION["secretGenerator"]}
    settings = {one["name"] for one in KUSTOMIZATION["configMapGenerator"]}
    pod = PODS[name]

    named = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert named
    assert named <= secrets
    for container in pod["containers"]:
        assert {e["configMapRef"]["name"] for e in container.get("envFrom", [])} <= settings


def test_whoever_speaks_to_redis_is_let_in():
    (policy,) = [thing for thing in OBJECTS if thing["kind"] == "NetworkPolicy"]
    (source,) = policy["spec"]["ingress"][0]["from"]
    label = source["podSelector"]["matchLabels"]
    for thing in OBJECTS:
        labels = thing.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
        if labels and labels["app"] != "redis":
            assert label.items() <= labels.items()
