"""What is wrong with the machines of an environment, as the manager sees them, and how to mend each."""

from __future__ import annotations

from longshore.doctor.environment import Doctor
from longshore.doctor.finding import Finding

__all__ = ["Doctor", "Finding"]
