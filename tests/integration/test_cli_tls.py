# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line on a State API with TLS, as the role sets it up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubestead.cli import session
from tests.unit.api_sample import Files, running
from tests.unit.cli_sample import kubestead


@dataclass(frozen=True)
class WithTls(Files):
    """An API that has a certificate."""

    pki: Path

    def arguments(self, port: int) -> list[str]:
        """The command that starts it."""
        certificate = [
            "--tls-certificate",
            str(self.pki / "server.crt"),
            "--tls-key",
            str(self.pki / "server.key"),
        ]
        return [*super().arguments(port), *certificate]


def test_an_authority_is_named_or_found_on_the_apis_own_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, pki = Files.make(tmp_path), tmp_path / "pki"
    command = [sys.executable, "-m", "kubestead.pki", "ensure", "--dir", str(pki), "--name", "127.0.0.1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    files = WithTls(plain.token, plain.database, plain.registry, pki)
    with running(files) as api:
        url = api.url.replace("http:", "https:")
        monkeypatch.setenv("KUBESTEAD_API_URL", url)
        monkeypatch.setenv("KUBESTEAD_API_TOKEN_FILE", str(files.token))
        untrusted = kubestead("machines", "list")
        assert (untrusted.code, "is not trusted" in untrusted.err) == (3, True)
        assert kubestead("machines", "list", "--ca-file", pki / "ca.crt").code == 0
        monkeypatch.setenv("KUBESTEAD_API_CA_FILE", str(pki / "ca.crt"))
        looked = kubestead("status", "--server")
        assert (looked.code, "✔ certificate" in looked.out) == (0, True)
        # On the API's own host nothing has to be named but, here, the port.
        for name in ("TOKEN_FILE", "CA_FILE"):
            monkeypatch.delenv(f"KUBESTEAD_API_{name}")
        monkeypatch.setattr(session, "HOST_TOKEN", files.token)
        monkeypatch.setattr(session, "HOST_CA", pki / "ca.crt")
        assert kubestead("machines", "list").code == 0
