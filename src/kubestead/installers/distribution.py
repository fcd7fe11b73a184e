# SPDX-License-Identifier: GPL-3.0-or-later
"""What the distributions' installers have in common: boot files, boot scripts, a shell script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from . import rendering
from .plan import Form, InstallPlan

SCRIPT = "install.sh"
#: On every installed machine: what Ansible and the first-boot agent need.
PACKAGES = (
    "ca-certificates",
    "curl",
    "efibootmgr",
    "openssh-server",
    "pciutils",
    "python3",
    "sudo",
)
_GIB = 1 << 30


@dataclass(frozen=True)
class Mirror:
    """An archive's address, in the parts that installers ask for."""

    scheme: str
    host: str
    path: str

    @property
    def url(self) -> str:
        """The address as a whole."""
        return f"{self.scheme}://{self.host}{self.path}"


@dataclass(frozen=True)
class Distribution:
    """One installer: where its kernel is, what it is told, which answers it asks for.

    answers: the template of each answer file, by name.
    run, log: in the running installer, a folder for us and the log whose end is kept.
    """

    kernel: str
    initrd: str
    more_files: tuple[str, ...]
    answers: Mapping[str, str]
    run: str
    log: str
    least_gib: int

    def files_problem(self, plan: InstallPlan, boot_dir: Path) -> str | None:
        """Say which file the boot server lacks."""
        folder = boot_dir / "installers" / folder_of(plan)
        lacking = [
            name for name in (self.kernel, self.initrd, *self.more_files) if not (folder / name).is_file()
        ]
        if not lacking:
            return None
        return (
            f"the installer of {plan.os} for {plan.architecture} is not there: {folder} lacks "
            f"{', '.join(lacking)}; run playbooks/pxe_server.yml, which brings it"
        )

    def mirror_problem(self, plan: InstallPlan, name: str) -> str | None:
        """Say that nobody has told where packages come from."""
        if name in plan.settings.mirrors:
            return None
        return f"no mirror is set for {name}: it is to be in `mirrors` of the boot settings"

    def templates_problem(self, plan: InstallPlan, values: Mapping[str, object]) -> str | None:
        """Say which template, overridden by somebody, cannot be used."""
        return rendering.broken(self.answers.values(), replace(plan, token=None), **self._all(values))

    def answer(self, plan: InstallPlan, name: str, values: Mapping[str, object]) -> str:
        """One of the answers."""
        return rendering.render(self.answers[name], plan, **self._all(values))

    def boot_script(self, plan: InstallPlan, form: Form, arguments: Sequence[str]) -> str:
        """Load kernel and initrd and start them; where that fails the script goes on behind."""
        place = f"{plan.settings.base}/boot/installers/{folder_of(plan)}"
        said = f"Kubestead: the installer of {plan.os} cannot be fetched"
        if form == "grub":
            parts = urlsplit(plan.settings.base)
            port = f",{parts.port}" if parts.port not in (None, 80) else ""
            root = f"(http,{parts.hostname}{port})/boot/installers/{folder_of(plan)}"
            words = " ".join(f"'{word}'" for word in arguments)
            return (
                f"if linux {root}/{self.kernel} {words}; then\n"
                f"  if initrd {root}/{self.initrd}; then\n    boot\n  fi\nfi\n"
                f'echo "{said}"\n'
            )
        words = " ".join(arguments)
        return (
            "imgfree\n"
            f"kernel --name kernel {place}/{self.kernel} initrd=initrd {words} && "
            f"initrd --name initrd {place}/{self.initrd} && boot ||\n"
            f"imgfree\necho {said}\n"
        )

    def _all(self, values: Mapping[str, object]) -> dict[str, object]:
        ours = {"run": self.run, "log": self.log, "least_bytes": self.least_gib * _GIB}
        return {**ours, **values}


def folder_of(plan: InstallPlan) -> str:
    """Where an installer lies below `installers`."""
    return f"{plan.os}-{plan.architecture}"


def answer_url(plan: InstallPlan, name: str = "") -> str:
    """Where a machine fetches an answer; without a name, the folder of all of them."""
    return f"{plan.settings.base}/boot/answers/{plan.machine.mac}/{name}"


def mirror(plan: InstallPlan, name: str) -> Mirror:
    """The mirror of that name."""
    parts = urlsplit(plan.settings.mirrors[name])
    return Mirror(parts.scheme, parts.netloc, parts.path)


def names(plan: InstallPlan) -> dict[str, object]:
    """A machine's host name in its parts, and the packages that it is to have."""
    short, _, domain = plan.machine.hostname.partition(".")
    return {
        "short_name": short,
        "domain": domain or plan.settings.domain,
        "full_name": ".".join(part for part in (short, domain or plan.settings.domain) if part),
        "packages": list(dict.fromkeys((*PACKAGES, *plan.settings.packages))),
    }


def interface_argument(plan: InstallPlan) -> str:
    """The network card that the machine has booted from."""
    return f"BOOTIF=01-{plan.machine.mac.replace(':', '-')}"


def start(plan: InstallPlan, run: str) -> str:
    """One line of shell that fetches the script of an answer and starts it, or boots again."""
    fetched, url = f"{run}/{SCRIPT}", answer_url(plan, SCRIPT)
    return (
        f"umask 077; mkdir -p {run}; i=0; "
        f"until {{ command -v curl >/dev/null && curl -sf --noproxy '*' -m 60 -o {fetched} {url}; }} || "
        f"wget -q --no-proxy -T 30 -t 1 -O {fetched} {url}; "
        f"do i=$((i+1)); [ $i -lt 60 ] || reboot -f; sleep 10; done; sh {fetched}"
    )
