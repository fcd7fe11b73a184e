# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Kubernetes' packages and images in one folder: built from published Go modules, checked, served."""
