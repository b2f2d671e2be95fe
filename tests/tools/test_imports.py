"""An import defines things; it connects to nothing, starts nothing and is light."""

import json
import subprocess
import sys

from tests.support import ROOT, patient

PACKAGES = ("shared", "producer", "worker")
IMPORT_ALL = """
import importlib, json, sys, threading
seen = []
def note(event, args):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
                 "subprocess.Popen", "os.system", "os.fork"):
        seen.append(f"{event} {args[1:2]}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not str(args[0]).endswith((".pyc", ".pyo")) and "__pycache__" not in str(args[0]):
            seen.append(f"writes {args[0]}")
sys.addaudithook(note)
for name in json.load(sys.stdin):
    before = threading.active_count()
    importlib.import_module(name)
    if threading.active_count() > before:
        seen.append(f"{name} starts a thread")
print(json.dumps(seen))
"""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_an_import_only_defines_and_connects_to_nothing():
    examples = sorted((ROOT / "examples").glob("s[1-9]_*.py"))
    files = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    names = [module_name(path) for path in [*files, *examples]]

    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL],  # files of bytecode are not meant
        input=json.dumps(names),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == []


def test_the_import_is_light():
    code = (
        "import sys; import shared.multiprocessing; "
        "print([m for m in ('redis', 'celery', 'kombu') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
