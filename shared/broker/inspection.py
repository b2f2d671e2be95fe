"""How Flower asks workers what they do: a mailbox of its own, which changes nothing.

Celery's own mailbox takes every command of remote control, also ``shutdown``, ``revoke`` and
``add_consumer``. Whoever may publish to it may end workers, or have them consume any list. Flower
publishes to this one instead. A worker answers only `METHODS` here, and answers only into a list
whose name ends with `REPLIES`.
"""

NAMESPACE = "inspect"
# kombu's names for the exchange, and for the exchange of the answers.
EXCHANGE = f"{NAMESPACE}.pidbox"
REPLIES = f"reply.{NAMESPACE}.pidbox"
# What Flower's pages show: Celery's inspect commands that change nothing.
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
# Seconds for which an answer is kept that nobody reads.
ANSWER_KEPT_S = 60
