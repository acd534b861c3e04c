"""Signatures as the Standard Webhooks specification has them (1.0.0, https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The bytes of a secret: of base64 behind `whsec_`, else of the text itself. Raises ValueError."""
    if not secret.removeprefix(_PREFIX):
        raise ValueError("the secret is empty")
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(f"what follows {_PREFIX} is no base64: {error}") from None


def headers(key: bytes | None, id: str, body: bytes, now: float) -> dict[str, str]:
    """webhook-id and webhook-timestamp, and with a key webhook-signature: `v1,` and, in base64, the HMAC-SHA256 of
    `id.timestamp.body`. now: seconds since the epoch, of this attempt."""
    stamp = str(int(now))
    found = {"webhook-id": id, "webhook-timestamp": stamp}
    if key is not None:
        signed = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
    return found
