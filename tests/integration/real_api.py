# SPDX-License-Identifier: GPL-3.0-or-later
"""An API server that says of objects whether it takes them: what is in FOLDER/objects, file by file in order.

    unshare --mount --net --propagation private python -m tests.integration.real_api FOLDER

Kinds and namespaces are made, all else is a dry run of a server-side apply. Prints what it refused, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from kubestead.model.admin_access import AdminAccess
from kubestead.model.applying import APPLY, MANAGER, Applying, name
from kubestead.model.kubeconfig import Client
from kubestead.model.node_state import local_client
from tests.integration.real_control_plane import HOST, PATHS, PORT, ControlPlane

MADE = ("CustomResourceDefinition", "Namespace")


def refused(client: Client, one: dict[str, Any]) -> str:
    """Why the API does not take an object. One that has just started, and a kind just made, take a moment."""
    until = time.monotonic() + 120
    while not (path := Applying(client).path(one)):
        if time.monotonic() > until:
            return f"{name(one)}: {one['apiVersion']} is no kind of the API"
        time.sleep(0.5)
    dry = "" if one["kind"] in MADE else "&dryRun=All"
    while True:
        answer = client.request(
            f"{path}?fieldManager={MANAGER}&fieldValidation=Strict{dry}", "PATCH", one, APPLY
        )
        if answer.ok or answer.status not in (0, 404) or time.monotonic() > until:
            return "" if answer.ok else f"{name(one)}: {answer.body[:500]}"
        time.sleep(0.5)


def main() -> None:
    """Ask the API of each."""
    folder = Path(sys.argv[1])
    cluster = ControlPlane(folder)
    try:
        cluster.make()
        AdminAccess(HOST, "cp-1", cluster.config, PORT).repair()
        client = local_client(PATHS, PORT, admin=True)
        told = {
            path.stem: [why for one in json.loads(path.read_text()) if (why := refused(client, one))]
            for path in sorted((folder / "objects").glob("*.json"))
        }
    finally:
        cluster.end()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
