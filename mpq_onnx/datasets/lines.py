"""Lines of a text file by number, without holding the file in memory."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpq_onnx.errors import DataError

BLOCK = 64
"""Lines between two known places of the file: one place a line would cost more than the labels."""


class Lines:
    """The lines of a file that are not blank. A .gz file cannot be read from the middle, so it is held in memory."""

    def __init__(self, path: str, where: str) -> None:
        """Look through the file once.

        Raises:
            DataError: it cannot be read.
        """
        self.path, self.where = Path(path), where
        self._held: list[bytes] | None = None
        self._places: list[int] = []
        self._count = 0
        try:
            if self.path.suffix == ".gz":
                with gzip.open(self.path) as file:
                    self._held = [line for line in file if line.strip()]
                self._count = len(self._held)
            else:
                self._scan()
        except FileNotFoundError:
            raise DataError(f"{where}: no such file {path}") from None
        except (OSError, EOFError) as error:
            raise DataError(f"{where}: {path} cannot be read: {error}") from error

    def __len__(self) -> int:
        return self._count

    def read(self, numbers: Sequence[int]) -> list[str]:
        """The lines of these numbers, in this order.

        Raises:
            DataError: not UTF-8.
        """
        wanted = set(numbers)
        found = {number: line for number, line in self._blocks(wanted) if number in wanted}
        try:
            return [self._text(number, found[number]) for number in numbers]
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where}: {self.path} is not UTF-8: {error}") from error

    @staticmethod
    def _text(number: int, line: bytes) -> str:
        """Without the mark that some programs begin a file with."""
        return line.decode("utf-8-sig" if number == 0 else "utf-8").rstrip("\r\n")

    def _scan(self) -> None:
        place = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.strip():
                    if self._count % BLOCK == 0:
                        self._places.append(place)
                    self._count += 1
                place += len(line)

    def _blocks(self, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
        """Number and text of all lines in the blocks that hold wanted ones."""
        if self._held is not None:
            yield from ((number, self._held[number]) for number in wanted)
            return
        with self.path.open("rb") as file:
            for block in sorted({number // BLOCK for number in wanted}):
                file.seek(self._places[block])
                number = block * BLOCK
                for line in file:
                    if number == min((block + 1) * BLOCK, self._count):
                        break
                    if line.strip():
                        yield number, line
                        number += 1
