"""A receiver, as the configuration has it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from longshore.masking import MASK, SHORTEST_SECRET
from longshore.webhooks.events import EVENTS
from longshore.webhooks.formats import FORMATS
from longshore.webhooks.signing import key_of


class Webhook(BaseModel):
    """A program that is told what happens to rollouts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="how the API and the CLI call it")
    url: SecretStr = Field(description="where it listens; never shown, for whoever knows Slack's may write there")
    events: tuple[str, ...] = Field(
        ("rollout.started", "rollout.succeeded", "rollout.failed", "rollout.rolled_back"),
        min_length=1,
        description="what it is told, or `*` for everything",
    )
    environments: tuple[str, ...] = Field((), description="of which environments; none named: of all")
    format: str = Field("json", description="what the body looks like")
    secret: SecretStr | None = Field(None, description="signs each message; `whsec_` and base64, or any text")
    secret_file: Path | None = Field(None, description="a file with the secret, in its place; read for each message")

    @field_validator("url")
    @classmethod
    def _reachable(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits or re.search(r"[^!-~]", url):
            raise ValueError("must be http://HOST/… or https://HOST/…, in ASCII and without blanks")
        return value

    @field_validator("events")
    @classmethod
    def _events(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for event in value:
            if event != "*" and event not in EVENTS:
                raise ValueError(f"{event!r} is no event: use * or {', '.join(EVENTS)}")
        return value

    @field_validator("format")
    @classmethod
    def _format(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"must be one of {', '.join(FORMATS)}")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Webhook:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("give a secret or a secret_file, not both")
        if self.secret is not None:
            self.key()
        return self

    @property
    def signed(self) -> bool:
        return self.secret is not None or self.secret_file is not None

    @property
    def host(self) -> str:
        """The URL as it may be shown: without its path, its query and its password."""
        parts = urlsplit(self.url.get_secret_value())
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{name}" + (f":{parts.port}" if parts.port else "")

    def wants(self, event: str, environment: str) -> bool:
        return ("*" in self.events or event in self.events) and (
            not self.environments or environment in self.environments
        )

    def key(self) -> bytes | None:
        """What messages are signed with; None: they are not. Reads a file. Raises OSError, and ValueError where what
        it finds is no secret."""
        if self.secret_file is not None:
            return key_of(self.secret_file.read_text("utf-8").strip())
        return key_of(self.secret.get_secret_value()) if self.secret is not None else None

    def shown(self, text: str) -> str:
        """What the receiver, or the network, has said, as it may be shown: it may quote what it was sent."""
        secrets = set(re.split(r"[/?&=#:@]", self.url.get_secret_value())) - set(re.split(r"[/:]", self.host))
        if self.secret is not None:
            secrets.add(self.secret.get_secret_value())
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, MASK)
        return "".join(c if c.isprintable() else " " for c in text).strip()
