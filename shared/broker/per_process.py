"""One object for each process, made at its first use; a forked child makes its own."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Made = TypeVar("_Made")


class PerProcess(Generic[_Made]):
    """Call an instance to get this process's object. All threads get the same object."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._made: _Made | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self.forget)

    def __call__(self) -> _Made:
        """Return the object; make it if there is none."""
        if (made := self._made) is not None:
            return made
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def existing(self) -> _Made | None:
        """Return the object, or None if it was never made."""
        return self._made

    def forget(self) -> None:
        """Drop the object; the next call makes another."""
        self._made = None
        self._lock = threading.Lock()  # the fork may have copied a held lock
