# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates: made once, renewed in time, never a CA replaced."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kubestead.pki import PkiError, ensure, main
from tests.integration.needs import require

NAMES = ["pxe.example", "10.0.0.10", "fd00::10"]
NOW = datetime.now(timezone.utc)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "pki"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_all_four_files_are_made_once(folder: Path) -> None:
    made = ensure(folder, NAMES)
    assert [action.partition(":")[0] for action in made.actions] == [
        "ca.key",
        "ca.crt",
        "server.key",
        "server.crt",
    ]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "ca.key": 0o600,
        "ca.crt": 0o644,
        "server.key": 0o600,
        "server.crt": 0o644,
    }
    before = contents(folder)
    again = ensure(folder, NAMES)
    assert again.actions == []
    assert (again.ca_fingerprint, again.not_after) == (made.ca_fingerprint, made.not_after)
    assert contents(folder) == before


def test_what_the_certificates_say(folder: Path) -> None:
    ensure(folder, NAMES, now=NOW)
    ca, server = certificate(folder / "ca.crt"), certificate(folder / "server.crt")
    assert ca.subject.rfc4514_string().startswith("CN=Kubestead CA of ")
    assert abs((ca.not_valid_after_utc - NOW).days - 3650) <= 1
    assert abs((server.not_valid_after_utc - NOW).days - 397) <= 1
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == NAMES
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_openssl_accepts_them_and_shows_the_same_fingerprint(folder: Path) -> None:
    openssl = require("openssl", "openssl")
    made = ensure(folder, NAMES)

    def run(*arguments: str) -> str:
        done = subprocess.run([openssl, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    ca, server = str(folder / "ca.crt"), str(folder / "server.crt")
    for name in (
        ["-verify_hostname", "pxe.example"],
        ["-verify_ip", "10.0.0.10"],
        ["-verify_ip", "fd00::10"],
    ):
        run("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, *name, server)
    shown = run("x509", "-in", ca, "-noout", "-fingerprint", "-sha256").partition("=")[2].strip()
    assert made.ca_fingerprint == f"SHA256:{shown}"


def test_python_accepts_them(folder: Path) -> None:
    ensure(folder, NAMES)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(folder / "server.crt", folder / "server.key")
    trusting = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname="pxe.example")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert() is not None
    assert client.version() == "TLSv1.3"


def test_checking_is_honest_and_writes_nothing(folder: Path) -> None:
    planned = ensure(folder, NAMES, check=True)
    assert planned.ca_fingerprint is None
    assert not folder.exists()
    assert ensure(folder, NAMES).actions == planned.actions
    before = contents(folder)
    later = NOW + timedelta(days=370)
    planned = ensure(folder, NAMES, check=True, now=later)
    assert planned.actions
    assert contents(folder) == before
    assert ensure(folder, NAMES, now=later).actions == planned.actions


def test_it_is_renewed_with_its_key_when_its_end_is_near(folder: Path) -> None:
    ensure(folder, NAMES, now=NOW)
    before = contents(folder)
    assert ensure(folder, NAMES, now=NOW + timedelta(days=366)).actions == []
    renewed = ensure(folder, NAMES, now=NOW + timedelta(days=368))
    assert len(renewed.actions) == 1
    assert "ends on" in renewed.actions[0]
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == {"server.crt"}
    assert renewed.not_after
    assert renewed.not_after > NOW + timedelta(days=700)


def test_it_never_outlives_its_ca_and_is_not_renewed_for_ever(folder: Path) -> None:
    ensure(folder, NAMES, now=NOW)
    late = NOW + timedelta(days=3640)
    renewed = ensure(folder, NAMES, now=late)
    assert renewed.not_after == certificate(folder / "ca.crt").not_valid_after_utc
    assert ensure(folder, NAMES, now=late).actions == []
    with pytest.raises(PkiError, match=r"ended on .* for a new CA"):
        ensure(folder, NAMES, now=NOW + timedelta(days=3651))


def test_a_missing_name_makes_a_new_one_a_superfluous_one_does_not(folder: Path) -> None:
    ensure(folder, NAMES)
    assert ensure(folder, NAMES[:1]).actions == []
    added = ensure(folder, [*NAMES, "10.0.0.11"])
    assert added.actions == [
        "server.crt: a certificate for the server: the one that is there lacks 10.0.0.11"
    ]


def test_what_is_lost_or_foreign_is_made_anew(folder: Path, tmp_path: Path) -> None:
    ensure(folder, NAMES)
    other = tmp_path / "other"
    ensure(other, NAMES)
    before = (folder / "ca.crt").read_bytes()
    for lost in ("server.key", "server.crt"):
        (folder / lost).unlink()
        assert ensure(folder, NAMES).actions
        (folder / lost).write_text("nonsense")
        assert ensure(folder, NAMES).actions
    (folder / "server.crt").write_bytes((other / "server.crt").read_bytes())
    assert "does not belong to the key" in ensure(folder, NAMES).actions[0]
    for name in ("server.crt", "server.key"):
        (folder / name).write_bytes((other / name).read_bytes())
    assert "of another CA" in ensure(folder, NAMES).actions[0]
    assert ensure(folder, NAMES).actions == []
    assert (folder / "ca.crt").read_bytes() == before


def test_a_key_that_was_opened_is_closed(folder: Path) -> None:
    ensure(folder, NAMES)
    (folder / "ca.key").chmod(0o644)
    assert ensure(folder, NAMES, check=True).actions == ["ca.key: mode 0644 becomes 0600"]
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o644
    ensure(folder, NAMES)
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_ca_is_refused_rather_than_replaced(folder: Path, tmp_path: Path) -> None:
    ensure(folder, NAMES)
    other = tmp_path / "other"
    ensure(other, NAMES)
    mine = {name: (folder / name).read_bytes() for name in ("ca.crt", "ca.key")}

    def refusal(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        before = contents(folder)
        with pytest.raises(PkiError) as refused:
            ensure(folder, [*NAMES, "new.example"])
        assert contents(folder) == before
        (folder / name).write_bytes(mine[name])
        return str(refused.value)

    assert "ca.key is not that of the certificate" in refusal("ca.key", (other / "ca.key").read_bytes())
    assert "cannot be read" in refusal("ca.key", b"nonsense")
    assert "cannot be read" in refusal("ca.crt", b"nonsense")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    assert "no EC key" in refusal("ca.key", key)
    # The server's is no CA, though it belongs to a key.
    for name in ("crt", "key"):
        (folder / f"ca.{name}").write_bytes((folder / f"server.{name}").read_bytes())
    with pytest.raises(PkiError, match="no certificate of a CA"):
        ensure(folder, NAMES)


def test_a_ca_without_its_key_serves_until_a_certificate_is_needed(folder: Path) -> None:
    ensure(folder, NAMES)
    (folder / "ca.key").unlink()
    assert ensure(folder, NAMES).actions == []
    with pytest.raises(PkiError, match=r"lacks new\.example.*ca\.key, is not there"):
        ensure(folder, ["new.example"])
    assert not (folder / "ca.key").exists()


def test_a_run_that_was_cut_short_is_finished_by_the_next(folder: Path) -> None:
    ensure(folder, NAMES)
    key = (folder / "ca.key").read_bytes()
    for name in ("ca.crt", "server.crt", "server.key"):
        (folder / name).unlink()
    assert len(ensure(folder, NAMES).actions) == 3
    assert (folder / "ca.key").read_bytes() == key
    assert ensure(folder, NAMES).actions == []


def test_two_runs_at_once_make_one_ca(folder: Path) -> None:
    found: list[str | None] = []
    runs = [
        threading.Thread(target=lambda: found.append(ensure(folder, NAMES).ca_fingerprint)) for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("name", ["", "a b", "*.example", "10.0.0.256", "-a", "a..b", "ä.example", "a/b"])
def test_what_is_no_name(folder: Path, name: str) -> None:
    with pytest.raises(PkiError, match="neither a host name nor an address"):
        ensure(folder, [name])
    assert not folder.exists()


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ensure", "--dir", str(folder), "--name", "pxe.example", "--name", "10.0.0.10"]
    assert main([*arguments, "--json", "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ca_fingerprint"].startswith("SHA256:")
    assert datetime.fromisoformat(said["not_after"]) > NOW
    assert main(arguments) == 0
    assert said["ca_fingerprint"] in capsys.readouterr().out
    (folder / "ca.crt").write_text("nonsense")
    assert main(arguments) == 3
    assert "cannot be read" in capsys.readouterr().err
    assert main(["ensure", "--dir", str(folder)]) == 3
    assert "needs a name" in capsys.readouterr().err
