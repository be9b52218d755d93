"""The names of the calls between nodes, each with the messages that it carries and so their sizes; pure."""

from __future__ import annotations

from typing import Any, Self

from swarmharness.protocol.codec import NEWER_BYTES_MAX, bytes_max


class Method(str):
    """The name of a call; a request or an answer with more bytes than its message can have is refused unread.

    A request or an answer that is None is empty, until a later release finds something to say there.
    """

    request: type[Any] | None
    answer: type[Any] | None

    def __new__(cls, name: str, request: type[Any] | None, answer: type[Any] | None) -> Self:
        """Make the name of a call that carries these messages."""
        method = super().__new__(cls, name)
        method.request, method.answer = request, answer
        return method

    @property
    def request_bytes_max(self) -> int:
        """The most bytes of a request."""
        return NEWER_BYTES_MAX if self.request is None else bytes_max(self.request)

    @property
    def answer_bytes_max(self) -> int:
        """The most bytes of an answer."""
        return NEWER_BYTES_MAX if self.answer is None else bytes_max(self.answer)
