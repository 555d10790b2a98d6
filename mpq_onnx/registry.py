"""Tables of what has a name: methods, roundings, ... An entry is one line, and its module is imported when it is first used.

Other packages add entries by entry points: one of the group `mpq_onnx.methods` and the name `mine` is the method `mine`.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mpq_onnx.errors import MpqOnnxError, PluginError, first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
CALLED = ("__call__",)


class Registry(MutableMapping[str, T]):
    """By name; so that the names can be listed without what heavy modules need."""

    def __init__(
        self,
        home: str,
        places: Mapping[str, str],
        group: str | None = None,
        wanted: Sequence[str] = CALLED,
        check: str | None = None,
    ) -> None:
        """Args:
        places: `module:attribute` in package `home` by name, or `:attribute` of the module `home`.
        group: of the entry points that add to it.
        wanted: attributes that another package's object must have; by default it is called.
        check: `module:function`, which raises ValueError where another package's object is wrong, and says how.
        """
        self._entries: dict[str, Any] = {
            name: f"{home}{'' if place.startswith(':') else '.'}{place}" for name, place in places.items()
        }
        self._waiting = set(places)
        self._group, self._wanted, self._check = group, wanted, check
        self._plugins: dict[str, EntryPoint] | None = None if group else {}

    def __getitem__(self, name: str) -> T:
        """The object; imported the first time.

        Raises:
            PluginError: it is another package's, and cannot be imported.
        """
        if name not in self._entries and name in self._found():
            self._entries[name] = _loaded(self._found()[name], self._wanted, self._check)
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

    def __contains__(self, name: object) -> bool:
        """Without importing anything."""
        return name in self._entries or name in self._found()

    def __iter__(self) -> Iterator[str]:
        """The names here, then those of other packages, which replace none of ours."""
        return iter({**self._entries, **dict.fromkeys(self._found())})

    def __len__(self) -> int:
        return len({*self._entries, *self._found()})

    def _found(self) -> "dict[str, EntryPoint]":
        """The entry points of other packages, looked for once."""
        if self._plugins is None:
            from importlib.metadata import entry_points  # slow

            self._plugins = {each.name: each for each in entry_points(group=str(self._group))}
        return self._plugins


def _loaded(entry: "EntryPoint", wanted: Sequence[str], check: str | None) -> Any:
    package = "" if entry.dist is None else f" of package {entry.dist.name}"
    named = f"plug-in {entry.name}{package} ({entry.group} = {entry.value})"
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:  # another package's own code runs
        raise PluginError(
            f"{named} cannot be loaded: {first_line(error)}; mend or uninstall that package"
        ) from error
    missing = [name for name in wanted if not hasattr(found, name)]
    if missing:
        what = "cannot be called" if missing == ["__call__"] else f"has no {', '.join(missing)}"
        raise PluginError(f"{named} is none: it {what}; docs/plugins.md says what it must be")
    if check is not None:
        module, _, function = check.partition(":")
        try:
            getattr(importlib.import_module(module), function)(found)
        except ValueError as error:
            raise PluginError(
                f"{named} is wrong: {first_line(error)}; docs/plugins.md says what it must be"
            ) from error
    return _named_when_it_fails(found, named) if tuple(wanted) == CALLED else found


def _named_when_it_fails(function: Callable[..., Any], named: str) -> Callable[..., Any]:
    """Another package's function, whose errors say where they come from."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except MpqOnnxError:
            raise
        except Exception as error:
            raise PluginError(
                f"{named} failed: {type(error).__name__}: {first_line(error)}; mend or uninstall that package"
            ) from error

    return call
