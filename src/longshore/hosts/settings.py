"""How the configuration names hosts: `"deploy@10.0.0.5:2222"`, or a table with all there is to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from longshore.durations import parse_duration

_SHORT = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<address>\[[0-9A-Fa-f:]+\]|[^@:\s\[\]]+)(?::(?P<port>\d+))?")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


class HostSettings(BaseModel):
    """One machine. A string is short for a table with `user`, `address` and `port`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(description="IP address or name that the manager reaches it by")
    name: str = Field("", description="what it is called in status and messages; default: its address")
    port: int = Field(22, ge=1, le=65535, description="of its sshd")
    user: str = Field("root", description="whom to log in as")
    sudo: bool | None = Field(None, description="become root by `sudo -n`; default: where the user is not root")
    key: Path | None = Field(None, description="private key; default: the ssh agent, then the usual ones in ~/.ssh")
    jump: str = Field("", description="[USER@]ADDRESS[:PORT] of a host to go through")
    labels: Mapping[str, str] = Field(default_factory=dict, description="to choose hosts by (host_labels of a deploy)")
    listen: str = Field(
        "",
        description="address that its instances are told to listen on (HOST); default: 0.0.0.0, :: for an IPv6 address",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return parse_short(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> HostSettings:
        if not self.name:
            object.__setattr__(self, "name", self.address)
        if not self.listen:
            object.__setattr__(self, "listen", "::" if is_ip(self.address) and ":" in self.address else "0.0.0.0")
        if not _NAME.fullmatch(self.name) and not is_ip(self.name):
            raise ValueError(f"{self.name!r} is no name for a host: letters, digits, dots, dashes and underscores")
        return self

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not is_ip(value):
            raise ValueError("must be an IP address of the host, or 0.0.0.0 (IPv6: ::) for all of them")
        return value

    @property
    def becomes_root(self) -> bool:
        return self.sudo if self.sudo is not None else self.user != "root"


class SshSettings(BaseModel):
    """How the hosts of an environment are connected to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_hosts: Path | None = Field(None, description="their host keys; default: ~/.ssh/known_hosts and /etc/ssh/…")
    key: Path | None = Field(None, description="private key for all of them that name none")
    connect_timeout: str = Field("10s", description="bound on connecting to one")
    keepalive: str = Field("5s", description="silence after which it is asked whether it is there; three times is lost")

    @field_validator("connect_timeout", "keepalive")
    @classmethod
    def _duration(cls, value: str) -> str:
        if parse_duration(value) <= 0:
            raise ValueError("must be above 0, such as 10s")
        return value

    @property
    def connect_timeout_s(self) -> float:
        return parse_duration(self.connect_timeout)

    @property
    def keepalive_s(self) -> float:
        return parse_duration(self.keepalive)


def parse_short(text: str) -> dict[str, Any]:
    """`[USER@]ADDRESS[:PORT]` as a table. Raises ValueError."""
    found = _SHORT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"must be [USER@]ADDRESS[:PORT], such as deploy@10.0.0.5, not {text!r}")
    given: dict[str, Any] = {"address": found["address"].strip("[]")}
    if found["user"]:
        given["user"] = found["user"]
    if found["port"]:
        given["port"] = int(found["port"])
    return given


def is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
