"""What the proxies of managed objects have in common.

As in the standard library, what you get from a proxy is a copy: changing it changes nothing,
unless it is itself a proxy. An item that is a handle stays alive as long as it lies in there.
"""

from typing import Any

from shared.handles.base import Handle


class Proxy(Handle):
    """What the proxies share: how they look, and their value."""

    _typeid: str

    def _getvalue(self) -> Any:
        """A copy of what it stands for."""
        raise NotImplementedError

    def __deepcopy__(self, memo: Any) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        try:
            return repr(self._getvalue())
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"
