"""allocation.json: what is written is read back, what is malformed is refused with its place."""

import dataclasses
import json
from pathlib import Path

import pytest

from mpq_onnx.documents.allocation import Allocation, Settings
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.errors import AllocationError
from mpq_onnx.graph.placement import ActivationSite, ProductSite, Sites, WeightSite, WeightUse

SETTINGS = Settings("refined", "channel", "all", "mse", "mse", "adaptive", True, 0)


def make_allocation() -> Allocation:
    nodes = (
        NodePrecision(
            "x", "Input", activation="x", activation_bits=8, activation_elements=75, activation_counted=False
        ),
        NodePrecision("conv", "Conv", "w", (2.0, 4.0), 20, 1000, "x", "y", 4.0, 50),
        NodePrecision("fc", "Gemm", "v", 8.0, 10, 10, "y", "z", 6.0, 10),
        NodePrecision("head", "Gemm", "u", None, 10, 10, "z", None, None, 0),
    )
    return Allocation("f" * 64, SETTINGS, nodes, {"weight_bits": 5.0, "activation_bits": 5.0})


def make_sites() -> Sites:
    def weight(node: str, tensor: str, source: str, shape: tuple[int, ...], macs: int) -> WeightSite:
        use = WeightUse(node, "Gemm", source, None, node, 0, shape[0], macs, source=source)
        return WeightSite(tensor, 0, shape, (use,))

    return Sites(
        weights=(
            weight("conv", "w", "x", (2, 10), 1000), weight("fc", "v", "y", (10, 1), 10),
            weight("head", "u", "z", (10, 1), 10),
        ),
        activations=(
            ActivationSite("x", "Input", "x", 75, 8), ActivationSite("conv", "Conv", "y", 50),
            ActivationSite("fc", "Gemm", "z", 10),
        ),
    )  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    allocation = make_allocation()
    allocation.save(tmp_path / "allocation.json")
    assert Allocation.load(tmp_path / "allocation.json") == allocation


def test_edited_entries_are_known(tmp_path: Path) -> None:
    path = tmp_path / "allocation.json"
    document = json.loads(json.dumps(make_allocation().document()))
    document["nodes"][1]["weight_bits"] = [2, 4]  # written differently, and the same
    document["settings"]["rounding"] = "nearest"  # no entry
    path.write_text(json.dumps(document, sort_keys=True))
    assert Allocation.load(path).settings.method == "refined"
    document["nodes"][1]["weight_bits"] = [2, 5]
    path.write_text(json.dumps(document))
    edited = Allocation.load(path)
    assert edited.settings.method == "edited"
    edited.save(path)
    assert Allocation.load(path) == edited  # and stays so


def test_documents_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "allocation.json"
    document = json.loads(json.dumps(make_allocation().document()))
    del document["digest"]
    path.write_text(json.dumps(document))
    assert Allocation.load(path) == make_allocation()


def test_budget_accounting() -> None:
    allocation = make_allocation()
    assert allocation.mean_weight_bits == (20 * 3 + 10 * 8) / 30
    assert allocation.mean_activation_bits == (50 * 4 + 10 * 6) / 60  # the input is not counted
    assert allocation.weight_bytes == (20 * 3 + 10 * 8 + 10 * 32) / 8 + 0.5
    assert allocation.bit_operations == 1000 * 3 * 8 + 10 * 8 * 4 + 10 * 32 * 6


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda document: document["nodes"][1].update(weight_bits=17), "nodes/1/weight_bits"),
        (lambda document: document["nodes"][2].update(activation_bits="4"), "nodes/2/activation_bits"),
        (lambda document: document["nodes"][0].update(colour="red"), "colour"),
        (lambda document: document["settings"].pop("rounding"), "rounding"),
        (lambda document: document.update(version=2), "version"),
    ],
)
def test_malformed_files_name_the_place(tmp_path: Path, change, place: str) -> None:
    document = json.loads(json.dumps(make_allocation().document()))
    change(document)
    path = tmp_path / "allocation.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AllocationError, match=place) as caught:
        Allocation.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][1].update(weight_bits=17), r"\(node conv\): 17 must be at most 16; see docs"),
        (lambda d: d["nodes"][1].update(weight_bits="4"), r'"4" must be a number or a list .* or null'),
        (
            lambda d: d["nodes"][1].update(weight_bits=[4, True]),
            r"weight_bits/1 \(node conv\): true must be a number;",
        ),
        (lambda d: d["nodes"][0].update(colour="red"), "unknown colour; known are node, op_type, weight,"),
        (lambda d: d["settings"].pop("rounding"), "at settings: rounding is required, and missing;"),
        (lambda d: d["settings"].update(bias="int9"), '"int9": choose one of int32, float;'),
        (lambda d: d.update(version=2), "at version: 2 must be 1;"),
    ],
)
def test_malformed_files_say_what_is_wanted(tmp_path: Path, change, words: str) -> None:
    document = json.loads(json.dumps(make_allocation().document()))
    change(document)
    path = tmp_path / "allocation.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AllocationError, match=words):
        Allocation.load(path)


def test_edited_names_are_named_with_what_they_may_have_been() -> None:
    allocation = make_allocation()
    renamed = dataclasses.replace(allocation.nodes[2], node=f"{allocation.nodes[2].node}x")
    nodes = (*allocation.nodes[:2], renamed, *allocation.nodes[3:])
    wanted = rf"has not: node {renamed.node}.*meant is node {allocation.nodes[2].node}.*only widths"
    with pytest.raises(AllocationError, match=wanted):
        dataclasses.replace(allocation, nodes=nodes).check_against(make_sites())


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_allocation_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "allocation.json"
    path.write_text(text)
    with pytest.raises(AllocationError):
        Allocation.load(path)


def test_belongs_to_these_sites() -> None:
    make_allocation().check_against(make_sites())


def test_foreign_sites_are_refused() -> None:
    allocation, sites = make_allocation(), make_sites()
    fewer = dataclasses.replace(allocation, nodes=allocation.nodes[:2])
    with pytest.raises(AllocationError, match="no entry for node fc"):
        fewer.check_against(sites)
    other = dataclasses.replace(sites, weights=sites.weights[:1])
    with pytest.raises(AllocationError, match="entries that the model has not: node fc with weight"):
        allocation.check_against(other)
    wrong = dataclasses.replace(allocation.nodes[1], weight_bits=(2.0, 3.0, 4.0))
    with pytest.raises(AllocationError, match="3 widths for 2 output channels"):
        dataclasses.replace(allocation, nodes=(wrong, *allocation.nodes[2:])).check_against(sites)


def with_product() -> tuple[Allocation, Sites]:
    sites = dataclasses.replace(make_sites(), products=(ProductSite("mix", "MatMul", ("y", "z"), 40),))
    product = NodePrecision("mix", "MatMul", macs=40, input="y", other_input="z")
    allocation = make_allocation()
    return dataclasses.replace(allocation, nodes=(*allocation.nodes, product)), sites


def test_the_order_of_entries_is_free() -> None:
    allocation, sites = with_product()
    dataclasses.replace(allocation, nodes=allocation.nodes[::-1]).check_against(sites)


@pytest.mark.parametrize("index", range(5))
def test_an_entry_twice_is_refused(index: int) -> None:
    allocation, sites = with_product()
    twice = dataclasses.replace(allocation, nodes=(*allocation.nodes, allocation.nodes[index]))
    with pytest.raises(AllocationError, match=f"node {allocation.nodes[index].node}.* two entries"):
        twice.check_against(sites)


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"activation_counted": True}), (0, {"activation_elements": 1}), (1, {"macs": 1}),
        (1, {"weight_elements": 21}), (1, {"weight_elements": 0}), (1, {"input": None}), (2, {"activation_elements": 0}),
        (3, {"weight_counted": False}), (4, {"macs": 0}), (4, {"other_input": None}),
    ],
)  # fmt: skip
def test_counts_of_another_model_are_refused(index: int, change: dict[str, object]) -> None:
    allocation, sites = with_product()
    nodes = list(allocation.nodes)
    nodes[index] = dataclasses.replace(nodes[index], **change)
    with pytest.raises(AllocationError, match=f"node {nodes[index].node}.*{next(iter(change))} is"):
        dataclasses.replace(allocation, nodes=tuple(nodes)).check_against(sites)
