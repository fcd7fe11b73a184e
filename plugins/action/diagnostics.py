# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""diagnostics on the controller: runs the module there, keeps its archive here, and fails in words."""

from __future__ import annotations

import base64
import os
import re
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.module_utils.diagnosis import sentence
from ansible_collections.kubestead.homelab.plugins.plugin_utils.messages import failed_part, failure_message


def _keep(folder: str, host: str, packed: str) -> str:
    """Write the archive, for its owner only; raises OSError."""
    place = Path(folder).expanduser()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = place / f"{re.sub(r'[^A-Za-z0-9._-]', '_', host)}-{stamp}.tar.gz"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64decode(packed))
    return str(path)


class ActionModule(ActionBase):
    """Runs the module."""

    _requires_connection = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Run the module and make of its result what a person needs."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        failure = options.pop("failure", None)
        host = options.setdefault("host", (task_vars or {}).get("inventory_hostname", "this machine"))
        message = ""
        if failure:
            hidden = bool(failure.get("_ansible_no_log"))
            message = failure_message({"censored": True} if hidden else failure)
            kind = failed_part(failure).get("kubestead_failure") or failure.get("kubestead_failure")
            if kind:  # it says itself what it is, and nothing on the machine is wrong
                return {**result, "failed": True, "msg": message, "kubestead_failure": kind}
            options["failure_text"] = message
        options["controller_time"] = time.time()
        found = self._execute_module(
            module_name="kubestead.homelab.diagnostics", module_args=options, task_vars=task_vars
        )
        packed = found.pop("packed", None)
        trouble = found.get("msg") if found.get("failed") or found.get("unreachable") else ""
        if packed:
            try:
                found["archive"] = _keep(str(options["dest"]), host, packed)
            except OSError as error:
                trouble = f"the archive could not be written to {options['dest']}: {error.strerror}"
        result.update(found)
        if trouble and not failure:
            return {**result, "failed": True, "msg": str(trouble)}
        if failure:
            result.update(failed=True, msg=_message(message, found, str(trouble or "")))
        return result


def _message(failure: str, found: t.Mapping[str, t.Any], trouble: str) -> str:
    """Put together what failed, why, what to do, and where more stands."""
    parts = [failure]
    parts += [sentence(finding) for finding in (found.get("findings") or [])[:1]]
    if found.get("archive"):
        parts.append(f"More: {found['archive']}")
    if trouble:
        parts.append(f"(What is wrong could not be looked at: {trouble})")
    return "\n".join(parts)
