# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle from repositories and registries: another bundle's server stands for the public homes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from bundle import assemble, catalogue, fetch, oci, registry, server, verify
from bundle.aptsource import Offered, choose
from bundle.errors import BuildFailedError, UnreachableError, WrongInputError
from bundle.oci import Layout
from bundle.server import BundleHandler
from bundle.site import Answer, Site
from bundle.web import Web
from tests.unit.bundle_sample import ARCHITECTURE, MINOR, needs_tools, own_copy, sample

__all__ = ["own_copy", "sample"]
pytestmark = needs_tools
PAUSE = "registry.k8s.io/pause:3.10.2"


@contextmanager
def running(web: ThreadingHTTPServer) -> Iterator[str]:
    """The base URL of a server while it runs."""
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key that signs what is made here is not the one of what it is made from."""
    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path / "cache"))


def shopping(base: str, **more: Any) -> fetch.Shopping:
    """All that the sample has."""
    versions = catalogue.load().versions(MINOR)
    kubernetes = dict.fromkeys(("kubeadm", "kubelet", "kubectl"), versions.kubernetes)
    repository = f"{base}/apt/v{MINOR}/"
    packages = {**kubernetes, "cri-tools": "", "kubernetes-cni": ""}
    archive = f"{base}/files/get.helm.sh/helm-v{versions.helm}-linux-{ARCHITECTURE}.tar.gz"
    listed = {
        "minor": MINOR,
        "versions": asdict(versions),
        "repositories": [{"url": repository, "key": f"{repository}Release.key", "packages": packages}],
        "images": [PAUSE, f"registry.k8s.io/kube-proxy:v{versions.kubernetes}"],
        "files": [{"name": "helm", "url": archive, "checksum": f"sha256:{archive}.sha256sum"}],
        "binaries_mirror": f"{base}/files",
        "image_mirror": base,
        "registry_mirrors": {},
    }
    return fetch.Shopping.parse(json.dumps({**listed, **more}))


def test_what_is_listed_is_fetched_and_nothing_twice(keys: None, sample: Path, tmp_path: Path) -> None:
    """The result is whole and has exactly that; a second run finds nothing to do."""
    folder = tmp_path / "bundle"
    with running(server.make_server(("127.0.0.1", 0), sample)) as base:
        assert fetch.fetch(shopping(base), folder, ARCHITECTURE, lambda _: None)
        assert verify.verify(folder) == []
        made = (folder / "manifest.json").read_bytes()
        assert not fetch.fetch(shopping(base), folder, ARCHITECTURE, lambda _: None)
        assert (folder / "manifest.json").read_bytes() == made
    manifest = assemble.read_manifest(folder)
    assert manifest is not None
    wanted = [d["annotations"][oci.REFERENCE] for d in manifest["minors"][MINOR]["images"]]
    assert wanted == [PAUSE, "registry.k8s.io/kube-proxy:v1.36.4"]
    same = [path for path in manifest["files"] if path.endswith((".deb", ".tar.gz", "/kubectl"))]
    assert len(same) == 5 + 1 + 2
    for path in same:
        assert (folder / path).read_bytes() == (sample / path).read_bytes(), path
    assert (folder / "bin/kubectl").stat().st_mode & 0o111
    assert not list(folder.glob(".building"))


def test_a_package_that_is_not_there_is_named(keys: None, sample: Path, tmp_path: Path) -> None:
    """With the versions that the repository has, and nothing is left that looks complete."""
    with running(server.make_server(("127.0.0.1", 0), sample)) as base:
        listed = shopping(base)
        (repository,) = listed.repositories
        other = fetch.Repository(repository.url, repository.key, {"kubeadm": "1.36.5", "crio": ""})
        wanted = fetch.Shopping(MINOR, listed.versions, (other,), ())
        with pytest.raises(BuildFailedError) as caught:
            fetch.fetch(wanted, tmp_path, ARCHITECTURE, lambda _: None)
    assert list(caught.value.problems) == [
        f"{repository.url}: kubeadm 1.36.5 is not there, but 1.36.4-1.1",
        f"{repository.url}: crio is not there, nor another version of it",
    ]
    assert assemble.read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("apt/v*/InRelease", "the signature is not valid"),
        ("apt/v*/Packages", "is not the file that InRelease lists"),
        ("apt/v*/*/kubelet_*.deb", "has the checksum"),
        ("files/get.helm.sh/*.tar.gz", "has the checksum"),
    ],
)
def test_what_is_not_what_was_signed_is_refused(
    keys: None, own_copy: Path, tmp_path: Path, damaged: str, message: str
) -> None:
    """A changed byte anywhere ends it."""
    (file,) = own_copy.glob(damaged)
    data = bytearray(file.read_bytes())
    data[data.index(b"kube") if b"kube" in data else len(data) // 2] ^= 1
    file.write_bytes(data)
    with (
        running(server.make_server(("127.0.0.1", 0), own_copy)) as base,
        pytest.raises(BuildFailedError, match=message),
    ):
        fetch.fetch(shopping(base), tmp_path / "new", ARCHITECTURE, lambda _: None)
    assert assemble.read_manifest(tmp_path / "new") is None


def test_a_layer_that_is_not_its_digest_is_refused(keys: None, own_copy: Path, tmp_path: Path) -> None:
    """Images are checked by digest, whatever a registry says."""
    layout = Layout(own_copy / "images")
    index = json.loads((own_copy / "images/index.json").read_bytes())
    descriptor = next(d for d in index["manifests"] if d["annotations"][oci.REFERENCE] == PAUSE)
    layer = json.loads(layout.blob(descriptor["digest"]).read_bytes())["layers"][0]
    blob = layout.blob(layer["digest"])
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with running(server.make_server(("127.0.0.1", 0), own_copy)) as base:
        copier = registry.Copier(Web(), Layout(tmp_path), ARCHITECTURE, registry.Mirrors(base))
        with pytest.raises(BuildFailedError, match="has the checksum"):
            copier.copy(PAUSE)
    assert not Layout(tmp_path).blob(layer["digest"]).exists()


class Guarded(BundleHandler):
    """A registry that wants a token from elsewhere, and has images for several architectures."""

    site: Site
    index: bytes

    def _answer(self) -> Answer:
        """Hand out tokens, demand them, and put an index before the manifest."""
        host = f"http://127.0.0.1:{cast(ThreadingHTTPServer, self.server).server_port}"
        if self.path == "/token?service=here&scope=repository:pause:pull":
            return Answer(HTTPStatus.OK, b'{"token": "pass"}')
        if self.headers.get("Authorization") != "Bearer pass":
            challenge = f'Bearer realm="{host}/token",service="here",scope="repository:pause:pull"'
            return Answer(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": challenge})
        if self.path == "/v2/pause/manifests/3.10.2":
            return Answer(HTTPStatus.OK, self.index, kind=oci.INDEX_TYPE)
        return super()._answer()


def test_images_for_several_architectures_behind_a_token(sample: Path, tmp_path: Path) -> None:
    """Only the one that is wanted is fetched, under the index's digest, by which manifests may ask for it."""
    index = json.loads((sample / "images/index.json").read_bytes())
    ours = next(d for d in index["manifests"] if d["annotations"][oci.REFERENCE] == PAUSE)
    bare = {key: ours[key] for key in ("mediaType", "digest", "size", "platform")}
    other = {**bare, "digest": f"sha256:{64 * '0'}", "platform": {"architecture": "riscv64", "os": "linux"}}
    listed = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": [other, bare]}
    handler = type(
        "Handler", (Guarded,), {"site": Site(sample), "asked": [], "index": json.dumps(listed).encode()}
    )
    layout = Layout(tmp_path)
    with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as base:
        mirrors = registry.Mirrors("", {"registry.k8s.io": [base]})
        descriptor = registry.Copier(Web(), layout, ARCHITECTURE, mirrors).copy(PAUSE)
        with pytest.raises(BuildFailedError, match="there is none for linux/s390x"):
            registry.Copier(Web(), layout, "s390x", mirrors).copy(PAUSE)
    assert layout.blob(descriptor["digest"]).read_bytes() == json.dumps(listed).encode()
    pieces = [digest for digest, _ in layout.pieces(descriptor, ARCHITECTURE)]
    assert pieces[:2] == [descriptor["digest"], ours["digest"]]
    assert sorted(f"sha256:{blob.name}" for blob in layout.blobs.iterdir()) == sorted(pieces)


def test_a_registry_that_does_not_answer_is_named_with_all_that_was_tried(tmp_path: Path) -> None:
    """Mirrors and the registry itself, each with its reason."""
    with running(ThreadingHTTPServer(("127.0.0.1", 0), BundleHandler)) as gone:
        pass
    mirrors = registry.Mirrors(gone, {"registry.invalid": [f"{gone}/two"]})
    with pytest.raises(UnreachableError) as caught:
        registry.Copier(Web(), Layout(tmp_path), ARCHITECTURE, mirrors).copy("registry.invalid/a/b:1")
    (problem,) = caught.value.problems
    assert problem.startswith("registry.invalid/a/b:1: cannot be had: ")
    assert problem.count("Connection refused") == 2
    assert "https://registry.invalid/v2/a/b/manifests/1" in problem


@pytest.mark.parametrize("name", ["busybox:1", "docker.io/library/busybox", "quay.io/a/b:1@sha256:00"])
def test_short_image_names_are_refused(name: str) -> None:
    """What two machines could read differently is not fetched."""
    with pytest.raises(WrongInputError, match="is no full image name"):
        registry.Reference.parse(name)


def test_a_list_that_is_none_is_refused() -> None:
    """In words that name the playbook."""
    with pytest.raises(WrongInputError, match=r"is not what the playbook bundle\.yml writes"):
        fetch.Shopping.parse('{"minor": "1.36"}')


def test_the_newest_revision_is_chosen(keys: None, sample: Path, tmp_path: Path) -> None:
    """By dpkg's order: 1.10 is newer than 1.9."""
    offered = [Offered("kubeadm", f"1.36.4-1.{n}", ARCHITECTURE, "", "") for n in (9, 10, 1)]
    chosen = choose(offered, "kubeadm", "1.36.4", ARCHITECTURE)
    assert chosen is not None
    assert chosen.version == "1.36.4-1.10"
    assert choose(offered, "kubeadm", "1.36", ARCHITECTURE) is None
