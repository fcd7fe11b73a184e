# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""The command line: build, serve, verify, info, probe."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from bundle import build, catalogue, places
from bundle.errors import DONE, INTERRUPTED, BundleError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code: int = options.run(options)
    except BundleError as error:
        for problem in error.problems:
            print(f"bundle: {problem}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("bundle: interrupted; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    return code


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(line: str) -> None:
    print(line, flush=True)


def _build(options: argparse.Namespace) -> int:
    versions = catalogue.load()
    folder = options.output or places.bundle_dir()
    build.build(
        versions,
        build.Options(
            minor=options.minor or versions.default_minor,
            folder=folder,
            status_file=options.status or folder / places.STATUS,
            keep_caches=options.keep_caches,
            wait=not options.no_wait,
            rebuild=tuple(options.rebuild),
        ),
        _tell,
    )
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bundle", description="A folder with all the Kubernetes software that a cluster needs. See docs/bundle.md."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="build a bundle, or what is missing of it")
    command.add_argument("--from", dest="source", choices=["modules"], required=True, help="from published Go modules")
    command.add_argument("--minor", metavar="X.Y", help="Kubernetes minor (default: the catalogue's)")
    command.add_argument("--output", type=Path, metavar="DIR", help="the bundle's folder (default: KUBESTEAD_BUNDLE)")
    command.add_argument("--status", type=Path, metavar="FILE", help="where progress is written for the server")
    command.add_argument("--rebuild", action="append", default=[], metavar="PART", help="build this part anew")
    command.add_argument("--keep-caches", action="store_true", help="keep modules and compiled packages afterwards")
    command.add_argument("--no-wait", action="store_true", help="refuse, do not wait, when another build is running")
    command.set_defaults(run=_build)
    return parser
