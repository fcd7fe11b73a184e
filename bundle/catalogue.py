# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""The versions that belong together, from the one catalogue in ``roles/artifacts``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from bundle import places
from bundle.errors import WrongInputError


@dataclass(frozen=True)
class Versions:
    """One minor's entry of the catalogue, with what a bundle built from Go modules has instead."""

    kubernetes: str
    package_revision: str
    etcd: str
    etcd_image_tag: str
    coredns: str
    pause: str
    cri_tools: str
    cni_plugins: str
    flannel: str
    flannel_cni_plugin: str
    busybox: str
    go: str
    kube_vip: str
    helm: str
    containerd: str
    crio: str


@dataclass(frozen=True)
class PublicUrl:
    """An address of a public home and the answers that count as being there."""

    name: str
    url: str
    statuses: tuple[int, ...] = (200,)


@dataclass(frozen=True)
class Catalogue:
    """What the role artifacts says: versions by minor, image families, public addresses."""

    default_minor: str
    minors: Mapping[str, Versions]
    kubernetes_images: str
    flannel_images: str
    library_images: str
    kube_vip_images: str
    helm_home: str
    public_registries: tuple[PublicUrl, ...]
    packages_base: str
    conformance_images: Mapping[str, Mapping[str, list[str]]]
    """By minor, the images that its own tests ask for and their tags."""

    def versions(self, minor: str) -> Versions:
        """The versions of a minor that a bundle can be built for; refuses others with the list."""
        buildable = self.buildable()
        if minor not in buildable:
            raise WrongInputError(
                f"Kubernetes {minor!r} cannot be built into a bundle: give one of {', '.join(buildable)}"
                " (those in roles/artifacts/files/catalogue.yml with a folder in bundle/modules)."
            )
        return self.minors[minor]

    def buildable(self) -> list[str]:
        """The minors with a catalogue entry and Go modules."""
        return [m for m in self.minors if (places.MODULES / m).is_dir()]

    def public_urls(self, minor: str) -> list[PublicUrl]:
        """What must answer for the public source to be usable."""
        repository = PublicUrl("Kubernetes packages", f"{self.packages_base}v{minor}/deb/InRelease")
        return [repository, *self.public_registries]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise WrongInputError(f"{path}: the catalogue of versions cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def load(path: Path = places.CATALOGUE, defaults: Path = places.ARTIFACTS) -> Catalogue:
    """Read the catalogue and the role's variables; everything that is wrong in them is told at once."""
    known, data = _read(path), _read(defaults)
    problems: list[str] = []
    minors: dict[str, Versions] = {}
    wanted = [f.name for f in fields(Versions)]
    for minor, said in (known.get("versions") or {}).items():
        entry = said | (said.get("modules") or {})
        missing = [key for key in wanted if not isinstance(entry.get(key), str)]
        if missing:
            problems.append(f"{path}: versions[{minor!r}] lacks {', '.join(missing)} (text)")
        else:
            minors[str(minor)] = Versions(**{key: entry[key] for key in wanted})
    texts = {
        key: data.get(key)
        for key in (
            "artifacts_kubernetes_minor",
            "artifacts_kubernetes_image_repository",
            "artifacts_flannel_image_repository",
            "artifacts_library_image_repository",
            "artifacts_kube_vip_image_repository",
        )
    }
    homes = data.get("artifacts_homes") or {}
    texts |= {f"artifacts_homes.{key}": homes.get(key) for key in ("kubernetes_packages", "helm")}
    problems += [
        f"{defaults}: {key} must be plain text" for key, v in texts.items() if not isinstance(v, str)
    ]
    if problems:
        raise WrongInputError(*problems)
    return Catalogue(
        default_minor=str(texts["artifacts_kubernetes_minor"]),
        minors=minors,
        kubernetes_images=str(texts["artifacts_kubernetes_image_repository"]),
        flannel_images=str(texts["artifacts_flannel_image_repository"]),
        library_images=str(texts["artifacts_library_image_repository"]),
        kube_vip_images=str(texts["artifacts_kube_vip_image_repository"]),
        helm_home=str(texts["artifacts_homes.helm"]),
        public_registries=tuple(_url(u) for u in data.get("artifacts_probe_registries") or []),
        packages_base=f"https://{texts['artifacts_homes.kubernetes_packages']}",
        conformance_images=known.get("conformance_images") or {},
    )


def _url(entry: Mapping[str, Any]) -> PublicUrl:
    return PublicUrl(str(entry["name"]), str(entry["url"]), tuple(entry.get("status") or (200,)))
