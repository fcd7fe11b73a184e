# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One check a key of a machine: it returns the normal form or raises WrongValueError."""

from __future__ import annotations

import difflib
import ipaddress
import re
import typing as t

from .machine import (
    ARCHITECTURE_ALIASES,
    ARCHITECTURES,
    BMC_TYPES,
    DISTRIBUTIONS,
    FEATURES,
    FIRMWARES,
    INSTALL_METHODS,
    OPERATING_SYSTEM_SUCCESSORS,
    OPERATING_SYSTEMS,
    ROLES,
    TAINT_EFFECTS,
)
from .problems import one_of, show

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER_LAST = re.compile(r"(?:.*\.)?[0-9]+")
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TAINT = re.compile(r"(?P<key>[^=:]+)(?:=(?P<value>[^=:]*))?:(?P<effect>[^=:]+)")
# These end up in boot scripts and kernel command lines: nothing but what such names are made of.
_DISK = re.compile(r"/dev/disk/by-(?:id|path)/[A-Za-z0-9][-A-Za-z0-9._:+@=]*")
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-1][0-9a-f]")
_PCI_FUNCTION = re.compile(r"(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ORDINARY_IPV4 = re.compile(rf"(?!0\.|22[4-9]\.|2[3-5][0-9]\.){_OCTET}(?:\.{_OCTET}){{3}}")
_ADDRESS = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._:/\[\]]*")
_REFERENCE = re.compile(r"(?:env|file|var):[A-Za-z0-9_./-]+")
_SECRET = re.compile(
    r"pass(?:word|wd|phrase)?\Z|secret|token|private_?key|api_?key", re.IGNORECASE | re.ASCII
)

_RESERVED_HOSTNAMES = frozenset({"all", "localhost", "ungrouped"})
_A_HOSTNAME = "a host name (letters, digits and -, dots between labels of at most 63)"


class WrongValueError(ValueError):
    """A value that is not as expected."""

    def __init__(self, expectation: str, key: str = "", value: t.Any = None, found: str = "") -> None:
        super().__init__(expectation)
        self.expectation = expectation
        self.key = key  # below the key that is checked
        self.value = value
        self.found = found


Note = t.Callable[[str], None]


def is_secret(key: str) -> bool:
    """Tell whether a key by its name holds a secret, which is never shown."""
    return _SECRET.search(key) is not None


def _text(value: t.Any, expectation: str) -> str:
    if not isinstance(value, str):
        raise WrongValueError(f"{expectation}, as text")
    return value


def _lower(text: str) -> str:
    """Lower case of ASCII; `str.lower` makes a k of the Kelvin sign too."""
    return text.lower() if text.isascii() else text


def _choice(value: t.Any, words: t.Sequence[str], others: t.Iterable[str] = ()) -> str:
    if isinstance(value, str):
        if value in words:
            return value
        near = difflib.get_close_matches(value.lower().replace("_", "-"), [*words, *others], n=1)
        if near:
            raise WrongValueError(f"{one_of(words)} (did you mean {near[0]}?)")
    raise WrongValueError(one_of(words))


def check_hostname(value: t.Any, note: Note) -> str:
    """A host name by RFC 1123, in lower case as Kubernetes names its nodes."""
    text = _text(value, _A_HOSTNAME)
    name = _lower(text)
    if len(name) > 253 or not _HOSTNAME.fullmatch(name) or _NUMBER_LAST.fullmatch(name):
        raise WrongValueError(f"{_A_HOSTNAME}, not a number or an address")
    if name in _RESERVED_HOSTNAMES:
        raise WrongValueError("another name: Ansible keeps this one for itself")
    if name != text:
        note(f"is {show(text)}; read as {name}, as Kubernetes names its nodes")
    return name


def check_role(value: t.Any, note: Note) -> str:
    """The machine's role."""
    return _choice(value, ROLES)


def check_architecture(value: t.Any, note: Note) -> str:
    """The processor architecture, by Debian's name."""
    if isinstance(value, str) and value in ARCHITECTURE_ALIASES:
        return ARCHITECTURE_ALIASES[value]
    return _choice(value, ARCHITECTURES)


def check_features(value: t.Any, note: Note) -> t.Tuple[str, ...]:
    """The features, each once, in their order."""
    if not isinstance(value, list):
        raise WrongValueError("a list of features")
    for feature in value:
        if not isinstance(feature, str) or feature not in FEATURES:
            try:
                _choice(feature, FEATURES)
            except WrongValueError as wrong:
                wrong.found = f"has {show(feature)}"
                raise
    return tuple(dict.fromkeys(value))


def check_ip(value: t.Any, note: Note) -> str:
    """The address of the machine, IPv4 or IPv6."""
    text = _text(value, "an IPv4 or IPv6 address")
    if _ORDINARY_IPV4.fullmatch(text):
        return text  # the same answer as below, ten times faster
    try:
        address = ipaddress.ip_address(text if "%" not in text else "")
    except ValueError:
        hint = " without the prefix length" if "/" in text else ""
        raise WrongValueError(f"an IPv4 or IPv6 address{hint}") from None
    if address.version == 6:
        # Not by is_multicast and the like, which say one thing before Python 3.13 and another after.
        if "." in text or address.ipv4_mapped is not None:
            raise WrongValueError("the IPv4 address itself, not as a part of an IPv6 address")
        if address.packed[0] == 0xFF or int(address) == 0:
            raise WrongValueError("the address of one machine")
    elif address.is_multicast or text.startswith("0.") or text == "255.255.255.255":
        raise WrongValueError("the address of one machine")
    return str(address)


def check_mapping(value: t.Any, note: Note) -> t.Dict[str, t.Any]:
    """Free-form facts, such as `specs`."""
    if not isinstance(value, dict):
        raise WrongValueError('an object, such as {"memory": "16GB"}')
    return dict(value)


def check_os(value: t.Any, note: Note) -> str:
    """The operating system to be installed, or that is."""
    if isinstance(value, str) and value in OPERATING_SYSTEM_SUCCESSORS:
        successor = OPERATING_SYSTEM_SUCCESSORS[value]
        note(f"is {value}, which is out of support; read as {successor}")
        return successor
    return _choice(value, OPERATING_SYSTEMS)


def check_cluster(value: t.Any, note: Note) -> str:
    """The name of the cluster that the machine belongs to."""
    expectation = "a cluster name (lower-case letters, digits and -, at most 63)"
    if not _DNS_LABEL.fullmatch(_text(value, expectation)):
        raise WrongValueError(expectation)
    return str(value)


def check_distribution(value: t.Any, note: Note) -> str:
    """The Kubernetes distribution."""
    return _choice(value, DISTRIBUTIONS)


def _label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _HOSTNAME.fullmatch(prefix)):
        return False
    return _QUALIFIED_NAME.fullmatch(name) is not None


def _label_value(value: t.Any) -> bool:
    return isinstance(value, str) and (value == "" or _QUALIFIED_NAME.fullmatch(value) is not None)


def check_labels(value: t.Any, note: Note) -> t.Dict[str, str]:
    """Labels of the Kubernetes node."""
    if not isinstance(value, dict):
        raise WrongValueError('an object of labels, such as {"rack": "a1"}')
    for key, text in value.items():
        if not _label_key(key):
            raise WrongValueError(
                "a Kubernetes label key, such as rack or example.org/rack", found=f"has the key {show(key)}"
            )
        if not _label_value(text):
            raise WrongValueError("text of at most 63 letters, digits, -, _ and .", key=key, value=text)
    return dict(value)


def check_taints(value: t.Any, note: Note) -> t.Tuple[t.Dict[str, str], ...]:
    """Taints of the Kubernetes node, as `key=value:Effect` or as objects."""
    if not isinstance(value, list):
        raise WrongValueError('a list of taints, such as ["dedicated=media:NoSchedule"]')
    return tuple(_taint(item) for item in value)


def _taint(item: t.Any) -> t.Dict[str, str]:
    parts = item
    if isinstance(item, str):
        match = _TAINT.fullmatch(item)
        parts = (
            {name: text for name, text in match.groupdict().items() if text is not None} if match else None
        )
    if (
        not isinstance(parts, dict)
        or not set(parts) <= {"key", "value", "effect"}
        or not isinstance(parts.get("key"), str)
        or not _label_key(parts["key"])
        or not _label_value(parts.get("value", ""))
        or parts.get("effect") not in TAINT_EFFECTS
    ):
        raise WrongValueError(
            f"taints such as dedicated=media:NoSchedule, with the effect {one_of(TAINT_EFFECTS)}",
            found=f"has {show(item)}",
        )
    return {"key": parts["key"], "value": parts.get("value", ""), "effect": parts["effect"]}


def check_firmware(value: t.Any, note: Note) -> str:
    """What the machine boots with."""
    return _choice(value, FIRMWARES)


def check_disk(value: t.Any, note: Note) -> str:
    """The disk to install on, by a name that survives a reboot."""
    expectation = "a stable name such as /dev/disk/by-id/ata-… (see: ls -l /dev/disk/by-id)"
    if not _DISK.fullmatch(_text(value, expectation)):
        raise WrongValueError(expectation)
    return str(value)


def check_install_method(value: t.Any, note: Note) -> str:
    """How the machine is installed: by a prepared image, or by the distribution's own installer."""
    return _choice(value, INSTALL_METHODS)


def check_gpu_pci_address(value: t.Any, note: Note) -> str:
    """The PCI address of the graphics card to hand through, without the function number."""
    expectation = "a PCI address such as 0000:01:00"
    text = _text(value, expectation).lower()
    if _PCI_FUNCTION.fullmatch(text):
        raise WrongValueError(
            f"{expectation}, without the function number, so that the card's sound device comes along"
        )
    if not _PCI.fullmatch(text):
        raise WrongValueError(f"{expectation} (see: lspci -D)")
    return text


def check_proxmox(value: t.Any, note: Note) -> t.Dict[str, t.Any]:
    """The virtual machine on a Proxmox host: node, vmid, cores, memory in MiB, disk in GiB."""
    if not isinstance(value, dict):
        raise WrongValueError(
            'an object, such as {"node": "pve", "vmid": 101, "cores": 4, "memory": 8192, "disk": 40}'
        )
    if "node" in value and not (
        isinstance(value["node"], str) and _HOSTNAME.fullmatch(_lower(value["node"]))
    ):
        raise WrongValueError("the name of a Proxmox node", key="node", value=value["node"])
    numbers: t.Dict[str, int] = {}
    for key, least, what in (
        ("vmid", 100, "a VM number from 100"),
        ("cores", 1, "a number of processor cores"),
        ("memory", 1, "memory in MiB, as a number"),
        ("disk", 1, "the size of the disk in GiB, as a number"),
    ):
        if key in value:
            number = value[key]
            whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
            if not whole or isinstance(number, bool) or not least <= number <= 999_999_999:
                raise WrongValueError(what, key=key, value=number)
            numbers[key] = int(number)  # in JSON, 4.0 is 4
    return {**value, **numbers}


def check_bmc(value: t.Any, note: Note) -> t.Dict[str, t.Any]:
    """The management controller: type, address, credentials by reference."""
    if not isinstance(value, dict):
        raise WrongValueError('an object, such as {"type": "wol"}')
    for key in value:
        if is_secret(key):
            raise WrongValueError(
                "credentials: env:NAME, file:/path or var:name instead (a registry holds no secrets)",
                key=key,
                found="is there",
            )
    kind = value.get("type")
    if kind not in BMC_TYPES:
        raise WrongValueError(
            one_of(BMC_TYPES), key="type", value=kind, found="" if "type" in value else "is missing"
        )
    if kind != "wol" and "address" not in value:
        raise WrongValueError(f"the address of the {kind} controller", key="address", found="is missing")
    if "address" in value and not (
        isinstance(value["address"], str) and _ADDRESS.fullmatch(value["address"])
    ):
        raise WrongValueError("a host name, an address or a URL", key="address", value=value["address"])
    if "credentials" in value:
        reference = value["credentials"]
        if not (isinstance(reference, str) and _REFERENCE.fullmatch(reference)):
            raise WrongValueError(
                "a reference: env:NAME, file:/path or var:name (a registry holds no secrets)",
                key="credentials",
                found="is no reference",
            )
    return dict(value)


def check_locked(value: t.Any, note: Note) -> bool:
    """Whether the machine must not be installed again."""
    if not isinstance(value, bool):
        raise WrongValueError("true or false")
    return value


CHECKS: t.Mapping[str, t.Callable[[t.Any, Note], t.Any]] = {
    "hostname": check_hostname,
    "role": check_role,
    "architecture": check_architecture,
    "features": check_features,
    "ip": check_ip,
    "specs": check_mapping,
    "os": check_os,
    "cluster": check_cluster,
    "distribution": check_distribution,
    "labels": check_labels,
    "taints": check_taints,
    "firmware": check_firmware,
    "disk": check_disk,
    "install_method": check_install_method,
    "gpu_pci_address": check_gpu_pci_address,
    "proxmox": check_proxmox,
    "bmc": check_bmc,
    "locked": check_locked,
}
