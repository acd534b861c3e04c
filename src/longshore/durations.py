"""Durations as Go prints and reads them (`1.5s`, `5m0s`, `100ms`), the form of the API. Inside: float seconds.

Source: Go, `time.Duration.String` and `time.ParseDuration`. Imports nothing but the standard library, because the
server and the client share it.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

#: unit → nanoseconds; both spellings of micro (U+00B5 micro sign, U+03BC Greek mu) are read, as Go does.
_UNITS: dict[str, int] = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SECOND = _UNITS["s"]
#: Go's Duration is a signed 64-bit count of nanoseconds: some 292 years.
_MOST = 2**63 - 1
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def format_duration(seconds: float) -> str:
    """Seconds as Go prints them, rounded to the nanosecond: 300 is `5m0s`, 0.1 `100ms`, 0 `0s`, -1.5 `-1.5s`.

    Raises ValueError for what is not a finite number within ±292 years.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no duration: a finite number of seconds is needed")
    total = round(Decimal(seconds) * _SECOND)
    if abs(total) > _MOST:
        raise ValueError(f"{seconds} seconds are more than a duration can hold (292 years)")
    sign, rest = ("-" if total < 0 else ""), abs(total)
    if rest == 0:
        return "0s"
    if rest < _SECOND:
        unit = "ns" if rest < 1_000 else "µs" if rest < 1_000_000 else "ms"
        return sign + _fraction(rest, _UNITS[unit]) + unit
    minutes, rest = divmod(rest, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    text = _fraction(rest, _SECOND) + "s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def parse_duration(value: str | int | float) -> float:
    """Seconds from a Go duration (`1h2m3.5s`, `-100ms`, `0`), or from a number, which is seconds already.

    A string that is a bare number is seconds as well: environment variables and flags are always strings.
    Raises ValueError saying what a duration looks like.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"a duration is a string such as '30s' or a number of seconds, not {type(value).__name__}")
    if isinstance(value, str):
        return _parse_text(value)
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or abs(seconds) * _SECOND > _MOST:
        raise ValueError(f"{value} is no duration: a finite number of seconds within 292 years is needed")
    return seconds


def _parse_text(value: str) -> float:
    text = value.strip()
    if _NUMBER.fullmatch(text) and text.isascii():
        total = Decimal(text) * _SECOND
    else:
        sign = -1 if text.startswith("-") else 1
        body = text[1:] if text[:1] in ("-", "+") else text
        parts = list(_PART.finditer(body))
        if not parts or "".join(part.group() for part in parts) != body:
            raise ValueError(f"{value!r} is no duration: write it like '30s', '1m30s', '100ms' or '2h'")
        total = sign * sum((Decimal(part[1]) * _UNITS[part[2]] for part in parts), Decimal(0))
    if abs(total) > _MOST:
        raise ValueError(f"{value!r} is more than a duration can hold (292 years)")
    return float(total / _SECOND)


def _fraction(amount: int, unit: int) -> str:
    """`amount / unit` in decimal without trailing zeros."""
    whole, rest = divmod(amount, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
