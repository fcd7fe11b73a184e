# SPDX-License-Identifier: GPL-3.0-or-later
"""`./deploy.sh`: runs a playbook on an inventory and says by its exit code how that went.

Roles and playbooks know nothing of this file: `ansible-playbook -i INVENTORY deploy.yml` does the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from kubestead import ssh_access
from kubestead.exit_codes import ExitCode
from kubestead.model import environment_settings
from kubestead.model.registry import Registry, RegistryError

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT_FILE = CHECKOUT / ".env"
_READS_ENVIRONMENT = re.compile(r"""lookup\(\s*['"](?:ansible\.builtin\.)?env['"]\s*,\s*['"](\w+)['"]""")
_HAS_PXE_SERVER = re.compile(r"^ *pxe_server:", re.MULTILINE)

# What a person may type for each phase, and the playbook that it stands for.
PHASES = {
    "state-api": "state_api",
    "provision": "provision",
    "ssh-access": "ssh_access",
    "prepare": "prepare",
    "control-plane": "control_plane",
    "tokens": "tokens",
    "join": "join",
    "network": "network",
    "validate": "validate",
    "diagnose": "diagnose",
}
# These begin with what is looked at before anything is touched; deploy.yml does so itself.
CHECKED_FIRST = {"prepare", "control_plane", "join", "network", "validate"}


@dataclass(frozen=True)
class Outcome:
    """What a run of a playbook came to."""

    code: ExitCode
    summary: Mapping[str, Any]
    """The callback's summary (phases, hosts, failure); empty when the run ended before it was written."""

    @property
    def message(self) -> str:
        """The first failure in one sentence; empty when there was none."""
        failure = self.summary.get("failure")
        if not failure:
            return ""
        where = ", ".join(str(failure[key]) for key in ("host", "phase", "task") if failure.get(key))
        return f"{where}: {failure.get('message', 'failed')}"


def run_playbook(
    playbook: Path,
    inventory: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    *,
    output: IO[str] | None = None,
) -> Outcome:
    """Run one playbook and wait for it.

    playbook, inventory: paths. arguments: more for ansible-playbook. environment: added to ours.
    prefix: a command that runs another one (the lab enters its network with it).
    output: a file for what it says, which else goes to our own output; then nobody is asked anything.
    Ctrl-C reaches ansible-playbook by the terminal; we wait for its end.
    """
    with tempfile.TemporaryDirectory(prefix="kubestead-") as folder:
        summary_file = Path(folder, "summary.json")
        command = [
            *prefix,
            str(Path(sys.executable).parent / "ansible-playbook"),
            "--inventory",
            str(inventory),
            str(playbook),
            *arguments,
        ]
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=output and subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
                **(environment or {}),
                "KUBESTEAD_SUMMARY_FILE": str(summary_file),
            },
        )
        interrupted = False
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
        summary: dict[str, Any] = {}
        if summary_file.exists():
            summary = json.loads(summary_file.read_text(encoding="utf-8"))
    return Outcome(_exit_code(status, interrupted, summary), summary)


def _exit_code(status: int, interrupted: bool, summary: Mapping[str, Any]) -> ExitCode:
    if interrupted or status == 99:  # ansible-playbook's own code for Ctrl-C
        return ExitCode.INTERRUPTED
    if status == 0:
        return ExitCode.DONE
    failure = summary.get("failure") or {}
    if failure.get("kind") == "software_unreachable":
        return ExitCode.NO_SOFTWARE
    if failure.get("kind") == "declined":
        return ExitCode.INTERRUPTED if sys.stdin.isatty() else ExitCode.WRONG_INPUT
    return ExitCode.WRONG_INPUT if _only_looked(summary, failure) else ExitCode.FAILED


def _only_looked(summary: Mapping[str, Any], failure: Mapping[str, Any]) -> bool:
    """Whether the input was at fault: outside of every phase nothing else is looked at.

    A worker that was left out there while the others went on is no such fault, nor one that does not answer.
    """
    if not summary.get("hosts"):
        return True
    if not failure or failure.get("phase") or failure.get("kind") == "host_unreachable":
        return False
    return not any(phase["name"] in CHECKED_FIRST for phase in summary.get("phases", []))


def find_inventory(word: str | None) -> Path:
    """The inventory that a person means by a name below `inventory/` or by a path.

    word: what was typed after -i, else KUBESTEAD_INVENTORY, else ANSIBLE_INVENTORY.
    Raises ValueError with what there is to choose from.
    """
    word = word or os.environ.get("KUBESTEAD_INVENTORY") or os.environ.get("ANSIBLE_INVENTORY")
    there = sorted(path.name for path in (CHECKOUT / "inventory").iterdir() if path.is_dir())
    if not word:
        raise ValueError(
            "no inventory is named. Copy inventory/example, describe your machines in it, and type "
            f"./deploy.sh -i NAME, or set KUBESTEAD_INVENTORY. There are: {', '.join(there)}"
        )
    # A name first: `lab` is the inventory of the lab, also where a folder of that name stands about.
    called_from = Path(os.environ.get("KUBESTEAD_CALLED_FROM", "."))
    for path in (CHECKOUT / "inventory" / word, called_from / word):
        if path.exists():
            return path.resolve()
    raise ValueError(f"there is no inventory {word!r}: neither a path nor one of {', '.join(there)}")


def check_registry(inventory: Path) -> None:
    """Read the registry that an inventory is made of before Ansible does, so that only its own problems show.

    Raises RegistryError with all of them.
    """
    for name in ("kubestead.yml", "kubestead.yaml"):
        source = inventory / name
        if source.is_file():
            settings = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
            if settings.get("source", "file") != "file":
                continue  # the State API has it, and has checked it
            Registry.load(source.parent / settings.get("registry", "registry.json"))


def load_environment(inventory: Path) -> None:
    """Take the settings of `.env` into the environment where it does not have them, and check what is read.

    Only an inventory that reads such settings (`lookup('env', …)`) is held to them.
    Raises RegistryError with all that are missing or wrong.
    """
    source = environment_settings.ENVIRONMENT
    if ENVIRONMENT_FILE.is_file():
        source = ENVIRONMENT_FILE.name
        if ENVIRONMENT_FILE.stat().st_mode & 0o077:
            print(
                f"{source} may be read by others, and it holds secrets: chmod 600 {source}", file=sys.stderr
            )
        for name, value in environment_settings.load(ENVIRONMENT_FILE).items():
            os.environ.setdefault(name, value)
    files = [inventory] if inventory.is_file() else sorted(inventory.rglob("*.y*ml"))
    read = {name for file in files for name in _READS_ENVIRONMENT.findall(file.read_text("utf-8", "replace"))}
    if read & environment_settings.SETTINGS.keys():
        problems = environment_settings.problems(os.environ, source)
        if problems:
            if not ENVIRONMENT_FILE.is_file():
                print("There is no .env: cp example.env .env, and fill it in.", file=sys.stderr)
            raise RegistryError(problems)


def _silent(outcome: Outcome) -> list[str]:
    """The hosts that did not answer."""
    return [name for name, counts in outcome.summary.get("hosts", {}).items() if counts.get("unreachable")]


def _left_out(outcome: Outcome) -> list[str]:
    """A line for each machine that failed or did not answer, where the run went on to its end without it."""
    phases = outcome.summary.get("phases", [])
    if not phases or not phases[-1]["ok"]:
        return []
    hosts = outcome.summary.get("hosts", {})
    lost = [name for name, counts in hosts.items() if counts.get("unreachable") or counts.get("failed")]
    reasons = {entry["host"]: entry["message"] for entry in reversed(outcome.summary.get("failures", []))}
    return [f"{name}: {reasons.get(name, 'no answer')}" for name in lost]


def _boots_machines(inventory: Path) -> bool:
    """Whether an inventory has a PXE server, so that machines could be installed."""
    files = [inventory] if inventory.is_file() else sorted(inventory.glob("*.y*ml"))
    return any(_HAS_PXE_SERVER.search(file.read_text("utf-8", "replace")) for file in files)


def _confirm(question: str, assume_yes: bool) -> bool:
    if assume_yes:
        return True
    if not sys.stdin.isatty():
        raise ValueError("there is no terminal to ask on: add --yes to go ahead")
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy.sh",
        description="Kubestead: from a registry of machines to a Kubernetes cluster.",
        epilog="Also: ./deploy.sh lab --help (a whole homelab on this computer), ./deploy.sh bundle --help "
        "(Kubernetes software for places without internet), ./deploy.sh ssh --help (the way to one host). "
        "What follows -- goes to ansible-playbook.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="all",
        choices=["all", "reset", *PHASES],
        help="all (the default) deploys to machines that have a system; provision installs those without; "
        "reset takes the cluster down and keeps the machines; ssh-access makes the way to the hosts; "
        "diagnose says what is wrong, and changes nothing; tokens makes what a machine needs to join by hand "
        "(-- -e tokens_for=NODE); the others are single phases of all",
    )
    parser.add_argument("-i", "--inventory", help="a name below inventory/, or a path [KUBESTEAD_INVENTORY]")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="a worker that cannot be used ends the run, too, as a control plane does",
    )
    parser.add_argument("--with-rke2", action="store_true", help="also the hosts of group rke2")
    return parser


def main(words: Sequence[str] | None = None) -> ExitCode:
    """The command line of `./deploy.sh`, but for its `lab` and `bundle`."""
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["ssh"]:
        return ssh_access.main(words[1:])
    split = words.index("--") if "--" in words else len(words)
    options, more = _parser().parse_args(words[:split]), words[split + 1 :]
    try:
        if options.with_rke2:
            raise ValueError(
                "--with-rke2: this version deploys kubeadm clusters only. "
                "Leave it out: RKE2 hosts are left alone"
            )
        inventory = find_inventory(options.inventory)
        load_environment(inventory)
        check_registry(inventory)
        reset = options.command == "reset"
        question = (
            f"Take down the cluster of {inventory.name} and delete its data?"
            if reset
            else f"Deploy to the machines of {inventory.name}?"
        )
        if options.command in {"all", "reset"} and not _confirm(question, options.yes):
            print("Nothing was changed.", file=sys.stderr)
            return ExitCode.INTERRUPTED
    except RegistryError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    except ValueError as problem:
        print(f"deploy.sh: {problem}.", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    name = {"all": "deploy", **PHASES}.get(options.command, options.command)
    if reset:
        more = ["--extra-vars", "cluster_reset_confirm=true", *more]
    if options.strict:
        more = ["--extra-vars", "kubestead_strict=true", *more]
    if options.command == "provision":
        more = ["--extra-vars", json.dumps({"provision_yes": options.yes}), *more]
    if name in CHECKED_FIRST:
        more = ["--extra-vars", f"kubestead_playbook={name}", *more]
        name = "one_phase"
    outcome = run_playbook(CHECKOUT / "playbooks" / f"{name}.yml", inventory, more)
    if outcome.message:
        print(f"\n✘ {outcome.message}", file=sys.stderr)
    if options.command != "provision" and (left_out := _left_out(outcome)):
        print("  Left out, the others went on:", *left_out, sep="\n  - ", file=sys.stderr)
    if options.command != "provision" and (silent := _silent(outcome)) and _boots_machines(inventory):
        print(
            f"  {', '.join(silent)}: no answer. A machine without a system gets one by "
            f"./deploy.sh -i {inventory.name} provision",
            file=sys.stderr,
        )
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
