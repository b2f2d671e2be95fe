"""Three workers of three pools around one Redis, each command and check as the compose file has it."""

import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
    RedisContainer,
)
from pytest_docker_tools import container, fxtr

from shared.pools import PoolKind
from tests.stack.conftest import REDIS_IMAGE, health
from tests.support import patient, wait_until

SECOND_NS = 1_000_000_000
# As many at once as one worker has room for, and as many again that wait in its queue.
ROOM = 4


@pytest.fixture
def default_redis_broker_image():
    return REDIS_IMAGE


# Its /data in memory: the image would otherwise leave a nameless volume behind for each test.
default_redis_broker = container(
    image="{default_redis_broker_image}",
    ports=fxtr("default_redis_broker_ports"),
    environment=fxtr("default_redis_broker_env"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=RedisContainer,
    command=fxtr("default_redis_broker_command"),
    tmpfs={"/data": ""},
    timeout=int(patient(60)),
)


@pytest.fixture
def celery_broker_cluster(celery_redis_broker):
    return CeleryBrokerCluster(celery_redis_broker)


@pytest.fixture
def celery_backend_cluster(celery_redis_broker):
    # One Redis for both, as in the stack.
    return CeleryBackendCluster(CeleryTestBackend(celery_redis_broker.container))


@pytest.fixture
def worker_env(celery_redis_broker):
    return {
        "REDIS_URL": celery_redis_broker.config()["url"],
        "HEALTH_FILE": "/tmp/consuming",
        **{f"{kind.value.upper()}_CONCURRENCY": str(ROOM) for kind in PoolKind},
    }


def worker_container(kind):
    """A container fixture for one worker, as hard as the compose file makes it."""

    @pytest.fixture(name=f"{kind.value}_command")
    def command(compose_file):
        return compose_file["services"][kind.value]["command"]

    @pytest.fixture(name=f"{kind.value}_health")
    def health_check(compose_file):
        # Looked at more often than there, so that the tests need not wait.
        check = {"interval": SECOND_NS, "timeout": 5 * SECOND_NS, "retries": 2}
        return {"test": compose_file["services"][kind.value]["healthcheck"]["test"], **check}

    class Container(CeleryWorkerContainer):
        @classmethod
        def worker_name(cls):
            return kind.value

        @classmethod
        def worker_queue(cls):
            return kind.value

    worker = container(
        image="{image}",
        command=fxtr(f"{kind.value}_command"),
        healthcheck=fxtr(f"{kind.value}_health"),
        environment=fxtr("worker_env"),
        network="{default_pytest_celery_network.name}",
        wrapper_class=Container,
        init=True,
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        timeout=int(patient(60)),
    )
    return command, health_check, worker


prefork_command, prefork_health, prefork_worker = worker_container(PoolKind.PREFORK)
threads_command, threads_health, threads_worker = worker_container(PoolKind.THREADS)
gevent_command, gevent_health, gevent_worker = worker_container(PoolKind.GEVENT)


@pytest.fixture
def celery_worker_cluster(prefork_worker, threads_worker, gevent_worker, celery_setup_app):
    containers = (prefork_worker, threads_worker, gevent_worker)
    return CeleryWorkerCluster(*(CeleryTestWorker(one, app=celery_setup_app) for one in containers))


@pytest.fixture
def app(celery_setup):
    """A plain Celery client: it knows the names of tasks and queues, and nothing else."""
    assert len(celery_setup.worker_cluster) == len(PoolKind)
    yield celery_setup.app
    celery_setup.app.close()


@pytest.fixture
def workers(celery_setup):
    return {worker.worker_name: worker for worker in celery_setup.worker_cluster}


def states(results):
    return [result.state for result in results]


def test_each_pool_runs_what_is_sent_to_its_queue(app, workers):
    sent = {name: app.send_task("printcount", (3,), queue=name) for name in workers}

    values = {name: result.get(timeout=patient(30)) for name, result in sent.items()}

    assert {name: value[0] for name, value in values.items()} == dict.fromkeys(workers, 3)
    for name, worker in workers.items():
        # The line that a task has succeeded comes after its result.
        wait_until(
            lambda worker=worker: worker.logs().count("Task printcount[") == 2,
            what="both lines, received and succeeded,",
        )
        assert sent[name].id in worker.logs()


def test_a_worker_told_to_stop_finishes_what_runs_and_leaves_the_rest(app, workers):
    sent = {
        name: [app.send_task("sleep", (4,), queue=name) for _ in range(2 * ROOM)]
        for name in workers
    }
    for name, results in sent.items():
        started = lambda results=results: states(results).count("STARTED") == ROOM  # noqa: E731
        wait_until(started, within_s=20, what=f"{ROOM} tasks run on {name}")

    for worker in workers.values():
        worker.kill("SIGTERM", reload_container=False)
    for name, worker in workers.items():
        wait_until(lambda w=worker: ended(w) is not None, within_s=30, what=f"{name} stops")

    assert {name: ended(worker) for name, worker in workers.items()} == dict.fromkeys(workers, 0)
    for results in sent.values():
        assert sorted(states(results)) == ["PENDING"] * ROOM + ["SUCCESS"] * ROOM
    for worker in workers.values():
        worker.container._container.start()
    for results in sent.values():
        assert [result.get(timeout=patient(60)) for result in results] == [4] * (2 * ROOM)


def ended(worker):
    """The exit code; None while it runs."""
    worker.container.reload()
    state = worker.container.attrs["State"]
    return None if state["Running"] else state["ExitCode"]


def test_a_worker_without_redis_is_unhealthy_and_well_again_with_it(app, workers, celery_setup):
    redis = celery_setup.broker.container._container
    wait_for_health(workers, "healthy")

    redis.pause()
    try:
        wait_for_health(workers, "unhealthy")
    finally:
        redis.unpause()

    wait_for_health(workers, "healthy")
    later = [app.send_task("sleep", (0,), queue=name) for name in workers]
    assert [result.get(timeout=patient(30)) for result in later] == [0, 0, 0]


def wait_for_health(workers, wanted):
    for name, worker in workers.items():
        wait_until(
            lambda w=worker: health(w.container.id) == wanted,
            within_s=60,
            what=f"{name} is {wanted}",
        )
