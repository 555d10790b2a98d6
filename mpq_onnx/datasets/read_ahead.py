"""Read the next piece while the caller works on this one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """read(item) for every item in order, one item ahead in a thread; an error is raised where its item comes."""
    with ThreadPoolExecutor(1) as reader:
        ahead = None
        for item in items:
            ready, ahead = ahead, reader.submit(read, item)
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()
