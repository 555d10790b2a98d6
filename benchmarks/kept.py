"""Results that survive an interruption: one JSON line a finished piece of work, and a second call goes on from there."""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any


class Kept:
    """Lines in a file by the work (a dataclass instance) that they came from."""

    def __init__(self, path: Path, kind: type) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.path = path
        self.by_work: dict[Any, list[dict]] = {}
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            work = kind(**{name: line[name] for name in kind.__dataclass_fields__})
            self.by_work.setdefault(work, []).append(line)

    def run(self, works: Iterable[Any], measure: Callable[[Any], list[dict]]) -> None:
        """Measure what is not there yet; every result is written before the next begins."""
        for work in works:
            if work in self.by_work:
                continue
            lines = [{**asdict(work), **line} for line in measure(work)]
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, default=float) + "\n" for line in lines)
            self.by_work[work] = lines
            print(work, *lines, sep="\n  ", flush=True)

    def line(self, work: Any) -> dict | None:
        """The one line of a finished piece of work; None where it is not finished."""
        return next(iter(self.by_work.get(work, [])), None)

    @property
    def lines(self) -> list[dict]:
        """All of them, in the order of the work."""
        return [line for lines in self.by_work.values() for line in lines]


def measure_and_show(
    description: str | None,
    kept: Kept,
    works: Iterable[Any],
    measure: Callable[[Any], list[dict]],
    show: Callable[[Kept], None],
) -> None:
    """A benchmark's command line: measure what is missing, unless --show is given, and show what is there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--show", action="store_true")
    if not parser.parse_args().show:
        kept.run(works, measure)
    show(kept)
