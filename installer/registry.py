"""The Windows registry, as far as native messaging needs it, behind an interface that tests fill with a dict.

Chromium reads HKEY_CURRENT_USER before HKEY_LOCAL_MACHINE, and the 32-bit view first.
"""

import sys
from typing import Literal, Protocol

Hive = Literal["HKCU", "HKLM"]


class Registry(Protocol):
    """Default values of registry keys. `get` gives None for a key that is not there."""

    def get(self, hive: Hive, key: str) -> str | None: ...

    def set(self, hive: Hive, key: str, value: str) -> None: ...

    def delete(self, hive: Hive, key: str) -> None: ...


class NoRegistry:
    """The registry of a system that has none: empty, and never written."""

    def get(self, hive: Hive, key: str) -> str | None:
        return None

    def set(self, hive: Hive, key: str, value: str) -> None:
        raise OSError(f"no registry to write {hive}\\{key} to")

    def delete(self, hive: Hive, key: str) -> None:
        raise OSError(f"no registry to delete {hive}\\{key} from")


if sys.platform == "win32":

    class WindowsRegistry:
        """The real one, through winreg."""

        def _root(self, hive: Hive) -> int:
            import winreg

            return winreg.HKEY_CURRENT_USER if hive == "HKCU" else winreg.HKEY_LOCAL_MACHINE

        def get(self, hive: Hive, key: str) -> str | None:
            import winreg

            try:
                return winreg.QueryValue(self._root(hive), key)
            except OSError:
                return None

        def set(self, hive: Hive, key: str, value: str) -> None:
            import winreg

            winreg.SetValue(self._root(hive), key, winreg.REG_SZ, value)

        def delete(self, hive: Hive, key: str) -> None:
            import winreg

            winreg.DeleteKey(self._root(hive), key)


def open_registry() -> Registry:
    """This machine's registry."""
    if sys.platform == "win32":
        return WindowsRegistry()
    return NoRegistry()
