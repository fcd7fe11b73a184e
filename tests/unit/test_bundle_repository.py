# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages and the signed repository, looked at by the programs that machines use."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from bundle import debpackage, gotool, server, verify
from bundle.recipe import Package, TextFile
from tests.unit.bundle_sample import ARCHITECTURE, MINOR, make, needs_tools, own_copy, sample, scripts

__all__ = ["own_copy", "sample"]
pytestmark = needs_tools

PACKAGE = Package(
    "hello",
    "1.0-1.1",
    "Says hello",
    depends=("mount",),
    programs={"hello": "usr/bin/hello"},
    texts=(TextFile("etc/default/hello", "GREETING=\n"),),
    folders=("var/lib/hello",),
    conffiles=("/etc/default/hello",),
    reload_systemd=True,
)


def output(*command: str | Path) -> str:
    """Run a program that must succeed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_package_has_its_files_owned_by_root(tmp_path: Path) -> None:
    """What is in a package is what was asked for, with modes that do not depend on the umask."""
    binaries = scripts(tmp_path / "bin", ["hello"])
    deb = debpackage.build(PACKAGE, binaries.joinpath, ARCHITECTURE, tmp_path / "out")
    listing = output("dpkg-deb", "--contents", deb)
    assert "-rwxr-xr-x root/root" in listing
    assert "./usr/bin/hello" in listing
    assert "./var/lib/hello/" in listing
    assert output("dpkg-deb", "--field", deb, "Depends").strip() == "mount"
    assert output("dpkg-deb", "--info", deb, "conffiles").strip() == "/etc/default/hello"
    assert "daemon-reload" in output("dpkg-deb", "--info", deb, "postinst")
    assert deb.name == f"hello_1.0-1.1_{ARCHITECTURE}.deb"


def test_same_input_gives_the_same_package(tmp_path: Path) -> None:
    """No time and no file order enters a package."""
    binaries = scripts(tmp_path / "bin", ["hello"])
    first = debpackage.build(PACKAGE, binaries.joinpath, ARCHITECTURE, tmp_path / "one")
    (binaries / "hello").touch()
    second = debpackage.build(PACKAGE, binaries.joinpath, ARCHITECTURE, tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()


def test_gpgv_accepts_the_signatures(sample: Path, tmp_path: Path) -> None:
    """Both forms of signature are valid for the key that lies beside them."""
    root = sample / f"apt/v{MINOR}"
    keyring = tmp_path / "key.gpg"
    output("gpg", "--homedir", tmp_path, "--batch", "--dearmor", "-o", keyring, root / "Release.key")
    output("gpgv", "--keyring", keyring, root / "InRelease")
    output("gpgv", "--keyring", keyring, root / "Release.gpg", root / "Release")


def test_apt_takes_packages_from_the_served_repository(sample: Path, tmp_path: Path) -> None:
    """apt itself, told to trust nothing but the bundle's key, updates its lists and downloads."""
    with server.make_server(("127.0.0.1", 0), sample) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        source = tmp_path / "bundle.list"
        key = sample / f"apt/v{MINOR}/Release.key"
        address = f"http://127.0.0.1:{web.server_address[1]}/apt/v{MINOR}/"
        signed = tmp_path / "key.asc"
        signed.write_bytes(key.read_bytes())
        source.write_text(f"deb [signed-by={signed}] {address} /\n", encoding="utf-8")
        for folder in ("lists/partial", "cache/archives/partial"):
            (tmp_path / folder).mkdir(parents=True)
        options = {
            "Dir::Etc::sourcelist": source,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": tmp_path / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": tmp_path / "cache",
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root",
            "Acquire::http::Proxy": "DIRECT",
            "APT::Update::Error-Mode": "any",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        output("apt-get", *flags, "update")
        subprocess.run(
            ["apt-get", *flags, "download", "kubeadm", "kubernetes-cni"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        web.shutdown()
    assert list(tmp_path.glob("kubeadm_1.36.*.deb"))


def test_a_second_run_leaves_the_index_and_the_key_alone(tmp_path: Path) -> None:
    """Machines that trust a bundle's key go on trusting it when the bundle is made again."""
    folder = make(tmp_path / "bundle", tmp_path / "keys")
    root = folder / f"apt/v{MINOR}"
    before = {name: (root / name).read_bytes() for name in ("InRelease", "Release.key", "Packages")}
    make(folder, tmp_path / "keys")
    assert before == {name: (root / name).read_bytes() for name in before}
    assert not (folder / "keys").exists()


def test_a_further_minor_stands_beside_the_first(tmp_path: Path) -> None:
    """Two minors in one folder: both repositories, both manifests' parts, the newer kubectl in front."""
    folder = make(tmp_path / "bundle", tmp_path / "keys")
    make(folder, tmp_path / "keys", minor="1.37")
    assert (folder / "apt/v1.36/InRelease").is_file()
    assert (folder / "apt/v1.37/InRelease").is_file()
    assert (folder / "bin/kubectl").samefile(folder / "bin/v1.37/kubectl")
    assert verify.verify(folder) == []


def test_verify_tells_all_problems_at_once(own_copy: Path) -> None:
    """A changed package, a lost layer, a forged index and a stray file are told in one go."""
    assert verify.verify(own_copy) == []
    deb = next(own_copy.glob("apt/*/*/kubeadm_*.deb"))
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    blobs = sorted((own_copy / "images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blobs[-1].unlink()
    release = own_copy / f"apt/v{MINOR}/InRelease"
    release.write_text(release.read_text(encoding="utf-8").replace("Kubestead", "Somebody"), encoding="utf-8")
    (own_copy / "bin/stranger").write_text("?", encoding="utf-8")
    found = "\n".join(verify.verify(own_copy))
    assert f"{deb}: has the checksum" in found
    assert f"{deb}: is not the file that Packages lists" in found
    assert f"{blobs[-1]}: is missing" in found
    assert f"{release}: the signature is not valid" in found
    assert f"{release}: differs from Release" in found
    assert "bin/stranger: is not in the manifest" in found


def test_a_bundle_without_manifest_is_not_complete(own_copy: Path) -> None:
    """The manifest is written last, so without it a bundle is not one."""
    (own_copy / "manifest.json").unlink()
    (problem,) = verify.verify(own_copy)
    assert "not complete" in problem


def test_checksums_are_those_of_sha256sum(sample: Path) -> None:
    """A person can check a copied bundle without any of our programs."""
    result = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"],
        cwd=sample,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_the_architecture_is_named_as_debian_names_it() -> None:
    """Debian's and Go's names for this computer are one and the same."""
    assert gotool.architecture() == output("dpkg", "--print-architecture").strip()
