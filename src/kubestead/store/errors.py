# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with the state store, in words for the person who runs it."""


class StoreError(Exception):
    """The store cannot be used until a person does something; the message says what."""


class StoreUnavailableError(StoreError):
    """The store could not do this now (locked, disk full); nothing was written, trying again may help."""
