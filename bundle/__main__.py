# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""``python -m bundle``."""

import sys

from bundle.cli import main

sys.exit(main())
