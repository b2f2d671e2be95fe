"""The one image that all services share."""

import json

from tests.stack.conftest import run


def shell(image, script):
    return run("docker", "run", "--rm", "--network=none", "--read-only", image, "sh", "-c", script)


def test_it_is_nobody_in_particular(image):
    config = json.loads(run("docker", "inspect", "--format", "{{json .Config}}", image))

    assert config["User"] == "10001:10001"
    assert shell(image, "id -u").strip() == "10001"


def test_it_has_no_compiler_and_no_tests(image):
    assert shell(image, "command -v cc gcc c++ make ld || true") == ""
    assert sorted(shell(image, "ls /app").split()) == ["examples", "producer", "shared", "worker"]


def test_its_code_is_compiled_since_it_cannot_be_later(image):
    sources = shell(image, "find /app -name '*.py'").split()
    compiled = shell(image, "find /app -name '*.pyc'").split()

    assert sources
    assert len(compiled) == len(sources)


def test_it_keeps_nothing_that_nobody_should_read(image):
    history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)

    assert "password=" not in history.lower()
    assert shell(image, "find /run/passwords -type f") == ""


def test_producer_is_a_command(image):
    assert "send" in shell(image, "producer --help")
