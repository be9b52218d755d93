"""Reads JSON that somebody else wrote, or a disk kept: whatever is wrong with it is a ValueError; pure."""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str | bytes, **hooks: Any) -> Any:
    """Return what `json.loads` does, which takes the same hooks; ValueError also for what is nested too deeply.

    It takes memory in proportion to the text, about 25 times as much, so the caller limits the size of that.
    """
    try:
        return json.loads(text, **hooks)  # noqa: TID251
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
