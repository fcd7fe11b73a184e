# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that a cluster leaves on a machine, and how each piece is taken away.

Only what is known to be a cluster's is found: named links, chains and tables, the folders of Kubernetes.
Packages, the container runtime, its images and other people's firewall rules stay.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import socket
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .kubeconfig import KubeconfigError, parse_kubeconfig
from .node_state import Paths, kubeadm_manifests, read_certificate
from .programs import Runner, run_program
from .x509 import CertificateError, parse_certificate

#: Links of pod networks and of kube-proxy. Those of LXC (lxcbr0) and of libvirt have other names.
LINKS = re.compile(
    r"cni0|flannel[.-].*|kube-ipvs0|kube-dummy-if|nodelocaldns|vxlan(?:-v6)?\.calico|cali[0-9a-f]{11}|"
    r"(?:wireguard|wg-v6|bpfin|bpfout)\.cali|cilium_.*|lxc(?:[0-9a-f]{12}|_health)"
)
CNI_FILES = ("*flannel*", "*calico*", "*cilium*")
#: What Cilium calls another's configuration while it is in charge: it gets its name back.
SET_ASIDE = ".cilium_bak"
#: Tables of routes that only Cilium uses.
RULE = re.compile(r"^(?P<priority>\d+):.*\bfwmark\b.*\blookup (?:2004|2005)\b")
FOLDERS = ("/var/lib/cni", "/var/lib/calico", "/run/flannel", "/run/calico", "/run/cilium", "/run/kubernetes")
PINS = ("cilium", "calico", "tc/globals/cilium_*")
CHAINS = re.compile(r"^(?:KUBE|CNI|FLANNEL|CILIUM|OLD_CILIUM|cali)-")
NFT_TABLES = re.compile(
    r"^table (?P<table>(?:ip|ip6|inet) "
    r"(?:kube-proxy|calico|flannel-ipv[46]|cni_hostport|cni_plugins_masquerade))$"
)


@dataclass(frozen=True)
class Leftover:
    """One piece: its kind and what it is called."""

    kind: str
    what: str

    def __str__(self) -> str:
        """Return it for a person."""
        return f"{self.kind} {self.what}"


@dataclass
class Host:
    """A machine as seen by this file; tests bring another one."""

    paths: Paths = field(default_factory=Paths)
    run: Runner = run_program
    cri_socket: str = "unix:///var/run/containerd/containerd.sock"

    def under(self, path: str) -> Path:
        """Return an absolute path of the machine."""
        return self.paths.root / path.lstrip("/")

    def links(self) -> list[str]:
        """Return the names of its network links."""
        return sorted(name for _index, name in socket.if_nameindex())

    def mounts(self) -> list[str]:
        """Return its mount points, in the order of mounting."""
        text = self.under("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        points = [line.split(" ")[4] for line in text.splitlines() if line.count(" ") > 4]
        return [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), point) for point in points]


def _target(rule: str) -> str:
    """Return where a rule leads; a comment that looks like it does not count."""
    try:
        words = shlex.split(rule)
    except ValueError:
        return ""
    return next((after for word, after in zip(words, words[1:]) if word in ("-j", "-g")), "")


def removal_script(saved: str, ours: re.Pattern[str] = CHAINS) -> str:
    """Turn what `iptables-save` says into input for `iptables-restore --noflush`.

    It removes our chains and the rules that lead to them, and nothing else. Empty when there are none.
    """
    script: list[str] = []
    table, chains, rules = "", list[str](), list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            table, chains, rules = line, [], []
        elif line.startswith(":"):
            name = line[1:].split(" ", 1)[0]
            if ours.match(name):
                chains.append(name)
        elif line.startswith("-A "):
            chain = line.split(" ", 2)[1]
            if not ours.match(chain) and ours.match(_target(line)):
                rules.append("-D " + line[3:])
        elif line == "COMMIT" and (chains or rules):
            flush = [f"-F {name}" for name in chains] + [f"-X {name}" for name in chains]
            script += [table, *rules, *flush, "COMMIT"]
    return "\n".join(script) + "\n" if script else ""


def _save_programs(host: Host) -> list[str]:
    programs = ["iptables-save", "ip6tables-save"]
    for version, listing in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
        try:  # asking for the legacy tables would load them: only where they are in use
            legacy = host.under(f"/proc/net/{listing}").read_text(encoding="utf-8").strip()
        except OSError:
            legacy = ""
        programs += [f"{version}-legacy-save"] if legacy else []
    return programs


def _find_firewall(host: Host) -> list[Leftover]:
    found = []
    for program in _save_programs(host):
        code, out, _err = host.run([program])
        if code == 0 and removal_script(out):
            found.append(Leftover("iptables", program))
    code, out, _err = host.run(["nft", "list", "tables"])
    if code == 0:
        for line in out.splitlines():
            match = NFT_TABLES.match(line.strip())
            if match:
                found.append(Leftover("nft", match.group("table")))
    return found


def _content(folder: Path, keep: t.Container[str] = ()) -> list[str]:
    """Return what is in a folder, but empty folders named in `keep`."""
    if not folder.is_dir():
        return []
    return sorted(
        str(path)
        for path in folder.iterdir()
        if not (path.name in keep and path.is_dir() and not path.is_symlink() and not any(path.iterdir()))
    )


def find_paths(host: Host) -> list[Leftover]:
    """Find files and folders of Kubernetes and of the pod network."""
    found: list[str] = []
    # Packages own the empty folders; a folder that is a mount point is emptied and stays.
    found += _content(host.paths.kubernetes, keep=("manifests",))
    for folder in ("/var/lib/kubelet", "/var/lib/etcd", "/var/log/pods", "/var/log/containers"):
        found += _content(host.under(folder))
    for folder in FOLDERS:
        found += [str(host.under(folder))] if host.under(folder).exists() else []
    for pattern in PINS:
        found += [str(path) for path in sorted(host.under("/sys/fs/bpf").glob(pattern))]
    net = _content(host.under("/etc/cni/net.d"))
    ours = [path for path in net if _of_a_pod_network(path)]
    aside = [
        path for path in net if path not in ours and path.endswith(SET_ASIDE) and not _own(path).exists()
    ]
    return [Leftover("path", path) for path in found + ours] + [Leftover("set aside", path) for path in aside]


def _own(path: str) -> Path:
    """Return the name that a configuration had before it was set aside."""
    return Path(path[: -len(SET_ASIDE)])


def _of_a_pod_network(path: str) -> bool:
    """Say whether a CNI configuration is of one of the pod networks that this collection knows."""
    name = Path(path).name.replace(SET_ASIDE, "")
    return any(fnmatch.fnmatch(name, pattern) for pattern in CNI_FILES)


def find_mounts(host: Host, *more: str) -> list[Leftover]:
    """Find what is mounted for pods, the innermost first; `more`: folders in which it is looked for, too."""
    folders = [host.under(folder) for folder in ("/var/lib/kubelet", *more)]
    points = [point for folder in folders for point in _mounted_in(host, folder)]
    return [Leftover("mount", point) for point in reversed(host.mounts()) if point in points]


def _mounted_in(host: Host, folder: Path) -> list[str]:
    """Return the mount points below a folder."""
    return [point for point in host.mounts() if point.startswith(f"{folder}/")]


def ask_runtime(host: Host, *words: str, timeout: float = 30) -> tuple[int, str, str]:
    """Run crictl."""
    return host.run(["crictl", "--runtime-endpoint", host.cri_socket, *words], None, timeout)


def find_pods(host: Host) -> list[Leftover]:
    """Find pods that the container runtime still has."""
    code, out, _err = ask_runtime(host, "pods", "--quiet")
    return [Leftover("pod", line.strip()) for line in out.splitlines() if line.strip()] if code == 0 else []


def find_all(host: Host) -> list[Leftover]:
    """Find every piece, in the order in which they are to be removed."""
    found = find_pods(host) + find_mounts(host, *FOLDERS)
    netns = host.under("/run/netns")
    found += [Leftover("netns", path.name) for path in sorted(netns.glob("cni-*"))] if netns.is_dir() else []
    found += [Leftover("link", name) for name in host.links() if LINKS.fullmatch(name)]
    return found + _find_rules(host) + _find_firewall(host) + find_paths(host) + find_kubeconfigs(host)


def _find_rules(host: Host) -> list[Leftover]:
    """Find rules and routes that go round the machine's own: they outlive the links."""
    code, out, _err = host.run(["ip", "rule"])
    matches = [RULE.match(line) for line in out.splitlines()] if code == 0 else []
    found = [Leftover("rule", match["priority"]) for match in matches if match]
    code, out, _err = host.run(["ip", "route", "show", "proto", "bird"])  # Calico's
    return found + ([Leftover("routes", "bird")] if code == 0 and out.strip() else [])


def find_kubeconfigs(host: Host) -> list[Leftover]:
    """Find people's kubeconfigs on this machine that lead to its cluster, and to no other."""
    authority = read_certificate(host.paths.pki / "ca.crt")
    if authority is None:
        return []
    found = []
    homes = [host.under("/root"), *sorted(host.under("/home").glob("*"))]
    for path in [home / ".kube/config" for home in homes]:
        try:
            text = path.read_text(encoding="utf-8")
            config = parse_kubeconfig(text, path.parent)
            if text.count("server:") == 1 and parse_certificate(config.authority).pin == authority.pin:
                found.append(Leftover("kubeconfig", str(path)))
        except (OSError, UnicodeDecodeError, KubeconfigError, CertificateError):
            continue
    return found


def kept(host: Host) -> list[str]:
    """Say what a reset leaves on this machine, as far as it is there."""
    told = ["packages, and the settings of playbooks/prepare.yml"]
    code, out, _err = ask_runtime(host, "images", "--quiet")
    if code == 0:
        told.append(f"the container runtime, with {len(out.split())} images")
    others = [path for path in _content(host.under("/etc/cni/net.d")) if not _of_a_pod_network(path)]
    told += [f"/etc/cni/net.d/{Path(path).name.replace(SET_ASIDE, '')}" for path in others]
    for pattern in ("/var/log/kubeadm-*.log", "/var/log/kubernetes", "/opt/local-path-provisioner"):
        told += [
            "/" + str(path.relative_to(host.paths.root)) for path in sorted(host.paths.root.glob(pattern[1:]))
        ]
    return [*told, "all other links, addresses and rules of the firewall, SSH among them"]


def remove(host: Host, piece: Leftover) -> str:
    """Take one piece away; return what went wrong, or nothing."""
    if piece.kind in ("path", "kubeconfig"):
        return _remove_path(host, Path(piece.what))
    if piece.kind == "set aside":
        return _give_back(piece.what)
    if piece.kind == "iptables":
        return _remove_rules(host, piece.what)
    commands: dict[str, list[list[str]]] = {
        "mount": [["umount", piece.what], ["umount", "--lazy", piece.what]],
        "netns": [["ip", "netns", "delete", piece.what], ["rm", "--force", f"/run/netns/{piece.what}"]],
        "link": [["ip", "link", "delete", piece.what]],
        "rule": [["ip", "rule", "delete", "priority", piece.what]],
        "routes": [["ip", "route", "flush", "proto", piece.what]],
        "nft": [["nft", "delete", "table", *piece.what.split()]],
        "pod": [
            [
                "crictl",
                "--runtime-endpoint",
                host.cri_socket,
                "--timeout",
                "20s",
                "rmp",
                "--force",
                piece.what,
            ]
        ],
    }
    problem = ""
    for command in commands[piece.kind]:
        code, out, err = host.run(command, None, 60)
        if code == 0:
            return ""
        problem = f"{' '.join(command)}: {(err or out).strip() or code}"
    return problem


def _remove_path(host: Host, path: Path) -> str:
    mounted = [point for point in host.mounts() if point == str(path)] or _mounted_in(host, path)
    if mounted:  # its content is somebody's: a volume, a disk
        return f"{path}: {mounted[0]} is still mounted, so nothing in it was deleted"
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _give_back(path: str) -> str:
    try:
        Path(path).rename(_own(path))
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _remove_rules(host: Host, save: str) -> str:
    code, out, err = host.run([save])
    if code != 0:
        return f"{save}: {err.strip() or code}"
    script = removal_script(out)
    if not script:
        return ""
    code, out, err = host.run([save.replace("-save", "-restore"), "--noflush"], script)
    return "" if code == 0 else f"{save.replace('-save', '-restore')}: {(err or out).strip() or code}"


def remove_all(host: Host, pieces: t.Sequence[Leftover]) -> list[str]:
    """Take all pieces away and return what went wrong. Pods go together: one call each would be slow."""
    problems = []
    pods = [piece.what for piece in pieces if piece.kind == "pod"]
    if pods:
        code, out, err = ask_runtime(host, "--timeout", "20s", "rmp", "--force", *pods, timeout=120)
        if code != 0 and find_pods(host):
            problems.append(f"crictl rmp: {(err or out).strip() or code}")
    for piece in pieces:
        if piece.kind != "pod":
            problem = remove(host, piece)
            problems += [problem] if problem else []
    return problems


def stop_kubelet(host: Host) -> str:
    """Stop the kubelet; return what went wrong, or nothing."""
    code, _out, err = host.run(["systemctl", "stop", "kubelet.service"], None, 60)
    return "" if code in (0, 5) else f"systemctl stop kubelet: {err.strip() or code}"


def clear_worker(host: Host) -> list[str]:
    """Take away what a join that did not end has left; of network and runtime nothing but pods."""
    problem = stop_kubelet(host)
    pieces = find_pods(host) + find_mounts(host)
    for folder in (host.paths.kubernetes, host.paths.kubelet):
        pieces += [Leftover("path", path) for path in _content(folder, keep=("manifests",))]
    return [text for text in [problem, *remove_all(host, pieces)] if text]


def clear_control_plane(host: Host, kept: t.Container[str]) -> list[str]:
    """Take away what an initialisation left that never had data, but what is in `kept`.

    The kubelet is stopped first, then its pods; etcd's folder is not touched: the caller looks at it again.
    """
    problem = stop_kubelet(host)
    pieces = find_pods(host) + find_mounts(host)
    paths = host.paths
    files = [
        path
        for path in paths.pki.rglob("*")
        if path.is_file() and str(path.relative_to(paths.pki)) not in kept
    ]
    files += [paths.manifests / name for name in kubeadm_manifests(paths.manifests)]
    files += list(paths.kubernetes.glob("*.conf"))
    pieces += [Leftover("path", str(path)) for path in files]
    pieces += [Leftover("path", path) for path in _content(paths.kubelet)]
    return [text for text in [problem, *remove_all(host, pieces)] if text]
