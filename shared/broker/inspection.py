"""The read-only mailbox through which Flower asks the workers.

Celery's own mailbox accepts every remote control command, including ``shutdown``, ``revoke`` and
``add_consumer``. A client that may publish there can end workers, or make them consume any list.
Flower publishes to this mailbox instead. Workers answer only `METHODS` here, and only into a list
whose name ends with `REPLIES`.
"""

NAMESPACE = "inspect"
# kombu's names for the exchange of the commands, and for the exchange of the answers.
EXCHANGE = f"{NAMESPACE}.pidbox"
REPLIES = f"reply.{NAMESPACE}.pidbox"
# Celery's inspect commands that change nothing. Flower's pages show their answers.
METHODS = (
    "active",
    "active_queues",
    "conf",
    "registered",
    "reserved",
    "revoked",
    "scheduled",
    "stats",
)
# The lifetime of an answer that nobody reads.
ANSWER_KEPT_S = 60
