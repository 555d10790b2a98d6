"""The documents: one class is type, schema and reader; what was written before is read, and written the same again."""

import dataclasses
import json
import random
from pathlib import Path

import jsonschema
import pytest
from mutations import mutated_document

from mpq_onnx import load_document
from mpq_onnx.datasets.columns import ColumnsFile
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.documents.document import Document
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import AllocationError, MpqOnnxError
from mpq_onnx.handoff_targets.layers import LayerTable
from mpq_onnx.registries import ACTIVATION_BUDGETS, ENERGY_LEVELS, NOISE_MODELS

FOLDER = Path(__file__).with_name("documents")
"""Written by the version before documents were typed."""
WRITTEN = {Allocation: FOLDER / "allocation.json", EnergyAllocation: FOLDER / "energy.json"}


@pytest.mark.parametrize("kind", WRITTEN)
def test_earlier_documents_are_read_and_written_the_same(kind: type[Document], tmp_path: Path) -> None:
    loaded = load_document(WRITTEN[kind])
    assert type(loaded) is kind and loaded.settings.method != "edited"
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == WRITTEN[kind].read_bytes()


@pytest.mark.parametrize("kind", WRITTEN)
def test_embedded_in_a_models_metadata(kind: type[Document]) -> None:
    loaded = load_document(WRITTEN[kind])
    properties: dict[str, str] = {}
    loaded.embed(properties)
    assert kind.embedded(properties) == loaded
    assert kind.embedded({}) is None
    with pytest.raises(AllocationError, match=f"^file.onnx: metadata {kind.METADATA}: not JSON"):
        kind.embedded({kind.METADATA: "{"}, "file.onnx")


def test_a_document_of_no_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    for text, words in (
        ('{"format": "mpq-onnx/recipe"}', '"mpq-onnx/recipe": choose one of mpq-onnx/allocation, mpq-onnx/energy'),
        ("[]", "must be an object"),
        ('{"format": []}', "choose one of"),
        ("{}", "are required, and missing"),
        ('{"version": 1e999}', "1e999 is no number"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(AllocationError, match=words):
            load_document(path)


@pytest.mark.parametrize("kind", [Allocation, EnergyAllocation, Calibration, ColumnsFile, LayerTable])
def test_schemas_are_schemas(kind: type[Document]) -> None:
    schema = kind.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    objects = [schema, *schema["$defs"].values()]
    assert all(each["additionalProperties"] is False for each in objects)
    assert any("description" in field for each in objects for field in each["properties"].values())


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_the_schema_accepts_is_read(kind: type[Document]) -> None:
    validator = jsonschema.Draft202012Validator(kind.json_schema())
    text, rng = WRITTEN[kind].read_text(), random.Random(0)
    for _ in range(300):
        changed = mutated_document(text, rng)
        try:
            accepted = validator.is_valid(json.loads(changed))
        except (ValueError, RecursionError):
            accepted = False
        try:
            kind.parse(changed, "text")
            assert accepted
        except MpqOnnxError as error:
            assert not accepted or "not JSON" in str(error)


@pytest.mark.parametrize(
    ("kind", "field", "registry", "wrap"),
    [
        (EnergyAllocation, "noise", NOISE_MODELS, lambda name: ["thermal", name]),
        (EnergyAllocation, "energy_levels", ENERGY_LEVELS, str),
        (Allocation, "activation_budget", ACTIVATION_BUDGETS, str),
    ],
)
def test_what_is_registered_is_accepted(
    kind: type[Document], field: str, registry, wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(WRITTEN[kind].read_text())
    document["settings"][field] = wrap("mine")
    known = ", ".join(registry)
    with pytest.raises(AllocationError, match=f'settings/{field}.*: "mine": choose one of {known};'):
        kind.parse(json.dumps(document), "text")
    monkeypatch.setitem(registry, "mine", next(iter(registry.values())))
    kind.parse(json.dumps(document), "text")


@pytest.mark.parametrize(
    ("kind", "place", "value", "words"),
    [
        (EnergyAllocation, ("settings", "noise"), [], "the list must have at least 1 entries"),
        (EnergyAllocation, ("settings", "noise"), ["shot", "shot"], "settings/noise: "),
        (EnergyAllocation, ("settings", "granularity"), 5, "5: choose one of layer, channel|5 must be a text"),
        (EnergyAllocation, ("budget",), 0, "budget: 0 must be above 0"),
        (EnergyAllocation, ("nodes", 1, "energy_per_mac"), [1, 0], r"energy_per_mac/1 \(node head\): 0 must be above 0"),
        (Allocation, ("nodes", 1, "macs"), 10**30, r"macs \(node conv\): 1000.* must be at most 9007199254740992"),
        (Allocation, ("nodes", 1, "weight_bits"), [], r"weight_bits \(node conv\): the list must have at least 1 entries"),
        (Allocation, ("budget", "bits"), 4, '"bits": choose one of weight_bits, activation_bits'),
        (Allocation, ("settings", "sensitivity"), 5, "settings/sensitivity: 5 must be a text or null"),
    ],
)  # fmt: skip
def test_faults_name_place_and_remedy(kind: type[Document], place: tuple, value: object, words: str) -> None:
    document = json.loads(WRITTEN[kind].read_text())
    part = document
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    with pytest.raises(AllocationError, match=words) as caught:
        kind.parse(json.dumps(document), "text")
    assert "\n" not in str(caught.value)


def test_an_entry_whose_name_is_empty_is_named_in_words() -> None:
    """Found by benchmarks/fuzz.py, input 71012801."""
    entry = EnergyAllocation.load(WRITTEN[EnergyAllocation]).nodes[0]
    assert dataclasses.replace(entry, node="").title == "an entry whose name is empty"
