"""What several pieces of work on one model and one data set have in common, made once and kept while the process lives."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Carried:
    """Results that other processes can use too, by a hash of what they depend on."""

    known: dict[str, Any] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    """Made here, and not told yet."""


class SharedWork:
    """A table of results by what they depend on."""

    def __init__(self, place: tuple[object, ...] = (), carried: Carried | None = None) -> None:
        """Args:
        place: the keys of the parts that this one is a part of.
        """
        self._made: dict[Any, Any] = {}
        self._place, self._carried = place, carried or Carried()

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` returned for `key`, which must name everything that the result depends on."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[no-any-return]

    def once_anywhere(self, key: object, make: Callable[[], T]) -> T:
        """The same, or what another process made: `key`, and those of the parts around, must name contents and no places."""

        def find() -> T:
            name = hashlib.sha256(repr((*self._place, key)).encode()).hexdigest()
            if name not in self._carried.known:
                self._carried.known[name] = make()
                self._carried.fresh.append(name)
            return self._carried.known[name]  # type: ignore[no-any-return]

        return self.once(key, find)

    def part(self, key: object) -> "SharedWork":
        """A table of its own for `key`."""
        return self.once(("part", key), lambda: SharedWork((*self._place, key), self._carried))

    def tell(self) -> dict[str, bytes]:
        """What was made here for others since it was last told."""
        found = {name: pickle.dumps(self._carried.known[name]) for name in self._carried.fresh}
        self._carried.fresh.clear()
        return found

    def learn(self, told: Mapping[str, bytes]) -> None:
        """Take what another process made."""
        for name, content in told.items():
            self._carried.known.setdefault(name, pickle.loads(content))
