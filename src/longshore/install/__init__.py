"""The manager as a service of this machine's systemd: `longshore install-service`."""

from __future__ import annotations

from longshore.install.service import InstallError, Plan, install, look, remove

__all__ = ["InstallError", "Plan", "install", "look", "remove"]
