"""What a deploy may ask of systemd, and of the hosts its instances are spread over."""

from __future__ import annotations

from typing import Any

from longshore.api.groups import Field, Group, ListOf, StringMap
from longshore.api.kinds import Choice, Count, CountOrPercent, Duration, Flag, Kind
from longshore.errors import Issue

SYSTEMD = Group(
    {
        "unit": Field(
            Choice(("managed", "existing")), "Units that are generated, or your own `service_name`.", "managed"
        ),
        "port": Field(Count(1, 65535), "The port that your own unit listens on, for the router.", 3000),
        "type": Field(Choice(("exec", "notify")), "notify: the application says itself that it is ready.", "notify"),
        "watchdog": Field(Duration(least=0.1), "How long it may be silent (sd_notify) before it is restarted.", "30s"),
        "sandbox": Field(Choice(("off", "full", "strict")), "What of the machine it can see and change.", "strict"),
        "dynamic_user": Field(Flag(), "Run as a user of its own that exists while it runs.", True),
    }
)
LABELS = StringMap(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", "use up to 63 of A-Z, a-z, 0-9, . _ / -", most=20)


class Serial:
    """Hosts at a time: a count, a percentage, or a list of those as a tuple."""

    _one: Kind = CountOrPercent(1000)
    _many: Kind = ListOf(_one, longest=100, least=1)

    def read(self, value: object, path: str, issues: list[Issue]) -> Any:
        if value in (0, "0%") or (isinstance(value, list) and any(each in (0, "0%") for each in value)):
            issues.append(Issue(path, "must be at least one host at a time"))
        return (self._many if isinstance(value, list) else self._one).read(value, path, issues)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._one.schema(), self._many.schema()]}
