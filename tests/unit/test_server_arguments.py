# SPDX-License-Identifier: GPL-3.0-or-later
"""What the State API is told at start, and the sentences for what cannot be meant."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from kubestead.api.arguments import parse, settings_of
from kubestead.api.server import PortError, listen, main
from kubestead.api.settings import Settings, SettingsError
from kubestead.api.tls import Tls
from kubestead.pki import ensure


def settings(*arguments: str) -> Settings:
    return settings_of(parse(["--token-file", "token", *arguments], "api"))


def test_defaults() -> None:
    plain = settings()
    assert plain.database_url == "sqlite:////srv/state/machines.db"
    assert (plain.data_dir, plain.tls, plain.rate, plain.boot_port) == (Path("/srv/state"), False, 200, 0)
    assert plain.last_good_registry == Path("/srv/state/registry.last-good.json")


def test_all_that_can_be_told() -> None:
    told = settings(
        *("--database", "/d/m.db", "--rate", "7", "--boot-port", "81", "--boot-dir", "/b"),
        *("--plain-reads", "10.0.0.0/24", "--plain-reads", "fd00::/8", "--trusted-proxy", "10.0.0.5"),
        *("--deadline", "installing=60", "--deadline", "rescue=0"),
        *("--tls-certificate", "c", "--tls-key", "k"),
    )
    assert told.database_url == "sqlite:////d/m.db"
    assert told.plain_reads == (ip_network("10.0.0.0/24"), ip_network("fd00::/8"))
    assert told.trusted_proxies == (ip_network("10.0.0.5/32"),)
    assert told.deadlines == {"installing": 60, "rescue": 0}
    assert (told.rate, told.boot_port, told.boot_dir) == (7, 81, Path("/b"))
    assert (told.tls, told.tls_certificate, told.tls_key) == (True, Path("c"), Path("k"))


def test_the_database_url_comes_from_a_file_and_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://kubestead:s3cret@db/kubestead\n")
    told = settings("--database-url-file", str(file), "--database", "/d/m.db")
    assert told.database_url == "postgresql://kubestead:s3cret@db/kubestead"
    assert told.data_dir == Path("/d")
    assert "s3cret" not in repr(told)
    for text in ("", "mysql://u:s3cret@db/x", "postgresql://u:s3cret@a b", "s3cret"):
        file.write_text(text)
        with pytest.raises(SettingsError, match="holds no database URL") as refused:
            settings("--database-url-file", str(file))
        assert "s3cret" not in str(refused.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        settings("--database-url-file", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plain-reads", "10.0.0.1/24"], "expected one such as 10.0.0.0/24"),
        (["--plain-reads", "lan"], "lan is no network"),
        (["--trusted-proxy", ""], "is no network"),
        (["--rate", "0"], "a whole number from 1"),
        (["--rate", "many"], "a whole number from 1"),
        (["--deadline", "installing"], "STATE=SECONDS"),
        (["--deadline", "bored=5"], "one of discovered"),
        (["--deadline", "installing=-5"], "STATE=SECONDS"),
        (["--port", "70000"], "70000 is no port"),
        (["--port", "http"], "http is no port"),
        (["--tls-certificate", "c"], "go together"),
        (["--tls-key", "k"], "go together"),
        (["--boot-port", "81"], "needs --boot-dir"),
        (["--boot-port", "81", "--boot-dir", "b", "--port", "81"], "both 81"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(*arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port}: taken .* stop it or choose another"):
            listen("127.0.0.1", port)
    with pytest.raises(PortError, match="does not have that address"):
        listen("192.0.2.1", 0)


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    ensure(tmp_path / "one", ["localhost"])
    ensure(tmp_path / "two", ["localhost"])
    certificate, key = tmp_path / "one" / "server.crt", tmp_path / "one" / "server.key"
    assert Tls(certificate, key).not_after
    with pytest.raises(SettingsError, match="cannot be used together"):
        Tls(certificate, tmp_path / "two" / "server.key")
    with pytest.raises(SettingsError, match="cannot be read"):
        Tls(certificate, tmp_path / "none")
    with pytest.raises(SettingsError, match="cannot be read"):
        Tls(tmp_path / "none", key)
    with pytest.raises(SettingsError, match="no certificate that can be read"):
        Tls(key, key)


def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    ensure(tmp_path, ["localhost"])
    tls = Tls(tmp_path / "server.crt", tmp_path / "server.key")
    context = tls.context
    (tmp_path / "server.crt").write_text("half")
    with pytest.raises(SettingsError):
        tls.reload()
    assert tls.context is context


def test_checking_says_what_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.server.set_up_logs", lambda _level: None)  # those of the tests stay
    token = tmp_path / "token"
    arguments = ["--check", "--token-file", str(token), "--database", str(tmp_path / "m.db")]
    arguments += ["--registry", str(tmp_path / "registry.json")]
    assert main(arguments) == 3
    token.touch(mode=0o600)
    token.write_text("a-token-that-is-long-enough")
    assert main(arguments) == 0
    absent = str(tmp_path / "server.crt")
    assert main([*arguments, "--tls-certificate", absent, "--tls-key", absent]) == 3
