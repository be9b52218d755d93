"""What a node serves, and how many bytes each of its calls may bring and be answered with; it runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swarmharness.errors import InputError, ProtocolError, RefusedError
from swarmharness.network.ports import Handler
from swarmharness.protocol.method import Method

Refuse = Callable[[str], None]
"""Is told the reason of a refusal."""


class Handlers(dict[str, Handler]):
    """The handlers by their methods; a name that is no `Method` is limited by its transport alone."""

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        super().__init__()
        self._methods: dict[str, Method] = {}
        for method, handler in (handlers or {}).items():
            self.add(method, handler)

    def add(self, method: str, handler: Handler) -> None:
        """Serve a method from now on; ValueError if it is served already."""
        if method in self:
            raise ValueError(f"{method} has a handler already")
        self[method] = handler
        if isinstance(method, Method):
            self._methods[method] = method

    def take(self, method: str, size: int, refuse: Refuse) -> Handler:
        """Return who answers a request of so many bytes, which need not have come yet (N-2).

        Raises RefusedError for an unknown method, and InputError for more bytes than its request can have.
        """
        handler = self.get(method)
        if handler is None:
            refuse("unknown method")
            raise RefusedError(f"the peer does not serve {method!r}: it may run another version")
        known = self._methods.get(method)
        if known is not None and size > known.request_bytes_max:
            refuse("oversized")
            problem = f"{method}: a request of {size} bytes, at most {known.request_bytes_max} are taken"
            raise InputError(problem).for_peers()
        return handler


def check_answer(method: str, size: int, refuse: Refuse) -> None:
    """Raise ProtocolError if a peer answers a call with more bytes than its answer can have (N-2)."""
    if isinstance(method, Method) and size > method.answer_bytes_max:
        refuse("oversized")
        raise ProtocolError(f"{method}: an answer of {size} bytes, at most {method.answer_bytes_max} are taken")
