"""Where simulators are installed: in environments of their own, since none of them goes well with onnxruntime and torch.

An interpreter is the one that was named, else that of the environment variable MPQ_ONNX_<NAME>_PYTHON, else that of the
environment that `mpq-onnx profile --install NAME` makes in the user's cache folder.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.errors import UsageError

APART = "-E"
"""Python's option that ignores PYTHONPATH and its like, which are meant for ours."""
LOOKUP_SECONDS = 60
INSTALL_SECONDS = 1800
LONGEST_LINE = 300
"""Characters that are shown of what a program says on stderr."""


@dataclass(frozen=True)
class Environment:
    """What a simulator needs."""

    name: str
    """As on the command line."""
    distribution: str
    """Of the registry, whose version counts."""
    requirements: tuple[str, ...]
    """For pip."""
    oldest_python: tuple[int, int]
    build: Path | None = None
    """A script that the new environment's Python runs last."""

    @property
    def variable(self) -> str:
        """The environment variable that may name the interpreter."""
        return f"MPQ_ONNX_{self.name.upper()}_PYTHON"

    @property
    def folder(self) -> Path:
        """Where `--install` makes it."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "mpq-onnx" / "simulators" / self.name

    @property
    def advice(self) -> str:
        """How to get it."""
        return (
            f"install it with `mpq-onnx profile --install {self.name}` (Python {_dotted(self.oldest_python)} or newer and the"
            f" package registry), or name the Python of an environment that has {self.distribution} with --python or"
            f" {self.variable}"
        )


@dataclass(frozen=True)
class Installation:
    """A simulator that is there."""

    python: str
    version: str
    """Of the distribution."""


def find(environment: Environment, python: str | None) -> Installation:
    """The simulator's interpreter and version.

    Args:
        python: the interpreter that was named.

    Raises:
        UsageError: there is none, or it does not have the simulator; the message says how to get it.
    """
    named = python or os.environ.get(environment.variable)
    chosen = named or str(interpreter(environment.folder))
    if not named and not Path(chosen).is_file():
        raise UsageError(f"{environment.name} is not installed: {environment.advice}")
    version = _version(chosen, environment.distribution)
    if version is None:
        raise UsageError(f"{chosen}: no Python that has {environment.distribution}; {environment.advice}")
    return Installation(chosen, version)


@functools.cache
def _version(python: str, distribution: str) -> str | None:
    return _asked(python, f"import importlib.metadata as m; print(m.version({distribution!r}))")


def _asked(python: str, code: str) -> str | None:
    """What a line of Python prints; None where it does not run."""
    try:
        done = subprocess.run(
            [python, APART, "-c", code], capture_output=True, text=True, timeout=LOOKUP_SECONDS, check=False
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def interpreter(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(environment: Environment, python: str | None = None) -> Installation:
    """Make the environment anew: a virtual environment, the packages, what is to be built.

    Args:
        python: the interpreter to make it of; one that is new enough is looked for when omitted.

    Raises:
        UsageError: no such interpreter, or a step failed; the message holds its last line.
    """
    base = python or _new_enough(environment)
    folder = environment.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A virtual environment cannot be moved; until it is complete it has a name that nobody looks for.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _step(environment, [base, APART, "-m", "venv", str(folder)])
        own = str(interpreter(folder))
        _step(environment, [own, APART, "-m", "pip", "install", "--quiet", *environment.requirements])
        if environment.build is not None:
            _step(environment, [own, APART, str(environment.build)])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _version.cache_clear()
    return find(environment, own)


def _step(environment: Environment, command: list[str]) -> None:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            done = subprocess.run(
                command, stdout=said, stderr=subprocess.STDOUT, timeout=INSTALL_SECONDS, check=False
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"{environment.name} cannot be installed: {command[0]}: {error}") from error
        if done.returncode:
            said.seek(0)
            raise UsageError(
                f"{environment.name} cannot be installed: {' '.join(command[2:5])} ended with: {last_line(said.read())}"
            )


def last_line(text: str) -> str:
    """What a program said last, not too long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:LONGEST_LINE] if lines else "nothing"


def _new_enough(environment: Environment) -> str:
    for candidate in _candidates():
        found = _asked(candidate, "import sys, venv; print(*sys.version_info[:2])")
        if found is not None and tuple(map(int, found.split())) >= environment.oldest_python:
            return candidate
    raise UsageError(
        f"{environment.name} needs Python {_dotted(environment.oldest_python)} or newer, and none was found on PATH or in"
        " ~/.pyenv/versions; install one and name it with --python"
    )


def _candidates() -> Iterator[str]:
    """Interpreters that may be there: our own first, then by name, then pyenv's."""
    yield sys.executable
    for minor in range(11, 20):
        found = shutil.which(f"python3.{minor}")
        if found is not None:
            yield found
    yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python")))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
