"""Which SDK a connection wants. Nothing else knows them, and one is imported when it is wanted."""

from __future__ import annotations

from collections.abc import Callable

from services.azure.sdk import Sdk
from services.connection import Connection


def sdk_of(connection: Connection, notify: Callable[[str], None] = print, *, of_a_command: bool = False) -> Sdk:
    """Not signed in yet. `notify` and `of_a_command` are those of `auth.session.Session`."""
    if connection.sdk == "v2":
        from services.azure.sdk_v2.parts import sdk_v2

        return sdk_v2(connection, notify, of_a_command=of_a_command)
    from services.azure.sdk_v1.parts import sdk_v1

    return sdk_v1(connection, notify, of_a_command=of_a_command)
