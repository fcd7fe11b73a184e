# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab: nodes on this computer, by hand and for molecule."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kubestead.exit_codes import ExitCode
from lab import cgroups, host, machine_commands, paths
from lab import commands as homelab
from lab.errors import InputError, LabError
from lab.lab import DEFAULT, Lab
from lab.spec import NodeSpec, check_together, read_platforms


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(
        prog="deploy.sh lab", description="A whole homelab on this computer; without a command: up."
    )
    top.add_argument(
        "--lab",
        default=os.environ.get("KUBESTEAD_LAB") or DEFAULT,
        help="the lab's name (default: %(default)s)",
    )
    top.add_argument(
        "--wait", action="store_true", help="wait for another run of the same lab instead of refusing"
    )
    top.add_argument("--api-port", type=int, help="port of 127.0.0.1 for the State API (lab `lab`: 18080)")
    top.add_argument(
        "--kube-port", type=int, help="port of 127.0.0.1 for the Kubernetes API (lab `lab`: 16443)"
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    homelab.register(commands)

    nodes = commands.add_parser("nodes", help="up NAME:OS:IP[:MAC]…, down [NAME…], list")
    actions = nodes.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="make and boot nodes, wait until they answer")
    up.add_argument("specs", nargs="*", metavar="NAME:OS:IP[:MAC]")
    up.add_argument("--platforms", type=Path, metavar="FILE", help="take the nodes from a molecule.yml")
    down = actions.add_parser("down", help="remove nodes; without names the whole lab")
    down.add_argument("names", nargs="*", metavar="NAME")
    listing = actions.add_parser("list", help="show nodes")
    listing.add_argument("--json", action="store_true")

    node = commands.add_parser("node", help="start, stop, cut or wipe one node")
    node.add_argument("action", choices=("start", "stop", "cut", "wipe"))
    node.add_argument("name")

    machine_commands.register(commands)

    ssh = commands.add_parser("ssh", help="a shell on a node, or a command there")
    ssh.add_argument("name")
    ssh.add_argument("remote", nargs=argparse.REMAINDER)

    inside = commands.add_parser("run", help="run a command in the lab's network, set up for ansible")
    inside.add_argument("argv", nargs=argparse.REMAINDER)

    commands.add_parser("check", help="say what this computer lacks")
    commands.add_parser("missing-packages", help="print the Debian packages that have to be installed")
    commands.add_parser("down", help="remove everything of the lab")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    own, passed_on = homelab.split(list(sys.argv[1:] if argv is None else argv))
    arguments = parser().parse_args(own, argparse.Namespace(words=passed_on))
    try:
        lab = Lab(arguments.lab, say=_say, api_port=arguments.api_port, kube_port=arguments.kube_port)
        return {**_COMMANDS, **homelab.COMMANDS}[arguments.command or "up"](lab, arguments)
    except LabError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on from here", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _nodes(lab: Lab, arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        return _list(lab, arguments.json)
    if arguments.action == "up":
        specs = [NodeSpec.parse(text) for text in arguments.specs]
        if arguments.platforms:
            specs += read_platforms(arguments.platforms)
        if not specs:
            raise InputError("no nodes are named; expected NAME:OS:IP[:MAC] or --platforms FILE")
        check_together(specs)
        lab.preflight()
        with lab.lock(wait=arguments.wait):
            lab.network_up()
            lab.gateway_start()
            started = lab.nodes_up(specs)
        print(f"started: {' '.join(started)}" if started else "all nodes were up")
        return 0
    if not arguments.names:
        return _down(lab, arguments)
    with lab.lock(wait=arguments.wait):
        for name in arguments.names:
            lab.node_wipe(name)
    return 0


def _list(lab: Lab, as_json: bool) -> int:
    rows = [
        {**(node.spec.to_dict() if node.spec else {"name": node.name}), "state": node.state()}
        for node in lab.nodes()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    for row in [] if as_json else rows:
        columns = [row.get(key, "") for key in ("name", "os", "ip", "mac", "state")]
        print("  ".join(f"{text:{width}}" for text, width in zip(columns, (16, 9, 11, 17, 0), strict=True)))
    return 0


def _node(lab: Lab, arguments: argparse.Namespace) -> int:
    actions = {"start": lab.node_start, "stop": lab.node_stop, "cut": lab.node_cut, "wipe": lab.node_wipe}
    with lab.lock(wait=arguments.wait):
        actions[arguments.action](arguments.name)
    return 0


def _ssh(lab: Lab, arguments: argparse.Namespace) -> int:
    argv = lab.ssh_argv(arguments.name, _plain(arguments.remote))
    os.execvp(argv[0], argv)


def _run(lab: Lab, arguments: argparse.Namespace) -> int:
    argv = lab.network_argv(_plain(arguments.argv) or [os.environ.get("SHELL", "/bin/sh")])
    os.execvpe(argv[0], argv, {**os.environ, **lab.run_environment()})


def _plain(argv: list[str]) -> list[str]:
    return argv[1:] if argv[:1] == ["--"] else argv


def _check(lab: Lab, _: argparse.Namespace) -> int:
    print(cgroups.mode().value)
    lab.preflight()
    print("this computer can carry the lab")
    return 0


def _missing(_lab: Lab, _: argparse.Namespace) -> int:
    print("\n".join(host.missing_packages()))
    return 0


def _down(lab: Lab, arguments: argparse.Namespace) -> int:
    with lab.lock(wait=arguments.wait):
        left = lab.down()
    with contextlib.suppress(OSError):
        paths.home().rmdir()  # with the last lab
    for problem in left:
        print(f"error: left over: {problem}", file=sys.stderr)
    return ExitCode.FAILED if left else ExitCode.DONE


_COMMANDS = {
    "nodes": _nodes,
    "node": _node,
    "machine": machine_commands.run_command,
    "ssh": _ssh,
    "run": _run,
    "check": _check,
    "missing-packages": _missing,
    "down": _down,
}

if __name__ == "__main__":
    sys.exit(main())
