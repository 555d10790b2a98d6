"""Results written so that an interrupted or failed run leaves no half-written file; files that lie elsewhere than named."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from mpq_onnx.errors import OutputError, UsageError

PIECE = 8 * 2**20
"""Bytes that are read at once."""
_PLACES: ContextVar[Mapping[Path, Path]] = ContextVar("places")
"""Set on a worker of a cluster, for the time of a run: what is recorded of files is what the caller calls them."""


@contextlib.contextmanager
def placed(places: Mapping[Path, Path]) -> Iterator[None]:
    """While the block runs, `here` answers with these places, in this thread alone."""
    token = _PLACES.set(places)
    try:
        yield
    finally:
        _PLACES.reset(token)


def here(path: str | os.PathLike[str]) -> Path:
    """Where the file or folder that a request calls `path` lies on this machine: at `path`, unless `placed` says otherwise."""
    named, places = Path(path), _PLACES.get({})
    for known in (named, *named.parents) if places else ():
        if known in places:
            return places[known] / named.relative_to(known)
    return named


def sha256_of(path: Path) -> str:
    """Of a file's bytes, which need not fit into memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PIECE):
            digest.update(part)
    return digest.hexdigest()


def check_other_file(output: str | os.PathLike[str], source: object, what: str) -> None:
    """Raise UsageError where a command would write over what it was made from.

    Args:
        source: a path, or what is none.
        what: the source is, in words.
    """
    if not isinstance(source, str | os.PathLike):
        return
    with contextlib.suppress(OSError, ValueError):  # no file of that name
        if here(output).samefile(here(source)):
            raise UsageError(f"{output}: is {what} itself; choose another name with -o")


def check_name(path: str | os.PathLike[str], suffixes: Sequence[str], what: str) -> None:
    """See that a file is named as what it will be: nobody wants a page in the place of a model.

    Args:
        suffixes: that `what` is named with; the first is proposed. No suffix is fine, too.

    Raises:
        UsageError: it has the name of something else.
    """
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in suffixes:
        raise UsageError(f"{path}: {what} goes into a file NAME{suffixes[0]}, not into one named {suffix}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name of `path` when the block ends without an error.

    The parent folder is made when missing. On any error, Ctrl-C included, the temporary file is removed and what
    stood at `path` before stays as it was.

    Raises:
        OutputError: the operating system refused (disk full, no permission, name taken by a folder).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise OutputError(f"cannot write {target}: it is a device or a pipe; choose the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        set_usual_mode(temporary)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; free space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def set_usual_mode(path: Path) -> None:
    """Give a temporary file, which only its owner may read, the mode that a new file would have."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    """The process's umask (POSIX offers no way to read it but to set it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
