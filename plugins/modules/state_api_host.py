#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state_api_host
short_description: The user, folders, secrets, certificates, registry and units of the State API
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Makes on a host what the State API needs beside its program, in one round trip.
  - The token is made on the host once. The controller gets a copy in O(controller_token_file). No result,
    difference or log has it, nor the address of the database.
  - The certificate authority is made on the host once, by the program, and its key stays there. The
    controller gets a copy of its certificate in O(controller_ca_file).
  - A state store of an earlier release is copied before the service migrates it.
  - The registry of the controller replaces the live one only where that is as the controller last saw it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  user:
    description: The user of the service. It is made, with a group of the same name.
    type: str
    default: machine-state-api
  data_dir:
    description: The folder that the service writes to. It is the user's, and closed to others.
    type: path
    default: /srv/state
  boot_dir:
    description: The folder of the boot files, which everyone may read. Without it none is made.
    type: path
  registry_path:
    description: The live registry. Root and the service may write in its folder, which is closed to others.
    type: path
    default: /srv/http/machines/registry.json
  registry:
    description: The text of a registry that replaces the live one. The one before is kept beside it.
    type: str
  registry_source:
    description: The file on the controller that O(registry) comes from.
    type: str
  registry_force:
    description: Whether to replace also a live registry that the controller has not seen.
    type: bool
    default: false
  registry_seen:
    description: Fingerprints of live registries that the controller has seen. Set by the action plugin.
    type: list
    elements: str
    default: []
  token_file:
    description: The file with the token, which root alone may read.
    type: path
    default: /etc/kubestead/state-api.token
  token:
    description: The token. Where it is not given, the one that is there stays, or one is made.
    type: str
  controller_token_file:
    description: The controller's copy of the token, which its user alone may read.
    type: str
  database_url_file:
    description: The file with the database's address, which root alone may read.
    type: path
    default: /etc/kubestead/state-api.database-url
  database_url:
    description: The database's address. Where it is not given, there is no such file.
    type: str
  tls:
    description: Whether to have certificates.
    type: bool
    default: true
  pki_dir:
    description: The folder of the certificates and their keys. Root alone may read the keys.
    type: path
    default: /etc/kubestead/pki
  names:
    description:
      - Names and addresses that the server's certificate is good for, beside this host's own names and its
        loopback.
    type: list
    elements: str
    default: []
  controller_ca_file:
    description: The controller's copy of the authority's certificate.
    type: str
  release:
    description: The folder of the program, which makes the certificates.
    type: path
    required: true
  unit_file:
    description:
      - Which of O(files) is the service's unit. Where it changes, the service may come to be another release,
        and a store of an earlier schema in O(data_dir) is copied first.
    type: path
    default: /etc/systemd/system/machine-state-api.service
  files:
    description:
      - Files that root owns, such as units.
      - C(@NAMES@) in a file's content stands for the options that name all of the certificate's names.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is.
        type: path
        required: true
      content:
        description: Its text.
        type: str
        required: true
      mode:
        description: Its mode, in octal digits.
        type: str
        default: "0644"
"""

EXAMPLES = r"""
- name: Prepare the host of the State API
  kubestead.homelab.state_api_host:
    release: /opt/kubestead/state-api/current
    registry: "{{ lookup('kubestead.homelab.registry_text', 'inventory/lab/registry.json') }}"
    registry_source: inventory/lab/registry.json
    controller_token_file: ~/.cache/kubestead/state-api.token
    controller_ca_file: ~/.cache/kubestead/state-api.ca.crt
    files:
      - path: /etc/systemd/system/machine-state-api.service
        content: "{{ lookup('ansible.builtin.template', 'machine-state-api.service.j2') }}"
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, made or changed.
  returned: always
  type: list
  elements: str
  sample: [/srv/state]
backup:
  description: Where the registry that was there before is kept.
  returned: when the registry was replaced
  type: str
registry_base:
  description: The fingerprint of the registry that controller and host agree on.
  returned: when a registry was given
  type: str
difference:
  description: What a push would change of a live registry that the controller has not seen.
  returned: when the push is refused
  type: str
ca_fingerprint:
  description: The SHA-256 fingerprint of the certificate authority.
  returned: with O(tls=true), but in check mode before there is one
  type: str
  sample: SHA256:5F:0C:…
ca_made:
  description: Whether the certificate authority was made in this run.
  returned: always
  type: bool
"""

import hashlib
import json
import os
import re
import secrets
import socket
import ssl
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.converging import HIDDEN, Converging
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.problems import RegistryError
from ansible_collections.kubestead.homelab.plugins.module_utils.pushing import PushRefusedError, push

ROOT = "root"
PRIVATE = 0o600
# Runs as the service's user, so that no file of the store becomes root's.
PRESERVE = """
import sys
from pathlib import Path
from kubestead.store import StoreError
from kubestead.store.admin import backup
from kubestead.store.database import sqlite_url
from kubestead.store.migrate import known_revisions
from kubestead.store.sqlite_file import check_whole

database = Path(sys.argv[1])
try:
    schema = check_whole(database)
    if schema != known_revisions()[0]:
        copy = database.with_name(f"{database.name}.schema-{schema}~")
        backup(sqlite_url(database), copy)
        print(copy)
except StoreError as error:
    raise SystemExit(str(error))
"""
HOST_NAME = re.compile(r"[0-9A-Za-z.-]+$")  # others cannot be in a certificate
LOOPBACK = ["localhost", "127.0.0.1", "::1"]


def settle_token(host: Converging, path: Path, given: "str | None") -> "str | None":
    """Settle the token; give it, where there is one."""
    text = read_text(path)
    if given:
        text = f"{given}\n"
    elif text is None or not text.strip():
        text = f"{secrets.token_urlsafe(32)}\n"
        if host.module.check_mode:
            host.note(str(path), "", HIDDEN)
            return None
    host.file(path, text, mode=PRIVATE, secret=True)
    return text


def preserve_store(host: Converging, database: Path, user: str, release: str) -> None:
    """Copy a store of an earlier schema, which the service will migrate when it starts from this release."""
    if host.module.check_mode or not database.exists():
        return
    python = os.path.join(release, "bin", "python")
    command = ["runuser", "-u", user, "--", python, "-c", PRESERVE, str(database)]
    code, out, err = host.module.run_command(command, cwd="/")
    if code:
        host.module.fail_json(
            msg=f"The state store could not be copied before its migration: {err.strip() or out.strip()}",
            changes=host.changes,
        )
    for line in out.splitlines():
        host.note(line, "", f"a copy of {database}\n")


def certificate_names(given: "list[str]") -> "list[str]":
    """What the server's certificate is good for: this host's names, its loopback, and what is asked for."""
    own = [name for name in (socket.gethostname(), socket.getfqdn()) if HOST_NAME.match(name)]
    return list(dict.fromkeys([*own, *LOOPBACK, *given]))


def settle_certificates(host: Converging, folder: Path, names: "list[str]", release: str) -> None:
    """Let the program make or renew what is due of the certificates."""
    python = os.path.join(release, "bin", "python")
    if host.module.check_mode and not os.path.exists(python):
        if not (folder / "server.crt").exists():
            host.note(str(folder), "", "ca.crt\nserver.crt\n")
        return
    command = [python, "-m", "kubestead.pki", "ensure", "--json", "--dir", str(folder), *as_options(names)]
    if host.module.check_mode:
        command.append("--check")
    code, out, err = host.module.run_command(command)
    if code:
        host.module.fail_json(
            msg=f"The certificates in {folder} could not be made: {err.strip() or out.strip()}",
            changes=host.changes,
        )
    told = json.loads(out)
    if told["changed"]:
        host.note(str(folder), "", "".join(f"{action}\n" for action in told["actions"]))


def fingerprint(certificate: str) -> str:
    """The SHA-256 of a certificate, as browsers and openssl show it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
    return "SHA256:" + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def as_options(names: "list[str]") -> "list[str]":
    """Names as the program takes them."""
    return [f"--name={name}" for name in names]


def main() -> None:
    """Compare, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "machine-state-api"},
            "data_dir": {"type": "path", "default": "/srv/state"},
            "boot_dir": {"type": "path"},
            "registry_path": {"type": "path", "default": "/srv/http/machines/registry.json"},
            "registry": {"type": "str"},
            "registry_source": {"type": "str"},
            "registry_force": {"type": "bool", "default": False},
            "registry_seen": {"type": "list", "elements": "str", "default": []},
            "token_file": {"type": "path", "default": "/etc/kubestead/state-api.token", "no_log": False},
            "token": {"type": "str", "no_log": True},
            "controller_token_file": {"type": "str", "no_log": False},
            "database_url_file": {"type": "path", "default": "/etc/kubestead/state-api.database-url"},
            "database_url": {"type": "str", "no_log": True},
            "tls": {"type": "bool", "default": True},
            "pki_dir": {"type": "path", "default": "/etc/kubestead/pki"},
            "names": {"type": "list", "elements": "str", "default": []},
            "controller_ca_file": {"type": "str"},
            "release": {"type": "path", "required": True},
            "unit_file": {"type": "path", "default": "/etc/systemd/system/machine-state-api.service"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
        },
        supports_check_mode=True,
    )
    host = Converging(module)
    try:
        result, private = converge(host, module.params)
    except PushRefusedError as error:
        module.fail_json(msg=str(error), difference=error.difference, changes=host.changes)
    except RegistryError as error:
        module.fail_json(msg=str(error), changes=host.changes)
    # The action plugin takes out what is for the controller's files alone.
    module.exit_json(
        **host.result(), **result, **{f"_kubestead_{key}": text for key, text in private.items()}
    )


def converge(host: Converging, given: "dict[str, Any]") -> "tuple[dict[str, Any], dict[str, str]]":
    """Do it all; give what the result tells, and what only the controller's copies are to hold."""
    user, data_dir = given["user"], Path(given["data_dir"])
    registry, token_file = Path(given["registry_path"]), Path(given["token_file"])
    host.user(user, "Kubestead State API")
    host.folder(data_dir, user, user, 0o750)
    # What an editor of root's makes there is its group's too, so that the service can read it.
    host.folder(registry.parent, ROOT, user, 0o2770)
    host.folder(token_file.parent, ROOT, ROOT, 0o755)
    if given["boot_dir"]:
        host.folder(Path(given["boot_dir"]), ROOT, ROOT, 0o755)
    result: dict[str, Any] = {"ca_made": False}
    if given["registry"]:
        source = given["registry_source"] or "the controller's registry"
        result.update(
            push(
                host,
                registry,
                given["registry"],
                data_dir,
                seen=given["registry_seen"],
                force=given["registry_force"],
                source=source,
            )
        )

    private: dict[str, str] = {}
    token = settle_token(host, token_file, given["token"])
    if token and given["controller_token_file"] and not given["token"]:
        private["token"] = token  # one that was given the controller has, and the result would hide it
    database = Path(given["database_url_file"])
    if given["database_url"]:
        host.file(database, f"{given['database_url']}\n", mode=PRIVATE, secret=True)
    else:
        host.no_file(database, secret=True)

    names = certificate_names(given["names"])
    if given["tls"]:
        pki = Path(given["pki_dir"])
        had_authority = (pki / "ca.crt").exists()
        settle_certificates(host, pki, names, given["release"])
        authority = read_text(pki / "ca.crt")
        if authority is not None:
            result.update(ca_fingerprint=fingerprint(authority), ca_made=not had_authority)
            if given["controller_ca_file"]:
                private["ca"] = authority
    unit = next((file["content"] for file in given["files"] if file["path"] == given["unit_file"]), None)
    if unit is not None and unit != read_text(Path(given["unit_file"])):
        preserve_store(host, data_dir / "machines.db", user, given["release"])
    for file in given["files"]:
        text = file["content"].replace("@NAMES@", " ".join(as_options(names)))
        host.file(Path(file["path"]), text, mode=int(file["mode"], 8))
    return result, private


if __name__ == "__main__":
    main()
