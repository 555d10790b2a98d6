"""What several pieces of work on one model and one data set have in common, made once and kept while the process lives."""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class SharedWork:
    """A table of results by what they depend on."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` returned for `key`, which must name everything that the result depends on."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[no-any-return]

    def part(self, key: object) -> "SharedWork":
        """A table of its own for `key`."""
        return self.once(("part", key), SharedWork)
