"""One object for each process: made when it is first asked for, and anew in a forked child."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Made = TypeVar("_Made")


class PerProcess(Generic[_Made]):
    """Call it for this process's object; from any thread, all get the same."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._made: _Made | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self.forget)

    def __call__(self) -> _Made:
        """The object, made now if there is none."""
        if (made := self._made) is not None:
            return made
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def existing(self) -> _Made | None:
        """The object, if it was ever asked for."""
        return self._made

    def forget(self) -> None:
        """Have the next one who asks get another."""
        self._made = None
        self._lock = threading.Lock()  # the old one may have been held while the process forked
