"""`python -m deploy.doctor`: works as far as the packages that are there let it."""

from __future__ import annotations

import sys

try:
    from deploy.doctor.command import app
    from pipeline.cli import run
except ModuleNotFoundError as error:
    print(f"fail  packages.installed    the package {(error.name or '?').partition('.')[0]} is missing")
    print(f"{'':<28}-> make setup, or: pip install 'cirrostream[demo]'")
    sys.exit(1)

if __name__ == "__main__":
    run(app, "deploy.doctor")
