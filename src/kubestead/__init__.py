# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubestead: the program beside the Ansible collection."""
