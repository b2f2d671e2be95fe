"""Packages of one's own in the image, and an image of one's own."""

import os
import shutil
import subprocess

import pytest

from tests.stack.conftest import PYTHON_IMAGE, ROOT, SOURCES, run

LOOK = ["python", "-c", "import PIL, celery; print(PIL.__file__)"]


def pillow():
    """What `make packages` writes for Pillow: the lines that the tests' own lock file has."""
    blocks, block = [], []
    for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines():
        if line and line[0] not in " #":
            blocks.append(block)
            block = []
        if not line.lstrip().startswith("#"):
            block.append(line)
    (found,) = (block for block in blocks if block and block[0].startswith("pillow=="))
    return "\n".join(found) + "\n"


def build(folder, tag, **options):
    arguments = ["docker", "build", "--tag", tag, "--build-arg", f"PYTHON_IMAGE={PYTHON_IMAGE}"]
    return subprocess.run(
        [*arguments, str(folder)],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def tag():
    name = f"day-six-own:{os.getpid()}"
    yield name
    subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=False)


@pytest.fixture
def folder(tmp_path):
    for name in (*SOURCES, "Dockerfile", ".dockerignore"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def test_the_image_has_what_extra_txt_pins(folder, tag):
    (folder / "requirements" / "extra.txt").write_text(pillow())

    done = build(folder, tag)

    assert done.returncode == 0, done.stderr
    assert "/venv/" in run("docker", "run", "--rm", "--network=none", "--read-only", tag, *LOOK)


def test_a_hash_that_differs_ends_the_build(folder, tag):
    wrong = pillow().split("\\")[0] + "--hash=sha256:" + "0" * 64 + "\n"
    (folder / "requirements" / "extra.txt").write_text(wrong)

    done = build(folder, tag)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr + done.stdout


# As docs/own-tasks.md has it.
DOCKERFILE = """
FROM {image}
USER root
RUN pip install pillow
USER 10001:10001
"""


def test_an_image_made_from_ours_may_install_packages(image, tmp_path, tag):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(image=image))

    done = build(tmp_path, tag)

    assert done.returncode == 0, done.stderr
    assert "/venv/" in run("docker", "run", "--rm", "--network=none", "--read-only", tag, *LOOK)
    assert run("docker", "run", "--rm", "--network=none", tag, "id", "-u").strip() == "10001"


def test_without_root_the_build_says_so_instead_of_installing_elsewhere(image, tmp_path, tag):
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN pip install pillow\n")

    done = build(tmp_path, tag)

    assert done.returncode != 0
    assert "Permission denied" in done.stderr + done.stdout
