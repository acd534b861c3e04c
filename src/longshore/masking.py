"""Secrets, kept out of whatever is shown: API answers, plans, logs."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "********"

#: names whose value is taken for a secret; too many rather than too few
SECRET_KEY = re.compile(r"secret|password|passwd|token|key|credential|auth|dsn|private", re.IGNORECASE)

#: shorter values are left alone in free text: `true` or `8080` stand for too much else
SHORTEST_SECRET = 6

_USERINFO = re.compile(r"(?<=://)[^/?#@\s]*:[^/?#\s]*(?=@)")


def mask_value(key: str, value: str) -> str:
    """The value as it may be shown: hidden whole under a secret-looking key, else without passwords of URLs."""
    return MASK if value and SECRET_KEY.search(key) else mask_urls(value)


def mask_urls(text: str) -> str:
    """`postgres://app:hunter2@db/x` becomes `postgres://********@db/x`; the rest stays."""
    return _USERINFO.sub(MASK, text) if "://" in text else text


def is_masked(text: str) -> bool:
    """Whether it is what is shown instead of a secret: nobody means that for a value."""
    return text == MASK or f"://{MASK}@" in text


def mask_configuration(configuration: Mapping[str, str]) -> dict[str, str]:
    return {key: mask_value(key, value) for key, value in configuration.items()}


def mask_text(text: str, configuration: Mapping[str, str]) -> str:
    """Output of a program as it may be shown: without the values of secret-looking keys of its configuration, without
    the passwords of URLs in it. Values shorter than SHORTEST_SECRET stay; of one with several lines each is hidden."""
    for secret in sorted(_secrets(configuration), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask_urls(text)


# --- private


def _secrets(configuration: Mapping[str, str]) -> set[str]:
    values: set[str] = set()
    for key, value in configuration.items():
        if SECRET_KEY.search(key):
            values |= {value, *(line.strip() for line in value.splitlines())}
        values |= {found[0].partition(":")[2] for found in _USERINFO.finditer(value)}
    return {value for value in values if len(value) >= SHORTEST_SECRET}
