# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings that come from the environment (`.env`, for inventory/proxmox): all missing or wrong ones at once.

`python -m kubestead.model.environment_settings FILE` checks a file, without FILE the environment itself.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import sys
import typing as t

from .machine_checks import WrongValueError, check_gpu_pci_address
from .problems import Problem, RegistryError
from .registry_file import read_text

ENVIRONMENT = "the environment"
WRONG_INPUT = 2  # as docs/exit-codes.md has it

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_USER = re.compile(_NAME)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PATH = r"[A-Za-z0-9~][-A-Za-z0-9._~/+]*"
_SSH_URL = re.compile(rf"(?:ssh://{_NAME}@{_NAME}(?::[0-9]{{1,5}})?/|{_NAME}@{_NAME}:){_PATH}")
_HTTPS_URL = re.compile(rf"https?://{_NAME}(?::[0-9]{{1,5}})?/?")
_MONITOR = re.compile(r"([0-9.]+)(?::[0-9]{1,5})?|\[([0-9A-Fa-f:]+)\](?::[0-9]{1,5})?|([0-9A-Fa-f:]+)")
_PROXMOX_USER = re.compile(rf"{_NAME}@{_NAME}")
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+(?:\.[0-9]+)?(?:[-+][A-Za-z0-9.]+)?")
_CEPH_KEY_BYTES = 28

Check = t.Callable[[str], None]


class Setting(t.NamedTuple):
    """One name of the environment."""

    check: Check
    needed: str = "always"
    """`always`, `never`, or the name of the switch with which it is needed."""
    secret: bool = False
    """Its value is never shown."""


def _pattern(pattern: t.Pattern[str], expectation: str) -> Check:
    def check(value: str) -> None:
        if not pattern.fullmatch(value):
            raise WrongValueError(expectation)

    return check


def _boolean(value: str) -> None:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise WrongValueError("true or false")


def _address(value: str) -> None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise WrongValueError("an IPv4 or IPv6 address, without the prefix length") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise WrongValueError("the address of one machine")


def _network(value: str) -> None:
    try:
        ipaddress.ip_network(value)
        if "/" not in value:
            raise ValueError
    except ValueError:
        raise WrongValueError("a network such as 192.168.1.0/24") from None


def _host(value: str) -> None:
    if value.replace(".", "").isdigit() or ":" in value:
        _address(value)
    elif not _USER.fullmatch(value):
        raise WrongValueError("a host name or an address")


def _several(check: Check) -> Check:
    def each(value: str) -> None:
        for part in value.split(","):
            check(part.strip())

    return each


def _monitor(value: str) -> None:
    match = _MONITOR.fullmatch(value)
    try:
        _address(next(filter(None, match.groups())) if match else "")
    except WrongValueError:
        raise WrongValueError(
            "addresses with commas between, such as 192.168.1.21,192.168.1.22:6789"
        ) from None


def _gpu(value: str) -> None:
    check_gpu_pci_address(value, lambda note: None)


def _ceph_key(value: str) -> None:
    try:
        length = len(base64.b64decode(value.encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError):
        length = 0
    if length != _CEPH_KEY_BYTES:
        raise WrongValueError("a key as `ceph auth get-key` prints it, 40 characters that end in ==")


def _file(value: str) -> None:
    if not value.isprintable() or value.endswith("/"):
        raise WrongValueError("the path of a file")


def _one_word(value: str) -> None:
    if not value.isprintable() or " " in value:
        raise WrongValueError("one word without spaces")


_UUID_CHECK = _pattern(_UUID, "a UUID such as 7d2f1c8e-5b0a-4c1e-9f57-2a6f0d3b8c41")
_VERSION_CHECK = _pattern(_VERSION, "a version such as 1.36.4")
_WORD_CHECK = _pattern(_USER, "a name of letters, digits, -, _ and .")

SETTINGS: t.Mapping[str, Setting] = {
    "ENABLE_CEPH": Setting(_boolean, "never"),
    "ENABLE_CUDA": Setting(_boolean, "never"),
    "ENABLE_GATEWAY_API": Setting(_boolean, "never"),
    "GPU_PCI_ADDRESS": Setting(_gpu, "ENABLE_CUDA"),
    "K8S_CONTROL_1_IP": Setting(_address),
    "K8S_NODE_1_IP": Setting(_address),
    "K8S_NODE_2_IP": Setting(_address),
    "K8S_NETWORK": Setting(_network),
    "K8S_GATEWAY": Setting(_address),
    "K8S_DNS": Setting(_several(_address)),
    "SSH_PRIVATE_KEY_FILE": Setting(_file),
    "SSH_PUBLIC_KEY_FILE": Setting(_file),
    "PROXMOX_HOST": Setting(_host),
    "PROXMOX_NODE": Setting(_WORD_CHECK),
    "PROXMOX_STORAGE": Setting(_WORD_CHECK),
    "PROXMOX_URL": Setting(_pattern(_HTTPS_URL, "an address such as https://192.168.1.10:8006")),
    "PROXMOX_USER": Setting(_pattern(_PROXMOX_USER, "a user with its realm, such as root@pam")),
    "PROXMOX_TOKEN_ID": Setting(_pattern(_USER, "the name of the token alone, without USER@REALM!")),
    "PROXMOX_TOKEN_SECRET": Setting(_UUID_CHECK, secret=True),
    "KUBERNETES_VERSION": Setting(_VERSION_CHECK),
    "CRIO_VERSION": Setting(_VERSION_CHECK),
    "CILIUM_VERSION": Setting(_VERSION_CHECK),
    "ARGOCD_VERSION": Setting(_VERSION_CHECK),
    "REPOSITORY_SSH_URL": Setting(
        _pattern(_SSH_URL, "an SSH address such as git@gitlab.com:home/applications.git")
    ),
    "REPOSITORY_TOKEN": Setting(_one_word, secret=True),
    "CEPH_FSID": Setting(_UUID_CHECK, "ENABLE_CEPH"),
    "CEPH_MONITORS": Setting(_several(_monitor), "ENABLE_CEPH"),
    "CEPH_K8S_USER": Setting(_WORD_CHECK, "ENABLE_CEPH"),
    "CEPH_K8S_KEY": Setting(_ceph_key, "ENABLE_CEPH", secret=True),
    "CEPH_ADMIN_KEY": Setting(_ceph_key, "ENABLE_CEPH", secret=True),
}


def read(text: str, source: str) -> t.Tuple[t.Dict[str, str], t.List[Problem]]:
    """The KEY=VALUE lines of a file, and what is wrong with its lines; nothing in it is executed."""
    values: t.Dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        value = _unquoted(match.group(2)) if match else None
        if match is None or value is None:
            wrong.append(
                Problem(source, None, f"line {number}", None, "KEY=VALUE or KEY='VALUE'", "is no setting")
            )
        else:
            values[match.group(1)] = value
    return values, wrong


def _unquoted(text: str) -> t.Optional[str]:
    """The value without its quotes, or without a comment behind it; None where a quote has no end."""
    for quote in "\"'":
        if text.startswith(quote):
            value, end, rest = text[1:].partition(quote)
            return value if end and re.fullmatch(r"\s*(?:#.*)?", rest) else None
    return re.sub(r"(?:^|\s+)#.*", "", text).strip()


def problems(values: t.Mapping[str, str], source: str = ENVIRONMENT) -> t.List[Problem]:
    """All settings that are missing or wrong, each with what was expected."""
    found = []
    for name, setting in SETTINGS.items():
        value = values.get(name, "").strip()
        try:
            if value:
                setting.check(value)
            elif setting.needed == "always" or values.get(setting.needed, "").strip().lower() in _TRUE:
                because = "" if setting.needed == "always" else f": {setting.needed} is on"
                found.append(Problem(source, None, name, None, f"a value{because}", "is missing"))
        except WrongValueError as wrong:
            shown = "is not of the right form" if setting.secret else ""
            found.append(Problem(source, None, name, value, wrong.expectation, shown))
    return found


def load(path: t.Union[str, os.PathLike[str]]) -> t.Dict[str, str]:
    """The settings of a file, for the environment of a run; RegistryError has all that are no settings."""
    name = os.fspath(path)
    values, wrong = read(read_text(name), name)
    if wrong:
        raise RegistryError(wrong)
    return values


def main(arguments: t.Sequence[str]) -> int:
    """Check a file, or the environment; what is wrong goes to standard error."""
    names = [argument for argument in arguments if argument != "--check"]
    if len(names) > 1 or any(name.startswith("-") for name in names):
        sys.stderr.write("Usage: python -m kubestead.model.environment_settings [FILE]\n")
        return WRONG_INPUT
    source = names[0] if names else ENVIRONMENT
    try:
        values = load(source) if names else dict(os.environ)
        found: t.Sequence[Problem] = problems(values, source)
    except RegistryError as error:
        found = error.problems
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if not found:
        sys.stdout.write(f"{source}: all settings are there\n")
    return WRONG_INPUT if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
