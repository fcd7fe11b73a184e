# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API's certificates: `python -m kubestead.pki ensure --dir DIR --name NAME…`.

A CA of this homelab's own, made once and never replaced, and the server's certificate, made anew when its end
is near or a name is missing. The server keeps its key when it gets a new certificate: a running service that
holds the key can then take the certificate without being started again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically

CA_DAYS = 3650
SERVER_DAYS = 397  # as long as browsers accept
RENEW_DAYS = 30
_CLOCKS = timedelta(hours=1)  # that of a client may be slow

_T = TypeVar("_T")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class PkiError(Exception):
    """The certificates cannot be made like that; the message says what to do."""


@dataclass(frozen=True)
class Names:
    """The files, in one folder."""

    folder: Path

    @property
    def ca_certificate(self) -> Path:
        """What clients trust."""
        return self.folder / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """What makes certificates; it stays on this host."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """What the server shows."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """The server's key."""
        return self.folder / "server.key"


@dataclass
class Outcome:
    """What was done, or in check mode would be. The fingerprint is None where there is no CA yet."""

    ca_fingerprint: str | None = None
    not_after: datetime | None = None
    actions: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "ca_fingerprint": self.ca_fingerprint,
            "changed": bool(self.actions),
            "actions": self.actions,
            "not_after": self.not_after.isoformat().replace("+00:00", "Z") if self.not_after else None,
        }


def ensure(folder: Path, names: Sequence[str], check: bool = False, now: datetime | None = None) -> Outcome:
    """Make what is missing in `folder`, renew what is about to end; with `check`, only tell what would be.

    names: the host names and addresses by which clients call the server.
    """
    wanted = _subject_names(names)
    made = _Maker(Names(folder), check, now or datetime.now(timezone.utc))
    with _alone(folder, check):
        made.ca()
        made.server(wanted)
        made.modes()
    return made.outcome


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` and browsers show it."""
    return "SHA256:" + certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class _Maker:
    """Goes through the files in order; what it does, or would do, is in `outcome`."""

    def __init__(self, files: Names, check: bool, now: datetime) -> None:
        self.outcome = Outcome()
        self._files, self._check, self._now = files, check, now
        self._ca: x509.Certificate | None = None
        self._ca_key: ec.EllipticCurvePrivateKey | None = None

    def ca(self) -> None:
        """Find the CA, or make one where there is none."""
        files = self._files
        self._ca_key = _read(files.ca_key, _load_key)
        self._ca = _read(files.ca_certificate, x509.load_pem_x509_certificate)
        if self._ca is None:
            if self._ca_key is None:
                self._ca_key = ec.generate_private_key(ec.SECP256R1())
                self._write(files.ca_key, _pem(self._ca_key), 0o600, "a key for a new CA")
            self._ca = self._new_ca(self._ca_key)
            self._write(files.ca_certificate, _pem(self._ca), 0o644, "the certificate of a new CA")
            self.outcome.ca_fingerprint = None if self._check else fingerprint(self._ca)
            return
        self._look_at_ca(self._ca, self._ca_key)
        self.outcome.ca_fingerprint = fingerprint(self._ca)

    def server(self, wanted: Sequence[x509.GeneralName]) -> None:
        """Find the server's certificate good, or make one."""
        files = self._files
        key = _read_or_none(files.key, _load_key)
        certificate = _read_or_none(files.certificate, x509.load_pem_x509_certificate)
        reason = self._why_new(certificate, key, wanted)
        if reason is None and certificate is not None:
            self.outcome.not_after = certificate.not_valid_after_utc
            return
        if self._ca_key is None:
            raise PkiError(
                f"a certificate is needed ({reason}), and the key of the CA, {files.ca_key}, is not there: "
                f"put it back, or remove {files.ca_certificate} for a new CA, which all clients "
                "must then be given"
            )
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            self._write(files.key, _pem(key), 0o600, "a key for the server")
        certificate = self._new_server(key, wanted)
        self._write(files.certificate, _pem(certificate), 0o644, f"a certificate for the server: {reason}")
        self.outcome.not_after = certificate.not_valid_after_utc

    def modes(self) -> None:
        """Close keys to all but their owner, whoever opened them."""
        for path in (self._files.ca_key, self._files.key):
            if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
                self.outcome.actions.append(f"{path.name}: mode {mode:04o} becomes 0600")
                if not self._check:
                    path.chmod(0o600)

    def _look_at_ca(self, ca: x509.Certificate, key: ec.EllipticCurvePrivateKey | None) -> None:
        files = self._files
        if key is not None and key.public_key() != ca.public_key():
            raise PkiError(
                f"the key {files.ca_key} is not that of the certificate {files.ca_certificate}: put back the "
                "one that belongs to it, or remove both for a new CA, which all clients must then be given"
            )
        if not _is_ca(ca):
            raise PkiError(
                f"{files.ca_certificate} is no certificate of a CA: put the CA's back, or remove it and "
                f"{files.ca_key} for a new CA"
            )
        if ca.not_valid_after_utc <= self._now:
            raise PkiError(
                f"the CA {files.ca_certificate} ended on {ca.not_valid_after_utc:%Y-%m-%d}: remove it and "
                f"{files.ca_key} for a new CA, which all clients must then be given"
            )

    def _why_new(
        self,
        certificate: x509.Certificate | None,
        key: ec.EllipticCurvePrivateKey | None,
        wanted: Sequence[x509.GeneralName],
    ) -> str | None:
        if certificate is None or self._ca is None:
            return "there is none that can be read"
        ends = certificate.not_valid_after_utc
        missing = [str(name.value) for name in wanted if name not in _names_of(certificate)]
        reasons = {
            "does not belong to the key": key is None or key.public_key() != certificate.public_key(),
            "is of another CA": not _issued(self._ca, certificate),
            # One that ends with its CA cannot be made to last longer.
            f"ends on {ends:%Y-%m-%d}": ends - self._now < timedelta(days=RENEW_DAYS)
            and ends < self._ca.not_valid_after_utc,
            "is not valid yet": certificate.not_valid_before_utc > self._now,
            f"lacks {', '.join(missing)}": bool(missing),
        }
        return next((f"the one that is there {reason}" for reason, so in reasons.items() if so), None)

    def _new_ca(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = _name(f"Kubestead CA of {socket.gethostname()}")
        return (
            self._begin(name, name, key.public_key(), timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )

    def _new_server(
        self, key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName]
    ) -> x509.Certificate:
        if self._ca is None or self._ca_key is None:
            raise PkiError("there is no CA")
        issuer = self._ca.public_key()
        if not isinstance(issuer, ec.EllipticCurvePublicKey):
            raise PkiError(f"the key of {self._files.ca_certificate} is of another kind than EC")
        left = self._ca.not_valid_after_utc - self._now
        return (
            self._begin(
                _name(str(names[0].value)),
                self._ca.subject,
                key.public_key(),
                min(timedelta(days=SERVER_DAYS), left),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )

    def _begin(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lasts: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _CLOCKS)
            .not_valid_after(self._now + lasts)
        )

    def _write(self, path: Path, content: bytes, mode: int, what: str) -> None:
        self.outcome.actions.append(f"{path.name}: {what}")
        if self._check:
            return
        try:
            write_atomically(path, content, mode)
        except OSError as error:
            raise PkiError(f"{path} cannot be written: {error}") from error


@contextmanager
def _alone(folder: Path, check: bool) -> Iterator[None]:
    """Two runs at once take turns."""
    try:
        if not check:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield  # in check mode: nothing is there
        return
    except OSError as error:
        raise PkiError(f"the folder {folder} cannot be used: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if check else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _subject_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ip_address(name)))
            continue
        except ValueError:
            pass
        if len(name) > 253 or not _NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
            raise PkiError(f'"{name}" is neither a host name nor an address such as 10.0.0.10')
        found.append(x509.DNSName(name.lower()))
    if not found:
        raise PkiError("a certificate needs a name: give the names and addresses of the server by --name")
    return found


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issued(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("it is no EC key")
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    return key


def _pem(item: ec.EllipticCurvePrivateKey | x509.Certificate) -> bytes:
    if isinstance(item, x509.Certificate):
        return item.public_bytes(serialization.Encoding.PEM)
    return item.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path, load: Callable[[bytes], _T]) -> _T | None:
    """What the file holds; None where there is none, PkiError for one that cannot be read."""
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PkiError(f"{path} cannot be read: {error}. It is left as it is; put back a good one") from error


def _read_or_none(path: Path, load: Callable[[bytes], _T]) -> _T | None:
    """The same for what may be replaced: one that cannot be understood counts as none."""
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PkiError(f"{path} cannot be read: {error}") from error
    except ValueError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kubestead.pki", description="The State API's certificates."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("ensure", help="make what is missing, renew what is about to end")
    verb.add_argument("--dir", type=Path, required=True, metavar="DIR", help="the folder of the files")
    verb.add_argument(
        "--name",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME",
        help="a host name or an address by which clients call the server; may be repeated",
    )
    verb.add_argument("--json", action="store_true", help="print JSON, for programs")
    verb.add_argument("--check", action="store_true", help="change nothing, tell what would be done")
    options = parser.parse_args(arguments)
    try:
        outcome = ensure(options.dir, [name for names in options.name for name in names], options.check)
    except PkiError as error:
        print(error, file=sys.stderr)
        return ExitCode.LACKING
    if options.json:
        print(json.dumps(outcome.as_dict()))
        return ExitCode.DONE
    for action in outcome.actions:
        print(action)
    print(f"CA {outcome.ca_fingerprint or 'not there yet'}")
    print(f"the server's certificate is valid until {outcome.not_after:%Y-%m-%d}")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
