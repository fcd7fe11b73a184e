# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines get from the server: registry, repository, status, refusals."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle import oci, server
from bundle.site import Site
from bundle.status import BUILDING, FAILED, Status, StatusFile
from tests.unit.bundle_sample import ARCHITECTURE, MINOR, needs_tools, own_copy, sample

__all__ = ["own_copy", "sample"]
pytestmark = needs_tools


class Client:
    """Asks a server and keeps the answer."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """One request on a connection that stays open."""
        self.connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = self.connection.getresponse()
        return response, response.read()


@contextmanager
def serving(folder: Path, status_file: Path | None = None) -> Iterator[Client]:
    """A server on the loopback, and a client for it."""
    with server.make_server(("127.0.0.1", 0), folder, status_file) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = Client(int(web.server_address[1]))
        try:
            yield client
        finally:
            client.connection.close()
            web.shutdown()
            thread.join()


@pytest.fixture
def client(sample: Path) -> Iterator[Client]:
    """A client of a complete bundle."""
    with serving(sample) as asking:
        yield asking


def descriptor(sample: Path, name: str) -> dict[str, Any]:
    """What the index says of an image."""
    index = json.loads((sample / "images/index.json").read_bytes())
    return next(d for d in index["manifests"] if name in d["annotations"][oci.REFERENCE])


def test_manifest_by_tag_and_by_digest(client: Client, sample: Path) -> None:
    """containerd asks by tag with HEAD, then by digest with GET, and compares the two."""
    digest = descriptor(sample, "kube-apiserver")["digest"]
    version = descriptor(sample, "kube-apiserver")["annotations"][oci.REFERENCE].rpartition(":")[2]
    head, nothing = client.ask(f"/v2/kube-apiserver/manifests/{version}?ns=registry.k8s.io", "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Docker-Content-Digest"] == digest
    assert head.headers["Content-Type"] == oci.MANIFEST_TYPE
    answer, body = client.ask(f"/v2/kube-apiserver/manifests/{digest}?ns=registry.k8s.io")
    assert answer.status == 200
    assert len(body) == int(head.headers["Content-Length"])
    assert json.loads(body)["mediaType"] == oci.MANIFEST_TYPE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/", 200),
        ("/v2", 200),
        ("/v2/coredns/coredns/manifests/v1.14.2?ns=registry.k8s.io", 200),
        ("/v2/coredns/coredns/manifests/v1.14.2", 200),
        ("/v2/registry.k8s.io/coredns/coredns/manifests/v1.14.2", 200),
        ("/v2/library/busybox/manifests/1.37.0?ns=docker.io", 200),
        ("/v2/coredns/coredns/manifests/v9?ns=registry.k8s.io", 404),
        ("/v2/coredns/manifests/v1.14.2?ns=registry.k8s.io", 404),
        ("/v2/coredns/coredns/tags/list", 200),
        ("/v2/nothing/tags/list", 404),
        ("/v2/coredns/coredns/blobs/sha256:" + "0" * 64, 404),
        ("/manifest.json", 200),
        ("/SHA256SUMS", 200),
        ("/bin/kubectl", 200),
        (f"/apt/v{MINOR}/InRelease", 200),
        (f"/apt/v{MINOR}/Release.key", 200),
        ("/apt/v1.1/InRelease", 404),
        ("/images/index.json", 404),
        ("/", 200),
    ],
)
def test_paths(client: Client, path: str, status: int) -> None:
    """What is there and what is not."""
    assert client.ask(path)[0].status == status


@pytest.mark.parametrize(
    "path",
    [
        f"/apt/v{MINOR}/../../secret",
        f"/apt/v{MINOR}/%2e%2e/%2e%2e/secret",
        f"/apt/v{MINOR}/%2e%2e%2f%2e%2e%2fsecret",
        "/../secret",
        "//secret",
        "/bin/..%5c..%5csecret",
        "/v2/../secret/manifests/x",
        f"/apt/v{MINOR}/link",
        f"/apt/v{MINOR}/%00",
        "/.status.json",
        "/.lock",
    ],
)
def test_nothing_outside_is_served(own_copy: Path, path: str) -> None:
    """Neither dots nor codes nor links lead out of the bundle."""
    (own_copy.parent / "secret").write_text("secret", encoding="utf-8")
    (own_copy / ".lock").write_text("secret", encoding="utf-8")
    (own_copy / f"apt/v{MINOR}/link").symlink_to(own_copy.parent / "secret")
    with serving(own_copy) as client:
        answer, body = client.ask(path)
        assert answer.status == 404
        assert body.strip() != b"secret"


def test_parts_of_a_blob(client: Client, sample: Path) -> None:
    """Interrupted downloads go on where they were."""
    manifest = json.loads(
        (sample / "images/blobs/sha256" / descriptor(sample, "pause")["digest"][7:]).read_bytes()
    )
    digest = manifest["layers"][0]["digest"]
    path = f"/v2/pause/blobs/{digest}?ns=registry.k8s.io"
    answer, whole = client.ask(path)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
    for asked, expected in (
        ("bytes=0-9", whole[:10]),
        ("bytes=10-", whole[10:]),
        ("bytes=-5", whole[-5:]),
        (f"bytes=5-{len(whole) * 2}", whole[5:]),
    ):
        answer, part = client.ask(path, Range=asked)
        assert (answer.status, part) == (206, expected)
        assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")
    answer, part = client.ask(path, Range=f"bytes={len(whole)}-")
    assert (answer.status, part) == (416, b"")
    assert client.ask(path, Range="bytes=0-9", If_Range='"another"')[1] == whole
    assert client.ask(path, Range="bytes=0-9", If_Range=f'"{digest}"')[1] == whole[:10]
    assert client.ask(path, If_None_Match=f'"{digest}"')[0].status == 304


def test_apt_is_told_when_nothing_has_changed(client: Client) -> None:
    """The lists are not sent twice."""
    path = f"/apt/v{MINOR}/InRelease"
    answer, body = client.ask(path)
    assert body
    again, nothing = client.ask(path, If_Modified_Since=answer.headers["Last-Modified"])
    assert (again.status, nothing) == (304, b"")


def test_states(tmp_path: Path, sample: Path) -> None:
    """absent, building, failed, ready: each has its answer, and a killed build is not building for ever."""
    folder, status_file = tmp_path / "none", tmp_path / "status"
    said = StatusFile(status_file)
    with serving(folder, status_file) as client:
        answer, body = client.ask("/status")
        assert (answer.status, json.loads(body)["state"]) == (200, "absent")
        assert json.loads(body)["minors"] == []
        assert client.ask("/v2/")[0].status == 404

        said.write(Status(BUILDING, "[3/7] coredns, about 9 min left"))
        assert json.loads(client.ask("/status")[1])["progress"] == "[3/7] coredns, about 9 min left"
        answer, body = client.ask(f"/apt/v{MINOR}/InRelease")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "15")
        assert b"about 9 min left" in body

        data = json.loads(status_file.read_text(encoding="utf-8"))
        status_file.write_text(json.dumps({**data, "started": "1"}), encoding="utf-8")
        assert json.loads(client.ask("/status")[1])["state"] == "failed"

        said.write(Status(FAILED, "", "no space left"))
        answer, body = client.ask("/v2/")
        assert answer.status == 500
        assert b"no space left" in body

        os.symlink(sample, folder)
        assert client.ask("/v2/")[0].status == 200
        assert json.loads(client.ask("/status")[1])["state"] == "ready"

        said.write(Status(BUILDING, "another minor"))
        assert json.loads(client.ask("/status")[1])["minors"] == [MINOR]
        assert client.ask(f"/apt/v{MINOR}/InRelease")[0].status == 200
        assert client.ask("/apt/v1.99/InRelease")[0].status == 503


def test_on_a_socket_that_is_bound_already(sample: Path, tmp_path: Path) -> None:
    """The lab hands over a socket of another network namespace; a Unix socket will do too."""
    path = tmp_path / "socket"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    with server.make_server(listening, sample) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            asking.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            answer = b""
            while data := asking.recv(4096):
                answer += data
        web.shutdown()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"state": "ready"' in answer


def test_a_name_that_two_registries_have_needs_the_registry(own_copy: Path) -> None:
    """Without ``ns`` a name is enough only where it is clear."""
    index = own_copy / "images/index.json"
    data = json.loads(index.read_bytes())
    twin = json.loads(json.dumps(descriptor(own_copy, "coredns")))
    twin["annotations"][oci.REFERENCE] = "elsewhere.example/pause:3.10.2"
    data["manifests"].append(twin)
    index.write_text(json.dumps(data), encoding="utf-8")
    site = Site(own_copy)
    refused = site.answer("/v2/pause/manifests/3.10.2")
    assert (refused.status, b"ask with ?ns=" in refused.data) == (404, True)
    chosen = site.answer("/v2/pause/manifests/3.10.2?ns=elsewhere.example")
    assert chosen.headers["Docker-Content-Digest"] == twin["digest"]


def test_debs_have_their_type(client: Client, sample: Path) -> None:
    """A package is sent whole and as what it is."""
    deb = next(sample.glob(f"apt/v{MINOR}/{ARCHITECTURE}/kubelet_*.deb"))
    answer, body = client.ask(f"/{deb.relative_to(sample)}")
    assert answer.headers["Content-Type"] == "application/vnd.debian.binary-package"
    assert body == deb.read_bytes()
