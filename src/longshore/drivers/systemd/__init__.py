"""Driver `systemd`: instances as units, here and on other hosts."""
