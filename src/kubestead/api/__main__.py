# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m kubestead.api`: the State API as a service."""

import sys

from .server import main

sys.exit(main())
