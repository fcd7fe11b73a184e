# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""The command line: build, fetch, serve, verify, info, probe."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from bundle import (
    assemble,
    build,
    catalogue,
    fetch,
    gotool,
    oci,
    places,
    probe,
    recipe,
    server,
    status,
    verify,
)
from bundle.errors import BundleError, LacksError
from kubestead.exit_codes import ExitCode


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help"):
        words = ["build", *words]  # './deploy.sh bundle --from modules'
    options = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code: int = options.run(options)
    except BundleError as error:
        for problem in error.problems:
            print(f"bundle: {problem}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return ExitCode.DONE
    except OSError as error:
        print(f"bundle: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return ExitCode.LACKING
    except KeyboardInterrupt:
        print("bundle: interrupted; the same command goes on where it was", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return code


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(line: str) -> None:
    print(line, flush=True)


def _path(text: str) -> Path:
    """A path as the user means it: deploy.sh has changed the folder since they typed it."""
    return Path(os.environ.get("KUBESTEAD_CALLED_FROM", "")) / Path(text).expanduser()


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
            install=options.install_missing,
            addons=tuple(options.addons),
        ),
        _tell,
    )
    return ExitCode.DONE


def _fetch(options: argparse.Namespace) -> int:
    text = sys.stdin.read() if options.list == "-" else _path(options.list).read_text(encoding="utf-8")
    folder = options.output or places.bundle_dir()
    changed = fetch.fetch(fetch.Shopping.parse(text), folder, options.architecture, _tell)
    _tell(f"{folder}: {'the bundle is ready' if changed else 'complete, nothing to fetch'}")
    return ExitCode.DONE


def _serve(options: argparse.Namespace) -> int:
    folder = options.folder or places.bundle_dir()
    try:
        web = server.make_server((options.bind, options.port), folder, options.status)
    except OSError as error:
        raise LacksError(
            f"{options.bind} port {options.port}: cannot be listened on: {error.strerror}. "
            "Give another by --bind and --port."
        ) from error
    state = status.current(folder, options.status).state
    _tell(f"serving {folder} ({state}) at http://{options.bind}:{web.server_port}/ until you press Ctrl-C")
    with web:
        web.serve_forever()
    return ExitCode.DONE


def _verify(options: argparse.Namespace) -> int:
    folder = options.folder or places.bundle_dir()
    problems = verify.verify(folder)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{folder}: {len(problems)} problems", file=sys.stderr)
        return ExitCode.FAILED
    _tell(f"{folder}: whole")
    return ExitCode.DONE


def _info(options: argparse.Namespace) -> int:
    folder = options.folder or places.bundle_dir()
    manifest = assemble.read_manifest(folder)
    state = status.current(folder)
    if options.json:
        _tell(json.dumps({"folder": str(folder), **state.as_dict(), "manifest": manifest}, indent=1))
        return ExitCode.DONE if manifest else ExitCode.FAILED
    if manifest is None:
        _tell(f"{folder}: {state.state}. {state.progress} {state.detail}".rstrip())
        return ExitCode.FAILED
    size = sum(entry["size"] for entry in manifest["files"].values())
    _tell(f"{folder}: {size / 1e6:.0f} MB for {manifest['architecture']}, made {manifest['created']}")
    for minor, entry in manifest["minors"].items():
        _tell(f"\nKubernetes {entry['kubernetes']} (minor {minor})")
        for part in entry["parts"]:
            if "image" not in part["sources"][0]:  # listed with the images
                _tell(f"  {part['name']:20} {_origin(part)}")
            for output in part["outputs"]:
                _tell(f"    {output['path']}")
        for image in entry["images"]:
            _tell(f"  image  {image['annotations'][oci.REFERENCE]} {image['digest']}")
    return ExitCode.DONE


def _origin(part: dict[str, Any]) -> str:
    first = part["sources"][0]
    if "module" in first:
        return ", ".join(f"{s['module']}@{s['version']} {s['sum']}" for s in part["sources"])
    if "address" in first:
        return str(first["address"].rpartition("/")[0])
    if "apt" in first:
        return f"{len(part['sources'])} Debian packages"
    return f"our own: {first['own']}"


def _probe(options: argparse.Namespace) -> int:
    versions = catalogue.load()
    minor = options.minor or versions.default_minor
    versions.versions(minor)
    found = probe.probe_sources(minor, bundle_dir=options.folder)
    if options.json:
        _tell(json.dumps([source.as_dict() for source in found], indent=1))
    else:
        for source in found:
            wait = f" (about {source.minutes:.0f} min)" if source.minutes else ""
            _tell(f"{source.name:8} {'yes' if source.available else 'no '}  {source.reason}{wait}")
    return ExitCode.DONE if probe.best(found) else ExitCode.NO_SOFTWARE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bundle",
        description="A folder with all the Kubernetes software that a cluster needs. See docs/bundle.md.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="build a bundle, or what is missing of it")
    command.add_argument(
        "--from", dest="source", choices=["modules"], required=True, help="from published Go modules"
    )
    command.add_argument("--minor", metavar="X.Y", help="Kubernetes minor (default: the catalogue's)")
    command.add_argument(
        "--output", type=_path, metavar="DIR", help="the bundle's folder (default: KUBESTEAD_BUNDLE)"
    )
    command.add_argument(
        "--status", type=_path, metavar="FILE", help="where progress is written for the server"
    )
    command.add_argument(
        "--rebuild", action="append", default=[], metavar="PART", help="build this part anew"
    )
    command.add_argument(
        "--with",
        dest="addons",
        action="append",
        default=[],
        metavar="ADDON",
        help=f"add {', '.join(recipe.ADDONS)} or all of them ({build.ALL}); what is in the bundle stays",
    )
    command.add_argument(
        "--keep-caches", action="store_true", help="keep modules and compiled packages afterwards"
    )
    command.add_argument(
        "--install-missing", action="store_true", help="install the Debian packages that building takes"
    )
    command.add_argument(
        "--no-wait", action="store_true", help="refuse, do not wait, when another build is running"
    )
    command.set_defaults(run=_build)
    command = commands.add_parser(
        "fetch", help="fetch a bundle from the public homes or mirrors (the playbook bundle.yml does)"
    )
    command.add_argument(
        "--list", required=True, metavar="FILE", help="what to fetch, as JSON; '-' reads it from the input"
    )
    command.add_argument(
        "--output", type=_path, metavar="DIR", help="the bundle's folder (default: KUBESTEAD_BUNDLE)"
    )
    command.add_argument(
        "--architecture",
        choices=["amd64", "arm64"],
        default=gotool.architecture(),
        help="of the machines (default: %(default)s)",
    )
    command.set_defaults(run=_fetch)
    command = commands.add_parser("serve", help="serve a bundle to machines over HTTP")
    command.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address (default: %(default)s)"
    )
    command.add_argument("--port", type=int, default=8086, help="port (default: %(default)s)")
    command.add_argument("--status", type=_path, metavar="FILE", help="the status file of a build under way")
    command.set_defaults(run=_serve)
    _folder(command)
    command = commands.add_parser("verify", help="check every file, signature and reference")
    command.set_defaults(run=_verify)
    _folder(command)
    command = commands.add_parser("info", help="say what a bundle holds and where it came from")
    command.add_argument("--json", action="store_true", help="for a program")
    command.set_defaults(run=_info)
    _folder(command)
    command = commands.add_parser(
        "probe", help="say which sources of Kubernetes software can be had from here"
    )
    command.add_argument("--json", action="store_true", help="for a program")
    command.add_argument("--minor", metavar="X.Y", help="Kubernetes minor (default: the catalogue's)")
    command.set_defaults(run=_probe)
    _folder(command)
    return parser


def _folder(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folder", type=_path, nargs="?", metavar="DIR", help="the bundle's folder (default: KUBESTEAD_BUNDLE)"
    )
