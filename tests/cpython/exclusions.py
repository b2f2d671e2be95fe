"""The tests of CPython that make no sense here, each with its reason."""

_NO_DESCRIPTOR = "a remote pipe has no file descriptor to ask for or to send"
_REFUSED_AT_THE_CALL = (
    "tests the thread that encodes after put() has returned; here put() encodes, and refuses at "
    "the call what cannot travel"
)

EXCLUSIONS = {
    ("WithProcessesTestConnection", "test_connection"): (
        "asks for fileno(), which a remote pipe has not; the rest of it runs with threads, and in "
        "tests/integration/test_connection.py"
    ),
    ("WithProcessesTestConnection", "test_fd_transfer"): _NO_DESCRIPTOR,
    ("WithProcessesTestConnection", "test_large_fd_transfer"): _NO_DESCRIPTOR,
    ("WithProcessesTestConnection", "test_missing_fd_transfer"): _NO_DESCRIPTOR,
    ("WithThreadsTestConnection", "test_spawn_close"): (
        "closes a connection under the thread that uses the same object; the connections of "
        "multiprocessing.dummy ignore close(), ours do not"
    ),
    ("WithProcessesTestQueue", "test_queue_feeder_donot_stop_onexc"): _REFUSED_AT_THE_CALL,
    ("WithProcessesTestQueue", "test_queue_feeder_on_queue_feeder_error"): _REFUSED_AT_THE_CALL,
    ("TestSimpleQueue", "test_closed"): "looks at the private pipe of the standard library's queue",
    ("TestSyncManagerTypes", "test_pool"): "managers make no pools; use Pool itself",
}
