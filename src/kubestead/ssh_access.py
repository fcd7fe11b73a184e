# SPDX-License-Identifier: GPL-3.0-or-later
"""`./deploy.sh ssh test|keys|known-host USER@HOST`: the way to one host by ssh, made and looked at.

ssh itself asks for passwords, on the terminal; none is ever in an argument or read by us.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.known_hosts import Key, entry_name, keys_of, reported_keys, scan, with_keys
from kubestead.model.state_api_client import StateApiClient, StateApiError, read_token

_TARGET = re.compile(r"(?:(?P<user>[A-Za-z_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.:_-]*)")
_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_SECONDS = 10


@dataclass(frozen=True)
class Target:
    """Whom to reach, and the files of ssh to use."""

    host: str
    user: str | None = None
    port: int = 22
    folder: Path = Path("~/.ssh")

    @classmethod
    def parse(cls, text: str, port: int, folder: Path) -> Target:
        """Read `USER@HOST`; raise ValueError for what is none."""
        match = _TARGET.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is no host, expected USER@HOST such as root@10.0.0.2")
        return cls(match["host"], match["user"], port, folder.expanduser())

    @property
    def known_hosts(self) -> Path:
        """The file of known hosts itself, also where its name is a link."""
        return Path(os.path.realpath(self.folder / "known_hosts"))

    @property
    def destination(self) -> str:
        """As ssh wants it."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def options(self, *more: str) -> list[str]:
        """What ssh and ssh-copy-id are told: keys of hosts are never accepted without a question."""
        words = ["-p", str(self.port), "-o", "StrictHostKeyChecking=yes", "-o", f"ConnectTimeout={_SECONDS}"]
        if self.folder != Path("~/.ssh").expanduser():
            words += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return [*words, *more]

    def identity(self) -> list[str]:
        """The option that names our key, where there is one."""
        key = self.key()
        return ["-i", str(key)] if key else []

    def key(self) -> Path | None:
        """The key that ssh takes first."""
        return next((self.folder / name for name in _KEYS if (self.folder / name).is_file()), None)


def test(target: Target) -> ExitCode:
    """Say whether Ansible gets there: ssh by key, Python, root."""
    script = (
        "command -v python3 >/dev/null && echo python; test $(id -u) = 0 && echo root;"
        " sudo -n true 2>/dev/null && echo sudo; true"
    )
    done = subprocess.run(
        ["ssh", *target.options("-o", "BatchMode=yes"), *target.identity(), target.destination, script],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        return _not_reached(target, done.stderr)
    found = set(done.stdout.split())
    print(f"✔ {target.destination}: ssh by key")
    lines = {
        "Python": "python" in found,
        "root, directly or by sudo without a password": bool(found & {"root", "sudo"}),
    }
    for what, there in lines.items():
        print(f"{'✔' if there else '!'} {what}{'' if there else ': missing'}")
    return ExitCode.DONE


def _not_reached(target: Target, said: str) -> ExitCode:
    lines = said.strip().splitlines()
    print(f"✘ {target.destination}: {lines[-1] if lines else 'ssh failed'}", file=sys.stderr)
    print(f"  {_advice(said, target)}", file=sys.stderr)
    return ExitCode.FAILED


def _advice(said: str, target: Target) -> str:
    where = target.destination + (f" --port {target.port}" if target.port != 22 else "")
    if "Permission denied" in said:
        return f"Your key is not known there: ./deploy.sh ssh keys {where}"
    if "Host key verification failed" in said or "host key is known" in said:
        return f"The host's key is not known here: ./deploy.sh ssh known-host {where}"
    if any(words in said for words in ("Connection reset", "Connection closed", "Not allowed at this time")):
        return (
            "It hangs up before a login: newer OpenSSH (PerSourcePenalties) shuts out for a while who failed "
            "too often. Try again in a minute."
        )
    return "Is it on, and are address and port right?"


def known_host(target: Target, assume_yes: bool = False) -> ExitCode:
    """Have ssh know the host: by what it told the State API, else by what it shows and a person accepts."""
    name, path = entry_name(target.host, target.port), target.known_hosts
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    before = keys_of(text, name)
    keys, source = _from_api(target.host), "the State API"
    if not keys:
        keys, source = scan(target.host, target.port, _SECONDS, before), "the host itself"
    if not keys:
        print(f"✘ {target.host} shows no key at port {target.port}. Is it on?", file=sys.stderr)
        return ExitCode.FAILED
    if set(before) == set(keys) or (source != "the State API" and set(keys) <= set(before)):
        print(f"✔ {target.host} is known")
        return ExitCode.DONE
    print(f"{target.host}, as told by {source}:")
    for key in keys:
        print(f"  {key.fingerprint}  {key.type}")
    if before:
        print("It had other keys. Was it installed anew? If not, somebody may stand in between:")
        for key in before:
            print(f"  {key.fingerprint}  {key.type}  (until now)")
    if source != "the State API" and not assume_yes:
        if not sys.stdin.isatty():
            raise ValueError("there is no terminal to ask on: compare the fingerprints, and add --yes")
        if input("Is that the host? [y/N] ").strip().lower() not in ("y", "yes"):
            return ExitCode.INTERRUPTED
    target.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    after = with_keys(text, [name], keys).encode(errors="surrogateescape")
    write_atomically(target.known_hosts, after, None if target.known_hosts.exists() else 0o600)
    print(f"✔ {target.host} is known now ({target.known_hosts})")
    return ExitCode.DONE


def _from_api(host: str) -> list[Key]:
    """What a machine of this name or address has told the State API, where the environment names one."""
    url, token_file = (os.environ.get(f"KUBESTEAD_API_{name}") for name in ("URL", "TOKEN_FILE"))
    if not url or not token_file:
        return []
    try:
        client = StateApiClient(url, read_token(token_file), ca_file=os.environ.get("KUBESTEAD_API_CA_FILE"))
        for mac, view in client.machines().items():
            if host in (view.get("hostname"), view.get("ip"), view.get("address")):
                return reported_keys(client, mac)
    except (StateApiError, ValueError) as error:
        print(f"The State API cannot say who {host} is: {error}", file=sys.stderr)
    return []


def keys(target: Target, assume_yes: bool = False) -> ExitCode:
    """Have the host let our key in: what ssh-copy-id does, with all that it needs before."""
    key = target.key()
    if key is None:
        target.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = target.folder / _KEYS[0]
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        print(f"✔ a key of your own: {key}")
    # A host that is known is not asked again: newer servers shut out who comes and goes too often.
    name, path = entry_name(target.host, target.port), target.known_hosts
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    if not keys_of(text, name):
        code = known_host(target, assume_yes)
        if code != ExitCode.DONE:
            return code
    batch = ["ssh", *target.options("-o", "BatchMode=yes"), "-o", "IdentitiesOnly=yes", "-i", str(key)]
    there = subprocess.run([*batch, target.destination, "true"], check=False, capture_output=True, text=True)
    if there.returncode:
        if "Permission denied" not in there.stderr:
            return _not_reached(target, there.stderr)
        # Forced: it would look once more whether the key is there, and each failure counts against us.
        key_file = str(key.with_suffix(".pub"))
        command = ["ssh-copy-id", "-f", "-i", key_file, *target.options(), target.destination]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            print(f"✘ {target.destination} did not take the key.", file=sys.stderr)
            return ExitCode.FAILED
    return test(target)


def main(words: Sequence[str]) -> ExitCode:
    """The command line behind `./deploy.sh ssh`."""
    parser = argparse.ArgumentParser(prog="deploy.sh ssh", description="The way to one host by ssh.")
    parser.add_argument(
        "what",
        choices=["test", "keys", "known-host"],
        help="test: does Ansible get there; keys: have the host let your key in (you get one if you have "
        "none; ssh asks for the password, once); known-host: look at the host's key and remember it",
    )
    parser.add_argument("target", metavar="USER@HOST")
    parser.add_argument("-p", "--port", type=int, default=22)
    parser.add_argument("-y", "--yes", action="store_true", help="accept the host's key without a question")
    parser.add_argument("--folder", type=Path, default=Path("~/.ssh"), help="where keys and known_hosts are")
    options = parser.parse_args(words)
    try:
        target = Target.parse(options.target, options.port, options.folder)
        if options.what == "test":
            return test(target)
        return {"keys": keys, "known-host": known_host}[options.what](target, options.yes)
    except (ValueError, OSError, subprocess.CalledProcessError) as problem:
        print(f"deploy.sh ssh: {problem}.", file=sys.stderr)
        return ExitCode.WRONG_INPUT
