# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot server on a laptop: the folder for docker compose, and the role against localhost.

There is no docker here. `docker compose config` reads the folder; then what the Dockerfile and the compose
file say is done on a node of the same Debian, by this test: the image's steps one after the other, and each
service as a unit that sees the volumes where its container would. What is not tried is docker itself: pulling
the base image, its networks, and the ports that it opens.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubestead.cli.pxe_status import fetch_by_tftp
from kubestead.model.cache import default_cache
from kubestead.model.program_bundle import REQUIREMENTS, Target, program_id, split_pip, write_folder
from lab import Lab, NodeSpec, network
from lab.host import problems
from lab.process import wait_until
from tests.e2e.boot_lab import CHECKOUT, registry
from tests.e2e.test_boot_servers import BIOS

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

LAPTOP, ADDRESS = "laptop", "10.77.0.15"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0r6Ap3x7kZ0b9m5u0p7q8s2s8x2q2c1r3kq1o5a7hT nobody@lab"
FOLDER = "/root/boot-server"


class Laptop:
    """A node that stands for the laptop, with Ansible of its distribution and this checkout."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def __call__(self, command: str, *, text: str = "", seconds: float = 300) -> str:
        """Run a command there; return what it prints."""
        done = subprocess.run(
            self.lab.ssh_argv(LAPTOP, [command]),
            input=text, text=True, capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-2000:]}"
        return done.stdout

    def takes(self, folder: Path, to: str, *names: str) -> None:
        """Copy what a folder of this computer holds."""
        pack = ["tar", "-C", str(folder), "-c", "--exclude=__pycache__", *(names or ["."])]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
            into = f"mkdir -p {to} && tar -C {to} -x --no-same-owner"
            subprocess.run(self.lab.ssh_argv(LAPTOP, [into]), stdin=tar.stdout, check=True, timeout=60)

    def has_checkout(self) -> None:
        """Copy what a checkout needs to run playbooks."""
        names = ["plugins", "roles", "playbooks", "inventory", "src", "meta"]
        self.takes(
            CHECKOUT, "/root/checkout", *names, "galaxy.yml", "pyproject.toml", "README.md", "ansible.cfg"
        )
        link = "/root/checkout/.ansible/collections/ansible_collections/kubestead"
        self(f"mkdir -p {link} && ln -sfn ../../../.. {link}/homelab")

    def has_wheels(self, folder: Path) -> None:
        """Give it the cache of wheels that it would fill from a package index, which it does not reach."""
        cache = default_cache()
        write_folder(
            folder / "program", CHECKOUT, cache, Target("3.13", os.uname().machine), with_wheels=True
        )
        locked = "".join(split_pip((CHECKOUT / REQUIREMENTS).read_text()))
        digest = hashlib.sha256(locked.encode()).hexdigest()[:16]
        names = [f"program-{program_id(CHECKOUT)[:16]}", f"cp313-{os.uname().machine}-{digest}"]
        self.takes(cache / "wheels", "/root/.cache/kubestead/wheels", *names)

    def plays(self, playbook: str, inventory: str, settings: Mapping[str, object]) -> int:
        """Run a playbook there by its own Ansible; return how many tasks changed something."""
        words = ["ansible-playbook", "-i", inventory, f"playbooks/{playbook}.yml", "-e", json.dumps(settings)]
        words += ["--skip-tags", "boot_images,boot_installers"]
        said = self(f"cd /root/checkout && LC_ALL=C.UTF-8 {shlex.join(words)}")
        changed = re.search(r"^localhost +: .*changed=(\d+)", said, re.MULTILINE)
        assert changed, said[-2000:]
        return int(changed[1])

    def builds(self, folder: str) -> None:
        """Do what the Dockerfile says; as in an image, no service is started by a package."""
        self("printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d")
        lines = re.sub(r"\\\n", " ", self(f"cat {folder}/Dockerfile")).splitlines()
        assert "FROM debian:13-slim" in lines
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "RUN":
                self(rest)
            elif word == "COPY":
                *options, source, target = rest.split()
                everything = "." if source.endswith("/") else ""
                self(f"mkdir -p $(dirname {target}x) && cp -r {folder}/{source}{everything} {target}")
                if options:
                    assert options == ["--chmod=0755"]
                    self(f"chmod 0755 {target}")

    def runs(self, folder: str, name: str, service: dict[str, Any]) -> None:
        """Start a service as a unit, its volumes where its container has them."""
        words = [
            "systemd-run",
            f"--unit=boot-{name}",
            "--collect",
            f"--property=StandardError=append:/var/log/boot-{name}.log",
        ]
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            source = f"{folder}/{source}" if source.startswith("./") else f"/var/lib/boot-{source}"
            self(f"mkdir -p {source} {target}")
            words.append(
                f"--property={'BindReadOnlyPaths' if mode == ['ro'] else 'BindPaths'}={source}:{target}"
            )
        words += [f"--setenv={key}={value}" for key, value in service.get("environment", {}).items()]
        self(shlex.join([*words, "--", *service["command"]]))

    def serves_loaders(self) -> None:
        """The names that routers are told, by TFTP and by HTTP."""
        for name in ("undionly.kpxe", "snponly.efi", "boot.ipxe", "pxelinux.0", "pxelinux.cfg/default"):
            network.inside(self.lab.namespace, partial(fetch_by_tftp, ADDRESS, name))
        assert f"http://{ADDRESS}/boot/${{net" in self.fetch("/boot.ipxe")

    def fetch(self, path: str) -> str:
        """What the laptop's web server answers, asked from the network."""
        done = subprocess.run(
            self.lab.network_argv(["curl", "-sS", "--noproxy", "*", "--max-time", "10", f"http://{ADDRESS}{path}"]),
            text=True, capture_output=True, check=False,
        )  # fmt: skip
        return done.stdout

    def boots(self) -> bool:
        """Whether a machine comes as far as its own script, which the State API made."""
        path = f"/boot/{BIOS.mac.replace(':', '-')}.ipxe?platform=pcbios"
        return f"Kubestead: {BIOS.name} boots its local disk" in self.fetch(path)


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    lab = Lab("laptop", say=print)
    lab.down()
    lab.network_up()
    lab.gateway_start()
    lab.nodes_up([NodeSpec(LAPTOP, "debian-13", ADDRESS)])
    yield Laptop(lab)
    lab.down()


@pytest.fixture(scope="module")
def folder(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What playbooks/compose.yml makes on the laptop."""
    install = "apt-get -qq install --no-install-recommends ansible-core docker-compose"
    laptop(f"apt-get -qq update && {install} >/dev/null")
    laptop.has_checkout()
    laptop.has_wheels(tmp_path_factory.mktemp("wheels"))
    laptop("cat > /root/registry.json", text=registry([BIOS]))
    settings = {
        "pxe_server_compose_dir": FOLDER,
        "pxe_server_compose_registry": "/root/registry.json",
        "pxe_server_compose_wheels_from": "controller",
        "pxe_server_install_ssh_keys": [KEY],
    }
    assert laptop.plays("compose", "localhost,", settings) > 0
    assert laptop.plays("compose", "localhost,", settings) == 0
    return FOLDER


def test_docker_compose_reads_it(laptop: Laptop, folder: str) -> None:
    shown = json.loads(laptop(f"cd {folder} && docker-compose config --format json"))
    assert shown["services"].keys() == {"http", "api", "tftp"}
    ports = {(str(port["published"]), port["target"], port["protocol"])
             for service in shown["services"].values() for port in service.get("ports", [])}  # fmt: skip
    assert ports == {("80", 80, "tcp"), ("8080", 8080, "tcp"), ("69", 69, "udp")}
    assert len({service["image"] for service in shown["services"].values()}) == 1


def test_its_services_boot_a_machine(laptop: Laptop, folder: str) -> None:
    laptop.builds(folder)
    services = yaml.safe_load(laptop(f"cat {folder}/compose.yml"))["services"]
    try:
        for name, service in services.items():
            laptop.runs(folder, name, service)
        assert wait_until(laptop.boots, 60), laptop("tail -n 20 /var/log/boot-*.log")
        laptop.serves_loaders()
        settings = services["api"]["environment"].items()
        words = " ".join(f"{key}={value}" for key, value in settings).replace(
            "/srv/state", "/var/lib/boot-state"
        )
        shown = laptop(f"{words} kubestead status")
        assert "registry /srv/http/machines/registry.json: ok" in shown
        laptop("sed -i s/bios/other/ " + f"{folder}/registry/registry.json")
        path = f"/boot/{BIOS.mac.replace(':', '-')}.ipxe?platform=pcbios"
        assert wait_until(lambda: "other boots" in laptop.fetch(path), 10)
    finally:
        laptop("systemctl stop " + " ".join(f"boot-{name}" for name in services))


def test_the_role_on_localhost(laptop: Laptop, folder: str) -> None:
    inventory = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    laptop("cat > /root/hosts.yml", text=json.dumps({"pxe_server": inventory, "state_api": inventory}))
    settings = {
        "pxe_server_dhcp": "proxy",
        "pxe_server_address": ADDRESS,
        "pxe_server_install_ssh_keys": [KEY],
        "state_api_wheels_from": "controller",
        "state_api_registry_source": "/root/registry.json",
    }
    assert laptop.plays("pxe_server", "/root/hosts.yml", settings) > 0
    assert laptop.plays("pxe_server", "/root/hosts.yml", settings) == 0
    assert laptop.boots()
    laptop.serves_loaders()
    assert "✘" not in laptop("kubestead status --server")
