"""What the allocations of bits and of energies have in common: entries by node, their digest, their place in metadata.

Widths, ranges and energies may be edited by hand; counts, and what belongs to what, may not.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from mpq_onnx.documents.constraints import Part
from mpq_onnx.documents.document import Document, Header
from mpq_onnx.errors import AllocationError, first_names

EDITED = "edited"
"""The method of entries that somebody has changed since they were written."""
NOISE_TO_BITS = "noise-to-bits"
"""The method of widths that stand for noise (see convert), whatever a device has."""
MOST_NAMED = 4
AnyAllocation = TypeVar("AnyAllocation", bound="PrecisionDocument")
Names = tuple[tuple[str, str | None], ...]
"""(what, its name), ..."""


@dataclass(frozen=True)
class Entry(Part):
    """Base of the entries: the precision of one node."""

    FACTS: ClassVar[tuple[str, ...]] = ()
    """Fields that are the model's; means and sums are counted from them."""
    ADVICE: ClassVar[str] = "only widths and ranges may be edited"
    """Of a document whose facts are not the model's."""
    BY_CHANNEL: ClassVar[tuple[str, str]]
    """The field that may list a value per output channel, and what the values are called."""
    LONE_FITS_ALL: ClassVar[bool] = False
    """A list of one value is for every channel."""

    node: str
    op_type: str

    @property
    def names(self) -> Names:
        """What tells the entry from others."""
        return (("node", self.node),)

    @property
    def title(self) -> str:
        """The entry in messages."""
        named = [f"{kind} {name}" for kind, name in self.names if name]
        first, *others = named or ["an entry whose name is empty"]
        return f"{first} with {' and '.join(others)}" if others else first

    def misplaced(self) -> str | None:
        """What the entry says of something that it has not."""
        return None

    def differing_fact(self, other: "Entry") -> str | None:
        """The first of FACTS that two entries do not share."""
        return next((name for name in self.FACTS if getattr(self, name) != getattr(other, name)), None)

    @property
    def may_be_missing(self) -> bool:
        """Documents of earlier versions have no entry of this kind, and mean what it says by itself."""
        return False


Owned = tuple[Entry, int | None]
"""An entry that the model has, and its output channels; 0 of what can only stay in float."""


@dataclass(frozen=True)
class PrecisionHeader(Header):
    """What stands beside the fields of an allocation."""

    achieved: dict[str, Any] = field(default_factory=dict)
    """Written for the reader, computed anew when loaded."""
    digest: str = ""
    """SHA-256 of the nodes as they were written, which tells when they were edited."""


class PrecisionDocument(Document):
    """Base of the allocations. A kind has the four fields below, and says what its entries come to and which a model has."""

    HEADER = PrecisionHeader
    METADATA: ClassVar[str]
    """Key in the metadata of a file that was made by it."""

    model: str
    settings: Any
    nodes: tuple[Entry, ...]
    budget: Any

    def achieved(self) -> dict[str, Any]:
        """What the entries come to."""
        raise NotImplementedError

    def entries_of(self, sites: Any) -> Sequence[Owned]:
        """The entries that the model with these sites has, of any precision."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """What the file holds."""
        fields = super().document()
        entries = fields.pop("nodes")
        fields |= {"budget": fields.pop("budget"), "achieved": self.achieved()}
        return fields | {"digest": entries_digest(entries), "nodes": entries}

    @classmethod
    def from_json(cls: type[AnyAllocation], content: Any, where: str) -> AnyAllocation:
        """As Document.from_json; the method is EDITED where the entries are not those that were written.

        Documents of earlier versions hold no digest and are taken at their word.
        """
        loaded = super().from_json(content, where)
        if content.get("digest") in (None, entries_digest(content["nodes"])):
            return loaded
        edited = dataclasses.replace(loaded.settings, method=EDITED)
        return dataclasses.replace(loaded, **{"settings": edited})

    @classmethod
    def embedded(
        cls: type[AnyAllocation], properties: Mapping[str, str], path: str = ""
    ) -> AnyAllocation | None:
        """The one in a model's metadata; None where there is none. `path` names the file in errors.

        Raises:
            AllocationError: not JSON, or against the schema.
        """
        text = properties.get(cls.METADATA)
        where = f"{path}: metadata" if path else "metadata"
        return cls.parse(text, f"{where} {cls.METADATA}") if text is not None else None

    def embed(self, properties: MutableMapping[str, str]) -> None:
        """Put it into a model's metadata."""
        properties[self.METADATA] = json.dumps(self.document())

    def check_against(self, sites: Any, where: str = "") -> None:
        """Raise AllocationError unless it has the entries of the model that `sites` came from, each once.

        Args: where: names the document's file in errors.
        """
        try:
            self._check_entries(sites)
        except AllocationError as error:
            raise AllocationError(f"{where}: {error}" if where else str(error)) from None

    def _check_entries(self, sites: Any) -> None:
        owned = self.entries_of(sites)
        left: dict[Names, list[Owned]] = {}
        for own, channels in owned:
            left.setdefault(own.names, []).append((own, channels))
        unknown = [entry.title for entry in self.nodes if entry.names not in left]
        if unknown:
            listed = _listed_unknown(unknown, [own.title for own, _ in owned])
            raise AllocationError(f"the {self.KIND.title} has entries that the model has not: {listed}")
        for entry in self.nodes:
            _take(entry, left[entry.names])
        missing = [own.node for same in left.values() for own, _ in same if not own.may_be_missing]
        if missing:
            raise AllocationError(f"the {self.KIND.title} has no entry for {_named_first('node', missing)}")


def entries_digest(entries: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of a document's entries, by which a later reader sees whether they were edited; 8 and 8.0 are the same."""
    text = json.dumps([_as_floats(entry) for entry in entries], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_floats(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _take(entry: Entry, left: list[Owned]) -> None:
    """Take the model's own entry out of those of the same names; raise AllocationError where none fits."""
    if not left:
        raise AllocationError(f"{entry.title} has two entries; keep one of them")
    own, channels = next((pair for pair in left if entry.differing_fact(pair[0]) is None), left[0])
    left.remove((own, channels))
    fact = entry.differing_fact(own)
    if fact is not None:
        raise AllocationError(
            f"{entry.title}: {fact} is {getattr(entry, fact)} in the allocation and {getattr(own, fact)} in the model;"
            f" {entry.ADVICE}"
        )
    misplaced = entry.misplaced()
    if misplaced is not None:
        raise AllocationError(f"{entry.title}: {misplaced}")
    field, called = entry.BY_CHANNEL
    values = getattr(entry, field)
    if channels == 0 and values is not None:
        raise AllocationError(
            f"{entry.title}: {field} is {values}, but it can only stay in float; make it null"
        )
    if isinstance(values, tuple) and len(values) not in (
        (1, channels) if entry.LONE_FITS_ALL else (channels,)
    ):
        raise AllocationError(
            f"node {entry.node}: {field} lists {len(values)} {called} for {channels} output channels"
        )


def _listed_unknown(unknown: Sequence[str], known: Sequence[str]) -> str:
    """The first names that are none, each with the known one that is nearest to it, and what may be edited instead."""
    texts = [*unknown]
    for place, name in enumerate(unknown[:MOST_NAMED]):
        near = difflib.get_close_matches(name, known, 1)
        texts[place] = f"{name} (meant is {near[0]}?)" if near else name
    return f"{first_names(texts, MOST_NAMED)}; only widths, ranges and energies may be edited"


def _named_first(kind: str, names: Sequence[str]) -> str:
    """`node a, b, c and 4 more`."""
    return f"{kind} {first_names(names, MOST_NAMED)}"
