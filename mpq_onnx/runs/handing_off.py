"""handoff: a file in the format of another tool, with golden tensors and its card. No torch here."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import mpq_onnx
from mpq_onnx.datasets import Dataset, DataSource, data_source, open_dataset
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import ModelError, OutputError, TargetError, UsageError, check_choice
from mpq_onnx.files import write_text
from mpq_onnx.graph.given_model import ModelSource, model_source, source_digest
from mpq_onnx.graph.metadata import METADATA_SOURCE
from mpq_onnx.graph.model_file import clone, file_bytes, load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.node_names import complete_names
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.graph.quantized_tensors import quantized_tensor
from mpq_onnx.graph.quantizer_chains import Chains, quantizer_chains
from mpq_onnx.graph.uncounted import UncountedMac, uncounted_macs
from mpq_onnx.handoff_targets import TARGETS
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.golden import golden_tensors, write_golden
from mpq_onnx.handoff_targets.layers import check_numbers, layer_rows
from mpq_onnx.handoff_targets.output_check import check_outputs
from mpq_onnx.passes.dequantize_tables import DequantizeTablesPass
from mpq_onnx.passes.inline_functions import inline_functions
from mpq_onnx.passes.remove_noise import RemoveNoisePass
from mpq_onnx.passes.standard_quantizers import with_standard_quantizers
from mpq_onnx.passes.store_integers import StoreIntegersPass
from mpq_onnx.progress import begin
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.graph_facts import graph_facts
from mpq_onnx.runs.alone import alone_in_output
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.earlier_results import HANDOFF, check_free, left_by_earlier, remove
from mpq_onnx.runs.one_sided_notes import one_sided_notes
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.run_folder import publish
from mpq_onnx.runs.source_notes import zip_map_notes
from mpq_onnx.runs.target_check import check_file
from mpq_onnx.runtime.noise_ratios import measure_ratios
from mpq_onnx.runtime.stored_values import stored_values
from mpq_onnx.runtime.tensors import tensor_shapes
from mpq_onnx.targets.description import Target
from mpq_onnx.targets.loading import load_target, recorded_target

MANIFEST_FILE = "handoff.json"
FORMAT = "mpq-onnx/handoff"
VERSION = 1
GOLDEN_EXAMPLES = 4
SEED = 0
"""Golden and measured examples are drawn by it."""
RANDOM_DATA = f"random?count={GOLDEN_EXAMPLES}"


@dataclass(frozen=True)
class HandoffResult(Result):
    """What was written."""

    folder: str
    target: str
    """The form: a name in mpq_onnx.handoff_targets.TARGETS."""
    files: dict[str, int]
    """Bytes by path in the folder."""
    golden_examples: int
    largest_difference: float | None
    """Between the golden outputs and those of model.onnx in onnxruntime, where this can run it, perhaps in other operators."""
    notes: tuple[str, ...]
    """What a reader of the files should know."""
    device: str | None = None
    """Name of the target file that the model was held against."""

    DRAWN = "file", "bytes"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a file."""
        return [{"file": path, "bytes": size} for path, size in self.files.items()]


@checked_arguments
@alone_in_output
def handoff(
    model: ModelSource,
    output: str | os.PathLike[str],
    *,
    to: str | None = None,
    target: str | None = None,
    data: DataSource | None = None,
    examples: int = GOLDEN_EXAMPLES,
    device: str = "auto",
    overwrite: bool = False,
) -> HandoffResult:
    """Write `model` in the format of another tool.

    Args:
        model: an ONNX file, float, quantized (also by another tool) or noisy.
        output: the folder to write into; made when missing.
        to: a name in mpq_onnx.handoff_targets.TARGETS; the form of the target when omitted.
        target: the device that the file is for, a shipped name or a file; where `to` is omitted too, the one that the file was
            made for.
        data: data spec for the golden tensors, histograms and measured noise; seeded random inputs when omitted.
        examples: how many golden examples.
        overwrite: replace what is in the folder; results there, but for the same hand-off, are refused otherwise.

    Raises:
        UsageError: the format cannot express the file, or the device does not take it; the message lists the nodes.
        ModelError: what was to be written does not compute the same as the file.
        MpqOnnxError: see its other subclasses.
    """
    given = None if target is None else load_target(target)
    if to is not None:
        check_choice("to", to, TARGETS)
    if examples < 1:
        raise UsageError(f"--examples {examples}: must be at least 1")
    model = model_source(model)
    loaded = load_model(model)
    held_against = given or (_made_for(loaded, str(model)) if to is None else None)
    to = _form(to, held_against, str(model))
    folder = Path(output)
    digest = source_digest(model)
    check_free(folder, HANDOFF, lambda: _is_same(folder / MANIFEST_FILE, digest, to), overwrite)
    everything = open_dataset(
        RANDOM_DATA if data is None else data_source(data), model_inputs(loaded), loaded.metadata_props
    )
    dataset = drawn(everything, SEED)
    bundle = make_bundle(str(model), loaded, dataset, measure=data is not None, device=device)
    if held_against is not None:
        check_file(held_against, bundle)
    form = TARGETS[to]
    begin("golden tensors")
    golden = golden_tensors(bundle.model, dataset, examples)
    with _workplace(folder) as work:
        notes = [*form.write(bundle, work), *zip_map_notes(loaded)]
        if any(value.dtype == ir.DataType.STRING for value in loaded.graph.outputs):
            notes.append("golden outputs that are text hold the numbers of the classes")
        if data is None:
            notes.append(
                "inputs are random: give --data for golden tensors, histograms and noise of real data"
            )
        if bundle.is_noisy:
            notes.append("golden outputs are without noise")
        if form.runs_in_onnxruntime:
            notes.extend(one_sided_notes(graph_facts(bundle.model)))
        names = [
            [str(value.name) for value in values]
            for values in (bundle.model.graph.inputs, bundle.model.graph.outputs)
        ]
        write_golden(golden, names[0], names[1], work)
        checked = check_outputs(form, work, bundle.model, golden)
        notes.extend(() if checked is None else checked.notes)
        write_card(make_card(loaded, file_bytes(model)), work)
        files = {
            str(path.relative_to(work)): path.stat().st_size
            for path in sorted(work.rglob("*"))
            if path.is_file()
        }
        result = HandoffResult(
            str(folder),
            to,
            files,
            len(golden.inputs),
            None if checked is None else checked.difference,
            tuple(notes),
            None if held_against is None else held_against.name,
        )
        write_text(
            work / MANIFEST_FILE,
            json.dumps(_manifest(result, Path(str(model)).name, digest), indent=1) + "\n",
        )
        earlier = left_by_earlier(folder)
        publish(work, folder)
        written = {*files, MANIFEST_FILE, *(Path(name).parts[0] for name in files)}
        remove(folder, earlier - written)
    return result


def _made_for(model: ir.Model, path: str) -> Target | None:
    """The target in the file's own allocation, of energies or of bits."""
    for kind in (EnergyAllocation, Allocation):
        document = kind.embedded(model.metadata_props, path)
        if document is not None and document.settings.target is not None:
            return recorded_target(document.settings.target)
    return None


def _form(to: str | None, target: Target | None, path: str) -> str:
    """The form to write: what was asked for, else the target's first.

    Raises:
        UsageError: neither says one, or the target's tools do not read it.
    """
    said = None if target is None else target.hand_offs
    for name in () if said is None else said.values:
        if name not in TARGETS:
            raise TargetError(f"{said}: {name} is no form; choose from {', '.join(TARGETS)}")
    if to is not None:
        if said is not None and target is not None and not said.allows(to):
            raise UsageError(f"--to {to}: target {target.name} does not read that: {said}")
        return to
    if said is None:
        asked = (
            f"target {target.name} names no form" if target is not None else f"{path}: was made for no target"
        )
        raise UsageError(f"{asked}: give --to, one of {', '.join(TARGETS)}")
    return str(said.values[0])


def _is_same(manifest: Path, digest: str, to: str) -> bool:
    """An earlier hand-off there is of the same model, in the same form."""
    try:
        earlier = json.loads(manifest.read_text(encoding="utf-8"))
        return (earlier["model_sha256"], earlier["target"]) == (digest, to)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _remedy(uncounted: Sequence[UncountedMac], exported: bool) -> str:
    """What can be done about multiply-accumulates that have no row; `exported` is the file, or what it was made from."""
    lasting = [each.node for each in uncounted if each.is_mirrored]
    if len(lasting) == len(uncounted):
        return "export keeps them as they are: hand off the network without them"
    if exported:
        return (
            "export has left them as they are: give it the inputs that branches and trips of loops hang on (--set), or hand off"
            " the network without them"
        )
    return (
        "export the model first (operators of ai.onnx.ml and most of com.microsoft become standard ones, branches with"
        " constant conditions fold, loops whose trips are known are written out, see --set)"
        + (f"; {', '.join(lasting)} will stay" if lasting else "")
    )


def make_bundle(path: str, loaded: ir.Model, dataset: Dataset, measure: bool, device: str) -> Bundle:
    """Read and measure a file; `measure` also measures its noise on the data."""
    allocation = Allocation.embedded(loaded.metadata_props, path)
    energy = EnergyAllocation.embedded(loaded.metadata_props, path)
    model = clone(loaded)
    RemoveNoisePass()(model)
    inline_functions(model)
    model = with_standard_quantizers(model)
    DequantizeTablesPass()(model)
    complete_names(model)
    uncounted = uncounted_macs(model)
    if uncounted:
        remedy = _remedy(uncounted, METADATA_SOURCE in loaded.metadata_props)
        raise UsageError(
            f"{path}: cannot be handed off: {', '.join(map(str, uncounted))}: no table has a row for them; {remedy}"
        )
    computed = [
        str(chain.integers.name)
        for chain in quantizer_chains(model).weights
        if chain.integers.const_value is None
    ]
    shown = _shown_levels(quantizer_chains(model))
    StoreIntegersPass(stored_values(model, computed))(model)
    chains = quantizer_chains(model)
    levels = shown | (allocation.weight_levels() if allocation is not None else {})
    shapes = tensor_shapes(model, dataset, device)
    sites = mac_sites(model, shapes, levels)
    if not sites:
        raise ModelError(f"{path}: no Conv, ConvTranspose, Gemm, MatMul or Einsum to hand off")
    ratios = measure_ratios(loaded, dataset, device).nodes if energy is not None and measure else ()
    by_node = {each.node: each for each in ratios}
    rows = layer_rows(model, sites, graph_facts(model).layers, shapes, levels, energy, by_node)
    check_numbers(rows)
    return Bundle(
        path=path,
        model=model,
        chains=chains,
        stored_levels=levels,
        layers=rows,
        shapes=shapes,
        dataset=dataset,
    )


def _shown_levels(chains: Chains) -> dict[str, np.ndarray]:
    """The levels of every tensor that is stored as integers: those of the type, or what a Clip leaves of them."""
    return {
        quantized_tensor(chain.dequantize): np.array([chain.ends[1] - chain.ends[0] + 1])
        for chain in chains.weights
        if chain.ends is not None
    }


def _manifest(result: HandoffResult, model: str, digest: str) -> dict[str, object]:
    """What handoff.json holds."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "writer": f"mpq-onnx {mpq_onnx.__version__}",
        "model": model,
        "model_sha256": digest,
        **{name: value for name, value in asdict(result).items() if name != "folder"},
    }


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder beside the results, gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix=".handoff-", dir=folder) as work:
            yield Path(work)
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror or error}; choose another folder"
        ) from error
