"""`python -m deploy.doctor`: works as far as the packages that are there let it."""

from __future__ import annotations

import sys


def main() -> None:
    """The command, or one failed check when not even its own packages are installed."""
    try:
        from deploy.doctor.command import app
        from pipeline.cli import run
    except ModuleNotFoundError as error:
        print(f"fail  packages.installed    the package {(error.name or '?').partition('.')[0]} is missing")
        print(f"{'':<28}-> make setup, or: pip install 'cirrostream[demo]'")
        sys.exit(1)
    run(app, "deploy.doctor")


if __name__ == "__main__":
    main()
