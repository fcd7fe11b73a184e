# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run needs to know of a certificate, read with the standard library alone.

Nodes need not have Python's cryptography installed; the few fields are taken from the DER by their place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)

_UTC_TIME, _VERSION = 0x17, 0xA0
_COMMON_NAME, _ORGANISATION = b"\x55\x04\x03", b"\x55\x04\x0a"


class CertificateError(ValueError):
    """The bytes are not a certificate that can be read."""


@dataclass(frozen=True)
class Certificate:
    """The fields of a certificate that decide something here."""

    #: `sha256:` and the hash of the public key (SPKI), as `kubeadm join` pins it
    pin: str
    not_after: datetime
    common_name: str
    organisations: tuple[str, ...]
    not_before: datetime


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, begin and end of the content of the DER element at `at`."""
    try:
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
    except IndexError:
        raise CertificateError("it ends too early") from None
    if at + length > len(data):
        raise CertificateError("it ends too early")
    return tag, at, at + length


def _children(data: bytes, begin: int, end: int) -> list[tuple[int, int, int, int]]:
    """Return (tag, start, begin of content, end) of each element in data[begin:end]."""
    found = []
    while begin < end:
        tag, content, after = _element(data, begin)
        found.append((tag, begin, content, after))
        begin = after
    return found


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits of the year: 50 to 99 are the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _names(data: bytes, begin: int, end: int) -> list[tuple[bytes, str]]:
    names = []
    for _tag, _start, set_begin, set_end in _children(data, begin, end):
        for _tag2, _start2, pair_begin, pair_end in _children(data, set_begin, set_end):
            oid, value = _children(data, pair_begin, pair_end)[:2]
            names.append((data[oid[2] : oid[3]], data[value[2] : value[3]].decode("utf-8", "replace")))
    return names


def parse_certificate(pem: bytes) -> Certificate:
    """Read the first certificate in `pem`."""
    block = _PEM.search(pem)
    if block is None:
        raise CertificateError("no CERTIFICATE block")
    try:
        data = base64.b64decode(b"".join(block.group(1).split()), validate=True)
        _tag, begin, end = _element(data, 0)
        _tag, begin, end = _element(data, begin)
        fields = _children(data, begin, end)
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        # serial number, algorithm, issuer, validity, subject, public key
        validity, subject, key = fields[3], fields[4], fields[5]
        not_before, not_after = (
            _time(moment[0], data[moment[2] : moment[3]].decode("ascii"))
            for moment in _children(data, validity[2], validity[3])[:2]
        )
        names = _names(data, subject[2], subject[3])
    except CertificateError:
        raise
    except (binascii.Error, IndexError, ValueError) as error:
        raise CertificateError(f"cannot be read as a certificate: {error}") from error
    return Certificate(
        pin="sha256:" + hashlib.sha256(data[key[1] : key[3]]).hexdigest(),
        not_after=not_after,
        common_name=next((value for oid, value in names if oid == _COMMON_NAME), ""),
        organisations=tuple(value for oid, value in names if oid == _ORGANISATION),
        not_before=not_before,
    )
