"""Freeze windows: times in which nothing of an environment is changed, by cron expression and time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from longshore.durations import parse_duration

#: windows that follow each other without a gap are followed so far, to say when the last of them ends
MOST_IN_A_ROW = 32


class Freeze(BaseModel):
    """A window that opens when `cron` says and stays open for `duration`.

    What cron means where clocks change is what Debian's cron(8) does: a time that is left out comes right after the
    gap, one that comes twice comes once. The duration is exact, as RFC 5545 (3.3.6) has it for hours: a window over
    such a night ends an hour earlier or later by the clock on the wall.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = Field(description="when it begins: minute, hour, day of month, month, day of week")
    duration: str = Field(description="how long it lasts, such as 64h")
    time_zone: str = Field("UTC", description="of `cron`, such as Europe/Berlin")
    message: str = Field("", description="why, for those it stops")

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        form = "use minute, hour, day of month, month and day of week, such as 0 16 * * FRI"
        if len(value.split()) != 5:
            raise ValueError(f"{value!r} is no cron expression: {form}")
        try:
            next(CronSim(value, datetime(2000, 1, 1)))
        except (CronSimError, StopIteration, OverflowError) as error:
            why = f" ({error})" if str(error) else ""
            raise ValueError(f"{value!r} is no cron expression, or never comes{why}: {form}") from None
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
        # All windows are equally long: the last that began is the last that ends.
        start = self._last_start(now)
        end = None if start is None else start + parse_duration(self.duration)
        return end if end is not None and now < end else None

    def _last_start(self, now: float) -> float | None:
        zone = ZoneInfo(self.time_zone)
        # CronSim looks for what is strictly before; and in an hour that comes a second time it forgets what began in
        # the first, so there it is asked from behind that hour.
        ahead = 7200 if datetime.fromtimestamp(now, zone).fold else 60
        for start in CronSim(self.cron, datetime.fromtimestamp(now + ahead, zone), reverse=True):
            if (began := start.astimezone(UTC).timestamp()) <= now:
                return began
        return None


def frozen(freezes: Sequence[Freeze], now: float) -> tuple[Freeze, float] | None:
    """A window that is open, and when the last of those ends that follow it without a gap; None: none is open."""
    first, end = None, now
    for _ in range(MOST_IN_A_ROW):
        ends = [(until, freeze) for freeze in freezes if (until := freeze.until(end)) is not None]
        if not ends:
            break
        end, freeze = max(ends, key=lambda each: each[0])
        first = first or freeze
    return None if first is None else (first, end)
