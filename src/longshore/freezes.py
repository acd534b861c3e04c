"""Freeze windows: times in which nothing of an environment is changed, by cron expression and time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim
from pydantic import BaseModel, ConfigDict, Field, field_validator

from longshore.durations import parse_duration


class Freeze(BaseModel):
    """A window that opens when `cron` says and stays open for `duration`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = Field(description="when it begins: minute, hour, day of month, month, day of week")
    duration: str = Field(description="how long it lasts, such as 64h")
    time_zone: str = Field("UTC", description="of `cron`, such as Europe/Berlin")
    message: str = Field("", description="why, for those it stops")

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        try:
            next(CronSim(value, datetime(2000, 1, 1)))
        except Exception as error:
            raise ValueError(f"{value!r} is no cron expression, or never comes: {error or type(error).__name__}") from None
        return value

    @field_validator("duration")
    @classmethod
    def _duration(cls, value: str) -> str:
        if not 60 <= parse_duration(value) <= 366 * 24 * 3600:
            raise ValueError("must be between a minute and a year, such as 64h")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone: use one such as Europe/Berlin") from None
        return value

    def until(self, now: float) -> float | None:
        """When the window that is open at `now` closes; None: none is open. Seconds since the epoch."""
        zone, lasts = ZoneInfo(self.time_zone), timedelta(seconds=parse_duration(self.duration))
        at, end = datetime.fromtimestamp(now, zone), None
        # Looked at from one duration ago on: what began before that is over.
        for start in CronSim(self.cron, at - lasts):
            if start > at:
                break
            end = start + lasts
        return None if end is None else end.timestamp()


def frozen(freezes: Sequence[Freeze], now: float) -> tuple[Freeze, float] | None:
    """The window that is open and closes last, and when."""
    found = [(freeze, until) for freeze in freezes if (until := freeze.until(now)) is not None]
    return max(found, key=lambda each: each[1]) if found else None
