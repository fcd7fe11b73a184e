# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's certificate: loaded at start, and again when the unit is reloaded."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from .settings import Settings, SettingsError

log = logging.getLogger(__name__)
SOON = timedelta(days=14)


class Tls:
    """The context that new connections get; those that there are keep the one they began with."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load both files; SettingsError says what is wrong with them."""
        self._certificate, self._key = certificate, key
        self.context, self.not_after = _load(certificate, key)

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """What the settings ask for; None: plain HTTP."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def reload(self) -> None:
        """Load the files again; where that fails SettingsError is raised and the old ones stay in force."""
        self.context, self.not_after = _load(self._certificate, self._key)

    def tell(self) -> None:
        """Log until when the certificate is valid; loudly, when that is soon."""
        left = self.not_after - datetime.now(timezone.utc)
        level = logging.ERROR if left < timedelta(0) else logging.WARNING if left < SOON else logging.INFO
        advice = "" if level == logging.INFO else "; renew it by running the role state_api again"
        log.log(level, "the certificate %s is valid until %s%s", self._certificate, self.not_after, advice)


def _load(certificate: Path, key: Path) -> tuple[ssl.SSLContext, datetime]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        key.read_bytes()
    except OSError as error:
        raise SettingsError(f"a file of the server's certificate cannot be read: {error}") from error
    except ValueError as error:
        raise SettingsError(f"the file {certificate} holds no certificate that can be read") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"the certificate {certificate} and the key {key} cannot be used together ({error}): "
            "make both anew with `python -m kubestead.pki ensure`, or run the role state_api again"
        ) from error
    return context, leaf.not_valid_after_utc


def _no_passphrase() -> str:
    # Else OpenSSL would ask on the terminal, and the service would wait for ever.
    raise ValueError("the key is protected by a passphrase; give one without")
