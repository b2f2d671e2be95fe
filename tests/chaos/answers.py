"""What a server says that fails over, loads, is busy or is full: each as a fault to be endured."""

import contextlib
import threading
import time

import redis

from tests.support import free_port

CONFIG = "enable-debug-command yes\nenable-protected-configs yes"


@contextlib.contextmanager
def failover(server):
    """It becomes the replica of a host that is not there, and cuts all connections."""
    server.replicaof("127.0.0.1", free_port())
    cut(server)
    yield
    server.replicaof("NO", "ONE")


@contextlib.contextmanager
def master_down(server):
    """The same, and it answers no reads either."""
    server.config_set("replica-serve-stale-data", "no")
    with failover(server):
        yield
    server.config_set("replica-serve-stale-data", "yes")


@contextlib.contextmanager
def busy(server):
    """Somebody's script does not end."""
    server.config_set("busy-reply-threshold", 50)

    def run():
        with contextlib.suppress(redis.RedisError):
            another(server).eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    while thread.is_alive():
        with contextlib.suppress(redis.ResponseError):
            server.script_kill()
        thread.join(0.1)


@contextlib.contextmanager
def full(server):
    """Its memory is used up."""
    server.config_set("maxmemory", 1)
    yield
    server.config_set("maxmemory", 0)


@contextlib.contextmanager
def no_replicas(server):
    """It may not write without a replica, and has none."""
    server.config_set("min-replicas-to-write", 1)
    yield
    server.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def no_disk(server):
    """It could not write its file."""
    folder = server.config_get("dir")["dir"]
    server.config_set("dir", "/proc")
    server.config_set("save", "3600 1")
    with contextlib.suppress(redis.ResponseError):
        server.save()
    with contextlib.suppress(redis.ResponseError):
        server.bgsave()
    yield
    server.config_set("dir", folder)
    server.config_set("save", "")
    server.save()


@contextlib.contextmanager
def loading(server):
    """It reads its file again, key by key."""
    server.config_set("key-load-delay", 3000)
    server.config_set("loading-process-events-interval-bytes", 1024)

    def reload():
        with contextlib.suppress(redis.RedisError):
            another(server).execute_command("DEBUG", "RELOAD")

    thread = threading.Thread(target=reload)
    thread.start()
    yield
    with contextlib.suppress(redis.BusyLoadingError):
        server.config_set("key-load-delay", 0)
    thread.join()
    server.config_set("key-load-delay", 0)


@contextlib.contextmanager
def scripts_forgotten(server):
    """It forgets all scripts and cuts all connections, again and again."""
    ended = threading.Event()

    def forget():
        while not ended.wait(0.05):
            server.script_flush()
            cut(server)

    thread = threading.Thread(target=forget)
    thread.start()
    yield
    ended.set()
    thread.join()


@contextlib.contextmanager
def no_more_clients(server):
    """It takes no more connections, and cuts those there are."""
    before = server.config_get("maxclients")["maxclients"]
    server.config_set("maxclients", 1)
    cut(server)
    yield
    server.config_set("maxclients", before)


def another(server):
    """A second client, which waits for long."""
    return redis.Redis(port=server.connection_pool.connection_kwargs["port"], socket_timeout=60)


def cut(server):
    """Close all connections but this one."""
    server.client_kill_filter(_type="normal", skipme=True)
    server.client_kill_filter(_type="pubsub", skipme=True)


ALL = {
    "READONLY": failover,
    "MASTERDOWN": master_down,
    "BUSY": busy,
    "OOM": full,
    "NOREPLICAS": no_replicas,
    "MISCONF": no_disk,
    "LOADING": loading,
    "NOSCRIPT": scripts_forgotten,
    "maxclients": no_more_clients,
}


def endure(server, word, seconds):
    """Have the server answer so for a while."""
    with ALL[word](server):
        time.sleep(seconds)
