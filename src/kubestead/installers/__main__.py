# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a file of boot settings: `python -m kubestead.installers FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from .settings import BootSettings, SettingsError


def main(arguments: list[str]) -> int:
    """Say what is wrong with the file, on one line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m kubestead.installers FILE\n")
        return 2
    try:
        BootSettings.read(Path(arguments[0]))
    except SettingsError as error:
        prefix = f"{arguments[0]}: "
        sys.stderr.write("; ".join(each.removeprefix(prefix) for each in error.problems) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
