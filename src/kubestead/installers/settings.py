# SPDX-License-Identifier: GPL-3.0-or-later
"""What every installation shares: where machines find what they need, and how they are set up.

All of it ends in boot scripts, kernel command lines, answer files or shell. So nothing gets in here that
could mean something there: each value is made of the few characters that such values need.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kubestead.model.boot_decision import BIOS, UEFI
from kubestead.model.machine import INSTALL_METHODS
from kubestead.model.problems import one_of, printable, show

DEFAULT_FILE = Path("/etc/kubestead/boot.json")

_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_HOST = re.compile(_NAME)
_ADDRESS = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+=,-]+)*/?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MIRROR = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_LOCALE = re.compile(r"(?:C|POSIX|[a-z]{2,3}_[A-Z]{2})(?:\.[A-Za-z0-9-]+)?(?:@[a-z]+)?")
_KEYBOARD = re.compile(r"[a-z][a-z0-9]{1,15}(?:[-_][a-z0-9]{1,15})*")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{1,127}")
_KERNEL_ARGUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=@/+-]*")
_KERNEL_ARGUMENTS_LENGTH = 512  # with ours, far from the 2048 characters that a kernel takes
_SSH_KEY = re.compile(r"(?P<type>[a-z0-9][a-z0-9@.-]*) (?P<key>[A-Za-z0-9+/]+={0,2})(?: (?P<comment>.*))?")
_SSH_KEY_TYPES = re.compile(
    r"ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
)
_NOT_FOR_COMMENTS = re.compile(r"[^A-Za-z0-9@._+:=/-]+")
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END CERTIFICATE-----\n*"
)
_LOCAL_BOOTS = ("sanboot", "exit")


class SettingsError(Exception):
    """Settings that cannot be used; `problems` names everything that is wrong, each in one sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the problems."""
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class BootSettings:
    """Checked at their making, by whatever way: SettingsError names everything that is wrong."""

    base: str  # where machines fetch boot files, by plain HTTP
    api_url: str
    api_ca: str = ""  # the authority of the API's certificate, PEM; empty: the system's own, or no TLS
    method: str = "image"  # of a machine whose entry in the registry names none
    user: str = "root"  # that Ansible uses; another than root has sudo without password
    ssh_keys: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    proxy: str = ""  # the fleet's package cache
    domain: str = ""
    timezone: str = "Etc/UTC"
    locale: str = "en_US.UTF-8"
    keyboard: str = "us"
    ntp: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    kernel_arguments: str = ""  # for the installer and for the installed system
    packages: tuple[str, ...] = ()
    local_boot: Mapping[str, str] = field(default_factory=dict)  # by platform: sanboot or exit

    def __post_init__(self) -> None:
        """Bring every value to its normal form."""
        checked, problems = _checked({each.name: getattr(self, each.name) for each in fields(self)})
        if problems:
            raise SettingsError(problems)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, values: Any) -> BootSettings:
        """The settings that a JSON object describes."""
        if not isinstance(values, dict):
            raise SettingsError([f"is {show(values)}, expected an object with base, api_url and more"])
        known = {each.name for each in fields(cls)}
        checked, problems = _checked({name: value for name, value in values.items() if name in known})
        problems += [
            f"{printable(str(name))} is no setting, expected {', '.join(sorted(known))}"
            for name in values
            if name not in known
        ]
        problems += [f"{name} is missing" for name in ("base", "api_url", "ssh_keys") if name not in values]
        if "ssh_keys" in checked and not checked["ssh_keys"]:
            problems.append("ssh_keys is empty: nobody could log in to the machines, name a public key")
        if problems:
            raise SettingsError(problems)
        return cls(**checked)

    @classmethod
    def read(cls, path: Path) -> BootSettings:
        """The settings of a file."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(
                [f"there is no {path}: run the playbook pxe_server.yml, which writes it"]
            ) from None
        except OSError as error:
            raise SettingsError([f"{path} cannot be read: {error.strerror or error}"]) from error
        except (ValueError, RecursionError) as error:
            raise SettingsError([f"{path} is no JSON: {error}"]) from error
        try:
            return cls.of(values)
        except SettingsError as error:
            raise SettingsError([f"{path}: {each}" for each in error.problems]) from None


class SettingsFile:
    """A file with settings that may change at any time, or be missing for now."""

    def __init__(self, path: Path = DEFAULT_FILE) -> None:
        """Read `path` when it is asked for."""
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._found: BootSettings | SettingsError | None = None

    def current(self) -> BootSettings:
        """The settings as the file has them now; SettingsError where they cannot be used."""
        with self._lock:
            seen = self._look()
            if self._found is None or seen is None or seen != self._seen:
                try:
                    self._found = BootSettings.read(self.path)
                except SettingsError as error:
                    self._found = error
                self._seen = seen
            found = self._found
        if isinstance(found, SettingsError):
            raise SettingsError(found.problems)
        return found

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


class _WrongError(ValueError):
    """A value that is not as expected: the text says what is expected."""


def _checked(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    checked: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in values.items():
        try:
            checked[name] = _CHECKS[name](value)
        except _WrongError as wrong:
            problems.append(f"{name} is {show(value)}, expected {wrong}")
    return checked, problems


def _matching(pattern: re.Pattern[str], expectation: str, longest: int = 253) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest or not pattern.fullmatch(value):
            raise _WrongError(expectation)
        return value

    return check


def _or_empty(check: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value == "" else check(value)


def _list_of(check: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def check_all(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise _WrongError("a list")
        found = []
        for each in value:
            try:
                found.append(check(each))
            except _WrongError as wrong:
                raise _WrongError(f"{wrong}, not {show(each)}") from None
        return tuple(dict.fromkeys(found))

    return check_all


def _address(value: Any, schemes: tuple[str, ...], path: bool) -> str:
    example = f"{schemes[-1]}://10.0.0.10" + ("/path" if path else "")
    expectation = f"an address such as {example}"
    if not isinstance(value, str) or len(value) > 512:
        raise _WrongError(expectation)
    found = _ADDRESS.match(value)
    if not found or found["scheme"] not in schemes or int(found["port"] or 1) not in range(1, 65536):
        raise _WrongError(expectation)
    if found["host"].startswith("["):
        try:
            ipaddress.IPv6Address(found["host"][1:-1])
        except ValueError:
            raise _WrongError(expectation) from None
    rest = value[found.end() :]
    if not (_PATH.fullmatch(rest) if path else rest in ("", "/")) or "/.." in rest:
        raise _WrongError(f"{expectation}, without anything behind it" if not path else expectation)
    return value.rstrip("/")


def _base(value: Any) -> str:
    return _address(value, ("http",), path=False)


def _api_url(value: Any) -> str:
    return _address(value, ("http", "https"), path=False)


def _mirror(value: Any) -> str:
    return _address(value, ("https", "http"), path=True)


def _proxy(value: Any) -> str:
    return _address(value, ("http",), path=False)


def _authority(value: Any) -> str:
    expectation = "certificates in PEM, and nothing else"
    if not isinstance(value, str) or len(value) > 65536:
        raise _WrongError(expectation)
    text, position = value.strip().replace("\r\n", "\n"), 0
    blocks = []
    while position < len(text):
        found = _CERTIFICATE.match(f"{text}\n", position)
        if not found:
            raise _WrongError(expectation)
        try:
            base64.b64decode(found[1].replace("\n", ""), validate=True)
        except binascii.Error:
            raise _WrongError(expectation) from None
        blocks.append(found[0].rstrip("\n"))
        position = found.end()
    return "\n".join([*blocks, ""]) if blocks else ""


def _ssh_key(value: Any) -> str:
    expectation = "public keys such as `ssh-ed25519 AAAA… name`, without options"
    found = _SSH_KEY.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 16384 else None
    if not found or not _SSH_KEY_TYPES.fullmatch(found["type"]):
        raise _WrongError(expectation)
    kind = found["type"].encode()
    try:
        blob = base64.b64decode(found["key"], validate=True)
    except binascii.Error:
        raise _WrongError(expectation) from None
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind) or len(blob) < len(kind) + 32:
        raise _WrongError(f"{expectation}; this one is cut short or of another type")
    # A comment is for people: what a shell or a template could read as more is left out of it.
    comment = _NOT_FOR_COMMENTS.sub("-", (found["comment"] or "").strip())[:128]
    return " ".join(part for part in (found["type"], found["key"], comment) if part)


def _server(value: Any) -> str:
    if isinstance(value, str) and ":" in value:
        return _ip(value)
    return _matching(_HOST, "host names or addresses")(value)


def _ip(value: Any) -> str:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise _WrongError("IP addresses") from None


def _kernel_arguments(value: Any) -> str:
    expectation = (
        f"kernel arguments such as console=ttyS0,115200n8, at most {_KERNEL_ARGUMENTS_LENGTH} characters"
    )
    if not isinstance(value, str) or len(value) > _KERNEL_ARGUMENTS_LENGTH:
        raise _WrongError(expectation)
    words = value.split(" ") if value else []
    words = [word for word in words if word]
    for word in words:
        if not _KERNEL_ARGUMENT.fullmatch(word):
            raise _WrongError(f"{expectation}, not {show(word)}")
        if word.split("=")[0].split(".")[0] in ("kubestead", "init", "rdinit"):
            raise _WrongError(f"{expectation}; {word.split('=')[0]} is Kubestead's own to set")
    return " ".join(words)


def _method(value: Any) -> str:
    if value not in INSTALL_METHODS:
        raise _WrongError(one_of(INSTALL_METHODS))
    return str(value)


def _mirrors(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _WrongError("an object of addresses by name, such as debian")
    for name, url in value.items():
        if not isinstance(name, str) or not _MIRROR.fullmatch(name):
            raise _WrongError(f"names such as debian, not {show(name)}")
        try:
            _mirror(url)
        except _WrongError as wrong:
            raise _WrongError(f"for {name} {wrong}") from None
    return {name: _mirror(url) for name, url in value.items()}


def _local_boot(value: Any) -> Mapping[str, str]:
    expectation = f'an object such as {{"{BIOS}": "sanboot", "{UEFI}": "exit"}}, each {one_of(_LOCAL_BOOTS)}'
    if not isinstance(value, Mapping) or any(
        platform not in (BIOS, UEFI) or how not in _LOCAL_BOOTS for platform, how in value.items()
    ):
        raise _WrongError(expectation)
    return {BIOS: "sanboot", UEFI: "exit", **value}


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "base": _base,
    "api_url": _api_url,
    "api_ca": _authority,
    "method": _method,
    "user": _matching(_USER, "the name of an account, such as root or ansible"),
    "ssh_keys": _list_of(_ssh_key),
    "mirrors": _mirrors,
    "proxy": _or_empty(_proxy),
    "domain": _or_empty(_matching(_HOST, "a domain such as home.arpa")),
    "timezone": _matching(_TIMEZONE, "a time zone such as Europe/Berlin", 64),
    "locale": _matching(_LOCALE, "a locale such as en_US.UTF-8", 64),
    "keyboard": _matching(_KEYBOARD, "a keyboard layout such as us or de", 64),
    "ntp": _list_of(_server),
    "dns": _list_of(_ip),
    "kernel_arguments": _kernel_arguments,
    "packages": _list_of(_matching(_PACKAGE, "names of packages")),
    "local_boot": _local_boot,
}
