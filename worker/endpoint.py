"""A slow HTTP server for the `fetch` task.

    python -m worker.endpoint --port 8000
    GET /slow?delay_s=0.5    JSON, after that delay
    GET /health              at once

One process and one thread: each request is a coroutine that sleeps, so hundreds wait at once.
"""

import argparse
import asyncio
import contextlib
import math

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

DEFAULT_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0


class Slow(RequestHandler):
    """Answers after ``delay_s`` seconds."""

    async def get(self) -> None:
        """Wait, then answer with the delay."""
        delay_s = self.delay_s()
        await asyncio.sleep(delay_s)
        self.write({"delay_s": delay_s})

    def delay_s(self) -> float:
        """Return the requested delay. Raises HTTP error 400 for an invalid one."""
        text = self.get_query_argument("delay_s", str(DEFAULT_DELAY_S))
        try:
            delay_s = float(text)
        except ValueError:
            delay_s = math.nan
        if not 0 <= delay_s <= LONGEST_DELAY_S:
            raise HTTPError(
                400, reason=f"delay_s is a number of seconds from 0 to {LONGEST_DELAY_S:g}"
            )
        return delay_s


class Health(RequestHandler):
    """Answers at once."""

    def get(self) -> None:
        """Answer 200, which shows that the event loop runs."""
        self.write({"ok": True})


def application() -> Application:
    """Return the Tornado application with both pages."""
    # Without a log function Tornado logs each failed request, and each slow one.
    return Application([("/slow", Slow), ("/health", Health)], log_function=lambda _: None)


async def serve(host: str, port: int) -> None:
    """Serve for ever."""
    # The backlog must hold hundreds of greenlets that connect at the same moment.
    HTTPServer(application()).listen(port, host, backlog=1024)
    print(f"listening on {host}:{port}", flush=True)  # noqa: T201 - a command line of its own
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m worker.endpoint", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (%(default)s)")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
