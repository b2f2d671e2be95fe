"""A network between workers and Redis that can be cut."""

import contextlib
import socket
import threading
import time


class Network:
    """Carries bytes between a port of its own and Redis' port, in threads.

    A cut network says nothing: what was connected stays so and hears nothing any more, also
    after the network is back, and a new connection is not answered until then.
    """

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.up = threading.Event()
        self.up.set()
        self.connections = []
        self.closed = False
        self.delay_s = 0.0  # how much later than they came all bytes go on
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Be silent from now on."""
        self.up.clear()
        # Whatever was connected hears nothing any more, but is not told so.
        for connection in self.connections:
            connection.silent = True

    def restore(self):
        """Let new connections through."""
        self.up.set()

    def close(self):
        """End everything."""
        self.closed = True
        self.up.set()
        # A thread in accept() is woken by this.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self):
        while not self.closed:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.up.wait()
            if not self.closed:
                with contextlib.suppress(OSError):
                    self.connections.append(_Connection(near, self))


class _Connection:
    def __init__(self, near, network):
        self.silent = False
        self.near, self.network = near, network
        try:
            self.far = socket.create_connection(("127.0.0.1", network.target))
        except OSError:
            near.close()
            raise
        for ends in ((self.near, self.far), (self.far, self.near)):
            threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.network.delay_s)
                if not self.silent:
                    sink.sendall(data)
        if not self.silent:
            self.close()

    def close(self):
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
