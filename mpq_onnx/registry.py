"""Tables of what has a name: methods, roundings, ... An entry is one line, and its module is imported when it is first used."""

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """By name; so that the names can be listed without what heavy modules need."""

    def __init__(self, home: str, places: Mapping[str, str]) -> None:
        """Args: places: `module:attribute` in package `home` by name, or `:attribute` of the module `home`."""
        self._entries: dict[str, Any] = {
            name: f"{home}{'' if place.startswith(':') else '.'}{place}" for name, place in places.items()
        }
        self._waiting = set(places)

    def __getitem__(self, name: str) -> T:
        """The object; imported the first time."""
        if name in self._waiting:
            module, _, attribute = self._entries[name].partition(":")
            self._entries[name] = getattr(importlib.import_module(module), attribute)
            self._waiting.discard(name)
        return self._entries[name]  # type: ignore[no-any-return]

    def __setitem__(self, name: str, value: T) -> None:
        """Add an object of one's own."""
        self._entries[name] = value
        self._waiting.discard(name)

    def __delitem__(self, name: str) -> None:
        del self._entries[name]
        self._waiting.discard(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
