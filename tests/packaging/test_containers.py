"""The image, the compose file and the Kubernetes manifests fit the code.

They are read, not run: no container engine is asked for.
"""

import re
from typing import Any

import pytest
import yaml

from osbkit.settings import known_names
from tests.packaging.environments import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
BROKER = COMPOSE["services"]["broker"]
MANIFESTS = {
    manifest["kind"]: manifest
    for manifest in yaml.safe_load_all((ROOT / "deploy" / "broker.yaml").read_text())
}
KUSTOMIZATION = yaml.safe_load((ROOT / "deploy" / "kustomization.yaml").read_text())
POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
POD_ENV = {entry["name"]: entry for entry in CONTAINER["env"]}
IMAGE = (ROOT / "Dockerfile").read_text()
IMAGE_ENV = dict(re.findall(r"^(?:ENV)?\s+([A-Z_]+)=(\S+)", IMAGE, re.MULTILINE))


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(BROKER["environment"], id="compose"),
        pytest.param(POD_ENV, id="deployment"),
        pytest.param(IMAGE_ENV, id="image"),
    ],
)
def test_every_setting_exists(environment: dict[str, Any]):
    named = {name for name in environment if name.startswith("OSBKIT_")}

    assert named
    assert named <= set(known_names())


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(BROKER["environment"], id="compose"),
        pytest.param(POD_ENV, id="deployment"),
        pytest.param(IMAGE_ENV, id="image"),
    ],
)
def test_no_password_stands_in_a_file(environment: dict[str, Any]):
    secret = {
        name.removesuffix("_FILE") for name in known_names() if name.endswith("_FILE")
    } - {"OSBKIT_DATABASE_URL", "OSBKIT_CREDENTIALS"}

    assert "OSBKIT_BASIC_PASSWORD" in secret
    assert secret & set(environment) == set()


def test_compose_takes_the_password_from_a_file_outside_the_repository():
    ((name, source),) = COMPOSE["secrets"].items()

    assert BROKER["secrets"] == [name]
    assert set(source) == {"file"}
    assert source["file"].startswith("./secrets/")  # ignored: test_tree
    assert BROKER["environment"]["OSBKIT_BASIC_PASSWORD_FILE"] == f"/run/secrets/{name}"


def test_compose_publishes_on_this_machine_only_and_asks_for_readiness():
    assert BROKER["ports"] == ["127.0.0.1:8080:8080"]
    assert "/health/ready" in " ".join(BROKER["healthcheck"]["test"])


def test_the_state_of_both_lies_on_the_volume():
    database = IMAGE_ENV["OSBKIT_DATABASE_URL"].removeprefix("sqlite:///")
    mounted = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}

    assert database.startswith("/data/")
    assert IMAGE_ENV["QUEUE_BROKER_DIR"].startswith("/data/")
    assert "state:/data" in BROKER["volumes"]
    assert "/data" in mounted


def test_the_image_is_hashed_and_not_root():
    installs = re.findall(r"pip install(?:[^&]|&(?!&))*", IMAGE)

    assert installs
    assert all("--require-hashes" in i or "--no-deps" in i for i in installs)
    assert re.search(r"^USER 10001:10001$", IMAGE, re.MULTILINE)
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == 10001


def test_one_process_at_a_time_serves_the_database():
    spec = MANIFESTS["Deployment"]["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_service_finds_the_pods():
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]

    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels


def test_the_manifests_take_the_secret_that_kustomize_makes():
    (generated,) = KUSTOMIZATION["secretGenerator"]
    files = [name.partition("/") for name in generated["files"]]

    assert {folder for folder, _, _ in files} == {"secrets"}  # ignored: test_tree
    user = POD_ENV["OSBKIT_BASIC_USER"]["valueFrom"]["secretKeyRef"]
    assert user["name"] == generated["name"]
    assert user["key"] in {key for _, _, key in files}
    (mounted,) = (v["secret"] for v in POD["volumes"] if "secret" in v)
    assert mounted["secretName"] == generated["name"]
    assert "Secret" not in MANIFESTS


def test_a_variable_is_declared_before_it_is_used():
    """Kubernetes leaves `$(NAME)` as it stands where NAME comes later."""
    seen: set[str] = set()
    for entry in CONTAINER["env"]:
        used = set(re.findall(r"\$\((\w+)\)", entry.get("value", "")))
        assert used <= seen
        seen.add(entry["name"])


def test_probes_ask_what_the_broker_answers_without_authentication():
    asked = {
        CONTAINER[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert asked == {"/health/live", "/health/ready"}


def test_the_images_version_is_the_projects():
    (image,) = KUSTOMIZATION["images"]

    assert BROKER["image"] == f"{image['name']}:{image['newTag']}"
    assert f'version = "{image["newTag"]}"' in (ROOT / "pyproject.toml").read_text()
