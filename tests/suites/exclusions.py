"""Tests of Celery and kombu that pass on plain ``redis://`` and not on ours, each with the reason.

A name here is the beginning of ``package/path::test``.
"""

_BOOKS = (
    "looks into `unacked`, the hash in which kombu notes what is not acknowledged after `visibility_"
    "timeout`; here that is recorded while it is taken, under a lease, so a crash in between loses "
    "nothing and no timeout is waited for"
)
_BRPOP = (
    "looks at the reply to a BRPOP that kombu leaves in its socket while no credit is left; here a "
    "take never blocks, and what it brought is kept or goes back to its queue"
)
_BINDINGS = (
    "has the lookup of a queue's binding fail while a message goes back; here a message goes back to "
    "the list it came from, with no lookup that could fail"
)

_SUBSCRIBED = (
    "looks for a subscription from the moment a task is sent; here the result's channel is "
    "subscribed when somebody waits for the result, so that a task whose result nobody wants costs "
    "one command"
)

_TOO_FAST = (
    "clears its flag after it has sent the task, so it fails if the worker receives the task before "
    "that, as ours now and then does"
)

EXCLUDED = {
    "celery/t/integration/test_tasks.py::test_task_replacement::"
    "test_replaced_task_nesting_level_0": _TOO_FAST,
    "kombu/t/integration/test_redis.py::test_RedisRestoreVisible::"
    "test_restore_visible_requeues_expired_unacked": _BOOKS,
    "kombu/t/integration/test_redis.py::test_RedisRestoreAtShutdown::"
    "test_unacked_message_requeued_on_connection_close": _BOOKS,
    "kombu/t/integration/test_redis.py::test_RedisRestoreBindingLookupFailure": _BINDINGS,
    "kombu/t/integration/test_redis_brpop_qos.py": _BRPOP,
    "celery/t/integration/test_tasks.py::test_task_redis_result_backend::"
    "test_asyncresult_forget_cancels_subscription": _SUBSCRIBED,
    "celery/t/integration/test_tasks.py::test_task_redis_result_backend::"
    "test_asyncresult_get_cancels_subscription": _SUBSCRIBED,
}
