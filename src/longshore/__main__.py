"""`longshore` and `python -m longshore`."""

from __future__ import annotations

from longshore.cli.root import cli


def main() -> None:
    cli(prog_name="longshore")


if __name__ == "__main__":
    main()
