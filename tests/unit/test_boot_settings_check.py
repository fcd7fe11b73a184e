# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of boot settings before a role writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubestead.installers.__main__ import main

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBu/XriERLZG6Y2jisNlWoccb/5k6dGKzbr4yDOqVth1 somebody"
GOOD = {"base": "http://10.0.0.10", "api_url": "https://10.0.0.10:8080", "ssh_keys": [KEY]}


def test_good_settings_pass_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "boot.json").write_text(json.dumps(GOOD))
    assert main([str(tmp_path / "boot.json")]) == 0
    assert capsys.readouterr() == ("", "")


def test_all_problems_are_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {**GOOD, "proxy": "10.0.0.10:3142", "kernel_arguments": "quiet; reboot"}
    (tmp_path / "boot.json").write_text(json.dumps(wrong))
    assert main([str(tmp_path / "boot.json")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert 'proxy is "10.0.0.10:3142"' in said
    assert 'kernel_arguments is "quiet; reboot"' in said
    assert str(tmp_path) not in said


def test_without_a_file_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "FILE" in capsys.readouterr().err
