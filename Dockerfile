# One image for everything that Day Six runs; the services differ by command only.
# A mirror or a digest goes here: docker compose build --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
COPY requirements/service.txt requirements/extra.txt /
# Wheels only: nothing is compiled and nothing but the hashed files is run or fetched.
# The environment itself gets no pip.
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement /service.txt --requirement /extra.txt

FROM ${PYTHON_IMAGE}
# A name for the number: getpass.getuser() and the like look it up.
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin daysix \
# A fresh volume takes owner and mode from the directory that it is first mounted over.
 && install --directory --owner 10001 --group 10001 --mode 0700 \
    /run/passwords/redis /run/passwords/worker /run/passwords/producer \
    /run/passwords/flower-redis /run/passwords/beat /run/passwords/flower /var/lib/redis /var/lib/flower
COPY --from=build /venv /venv
COPY shared /app/shared
COPY worker /app/worker
COPY producer /app/producer
COPY examples /app/examples
# PYTHONPATH: the commands in /venv/bin do not look for modules where they are started.
# PYTHONDONTWRITEBYTECODE: the file system is read-only when it runs.
# PIP_PYTHON: `pip install`, in an image of your own that is made FROM this one, installs where
# Day Six looks, and says so where it may not.
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    PIP_PYTHON=/venv/bin/python \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The same entry that `pip install .` writes for [project.scripts]. Byte code is made here since
# it cannot be made later; "unchecked-hash" keeps it good whatever happens to time stamps.
RUN printf '%s\n' '#!/venv/bin/python' 'import sys' 'from producer.__main__ import main' 'sys.exit(main())' \
    > /usr/local/bin/producer \
 && chmod 0755 /usr/local/bin/producer \
 && python -m compileall -q --invalidation-mode unchecked-hash /app
WORKDIR /app
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
