# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m kubestead.dhcp`: keep DHCP's reservations on this host as the live registry has them."""

import sys

from .service import main

sys.exit(main())
