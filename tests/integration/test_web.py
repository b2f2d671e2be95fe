"""docs/web.md: its programs as running servers, its commands and its examples."""

import contextlib
import doctest
import json
import os
import re
import shlex
import socket
import subprocess
import sysconfig
import threading
import urllib.error
import urllib.request
import uuid

import psutil
import pytest

from tests.support import ROOT, RedisServer, free_port, patient, wait_until

PAGE = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (\S+ .*examples\.web\..*8000)$", PAGE, re.MULTILINE)
PROGRAMS = {re.search(r"web\.(\w+)_app", command)[1]: command for command in COMMANDS}


@contextlib.contextmanager
def serving(command, variables, folder):
    """A command of the page as a process, on a free port; its address and the process."""
    port = str(free_port())
    scripts = sysconfig.get_path("scripts")
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            shlex.split(command.replace("8000", port)),
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **variables,
                "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            },
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"

    def answers():
        assert process.poll() is None, (folder / "server.log").read_text()
        with contextlib.suppress(OSError):
            return ask(f"{url}/nothing")
        return None

    try:
        wait_until(answers, within_s=60, what="the server answers")
        yield url, process
    finally:
        process.terminate()
        process.wait(patient(20))


def ask(url, given=None):
    """The status, the headers and the text of an answer, to JSON if there is any."""
    body = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=patient(60)) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_text_that_is_posted_is_counted_by_a_worker(name, stack, tmp_path):
    with serving(PROGRAMS[name], stack.variables, tmp_path) as (url, process):
        status, headers, text = ask(f"{url}/words", {"text": "to be or not to be"})
        assert status == 202
        assert headers["Location"] == f"/words/{json.loads(text)['id']}"

        def ended():
            status, _, text = ask(url + headers["Location"])
            assert status == 200
            found = json.loads(text)
            return found if found["state"] == "SUCCESS" else None

        found = wait_until(ended, within_s=30, what="the result")
        assert found["result"] == {"to": 2, "be": 2, "or": 1, "not": 1}

        seen = psutil.Process(process.pid)
        assert stack.password_file.read_text() not in f"{seen.environ()} {seen.cmdline()}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_redis_the_answer_is_503_in_one_line_until_it_is_back(name, tmp_path):
    with RedisServer() as redis:
        variables = {"REDIS_URL": redis.url, "REDIS_GONE_S": "1"}
        with serving(PROGRAMS[name], variables, tmp_path) as (url, _):
            waiting = url + ask(f"{url}/words", {"text": "a"})[1]["Location"]
            unknown = f"{url}/words/{uuid.uuid4()}"
            # Nobody knows one from the other.
            assert ask(waiting)[::2] == ask(unknown)[::2]
            assert json.loads(ask(waiting)[2]) == {"state": "PENDING", "result": None}
            assert ask(f"{url}/words/no-id")[0] == 404
            assert ask(f"{url}/words", ["no text"])[0] in (400, 422)
            redis.kill()

            for answer in (ask(f"{url}/words", {"text": "b"}), ask(waiting)):
                assert answer[0] == 503
                assert len(answer[2].splitlines()) == 1
                assert "unavailable" in json.loads(answer[2])["error"]

            redis.start()
            wait_until(lambda: ask(f"{url}/words", {"text": "c"})[0] == 202)


def test_fastapi_answers_others_while_one_request_waits_for_redis(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(patient(30))
        variables = {
            "REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
            "REDIS_TIMEOUT_S": str(patient(5)),
            "REDIS_GONE_S": "1",
        }
        with serving(PROGRAMS["fastapi"], variables, tmp_path) as (url, _):
            look = threading.Thread(target=ask, args=(f"{url}/words/{uuid.uuid4()}",))
            look.start()
            connection, _ = silent.accept()

            ask(f"{url}/openapi.json")

            assert look.is_alive()
            silent.close()
            connection.close()
            look.join()


def test_every_example_of_the_page_does_what_it_says(stack):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    examples = "\n".join(blocks).replace("timeout=30", f"timeout={patient(30):.0f}")
    test = doctest.DocTestParser().get_doctest(examples, {}, "web.md", None, 0)
    said = []

    found = doctest.DocTestRunner().run(test, out=said.append)

    assert found.attempted > 5
    assert found.failed == 0, "".join(said)
