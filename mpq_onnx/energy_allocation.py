"""The energy allocation: an energy per MAC for every multiply-accumulate node of an analog accelerator.

On disk it is energy.json, validated against energy_allocation.schema.json (documented in docs/energy_allocation.md) when read.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.entry_names import listed_unknown, named_first
from mpq_onnx.errors import AllocationError
from mpq_onnx.files import write_text
from mpq_onnx.json_document import entries_digest, method_of, parse_document, read_document
from mpq_onnx.metadata import METADATA_ENERGY
from mpq_onnx.noise.units import attojoules, energy_unit
from mpq_onnx.placement.mac_sites import MacSite

FORMAT = "mpq-onnx/energy-allocation"
VERSION = 1
SCHEMA = "energy_allocation.schema.json"


@dataclass(frozen=True)
class NodeEnergy:
    """The energy of one multiply-accumulate node."""

    node: str
    op_type: str
    energy_per_mac: float | tuple[float, ...]
    """One energy, or one per output channel; each channel makes the same number of MACs."""
    macs: int
    """Multiply-accumulates for one example."""
    fan_in: int
    """D: products summed up in one output."""

    @property
    def mean_energy_per_mac(self) -> float:
        """Mean over the channels."""
        return float(np.mean(self.energy_per_mac))

    @property
    def energy(self) -> float:
        """Of one example."""
        return self.macs * self.mean_energy_per_mac


@dataclass(frozen=True)
class EnergySettings:
    """Every choice beside the energies."""

    noise: tuple[str, ...]
    """Names in noise.NOISE_MODELS."""
    method: str
    granularity: str
    """layer or channel."""
    energy_levels: str
    """any, or repeats: whole numbers, each MAC repeated and averaged."""
    compat: str
    """none, or garg2021: fan-in of grouped convolutions not divided by the groups, for comparisons with that code."""
    seed: int


@dataclass(frozen=True)
class EnergyAllocation:
    """Energies for a whole model."""

    model: str
    """Fingerprint (SHA-256) of the noise-free model, float or QDQ, that it was made for."""
    settings: EnergySettings
    nodes: tuple[NodeEnergy, ...]
    budget: float
    """The mean energy per MAC that was asked for."""

    @property
    def unit(self) -> str:
        """photons or relative."""
        return energy_unit(self.settings.noise)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example."""
        return sum(node.macs for node in self.nodes)

    @property
    def total_energy(self) -> float:
        """Of one example, in `unit`s."""
        return math.fsum(node.energy for node in self.nodes)

    @property
    def mean_energy_per_mac(self) -> float:
        """sum(MACs * energy) / sum(MACs) (arXiv 2102.06365)."""
        return self.total_energy / self.macs

    @property
    def total_attojoules(self) -> float | None:
        """Of one example; None where the unit is relative."""
        return attojoules(self.total_energy, self.unit)

    def energies(self) -> dict[str, np.ndarray]:
        """float64 [1] or [channels] by node."""
        return {node.node: np.atleast_1d(np.array(node.energy_per_mac, np.float64)) for node in self.nodes}

    def achieved(self) -> dict[str, Any]:
        """What the energies come to."""
        return {
            "mean_energy_per_mac": self.mean_energy_per_mac,
            "total_energy": self.total_energy,
            "total_attojoules": self.total_attojoules,
            "unit": self.unit,
            "macs": self.macs,
        }

    def document(self) -> dict[str, Any]:
        """What energy.json holds (see docs/energy_allocation.md)."""
        entries = [dataclasses.asdict(node) for node in self.nodes]
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "settings": dataclasses.asdict(self.settings),
            "budget": self.budget,
            "achieved": self.achieved(),
            "digest": entries_digest(entries),
            "nodes": entries,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write energy.json, whole or not at all."""
        write_text(path, json.dumps(self.document(), indent=1) + "\n")


def make_energy_allocation(
    model: str,
    settings: EnergySettings,
    sites: tuple[MacSite, ...],
    energies: Mapping[str, float | tuple[float, ...]],
    budget: float,
) -> EnergyAllocation:
    """Join energies by node (one, or one per output channel) with the sites that they are for."""
    nodes = tuple(
        NodeEnergy(site.node, site.op_type, energies[site.node], site.macs, site.fan_in) for site in sites
    )
    return EnergyAllocation(model, settings, nodes, budget)


def load_energy_allocation(path: str | os.PathLike[str]) -> EnergyAllocation:
    """Read and validate an energy.json.

    Raises:
        AllocationError: missing, not JSON, or against the schema; the message names the place in the file.
    """
    return _from_document(read_document(path, SCHEMA))


def parse_energy_allocation(text: str, where: str) -> EnergyAllocation:
    """The energy allocation in JSON `text`; `where` names its origin in errors.

    Raises:
        AllocationError: not JSON, or against the schema.
    """
    return _from_document(parse_document(text, where, SCHEMA))


def embedded_energy_allocation(properties: Mapping[str, str], path: str = "") -> EnergyAllocation | None:
    """The energy allocation in a model's metadata; None where there is none. `path` names the file in errors.

    Raises:
        AllocationError: not JSON, or against the schema.
    """
    text = properties.get(METADATA_ENERGY)
    where = f"{path}: metadata" if path else "metadata"
    return parse_energy_allocation(text, f"{where} {METADATA_ENERGY}") if text is not None else None


def check_against_mac_sites(allocation: EnergyAllocation, sites: tuple[MacSite, ...]) -> None:
    """Raise AllocationError unless `allocation` has an entry that fits for every one of `sites`."""
    channels = {site.node: site.channels for site in sites}
    unknown = [node.node for node in allocation.nodes if node.node not in channels]
    if unknown:
        raise AllocationError(
            f"the energy allocation has nodes that the model has not: {listed_unknown(unknown, list(channels))}"
        )
    for node in allocation.nodes:
        if node.node not in channels:
            raise AllocationError(f"node {node.node} has two entries; keep one of them")
        count = channels.pop(node.node)
        if isinstance(node.energy_per_mac, tuple) and len(node.energy_per_mac) not in (1, count):
            raise AllocationError(
                f"node {node.node}: energy_per_mac lists {len(node.energy_per_mac)} energies for {count} output channels"
            )
    if channels:
        raise AllocationError(f"the energy allocation has no entry for {named_first('node', list(channels))}")


def _from_document(document: dict[str, Any]) -> EnergyAllocation:
    settings = dict(document["settings"])
    settings["noise"] = tuple(settings["noise"])
    settings["method"] = method_of(document)
    return EnergyAllocation(
        model=document["model"],
        settings=EnergySettings(**settings),
        nodes=tuple(_node(entry) for entry in document["nodes"]),
        budget=document["budget"],
    )


def _node(entry: Mapping[str, Any]) -> NodeEnergy:
    fields = dict(entry)
    if isinstance(fields["energy_per_mac"], list):
        fields["energy_per_mac"] = tuple(fields["energy_per_mac"])
    return NodeEnergy(**fields)
