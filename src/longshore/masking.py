"""Secrets, kept out of whatever is shown: API answers, plans, logs."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "********"

#: names whose value is taken for a secret; too many rather than too few
SECRET_KEY = re.compile(r"secret|password|passwd|token|key|credential|auth|dsn|private", re.IGNORECASE)

_USERINFO = re.compile(r"(?<=://)[^/?#@\s]*:[^/?#\s]*(?=@)")


def mask_value(key: str, value: str) -> str:
    """The value as it may be shown: hidden whole under a secret-looking key, else without passwords of URLs."""
    return MASK if value and SECRET_KEY.search(key) else mask_urls(value)


def mask_urls(text: str) -> str:
    """`postgres://app:hunter2@db/x` becomes `postgres://********@db/x`; the rest stays."""
    return _USERINFO.sub(MASK, text) if "://" in text else text


def mask_configuration(configuration: Mapping[str, str]) -> dict[str, str]:
    return {key: mask_value(key, value) for key, value in configuration.items()}
