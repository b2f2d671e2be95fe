"""The tests of CPython that make no sense here, each with its reason."""

_NO_DESCRIPTOR = "a remote pipe has no file descriptor to ask for or to send"
_REFUSED_AT_THE_CALL = (
    "tests the thread that encodes after put() has returned; here put() encodes, and refuses at "
    "the call what cannot be sent"
)
_NO_LIST = "looks at the private list of a local pool's processes"
_NO_REDUCE = "expects the error of __reduce__; here what needs it is refused before"
_IMPORTS_BY_ITSELF = "imports the standard library's parent_process inside the process"

EXCLUSIONS = {
    ("WithProcessesTestConnection", "test_connection"): (
        "asks for fileno(), which a remote pipe has not; the rest of it runs with threads, and in "
        "tests/handles/test_connection.py"
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
    ("TestSyncManagerTypes", "test_pool"): "a manager's pool cannot be passed to a process",
    ("WithProcessesTestPool", "test_make_pool"): _NO_LIST,
    ("WithThreadsTestPool", "test_make_pool"): _NO_LIST,
    ("WithManagerTestPool", "test_make_pool"): "expects an error of the manager's own process",
    ("WithProcessesTestPool", "test_map_unplicklable"): _NO_REDUCE,
    ("WithManagerTestPool", "test_map_unplicklable"): _NO_REDUCE,
    ("WithThreadsTestPool", "test_async_timeout"): (
        "passes a threading.Event, which works in one process only"
    ),
    ("WithProcessesTestProcess", "test_parent_process"): _IMPORTS_BY_ITSELF,
    ("WithProcessesTestProcess", "test_parent_process_attributes"): _IMPORTS_BY_ITSELF,
    ("WithProcessesTestProcess", "test_process"): (
        "compares authkeys, and nothing is authenticated with one here"
    ),
    ("WithProcessesTestSubclassingProcess", "test_subclassing"): (
        "its class derives from the standard library's Process, not from ours"
    ),
    ("WithProcessesTestSubclassingProcess", "test_sys_exit"): (
        "its target is sys.exit, which is billiard's own in a worker's process"
    ),
    ("WithProcessesTestProcess", "test_set_executable"): "no process is started here",
}
