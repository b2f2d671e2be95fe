"""The common base of the proxies of managed objects.

As in the standard library, a proxy returns copies of its items: changing a copy does not change
the item. An item that is itself a proxy is not copied. A handle stays alive while it is an item of
a managed object.
"""

from typing import Any

from shared.handles.base import Handle


class Proxy(Handle):
    """The common base of proxies: their representation and their value."""

    _typeid: str

    def _getvalue(self) -> Any:
        """A copy of the managed object."""
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
