"""Logarithm and exponential on integers, equal on every machine; it has no floats, because their last bits differ.

Logarithms are in millionths of a natural logarithm ("micro-nats"); errors are below 2 of them.
"""

from __future__ import annotations

from functools import lru_cache

MICRO = 1_000_000
EXP_SCALE = 2**24
"""`exp_scaled(0)`."""
EXPONENT_MAX = 40 * MICRO
"""`exp_scaled` clamps to e^±40: beyond it, one term outvotes everything else anyway."""

_SHIFT = 60
_ONE = 1 << _SHIFT
_LN2 = 799_144_290_325_165_979  # round(ln 2 * 2^60)


@lru_cache(maxsize=32_768)
def ln_micro(value: int) -> int:
    """Return ln(value) in micro-nats for an integer of at least 1."""
    if value < 1:
        raise ValueError(f"no logarithm of {value}")
    power = value.bit_length() - 1
    mantissa = (value << _SHIFT) >> power  # in [1, 2)
    # ln m = 2·atanh(z), z = (m - 1) / (m + 1) <= 1/3; twelve terms leave less than 3^-25.
    z = ((mantissa - _ONE) << _SHIFT) // (mantissa + _ONE)
    square = (z * z) >> _SHIFT
    total, term = 0, z
    for divisor in range(1, 25, 2):
        total += term // divisor
        term = (term * square) >> _SHIFT
    return ((power * _LN2 + 2 * total) * MICRO) >> _SHIFT


def exp_scaled(exponent_micro: int) -> int:
    """Return e^(exponent_micro / 10^6) in units of 1 / EXP_SCALE, at least 1; the exponent is clamped to ±40."""
    if -EXPONENT_MAX <= exponent_micro <= EXPONENT_MAX:
        return _exp_scaled(exponent_micro)
    return _exp_scaled(EXPONENT_MAX if exponent_micro > 0 else -EXPONENT_MAX)


@lru_cache(maxsize=32_768)
def _exp_scaled(clamped: int) -> int:
    power, rest = divmod((clamped << _SHIFT) // MICRO, _LN2)
    total, term = 0, _ONE
    for divisor in range(1, 22):
        total += term
        term = ((term * rest) >> _SHIFT) // divisor
    scaled = total * EXP_SCALE
    return max(1, (scaled << power) >> _SHIFT if power >= 0 else scaled >> (_SHIFT - power))
