# SPDX-License-Identifier: GPL-3.0-or-later
"""The file known_hosts, compared with what ssh-keygen makes and finds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubestead.model.known_hosts import Key, entry_name, keys_of, parse_key, with_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Key]:
    """Three keys as ssh-keygen makes them."""
    folder = tmp_path_factory.mktemp("keys")
    made = []
    for number, kind in enumerate(("ed25519", "ed25519", "ecdsa")):
        path = folder / str(number)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        made.append(parse_key(path.with_suffix(".pub").read_text()))
    return made


def found(text: str, name: str, folder: Path) -> set[str]:
    """The lines for a name, as ssh-keygen finds them."""
    path = folder / "known_hosts"
    path.write_text(text)
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", path], check=False, capture_output=True, text=True)
    return {line for line in done.stdout.splitlines() if not line.startswith("#")}


def test_a_fingerprint_is_the_one_that_ssh_shows(keys: list[Key], tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text(f"{keys[0].type} {keys[0].data}\n")
    said = subprocess.run(["ssh-keygen", "-l", "-f", path], check=True, capture_output=True, text=True).stdout
    assert said.split()[1] == keys[0].fingerprint


def test_a_new_host(keys: list[Key], tmp_path: Path) -> None:
    names = [entry_name("W-1"), entry_name("10.0.0.21", 2222)]
    text = with_keys("", names, [keys[0], keys[2]])
    assert len(found(text, "w-1", tmp_path)) == len(found(text, "[10.0.0.21]:2222", tmp_path)) == 2
    assert with_keys(text, names, [keys[2], keys[0]]) == text


def test_a_host_that_was_installed_anew(keys: list[Key], tmp_path: Path) -> None:
    old, new, other = keys
    before = (
        with_keys("# mine\n", ["w-1", "10.0.0.21"], [old, other]) + f"w-2,10.0.0.22 {old.type} {old.data}\n"
    )
    path = tmp_path / "hashed"
    path.write_text(before)
    subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
    after = with_keys(path.read_text(), ["w-1"], [new])
    assert found(after, "w-1", tmp_path) == {f"w-1 {new.type} {new.data}"}
    assert len(found(after, "10.0.0.21", tmp_path)) == 2
    assert len(found(after, "w-2", tmp_path)) == 1
    assert after.startswith("# mine\n")


def test_a_line_keeps_the_other_hosts_that_it_names(keys: list[Key]) -> None:
    line = f"w-1,w-2,10.0.0.22 {keys[0].type} {keys[0].data} a comment"
    text = (
        f"@cert-authority *.home {keys[1].type} {keys[1].data}\n*.lan {keys[1].type} {keys[1].data}\n{line}\n"
    )
    after = with_keys(text, ["w-2"], [keys[1]])
    assert f"\nw-1,10.0.0.22 {keys[0].type} {keys[0].data} a comment\n" in after
    assert after.splitlines()[:2] == text.splitlines()[:2]
    assert keys_of(after, "w-2") == [keys[1]]


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa !!!", "w ssh-ed25519 AAAAC3Nz"]
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="is no public key"):
        parse_key(text)


def test_a_key_of_another_type_than_it_says(keys: list[Key]) -> None:
    with pytest.raises(ValueError, match="is no public key"):
        parse_key(f"ssh-rsa {keys[0].data}")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\nb", "|1|x", "*"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        entry_name(name)
