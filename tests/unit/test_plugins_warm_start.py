# SPDX-License-Identifier: GPL-3.0-or-later
"""What templates use is loaded in Ansible's own process, so that the processes of its tasks find it there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ASK = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible_collections.kubestead.homelab.plugins.plugin_utils.warm_start import load_filters
def loaded():
    return [name for name in sys.modules if ".filter." in name]
before = loaded()
load_filters()
print(json.dumps([before, loaded()]))
"""


def test_filters_are_loaded_once_for_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    ours = {path.stem for path in (CHECKOUT / "plugins" / "filter").glob("*.py")}
    assert not {name.rpartition(".")[2] for name in before} & ours
    assert ours <= {name.rpartition(".")[2] for name in after}
    assert [name for name in after if name.startswith("ansible.plugins.filter.mathstuff")], "Ansible's own"
