"""Flower's configuration file: ``flower --conf=.../flowerconfig.py``.

Flower reads its password from an argument, the environment or this file. Only this file can read
the password from a secret file, so that neither ``ps`` nor ``docker inspect`` shows it. Each
lower-case name below is one of Flower's options.
"""

from shared.app import app as _app
from shared.broker import inspection as _inspection
from shared.settings import current, read_secret

_settings = current()

# Flower changes nothing: it sends and revokes no task, resizes no pool, and stops no worker.
# `celery control` and `producer` do that.
read_only = True
enable_events = False  # workers send events anyway while a client listens
# Flower's Redis user may use this mailbox only. Without an expiry, kombu records a queue in two
# sets with exact names. With an expiry, kombu runs a script that could delete any key.
_app.conf.update(
    control_exchange=_inspection.NAMESPACE, control_queue_expires=None, event_queue_expires=None
)

# `cookie_secret` keeps its default, a random value. It signs OAuth sessions only, and this login
# is HTTP basic authentication without a session.
basic_auth: list[str] = []
if _settings.flower_password_file is not None:
    _password = read_secret("FLOWER_PASSWORD_FILE", _settings.flower_password_file)
    basic_auth = [f"{_settings.flower_user}:{_password}"]

# The list of tasks shows arguments and results too.
tasks_columns = "name,uuid,state,args,kwargs,result,received,runtime,worker"

persistent = _settings.flower_state_file is not None
db = str(_settings.flower_state_file or "flower")
# Flower saves its state at its end. After a kill it has lost this many milliseconds.
state_save_interval = 60_000

# Flower keeps tasks in memory, about 5 KiB each, and pickles all of them at each save.
max_tasks = 20_000
# Each new container has a new name. Flower forgets a lost node, and its metrics, after this many
# seconds.
purge_offline_workers = 600
