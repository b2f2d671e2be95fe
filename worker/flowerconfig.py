"""Flower's configuration, in the file form it has for it: ``flower --conf=.../flowerconfig.py``.

Flower reads a password from its arguments, from the environment or from here. Only here can it
come out of a file, where neither ``ps`` nor ``docker inspect`` shows it. Each lower-case name
below is one of Flower's options.
"""

from shared.app import app as _app
from shared.broker import inspection as _inspection
from shared.settings import current, read_secret

_settings = current()

# Flower shows, and changes nothing: no task sent or revoked, no pool resized, no worker told to
# consume another queue or to stop. `celery control` and `producer` do these.
read_only = True
enable_events = False  # workers send them anyway, as soon as anybody listens
# Flower's user of Redis may ask by this mailbox only. Without an expiry, what kombu notes of a
# queue is two plain sets, by exact names; with one it is a script that may delete any.
_app.conf.update(
    control_exchange=_inspection.NAMESPACE, control_queue_expires=None, event_queue_expires=None
)

# Left at its default on purpose: `cookie_secret`, random at each start. It signs OAuth sessions
# only, and this login is HTTP basic, without a session.
basic_auth: list[str] = []
if _settings.flower_password_file is not None:
    _password = read_secret("FLOWER_PASSWORD_FILE", _settings.flower_password_file)
    basic_auth = [f"{_settings.flower_user}:{_password}"]

# What a task was called with and what it gave, in the list itself.
tasks_columns = "name,uuid,state,args,kwargs,result,received,runtime,worker"

persistent = _settings.flower_state_file is not None
db = str(_settings.flower_state_file or "flower")
# Flower saves at its end; killed, it loses this much (in milliseconds).
state_save_interval = 60_000

# All in memory, about 5 KiB each, and pickled at each save.
max_tasks = 20_000
# A container's name is new each time it is made: forget, after this many seconds, the nodes that
# are gone, and their metrics with them.
purge_offline_workers = 600
