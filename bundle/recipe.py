# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What a bundle is made of: programs, packages and images of one minor, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bundle import gotool, places
from bundle.catalogue import Catalogue, Versions

DEBIAN_BASE = ("ca-certificates",)
DEBIAN_TOOLS = ("iptables", "nftables", "conntrack", "kmod", "ipset", "iproute2")
DEBIAN_SHELL = ("busybox-static",)


@dataclass(frozen=True)
class Program:
    """A Go program (or several of one module) and how it is linked."""

    name: str
    version: str
    seconds: int
    ldflags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cgo: bool = False
    own: bool = False
    tests: tuple[str, ...] = ()
    """Packages whose tests are a program, named like the package with ``.test``."""


@dataclass(frozen=True)
class TextFile:
    """A small file of our own wording inside a package."""

    path: str
    text: str


@dataclass(frozen=True)
class Furniture:
    """A layer of what is not built: Debian packages with all that they need, texts, links, empty folders."""

    debian: tuple[str, ...] = ()
    texts: tuple[TextFile, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """A Debian package made from built programs."""

    name: str
    version: str
    description: str
    depends: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    texts: tuple[TextFile, ...] = ()
    folders: tuple[str, ...] = ()
    conffiles: tuple[str, ...] = ()
    reload_systemd: bool = False
    relations: Mapping[str, str] = field(default_factory=dict)
    homepage: str = ""


@dataclass(frozen=True)
class Archive:
    """A tar archive with one program in it: its path in the bundle, the program's path in it."""

    path: str
    member: str


@dataclass(frozen=True)
class Part:
    """What is built, stamped and replaced together."""

    name: str
    version: str
    program: Program | None = None
    packages: tuple[Package, ...] = ()
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 5
    archives: Mapping[str, Archive] = field(default_factory=dict)
    furniture: Mapping[str, Furniture] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image: its full reference, the layers (``part/layer``) that it is stacked from, how it starts."""

    reference: str
    layers: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    version: str = ""


KUBELET_UNIT = TextFile(
    "usr/lib/systemd/system/kubelet.service",
    """\
[Unit]
Description=kubelet, the agent of a Kubernetes node
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
""",
)

_KUBECONFIGS = (
    "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
)
_ARGUMENTS = "$KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"

KUBEADM_DROP_IN = TextFile(
    "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
    f"""\
# How kubeadm has the kubelet started. kubeadm writes the first file at `init` and `join`;
# KUBELET_EXTRA_ARGS in the second is for the machine's own settings and wins.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS={_KUBECONFIGS}"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet {_ARGUMENTS}
""",
)

CONTAINERD_UNIT = TextFile(
    "usr/lib/systemd/system/containerd.service",
    """\
[Unit]
Description=containerd, a container runtime
Documentation=https://containerd.io
After=network.target dbus.service

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/bin/containerd
# Containers go on when containerd is restarted, and have cgroups that it makes itself.
KillMode=process
Delegate=yes
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
""",
)

CRIO_UNIT = TextFile(
    "usr/lib/systemd/system/crio.service",
    """\
[Unit]
Description=CRI-O, a container runtime for Kubernetes
Documentation=https://cri-o.io
Wants=network-online.target
After=network-online.target
Before=kubelet.service

[Service]
Type=notify
ExecStart=/usr/bin/crio
ExecReload=/bin/kill -s HUP $MAINPID
# Containers go on when CRI-O is restarted, and have cgroups that it makes itself.
KillMode=process
Delegate=yes
Restart=always
RestartSec=5
LimitNPROC=1048576
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999
TimeoutStartSec=0

[Install]
WantedBy=multi-user.target
""",
)

CRIO_SETTINGS = TextFile(
    "etc/crio/crio.conf.d/10-crio.conf",
    """\
# The programs that Debian has: runc and conmon, found on PATH.
[crio.runtime]
default_runtime = "runc"

[crio.runtime.runtimes.runc]
runtime_path = ""
monitor_path = ""
""",
)

PINNS = places.PROGRAMS / "pinns" / "pinns.sh"

# What the pods of Kubernetes' own tests call, whatever image they run, and what single images have beside it.
CONFORMANCE_LAYERS = {
    "tools": Furniture(
        debian=(
            "bash",
            "bind9-dnsutils",
            "busybox",
            "curl",
            "iproute2",
            "libc-bin",
            "netcat-openbsd",
            "tini",
        ),
        # Not busybox's shell: it loses variables whose names are none for a shell, and ConfigMaps make such.
        links={"usr/bin/nc": "nc.openbsd", "usr/bin/sh": "bash"},
    ),
    "files": Furniture(
        # Tests of StatefulSets move this file away and back; those that want the certificate are left out.
        texts=(TextFile("localhost.crt", "A file to be asked for, not a certificate.\n"),),
        links={"agnhost-2": "agnhost"},
        folders=("uploads",),
    ),
    "page": Furniture(
        texts=(TextFile("usr/share/nginx/html/index.html", "<title>Kubestead</title>It works.\n"),),
        links={"usr/local/apache2/htdocs": "/usr/share/nginx/html"},
    ),
    "kitten": Furniture(texts=(TextFile("data.json", '{"image": "kitten.jpg"}\n'),)),
    "nautilus": Furniture(texts=(TextFile("data.json", '{"image": "nautilus.jpg"}\n'),)),
}
_AGNHOST = ("agnhost", "files")
_SERVER = ("tini", "--", "busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html")

# By the image's name: the layers above the tools, the entrypoint, the command.
CONFORMANCE_IMAGES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "agnhost": (_AGNHOST, ("/agnhost",), ("pause",)),
    "busybox": ((), (), ("sh",)),
    "glibc-dns-testing": ((), (), ("bash",)),
    "jessie-dnsutils": ((), (), ("bash",)),
    "httpd": (("page",), _SERVER, ()),
    "nginx": (("page",), _SERVER, ()),
    "kitten": ((*_AGNHOST, "kitten"), ("/agnhost",), ("test-webserver",)),
    "nautilus": ((*_AGNHOST, "nautilus"), ("/agnhost",), ("test-webserver",)),
}

CNI_PLUGINS = ("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap")


def parts(versions: Versions) -> list[Part]:
    """All parts of one minor, in the order in which they are built."""
    return [
        Part("debian", "as in the machine's apt sources", seconds=15),
        _small(
            "pause",
            versions.pause,
            "pause",
            "/pause",
            own=True,
            ldflags=(f"-X main.Version={versions.pause}",),
        ),
        _cni_plugins(versions),
        _small("flannel-cni-plugin", versions.flannel_cni_plugin, "flannel", "/flannel", seconds=6),
        _small("etcd", versions.etcd, "server", "/usr/local/bin/etcd", seconds=35),
        _kubernetes(versions),
        _small("coredns", versions.coredns, "coredns", "/coredns", seconds=140),
        _small(
            "flannel",
            versions.flannel,
            "flannel",
            "/opt/bin/flanneld",
            seconds=110,
            ldflags=(
                "-linkmode external -extldflags -static",
                f"-X github.com/flannel-io/flannel/pkg/version.Version=v{versions.flannel}",
            ),
            # Go's own resolver and user look-up: a static glibc cannot load the libraries that its own needs.
            tags=("netgo", "osusergo"),
            cgo=True,
        ),
        _cri_tools(versions),
    ]


ADDONS = ("kube-vip", "helm", "containerd", "crio", "conformance")


def addons(catalogue: Catalogue, versions: Versions) -> list[Part]:
    """What a bundle may have beside that, in the order in which it is built."""
    return [
        _small(
            "kube-vip",
            versions.kube_vip,
            "kube-vip",
            "/kube-vip",
            seconds=180,
            ldflags=(f"-X main.Version=v{versions.kube_vip}",),
        ),
        _helm(catalogue, versions),
        _containerd(versions),
        _crio(versions),
        *([_conformance(versions)] if _minor(versions) in catalogue.conformance_images else []),
    ]


def needed_addons(versions: Versions) -> tuple[str, ...]:
    """Those without which a minor cannot run on Debian: from 1.37 on the kubelet wants containerd 2."""
    return ("containerd",) if int(versions.kubernetes.split(".")[1]) >= 37 else ()


def _minor(versions: Versions) -> str:
    return versions.kubernetes.rpartition(".")[0]


def _small(
    name: str,
    version: str,
    binary: str,
    path: str,
    *,
    seconds: int = 5,
    own: bool = False,
    cgo: bool = False,
    ldflags: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> Part:
    program = Program(name, version, seconds, ldflags=ldflags, tags=tags, cgo=cgo, own=own)
    return Part(name, version, program, layers={name: {binary: path}}, seconds=seconds)


def _cni_plugins(versions: Versions) -> Part:
    variable = "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion"
    flag = f"-X {variable}=v{versions.cni_plugins}"
    package = Package(
        "kubernetes-cni",
        f"{versions.cni_plugins}-{versions.package_revision}",
        "CNI plugins that pod networks build upon",
        programs={name: f"opt/cni/bin/{name}" for name in CNI_PLUGINS},
    )
    program = Program("cni-plugins", versions.cni_plugins, 8, ldflags=(flag,))
    return Part("cni-plugins", versions.cni_plugins, program, packages=(package,), seconds=8)


def _cri_tools(versions: Versions) -> Part:
    package = Package(
        "cri-tools",
        f"{versions.cri_tools}-{versions.package_revision}",
        "crictl, the command line of container runtimes",
        programs={"crictl": "usr/bin/crictl"},
    )
    flag = f"-X sigs.k8s.io/cri-tools/pkg/version.Version=v{versions.cri_tools}"
    program = Program("cri-tools", versions.cri_tools, 70, ldflags=(flag,))
    return Part("cri-tools", versions.cri_tools, program, packages=(package,), seconds=70)


def _kubernetes(versions: Versions) -> Part:
    major, minor = versions.kubernetes.split(".")[:2]
    ldflags = []
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        ldflags += [
            f"-X {package}.gitVersion=v{versions.kubernetes}",
            f"-X {package}.gitMajor={major}",
            f"-X {package}.gitMinor={minor}",
            f"-X {package}.gitTreeState=clean",
        ]
    version = f"{versions.kubernetes}-{versions.package_revision}"
    packages = (
        Package(
            "kubeadm",
            version,
            "Command line that sets up a Kubernetes cluster",
            depends=("cri-tools (>= 1.30.0)",),
            programs={"kubeadm": "usr/bin/kubeadm"},
            texts=(KUBEADM_DROP_IN,),
            reload_systemd=True,
        ),
        Package(
            "kubelet",
            version,
            "Agent of a Kubernetes node",
            depends=("iptables (>= 1.4.21)", "kubernetes-cni (>= 1.2.0)", "mount", "util-linux"),
            programs={"kubelet": "usr/bin/kubelet"},
            texts=(KUBELET_UNIT, TextFile("etc/default/kubelet", "KUBELET_EXTRA_ARGS=\n")),
            folders=("var/lib/kubelet", "etc/kubernetes/manifests"),
            conffiles=("/etc/default/kubelet",),
            reload_systemd=True,
        ),
        Package(
            "kubectl",
            version,
            "Command line of Kubernetes",
            programs={"kubectl": "usr/bin/kubectl"},
        ),
    )
    served = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    return Part(
        "kubernetes",
        versions.kubernetes,
        Program("kubernetes", versions.kubernetes, 430, ldflags=tuple(ldflags)),
        packages=packages,
        layers={name: {name: f"/usr/local/bin/{name}"} for name in served},
        files={"kubectl": f"bin/v{major}.{minor}/kubectl"},
        seconds=430,
    )


def _helm(catalogue: Catalogue, versions: Versions) -> Part:
    module = "helm.sh/helm/v3"
    # What charts are rendered for where no cluster is asked: the newest Kubernetes that there is.
    major, minor = max((m.split(".") for m in catalogue.minors), key=lambda m: int(m[1]))
    numbers = (("Major", major), ("Minor", minor))
    flags = [f"-X {module}/internal/version.version=v{versions.helm}"]
    flags += [f"-X {module}/pkg/chartutil.k8sVersion{name}={number}" for name, number in numbers]
    flags += [f"-X {module}/pkg/lint/rules.k8sVersion{name}={number}" for name, number in numbers]
    platform = f"linux-{gotool.architecture()}"
    path = f"files/{catalogue.helm_home}helm-v{versions.helm}-{platform}.tar.gz"
    return Part(
        "helm",
        versions.helm,
        Program("helm", versions.helm, 100, ldflags=tuple(flags)),
        archives={"helm": Archive(path, f"{platform}/helm")},
        seconds=100,
    )


def _containerd(versions: Versions) -> Part:
    package = Package(
        "containerd.io",
        f"{versions.containerd}-1~kubestead",
        "containerd, a container runtime",
        depends=("runc",),
        programs={name: f"usr/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        texts=(CONTAINERD_UNIT,),
        folders=("etc/containerd",),
        reload_systemd=True,
        relations=dict.fromkeys(("Provides", "Conflicts", "Replaces"), "containerd"),
        homepage="https://containerd.io",
    )
    flag = f"-X github.com/containerd/containerd/v2/version.Version=v{versions.containerd}"
    program = Program(
        "containerd",
        versions.containerd,
        60,
        ldflags=(flag,),
        tags=("no_btrfs", "no_zfs", "no_devmapper"),
    )
    return Part("containerd", versions.containerd, program, packages=(package,), seconds=60)


def _crio(versions: Versions) -> Part:
    package = Package(
        "cri-o",
        f"{versions.crio}-1~kubestead",
        "CRI-O, a container runtime for Kubernetes",
        depends=("conmon", "runc", "iptables", "util-linux"),
        programs={"crio": "usr/bin/crio"},
        texts=(CRIO_UNIT, CRIO_SETTINGS, TextFile("usr/bin/pinns", PINNS.read_text(encoding="utf-8"))),
        conffiles=(f"/{CRIO_SETTINGS.path}",),
        reload_systemd=True,
        homepage="https://cri-o.io",
    )
    program = Program(
        "crio",
        versions.crio,
        120,
        ldflags=("-linkmode external -extldflags -static",),
        # Without libraries in C that the building computer would need: signatures are checked in Go.
        tags=(
            "containers_image_openpgp",
            "containers_image_ostree_stub",
            "exclude_graphdriver_btrfs",
            "btrfs_noversion",
            "netgo",
            "osusergo",
        ),
        cgo=True,
    )
    return Part("crio", versions.crio, program, packages=(package,), seconds=120)


def _conformance(versions: Versions) -> Part:
    suite = "k8s.io/kubernetes/test/e2e"
    # It compares its own version with the cluster's.
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    ldflags = [f"-X {package}.gitVersion=v{versions.kubernetes}" for package in packages]
    program = Program("conformance", versions.kubernetes, 330, ldflags=tuple(ldflags), tests=(suite,))
    return Part(
        "conformance",
        versions.kubernetes,
        program,
        layers={"agnhost": {"agnhost": "/agnhost"}},
        files={"e2e.test": f"bin/v{_minor(versions)}/e2e.test"},
        seconds=330,
        furniture=CONFORMANCE_LAYERS,
    )


def images(catalogue: Catalogue, versions: Versions, parts: Iterable[Part] = ()) -> list[Image]:
    """The images of one minor that parts go into, under the names that kubeadm and manifests ask for."""
    kube_vip = Image(
        f"{catalogue.kube_vip_images}/kube-vip:v{versions.kube_vip}",
        ("debian/base", "kube-vip/kube-vip"),
        ("/kube-vip",),
        version=versions.kube_vip,
    )
    names = {part.name for part in parts}
    extra = [kube_vip] if "kube-vip" in names else []
    if "conformance" in names:
        extra += _conformance_images(catalogue, versions)
    return [*_core_images(catalogue, versions), *extra]


def _conformance_images(catalogue: Catalogue, versions: Versions) -> list[Image]:
    """What the suite's pods run, under the names and tags that it asks for."""
    found = []
    for name, tags in catalogue.conformance_images[_minor(versions)].items():
        layers, entrypoint, command = CONFORMANCE_IMAGES[name]
        stack = ("debian/base", *(f"conformance/{layer}" for layer in ("tools", *layers)))
        for tag in tags:
            reference = f"{catalogue.kubernetes_images}/e2e-test-images/{name}:{tag}"
            found.append(Image(reference, stack, entrypoint, command, version=tag))
    return found


def _core_images(catalogue: Catalogue, versions: Versions) -> list[Image]:
    k8s, flannel, library = catalogue.kubernetes_images, catalogue.flannel_images, catalogue.library_images
    plain = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    found = [
        Image(
            f"{k8s}/{name}:v{versions.kubernetes}",
            ("debian/base", f"kubernetes/{name}"),
            (f"/usr/local/bin/{name}",),
            version=versions.kubernetes,
        )
        for name in plain
    ]
    return [
        *found,
        Image(
            f"{k8s}/kube-proxy:v{versions.kubernetes}",
            ("debian/base", "debian/tools", "kubernetes/kube-proxy"),
            ("/usr/local/bin/kube-proxy",),
            version=versions.kubernetes,
        ),
        Image(
            f"{k8s}/etcd:{versions.etcd_image_tag}",
            ("debian/base", "etcd/etcd"),
            ("/usr/local/bin/etcd",),
            version=versions.etcd,
        ),
        Image(
            f"{k8s}/coredns/coredns:v{versions.coredns}",
            ("debian/base", "coredns/coredns"),
            ("/coredns",),
            version=versions.coredns,
        ),
        Image(
            f"{k8s}/pause:{versions.pause}",
            ("pause/pause",),
            ("/pause",),
            user="65535:65535",
            version=versions.pause,
        ),
        Image(
            f"{flannel}/flannel:v{versions.flannel}",
            ("debian/base", "debian/tools", "flannel/flannel"),
            ("/opt/bin/flanneld",),
            version=versions.flannel,
        ),
        Image(
            f"{flannel}/flannel-cni-plugin:v{versions.flannel_cni_plugin}",
            ("debian/base", "debian/shell", "flannel-cni-plugin/flannel-cni-plugin"),
            version=versions.flannel_cni_plugin,
        ),
        Image(
            f"{library}/busybox:{versions.busybox}",
            ("debian/base", "debian/shell"),
            command=("sh",),
            version=versions.busybox,
        ),
    ]
