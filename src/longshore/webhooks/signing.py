"""Signatures as the Standard Webhooks specification (1.0.0) has them: HMAC-SHA256 over `id.timestamp.body`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The bytes of a secret: of base64 behind `whsec_`, else of the text itself. Raises ValueError."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"what follows {_PREFIX} is no base64: {error}") from error


def headers(secret: str | None, id: str, body: bytes, now: float) -> dict[str, str]:
    """webhook-id and webhook-timestamp, and with a secret webhook-signature (`v1,` and base64)."""
    stamp = str(int(now))
    found = {"webhook-id": id, "webhook-timestamp": stamp}
    if secret is not None:
        signed = hmac.new(key_of(secret), f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
    return found
