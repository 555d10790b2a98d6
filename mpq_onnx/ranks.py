"""The processes that work on one result together, each on its share of the data. A single process is the trivial case.

Work that goes over data is written once, for any number of processes: each takes its own items, and what they made is summed,
gathered in the order of the items, or made by the first and told to all. What follows from such numbers is the same
everywhere, and is decided everywhere alike. runs/joining.py has the ranks that torch.distributed joins.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Array = Any  # numpy.ndarray or torch.Tensor


class Ranks:
    """One process alone; every method says what it does among several, all of which call it alike."""

    rank = 0
    """Place of this process, from 0."""
    count = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """This is the one that reads and writes the folder of the result, and prints."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """Every count-th item, from this rank's place on; none where there are fewer items than ranks before it."""
        return items[self.rank :: self.count]

    def gather(self, item: T) -> list[T]:
        """The item of every rank, in their order, on all of them."""
        return [item]

    def in_order(self, made: Iterable[T]) -> list[T]:
        """What all ranks made of their own items (see own), in the order of the items."""
        parts = self.gather(list(made))
        return [part[place] for place in range(len(parts[0])) for part in parts if place < len(part)]

    def at_first(self, made: Iterable[T], total: int, use: Callable[[Iterator[T]], R]) -> R:
        """What `use` makes, on the first rank, of all that the ranks make of their own items; told to all.

        An item is made when it is wanted, is used in the order of the items, and is kept nowhere.

        Args:
            total: how many items all ranks make together.
        """
        return use(iter(made))

    def first(self, make: Callable[[], R]) -> R:
        """What the first rank makes, told to all."""
        return self.at_first((), 0, lambda nothing: make())

    def sum(self, array: Array) -> Array:
        """The sum over the ranks of an array of one shape and type; the very same numbers on all of them."""
        return array


ALONE = Ranks()
