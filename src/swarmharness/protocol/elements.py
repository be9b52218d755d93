"""Counts what is in a MessagePack value before anything of it is built; pure, it never allocates for what it reads.

A byte of MessagePack may become a hundred bytes of Python objects, and five bytes may claim four thousand million
elements: whoever has counted knows what a value will take.
"""

from __future__ import annotations

from swarmharness.errors import ProtocolError

DEPTH_MAX = 64


def check_elements(data: bytes | memoryview, elements_max: int, what: str, depth_max: int = DEPTH_MAX) -> None:
    """Raise ProtocolError unless `data` is one value with at most so many elements, at most so deep.

    Every array, map, key, text and number is an element. An array is refused where it says how long it is: it may
    claim no more than is allowed, and no more than there are bytes. `what` begins the error.
    """
    at, end, elements, missing = 0, len(data), 1, 1
    around: list[int] = []  # how many elements the arrays around this one still miss
    while missing or around:
        if not missing:
            missing = around.pop()
            continue
        if at >= end:
            raise ProtocolError(f"{what}: cut short")
        missing -= 1
        code = data[at]
        size = _SIZES[code]
        if size:
            at += size
            continue
        head, each = _HEADS.get(code, (0, 0))
        if not each:
            raise ProtocolError(f"{what}: byte {at} begins a value of a type that is not used here")
        at += head
        count = int.from_bytes(data[at - head + 1 : at], "big") if head > 1 else code & 15
        if each == _BYTES:
            at += count
            continue
        elements += each * count
        if elements > elements_max:
            raise ProtocolError(f"{what}: more than {elements_max} elements")
        if each * count > end - at:
            raise ProtocolError(f"{what}: cut short")
        around.append(missing)
        missing = each * count
        if len(around) > depth_max:
            raise ProtocolError(f"{what}: nested more than {depth_max} deep")
    if at != end:
        raise ProtocolError(f"{what}: cut short" if at > end else f"{what}: {end - at} bytes too many")


def _fixed_size(code: int) -> int:
    """Return how many bytes a value has by its first; 0 if that says nothing."""
    if code < 0x80 or code >= 0xE0 or code in (0xC0, 0xC2, 0xC3):  # small integers; null, false, true
        return 1
    if 0xA0 <= code < 0xC0:  # short texts
        return 1 + (code & 31)
    return {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.get(code, 0)


_SIZES = bytes(map(_fixed_size, range(256)))
_BYTES, _ARRAY, _MAP = -1, 1, 2
"""What is counted; of the last two, how many elements are in each."""
_HEADS: dict[int, tuple[int, int]] = {
    **dict.fromkeys(range(0x80, 0x90), (1, _MAP)),
    **dict.fromkeys(range(0x90, 0xA0), (1, _ARRAY)),
    **dict.fromkeys((0xC4, 0xD9), (2, _BYTES)),
    **dict.fromkeys((0xC5, 0xDA), (3, _BYTES)),
    **dict.fromkeys((0xC6, 0xDB), (5, _BYTES)),
    0xDC: (3, _ARRAY),
    0xDD: (5, _ARRAY),
    0xDE: (3, _MAP),
    0xDF: (5, _MAP),
}
"""How many bytes the first byte and the count take together, and what is counted."""
