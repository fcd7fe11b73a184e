# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the machines themselves, and how they get it. `kubestead-agent` is a program of its own."""
