"""docker-compose.yml and Dockerfile, checked without an engine at hand.

The compose file is validated against the compose specification's own schema (tests/schemas/README.md); the rest is what
we ask of a deployment: nothing runs as root, everything is watched, nothing secret is written down.
"""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from django.core.management import get_commands

from tests.container_files import compose, copied_from_repository, dockerfile, is_pinned, sent_to_build
from tests.product_source import ROOT, declared_settings

SERVICES = compose()["services"]
OURS = ("migrate", "web", "worker", "beat")
STORES = ("postgres", "redis")
ONE_SHOT = ("migrate",)
INTERPOLATED = re.compile(r"\$\{([A-Z_]+)(:[-?][^}]*)?\}")
SECRET_NAME = re.compile(r"(SECRET|PASSWORD|TOKEN|CREDENTIAL|_KEY)")


def test_compose_file_meets_the_specification():
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    problems = [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(compose())]
    assert problems == []


def test_schema_refuses_a_wrong_file():
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    wrong = {"services": {"web": {"image": "x", "healthchek": {}}}}
    assert not jsonschema.Draft7Validator(schema).is_valid(wrong)


def test_services_are_those_that_we_ship():
    assert set(SERVICES) == {*OURS, *STORES}


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name):
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("root", "0", "")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert is_pinned(service["image"])


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONE_SHOT])
def test_long_running_service_is_watched_and_comes_back(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check.keys() >= {"interval", "timeout", "start_period", "retries"}
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_migration_runs_once_and_first():
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("web", "worker", "beat"):
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_web_is_one_process_that_does_not_wait_for_redis():
    assert "redis" not in SERVICES["web"]["depends_on"]
    assert not {"deploy", "scale"} & SERVICES["web"].keys()


def test_dependencies_and_volumes_are_declared():
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert used == set(compose()["volumes"])


def test_only_the_web_process_is_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"web"}
    assert all(port.startswith("127.0.0.1:") for port in published["web"])


@pytest.mark.parametrize("name", OURS)
def test_environment_of_ours_is_made_of_settings(name):
    assert set(SERVICES[name]["environment"]) <= declared_settings().keys()


def test_secrets_come_from_the_environment_and_are_required():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET_NAME.search(name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
    assert "${POSTGRES_PASSWORD:?" in SERVICES["web"]["environment"]["DATABASE_URL"]


def test_every_variable_of_the_compose_file_is_in_the_example_and_the_reverse():
    text = (ROOT / "docker-compose.yml").read_text()
    example = re.findall(r"^#?([A-Z_]+)=", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE)
    assert {name for name, _ in INTERPOLATED.findall(text)} == set(example)


@pytest.mark.parametrize("name", OURS)
def test_command_exists(name):
    command = SERVICES[name]["command"]
    if command[:2] == ["python", "manage.py"]:
        assert command[2] in get_commands()
    else:
        assert command[:3] == ["celery", "-A", "riskapp"]
        assert command[3] in ("worker", "beat")


def test_image_runs_as_a_numbered_user_and_is_watched():
    last_stage = max(step.stage for step in dockerfile())
    steps = {step.keyword: step.arguments for step in dockerfile() if step.stage == last_stage}
    uid = steps["USER"].split(":")[0]
    assert uid.isdigit() and int(uid) > 0
    assert steps["HEALTHCHECK"].startswith("--interval") and "/livez" in steps["HEALTHCHECK"]
    assert "gcc" not in steps["RUN"]
    assert SERVICES["web"]["user"] == steps["USER"]


def test_image_and_compose_start_the_same_command():
    last = [step for step in dockerfile() if step.keyword == "CMD"][-1]
    assert json.loads(last.arguments) == SERVICES["web"]["command"]


def test_image_is_built_from_pinned_bases_without_secrets():
    assert all(is_pinned(step.arguments.split()[0]) for step in dockerfile() if step.keyword == "FROM")
    assert not [step for step in dockerfile() if step.keyword in ("ARG", "ENV") and SECRET_NAME.search(step.arguments)]


def test_what_the_image_copies_exists_and_reaches_the_build():
    copied = copied_from_repository()
    assert {"kernels", "inference_core", "scoring", "admin_ui", "riskapp", "manage.py"} <= set(copied)
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert [path for path in copied if not sent_to_build(path)] == []


@pytest.mark.parametrize(
    "path", [".env", ".git/config", ".venv/bin/python", "var/secret_key", "kernels/_native.so", "tests/conftest.py"]
)
def test_private_and_built_files_stay_out_of_the_build(path):
    assert not sent_to_build(path)


@pytest.mark.parametrize(
    ("image", "pinned"),
    [("a:18.1", True), ("a/b:8.1-alpine", True), ("a:latest", False), ("a", False), ("a:18", False)],
)
def test_pinned_means_a_minor_version(image, pinned):
    assert is_pinned(image) is pinned
