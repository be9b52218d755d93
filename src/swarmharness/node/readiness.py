"""Tells the service manager that a node is ready or stops, by sd_notify(3); does nothing where nobody asked."""

from __future__ import annotations

import logging
import os
import socket

READY, STOPPING = "READY=1", "STOPPING=1"

_log = logging.getLogger(__name__)


def tell_service_manager(state: str) -> None:
    """Send one state to the socket in `NOTIFY_SOCKET`; a manager that does not listen is only logged."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(1.0)
            manager.sendto(state.encode(), address)
    except OSError as error:
        _log.warning("the service manager was not told %s: %s", state, error.strerror or error)
