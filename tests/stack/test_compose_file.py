"""What the compose file promises of every container, read as Compose reads it."""

import itertools
import json
import re

import pytest

from shared.pools import PoolKind
from shared.settings import Settings
from tests.stack.conftest import ROOT, Compose, run

# `code` has no container, the other two end by themselves.
ONE_SHOTS = {"code", "passwords", "producer"}
# The health check knows how often the file is touched.
FIXED = {"HEALTH_INTERVAL_S"}

HARDENED = {
    "runs as an ordinary user": lambda s: s.get("user", "").split(":")[0] not in {"", "0", "root"},
    "cannot write to its own files": lambda s: s.get("read_only") is True,
    "has no capabilities": lambda s: s.get("cap_drop") == ["ALL"] and "cap_add" not in s,
    "gains no rights": lambda s: "no-new-privileges:true" in s.get("security_opt", []),
    "is not privileged": lambda s: not s.get("privileged"),
    "has an init process": lambda s: s.get("init") is True,
    "rotates its log": lambda s: {"max-size", "max-file"} <= set(s["logging"]["options"]),
}
LIMITED = {
    "has a memory limit": lambda s: int(s.get("mem_limit", 0)) > 0,
    "has a limit of processes": lambda s: int(s.get("pids_limit", 0)) > 0,
    "has its time to stop": lambda s: seconds(s.get("stop_grace_period")) >= 10,
}
LASTING = {
    "has a health check": lambda s: bool(s.get("healthcheck", {}).get("test")),
    "comes back": lambda s: s.get("restart") == "unless-stopped",
}


def seconds(duration):
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration or "").groups()
    return 60 * int(minutes or 0) + int(rest or 0)


@pytest.fixture
def services(compose_file):
    return compose_file["services"]


def offenders(services, holds):
    return sorted(name for name, service in services.items() if not holds(service))


@pytest.mark.parametrize("promise", HARDENED)
def test_every_service(services, promise):
    assert offenders(services, HARDENED[promise]) == []


@pytest.mark.parametrize("promise", LIMITED)
def test_every_service_with_a_container(services, promise):
    running = {name: service for name, service in services.items() if name != "code"}

    assert offenders(running, LIMITED[promise]) == []


@pytest.mark.parametrize("promise", LASTING)
def test_every_lasting_service(services, promise):
    lasting = {name: service for name, service in services.items() if name not in ONE_SHOTS}

    assert offenders(lasting, LASTING[promise]) == []


def test_redis_can_be_reached_by_day_six_alone(compose_file):
    redis = compose_file["services"]["redis"]

    assert not redis.get("ports")
    assert list(redis["networks"]) == ["broker"]
    assert compose_file["networks"]["broker"]["internal"] is True


def test_redis_keeps_everything_it_was_given(services):
    command = " ".join(services["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert any(volume["target"] == "/data" for volume in services["redis"]["volumes"])


def test_only_flower_and_metrics_are_published_and_on_loopback_only(services):
    published = {
        name: [port["host_ip"] for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }

    assert published == {"flower": ["127.0.0.1"], "metrics": ["127.0.0.1"]}


def test_a_password_is_named_by_its_file_only(services):
    variables = {name for service in services.values() for name in service.get("environment") or {}}

    assert {
        name for name in variables if "PASSWORD" in name and not name.endswith("_FILE")
    } == set()


def test_a_password_is_mounted_where_it_is_needed_only(services):
    flower = {
        name
        for name, service in services.items()
        for volume in service.get("volumes", [])
        if volume["source"] == "flower-password"
    }

    assert flower == {"flower", "passwords"}


def test_only_the_passwords_service_can_write_a_password(services):
    writers = {
        name
        for name, service in services.items()
        for volume in service.get("volumes", [])
        if volume["source"].endswith("-password") and not volume.get("read_only")
    }

    assert writers == {"passwords"}


@pytest.mark.parametrize("kind", PoolKind)
def test_a_worker_is_an_ordinary_celery_command_with_its_own_pool_and_queue(services, kind):
    command = services[kind.value]["command"]

    assert command[:3] == ["celery", "--app=worker", "worker"]
    assert f"--pool={kind.value}" in command
    assert f"--queues={kind.value}" in command
    assert f"--hostname={kind.value}@%h" in command


@pytest.mark.parametrize("kind", PoolKind)
def test_a_worker_has_time_for_the_longest_task_that_it_promises_to_finish(services, kind):
    assert seconds(services[kind.value]["stop_grace_period"]) >= 60


@pytest.mark.parametrize("kind", PoolKind)
def test_a_workers_health_check_starts_no_interpreter(services, kind):
    check = " ".join(services[kind.value]["healthcheck"]["test"])

    assert not re.search(r"python|celery|producer", check)


def test_the_producer_is_not_started_by_up(services):
    started = {name for name, service in services.items() if not service.get("profiles")}

    assert "producer" not in started
    assert {"redis", "flower", *map(str, PoolKind)} <= started


def test_each_setting_can_be_set_for_the_containers(services):
    passed = set(services["prefork"]["environment"]) | set(services["flower"]["environment"])

    assert {name.upper() for name in Settings.model_fields} - passed == FIXED


def test_each_module_that_it_names_can_be_imported(services, image):
    names = set()
    for service in services.values():
        words = [*(service.get("entrypoint") or []), *(service.get("command") or [])]
        for word, following in itertools.pairwise([*words, ""]):
            if word == "-m":
                names.add(following)
            elif word.startswith("--app="):
                names.add(word.removeprefix("--app=") + ".celery")
            elif word.startswith("--conf=/app/"):
                names.add(word.removeprefix("--conf=/app/").removesuffix(".py").replace("/", "."))
            elif word == "producer":
                names.add("producer.__main__")

    run(
        "docker",
        "run",
        "--rm",
        "--network=none",
        image,
        "python",
        "-c",
        f"import {', '.join(names)}",
    )

    assert {"shared.passwords", "worker.celery", "worker.endpoint", "worker.flowerconfig"} <= names


def test_what_it_mounts_and_watches_exists(services):
    paths = {
        volume["source"]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    }
    paths |= {rule["path"] for rule in services["code"]["develop"]["watch"]}

    assert f"{ROOT}/examples" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.fixture
def web(tmp_path):
    """The service of docs/web.md, as Compose reads it beside ours."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "web.md").read_text(), re.DOTALL)
    override = tmp_path / "docker-compose.override.yml"
    override.write_text(text)
    files = ("--file", "docker-compose.yml", "--file", str(override))
    return json.loads(Compose(ROOT)(*files, "config", "--format", "json"))["services"]["web"]


@pytest.mark.parametrize("promise", [*HARDENED, *LIMITED, "comes back"])
def test_the_web_application_of_the_page_is_as_safe_as_the_producer(web, promise):
    assert {**HARDENED, **LIMITED, **LASTING}[promise](web)


def test_the_web_application_of_the_page_starts_with_up_and_reaches_redis(web):
    assert not web.get("profiles")
    assert [port["host_ip"] for port in web["ports"]] == ["127.0.0.1"]
    assert set(web["networks"]) == {"broker", "default"}
    assert web["environment"]["REDIS_URL"] == "redis://producer@redis:6379/0"
    assert web["environment"]["REDIS_GONE_S"] == "2"
