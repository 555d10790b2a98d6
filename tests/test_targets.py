"""Targets: what each line of a file changes, and what is refused, with the line that forbids it."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.documents.allocation import Settings, make_allocation
from mpq_onnx.errors import MpqOnnxError, TargetError, UsageError
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.placement import Sites, find_sites
from mpq_onnx.registries import ENERGY_LEVELS, NOISE_MODELS
from mpq_onnx.runs.options import AllocateOptions, asked_budgets
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.requests import request_text
from mpq_onnx.runs.target_rules import rules_for, rules_of
from mpq_onnx.runtime.tensors import tensor_shapes
from mpq_onnx.targets.cost_table import load_cost_table
from mpq_onnx.targets.description import FLOAT_WIDTH, Analog, Rule, Target, TargetOptions, WeightFormat
from mpq_onnx.targets.loading import load_target, parse_target, shipped_texts
from mpq_onnx.targets.requirements import Requirements

HEAD = "format: mpq-onnx/target\nversion: 1\nname: mine\n"
SIX = 6
FAST = ("--rounding", "nearest", "--method", "uniform", "--no-bias-correction")


@pytest.fixture(scope="module")
def model(cnn_file: Path) -> tuple:
    """The CNN (stem, inner, depthwise, fc) and the shapes of its tensors."""
    loaded = load_float_model(cnn_file)
    return loaded.model, tensor_shapes(loaded.model, loaded.open_data("random?count=1"), "cpu")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_text(HEAD + text)
        return path

    return written


def sites_under(model: tuple, text: str, tmp_path: Path, **options: object) -> tuple[Sites, Target]:
    """The sites that an allocation of W and A under this target gets."""
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + text)
    asked = AllocateOptions(target=str(path), **options)  # type: ignore[arg-type]
    graph, shapes = model
    rules = rules_for(graph, asked)
    sites = find_sites(
        graph, shapes, asked.placement, asked.embedding_bits, asked.first_last, None, asked.overrides,
        rules.restriction,
    )  # fmt: skip
    return sites, load_target(str(path))


def weights(sites: Sites) -> dict[str, object]:
    """Choices by node; the fixed width, 0 for float, where there are none; None for those of all others."""
    return {site.node: site.fixed_bits if site.choices is None else site.choices for site in sites.weights}


def activations(sites: Sites) -> dict[str, object]:
    return {
        site.node: site.fixed_bits if site.choices is None else site.choices for site in sites.activations
    }


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("- weights: [4, 8]", {"stem": (4, 8), "fc": (4, 8)}),
        ("- {operators: Gemm, weights: 8}", {"stem": None, "fc": (8.0,)}),
        ("- {operators: [Gemm, Conv], weights: {bits: [3, 8]}}", {"stem": (3, 8), "inner": (3, 8), "fc": (3, 8)}),
        ("- {names: 'in*', weights: 5}", {"stem": None, "inner": (5.0,)}),
        ("- {depthwise: true, weights: 6}", {"inner": None, "depthwise": (6.0,)}),
        ("- {operators: Conv, depthwise: false, weights: 6}", {"inner": (6.0,), "depthwise": None}),
        ("- {place: first, weights: 7}", {"stem": (7.0,), "fc": None}),
        ("- {place: [first, last], weights: 7}", {"stem": (7.0,), "inner": None, "fc": (7.0,)}),
        ("- {operators: Gemm, weights: float}", {"fc": 0}),
        ("- {operators: Gemm, weights: [float, 8]}", {"fc": (8.0,)}),
        ("- {operators: Gemm, weights: 16}", {"fc": (16.0,)}),  # though no choice of all others
        ("- {operators: Conv, weights: 4}\n- {names: stem, weights: 8}", {"stem": (8.0,), "inner": (4.0,)}),  # the last
        ("- {names: stem, weights: 8}\n- {operators: Conv, inputs: 8}", {"stem": (8.0,)}),  # that says something of it
    ],
)  # fmt: skip
def test_a_line_on_weights(model: tuple, rule: str, wanted: dict, tmp_path: Path) -> None:
    found = weights(sites_under(model, f"rules:\n{rule}\n", tmp_path)[0])
    assert {node: found[node] for node in wanted} == wanted


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("- {operators: GlobalAveragePool, outputs: 16}", {"gap": (16.0,), "relu1": None}),
        ("- {operators: GlobalAveragePool, outputs: float}", {"gap": "none", "relu1": None}),
        (
            "- {operators: Conv, outputs: 6}",
            {"relu0": (6.0,), "relu2": (6.0,), "gap": None},
        ),  # behind the Relu
        ("- {names: inner, inputs: 4}", {"relu0": (4.0,), "relu1": None}),
        ("- {names: depthwise, inputs: 4}", {"relu1": (4.0,)}),  # through the pool, a view
        ("- {operators: Input, outputs: 6}", {"images": 6}),  # stays outside the budget
        ("- {names: stem, inputs: [4, 16]}", {"images": 16}),  # the next above 8
        (
            "- {operators: GlobalAveragePool, inputs: [4, 8]}\n- {names: relu2, outputs: [2, 4]}",
            {"relu2": (4.0,)},
        ),
    ],
)
def test_a_line_on_activations(model: tuple, rule: str, wanted: dict, tmp_path: Path) -> None:
    sites, _ = sites_under(model, f"rules:\n{rule}\n", tmp_path)
    found = activations(sites)
    assert {node: found.get(node, "none") for node in wanted} == wanted


def test_lines_on_schemes_and_scales(model: tuple, tmp_path: Path) -> None:
    rule = "rules:\n- {depthwise: true, weights: {scheme: symmetric}}\n"
    rule += "- {operators: Gemm, weights: {scales: [group, tensor]}}\n"
    sites, _ = sites_under(model, rule, tmp_path)
    found = {site.node: (site.scheme, site.scales) for site in sites.weights}
    assert found == {
        "stem": (None, None), "inner": (None, None), "depthwise": ("symmetric", None), "fc": (None, "tensor")
    }  # fmt: skip
    sites, _ = sites_under(model, rule, tmp_path, weight_scheme="symmetric", weight_scales="tensor")
    assert {(site.scheme, site.scales) for site in sites.weights} == {(None, None)}
    with pytest.raises(UsageError, match=r"mine.yaml, line 5: weights scales group .* leaves no scales"):
        sites_under(model, "rules:\n- {weights: {scales: group}}\n", tmp_path)


def test_pairs_take_out_what_goes_with_nothing(model: tuple, tmp_path: Path) -> None:
    text = "rules:\n- weights: [4, 8, 16]\n  inputs: [8, 16]\n  outputs: [8, 16]\n"
    text += "- {names: inner, inputs: 16}\n- pairs: [W4A8, W8A8, W16A16]\n"
    sites, target = sites_under(model, text, tmp_path)
    assert weights(sites)["inner"] == (16.0,) and weights(sites)["depthwise"] == (4, 8, 16)
    assert activations(sites)["relu0"] == (16.0,)
    required = Requirements(target, model[0])
    assert required.allowed_pairs("inner") == {(4, 8), (8, 8), (16, 16)}
    with pytest.raises(
        UsageError,
        match=r"node inner: .*line 9: pairs W4A8, W8A8, W16A16 leaves nothing: its weight may have 4 bits",
    ):
        sites_under(model, text, tmp_path, override=("inner:weights=4",))
    sites, target = sites_under(
        model, "rules:\n- {names: inner, pairs: [WfloatA8]}\n- {names: inner, weights: float}\n", tmp_path
    )
    assert Requirements(target, model[0]).allowed_pairs("inner") == {(FLOAT_WIDTH, 8.0)}
    assert Requirements(target, model[0]).allowed_pairs("stem") is None


def test_a_result_that_breaks_a_pair_is_found(model: tuple, tmp_path: Path) -> None:
    graph, _ = model
    text = "rules:\n- {weights: [4, 8], pairs: [W4A8, W8A4]}\n"
    sites, target = sites_under(model, text, tmp_path)
    settings = Settings("uniform", "layer", "all", "mse", "mse", "nearest", False, 0)
    four = {site.tensor: 4.0 for site in sites.activations}
    made = make_allocation(
        fingerprint(graph),
        settings,
        sites,
        {site.tensor: 4.0 for site in sites.weights},
        four,
        {"weight_bits": 4},
    )
    with pytest.raises(
        MpqOnnxError, match=r"W4A4 at nodes inner, depthwise, fc \(.*line 5: pairs W4A8, W8A4\)"
    ):
        rules_of(graph, made, target).check(sites, made, "here")
    eight = make_allocation(
        fingerprint(graph),
        settings,
        sites,
        {site.tensor: 8.0 for site in sites.weights},
        four,
        {"weight_bits": 8},
    )
    assert "images" not in rules_of(graph, eight, target).faults(
        sites, eight
    )  # W8A8 at the stem, whose input is fixed
    assert "W8A8 at node stem" in rules_of(graph, eight, target).faults(sites, eight)


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("options: {placement: gemm}", "placement", "gemm"),
        ("options: {placement: [gemm, all]}", "placement", "all"),  # the default, as it is allowed
        ("options: {activation-scheme: symmetric}", "activation_scheme", "symmetric"),
        ("options: {activation-ranges: dynamic}", "activation_ranges", "dynamic"),
        ("options: {granularity: channel}", "granularity", "channel"),
        ("options: {equalization: none}", "equalization", "none"),
        ("options: {first-last: 8}", "first_last", "8"),
        ("options: {embedding-bits: 4}", "embedding_bits", 4),
        ("options: {bias: float}", "bias", "float"),
        ("options: {storage: packed}", "storage", "packed"),
        ("rules: [{weights: [4, 8]}]", "bit_choices", (4.0, 8.0)),
        ("rules: [{weights: [4, 8]}, {operators: Gemm, weights: 16}]", "bit_choices", (4.0, 8.0, 16.0)),
        ("rules: [{weights: [4, 8]}]", "activation_bit_choices", None),
        ("rules: [{inputs: 8, outputs: [8, 16]}]", "activation_bit_choices", (8.0, 16.0)),
        ("rules: [{weights: {scheme: [symmetric]}}]", "weight_scheme", "symmetric"),
        ("rules: [{weights: {scales: [group, tensor]}}]", "weight_scales", "tensor"),
        ("rules: [{operators: Conv, weights: {scheme: [symmetric]}}]", "weight_scheme", "int8"),
    ],
)
def test_a_line_on_an_option(text: str, option: str, value: object, write: Callable[[str], Path]) -> None:
    assert getattr(AllocateOptions(target=str(write(text))), option) == value


def test_lines_on_noise(write: Callable[[str], Path]) -> None:
    path = str(write("analog: {noise: [shot, thermal], energy-levels: repeats, granularity: channel}"))
    options = mpq_onnx.EnergyOptions(target=path)
    assert options.noise == ("shot", "thermal")
    assert (options.energy_levels, options.granularity) == ("repeats", "channel")
    with pytest.raises(UsageError, match="line 4: noise shot, thermal"):
        mpq_onnx.EnergyOptions(("weight",), target=path)
    assert mpq_onnx.EnergyOptions(("shot",), target=path).noise == ("shot",)


def test_without_budgets_a_target_gets_its_widest(write: Callable[[str], Path]) -> None:
    options = AllocateOptions(target=str(write("rules: [{weights: [4, 8], inputs: 8, outputs: [8, 16]}]")))
    assert asked_budgets(None, None, options) == (8.0, 16.0)
    assert asked_budgets(4.0, None, options) == (4.0, None)
    assert asked_budgets(None, None, AllocateOptions()) == (None, None)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("options: {bias: float}", ["--bias", "int32"], "--bias int32: target mine does not take that: "),
        ("options: {storage: packed}", ["--storage", "int8"], "line 4: storage packed"),
        ("rules:\n- weights: [4, 8]", ["--bit-choices", "4,5"], "--bit-choices 4, 5: target mine does not take that"),
        ("rules:\n- weights:\n    scheme: symmetric", ["--weight-scheme", "asymmetric"], "line 6: weights scheme symmetric"),
        ("rules:\n- inputs: 8", ["--activation-bit-choices", "4,8"], "line 5: inputs bits 8"),
        ("analog: {noise: []}", ["--noise", "shot", "--energy-per-mac", "3"], "line 4: noise none"),
        ("rules:\n- weights: 8", ["--weight-bits", "4"], "--weight-bits 4: cannot be reached"),
        ("rules:\n- weights: 8", ["--override", "inner:weights=6"], "6 bits, given for the weight of node inner"),
        ("rules:\n- weights: 8", ["--exclude", "inner"], "line 5: weights bits 8 (node inner)"),
        ("rules:\n- weights: 8\n  inputs: 8", ["--weight-bits", "8"], "float, what is left for the output of node images"),
        ("rules:\n- {names: inner, outputs: 4}\n- {names: add, inputs: 8}", [], "leave no width that all of them take"),
        ("rules:\n- {names: gap, outputs: float}", ["--override", "gap:activations=8"], "line 5: outputs bits float"),
    ],
)  # fmt: skip
def test_what_a_target_forbids_is_refused_with_its_line(
    text: str,
    arguments: list[str],
    said: str,
    write: Callable[[str], Path],
    cnn_file: Path,
    image_file: Path,
    tmp_path: Path,
) -> None:
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=16", "-o", tmp_path / "out", "--target", write(text), *FAST,
        *arguments,
    )  # fmt: skip
    assert_one_line(done, 2, said)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def allocated(cnn_file: Path, image_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNN at W5A6, made for no target."""
    folder = tmp_path_factory.mktemp("allocated")
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", folder, "--weight-bits", 5, "--activation-bits",
        6, *FAST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n- {operators: Gemm, weights: [4, 8]}", "a weight of 5 bits at node fc (", ),
        ("rules:\n- weights: {scheme: symmetric}", "line 5: weights scheme symmetric"),
        ("rules:\n- weights: {scales: tensor}", "a scale a channel of its weight at nodes stem, inner, depthwise, fc"),
        ("rules:\n- {names: inner, inputs: 8}", "an input of 6 bits at node inner ("),
        ("rules:\n- {operators: GlobalAveragePool, outputs: [8, 16]}", "an output of 6 bits at node gap ("),
        ("rules:\n- {place: last, pairs: W8A8}", "W5A6 at node fc (",),
        ("options: {activation-scheme: symmetric}", "an output whose scheme is "),
        ("hand-off: tensorrt", "--to json: target mine does not read that: "),
    ],
)  # fmt: skip
def test_a_forbidden_file_is_refused_by_hand_off(
    text: str, said: str, write: Callable[[str], Path], allocated: Path, tmp_path: Path
) -> None:
    done = run_inside("handoff", allocated, "--to", "json", "-o", tmp_path / "out", "--target", write(text))
    assert_one_line(done, 2, said, "mine.yaml, line ")
    assert not (tmp_path / "out").exists()


def test_float_is_refused_by_hand_off_where_the_device_has_none(
    write: Callable[[str], Path], cnn_file: Path, tmp_path: Path
) -> None:
    path = write("hand-off: json\nrules:\n- {operators: Conv, weights: 8, inputs: 8}\n")
    done = run_inside("handoff", cnn_file, "-o", tmp_path / "out", "--target", path)
    assert_one_line(
        done, 2, "a weight of float at nodes stem, inner, depthwise", "an input of float at nodes stem"
    )


@pytest.mark.parametrize("name", ["tensorrt-int8-int4", "finn", "npu-int4-int8-int16"])
def test_a_target_alone_makes_a_right_file(
    name: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    """From the name alone to a file that its own hand-off takes, without being told which."""
    done = run_inside(
        "allocate",
        cnn_file,
        "--data",
        f"npz:{image_file}?count=32",
        "-o",
        tmp_path / "made",
        "--target",
        name,
        *FAST,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "made" / "allocation.json").read_text())
    assert document["settings"]["target"]["name"] == name
    assert document["settings"]["target"]["sha256"] == load_target(name).digest
    card = json.loads((tmp_path / "made" / "card.json").read_text())
    assert card["method"]["target"].startswith(name)
    handed = run_inside("handoff", tmp_path / "made" / "model.onnx", "-o", tmp_path / "handed", "--json")
    assert handed.returncode == 0, handed.stderr
    result = json.loads(handed.stdout)
    assert (result["target"], result["device"]) == (load_target(name).hand_off[0], name)


def test_one_weight_has_a_scheme_of_its_own(
    write: Callable[[str], Path], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    """The depthwise one, in the file, in the document, on the card, and in the file that apply writes."""
    path = write("rules:\n- {depthwise: true, weights: {scheme: symmetric}}\n")
    made, data = tmp_path / "made", f"npz:{image_file}?count=32"
    budgets = ("--weight-bits", SIX, "--activation-bits", 8, "--bit-choices", SIX)
    arguments = ("--data", data, "--validation", data, "-o", made, "--target", path, *budgets, *FAST)
    done = run_inside("allocate", cnn_file, *arguments)
    assert done.returncode == 0, done.stderr
    assert lie_around_zero(made / "model.onnx") == {
        "stem": False,
        "inner": False,
        "depthwise": True,
        "fc": False,
    }
    entries = {entry["node"]: entry for entry in json.loads((made / "allocation.json").read_text())["nodes"]}
    assert entries["depthwise"]["weight_scheme"] == "symmetric" and "weight_scheme" not in entries["stem"]
    assert json.loads((made / "card.json").read_text())["weights"]["scheme"] == "3 int8, 1 symmetric"
    path.unlink()  # the allocation holds what it said
    again = tmp_path / "again.onnx"
    applied = run_inside("apply", cnn_file, made / "allocation.json", "-o", again, "--data", data)
    assert applied.returncode == 0, applied.stderr
    for one, other in zip(*(stored_weights(each) for each in (again, made / "model.onnx")), strict=True):
        np.testing.assert_array_equal(one, other)
    entries["depthwise"]["weight_scheme"] = "asymmetric"
    edited = json.loads((made / "allocation.json").read_text())
    edited["nodes"] = list(entries.values())
    (made / "edited.json").write_text(json.dumps(edited))
    refused = run_inside("apply", cnn_file, made / "edited.json", "-o", again, "--data", data)
    assert_one_line(
        refused, 3, "scheme is asymmetric at node depthwise (target mine, line 5: weights scheme symmetric)"
    )
    other = write("options: {storage: packed}\nrules: [{weights: 4}]", "other.yaml")
    refused = run_inside(
        "apply", cnn_file, made / "allocation.json", "-o", again, "--data", data, "--target", other
    )
    assert_one_line(
        refused, 3, f"a weight of {SIX} bits at nodes stem, inner, depthwise, fc (", "other.yaml, line 5"
    )


def stored_weights(path: Path) -> list[np.ndarray]:
    return [
        numpy_helper.to_array(each)
        for each in onnx.load(path).graph.initializer
        if each.name.endswith("_quantized")
    ]


def lie_around_zero(path: Path) -> dict[str, bool]:
    """By node that multiplies by a weight of SIX bits: zero is in the middle of its levels."""

    def steps(integers: np.ndarray, zero_points: np.ndarray) -> float:
        zeros = (
            zero_points.reshape((-1,) + (1,) * (integers.ndim - 1)) if zero_points.size > 1 else zero_points
        )
        return float(np.abs(integers.astype(float) - zeros).max())

    proto = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    producers = {name: node for node in proto.graph.node for name in node.output}
    return {
        node.name: steps(*(constants[name] for name in producers[node.input[1]].input[::2])) <= 2**SIX / 2
        for node in proto.graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def test_requests_hold_what_a_target_says_not_its_name(write: Callable[[str], Path]) -> None:
    one, same = (write("rules: [{weights: 8}]", name) for name in ("one.yaml", "same.yaml"))
    texts = [request_text({}, AllocateOptions(target=str(path))) for path in (one, same)]
    assert texts[0] == texts[1]
    one.write_text(one.read_text().replace("8}", "[4, 8]}"))
    assert request_text({}, AllocateOptions(target=str(one))) != texts[1]


def test_a_sweep_runs_over_targets(
    write: Callable[[str], Path], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    path = str(write("rules: [{operators: Gemm, weights: 8}]"))
    configuration = {
        "data": f"npz:{image_file}?count=32", "weight_bits": 4, "rounding": "nearest", "method": "uniform",
        "bias_correction": False, "target": ["generic", path],
    }  # fmt: skip
    swept = mpq_onnx.sweep(cnn_file, configuration, tmp_path / "sweep")
    assert swept.failed == 0
    found = [
        mpq_onnx.load_allocation(tmp_path / "sweep" / "runs" / row["run"] / "allocation.json")
        for row in swept.rows
    ]
    assert [next(node.weight_bits for node in each.nodes if node.node == "fc") for each in found] == [4, 8]
    Path(path).write_text(HEAD + "rules: [{operators: Gemm, weights: 6}]")
    with pytest.raises(UsageError, match="another sweep"):
        mpq_onnx.sweep(cnn_file, configuration, tmp_path / "sweep")
    with pytest.raises(UsageError, match="target nothing: choose one of"):
        mpq_onnx.sweep(cnn_file, {**configuration, "target": "nothing"}, tmp_path / "other")


def test_noise_of_a_target_alone(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", tmp_path / "out", "--target", "analog-photonic",
        "--energy-per-mac", 50, "--method", "uniform",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = mpq_onnx.load_energy_allocation(tmp_path / "out" / "energy.json")
    assert document.settings.noise == ("shot",) and document.settings.target.name == "analog-photonic"
    refused = run_inside("handoff", tmp_path / "out" / "model.onnx", "-o", tmp_path / "h", "--target", "finn")
    assert_one_line(refused, 2, "shot noise at nodes stem, inner, depthwise, fc (finn.yaml, line ")


def test_the_shipped_ones_are_listed_and_shown() -> None:
    listed = run_inside("targets")
    assert listed.returncode == 0 and all(name in listed.stdout for name in shipped_texts())
    assert json.loads(run_inside("targets", "--json").stdout).keys() == shipped_texts().keys()
    shown = run_inside("targets", "npu-int4-int8-int16")
    assert "depthwise" in shown.stdout and "W16A16" in shown.stdout and "16 bits" in shown.stdout
    document = json.loads(run_inside("targets", "finn", "--json").stdout)
    assert document["name"] == "finn" and document["hand_off"] == ["qonnx"]
    for name, target in mpq_onnx.shipped_targets().items():
        assert target.name == name and target.about
        assert mpq_onnx.Target.from_json(target.document(), name).rules == target.rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{weights: 99}]", "line 4: at rules/0/weights/bits/0: "),
        ("rules:\n- operators: Conv\n  wieghts: 8", "line 6: at rules/0: unknown wieghts; known are operators, names"),
        ("rules:\n- weights:\n    scheme: lopsided", "line 6: at rules/0/weights/scheme/0"),
        ("rules:\n- operators: Conv", "line 5: a rule must say something of weights, inputs, outputs or pairs"),
        ("rules:\n- pairs: [W4A8, 4x8]", "line 5: 4x8: write widths that go together as W4A8"),
        ("rules:\n- pairs: W40A8", "line 5: W40A8: write widths"),
        ("rules:\n- inputs: 0", "line 5: inputs have 1 bit or more"),
        ("rules:\n- &all {weights: 8}\n- *all", "line 6: aliases (*all) are not taken"),
        ("name: other", "line 4: name stands twice in one table"),
        ("rules: [}", "line 4: not YAML"),
        ("rules: 2026-01-01", 'line 4: at rules: "2026-01-01" must be a list'),
        ("rules: [{weights: .nan}]", "line 4: at rules/0/weights/bits/0"),
        ("analog: {noise: gamma}", 'line 4: at analog/noise/0: "gamma": choose one of'),
        ("options: {colour: red}", "line 4: at options: unknown colour"),
        ("? [a]\n: b", "line 4: a name must be a text"),
        ("rules: " + "[" * 3000, "line 4: lists in lists, more than 20 deep"),
        ("version: [", "line "),
    ],
)  # fmt: skip
def test_files_that_are_no_targets(text: str, said: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(HEAD + text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.yaml").write_text("")
    for name in ("bytes.yaml", "empty.yaml", "missing.yaml"):
        assert_one_line(run_inside("targets", tmp_path / name), 3, name)
    assert_one_line(run_inside("targets", "finnn"), 2, "target finnn: choose one of analog-photonic, ")
    assert_one_line(run_inside("targets", tmp_path), 2, "choose one of")


def test_names_in_a_target_are_those_that_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NOISE_MODELS, "mine", next(iter(NOISE_MODELS.values())))
    monkeypatch.setitem(ENERGY_LEVELS, "steps", next(iter(ENERGY_LEVELS.values())))
    found = parse_target(HEAD + "analog: {noise: mine, energy-levels: steps}", "mine.yaml")
    assert found.analog.noise == ("mine",) and found.analog.energy_levels == ("steps",)


def test_the_examples_of_the_page_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "targets.md").read_text()
    (target,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = parse_target(target, "mine.yaml")
    assert [said.values for _, said in found.all_said("weights", "bits")] == [
        (4, 8),
        (8,),
        (FLOAT_WIDTH,),
        (8,),
    ]
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "costs.csv").write_text(table)
    costs = load_cost_table(tmp_path / "costs.csv")
    assert costs.amount("energy_uj", "conv1", 6, 8) == pytest.approx((0.91 + 1.60) / 2)
    assert [name for name in shipped_texts() if f"| `{name}`" not in page] == []
    named = {
        each.name for part in (Target, Rule, TargetOptions, Analog, WeightFormat) for each in fields(part)
    }
    spelled = {name.replace("_", "-") for name in named - {"path", "text", "lines", "about"}}
    assert [
        name
        for name in spelled
        if f"`{name}`" not in page and f"`{name}:" not in page and f"{name}:" not in page
    ] == []


def test_what_is_probably_a_slip_is_said(tmp_path: Path) -> None:
    path = tmp_path / "slips.yaml"
    path.write_text(
        "format: mpq-onnx/target\nversion: 1\nname: slips\nrules:\n  - operators: [Convv]\n    weights: [4, 8]\n"
        "    pairs: [W3A8]\nhand-off: jsn\n"
    )
    done = run_inside("targets", path)
    assert done.returncode == 0
    for said in (
        "line 5: ONNX has no operator Convv",
        "no rule gives weights the bits of W3A8",
        "there is no form jsn",
    ):
        assert said in done.stdout
    path.write_text(
        "format: mpq-onnx/target\nversion: 1\nname: x\nrules:\n  - weights:\n      bits: 4\n      sheme: symmetric\n"
    )
    assert_one_line(run_inside("targets", path), 3, "line 7", "unknown sheme")


def test_noise_on_a_float_network_that_a_target_takes_none_of(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "integers.yaml"
    path.write_text(
        "format: mpq-onnx/target\nversion: 1\nname: integers\nrules:\n  - weights: 8\n    inputs: 8\n"
    )
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "--target", path, "--noise", "shot",
        "--energy-per-mac", 10, "-o", tmp_path / "out",
    )  # fmt: skip
    assert_one_line(done, 2, "takes no float weights", "line 5", "--weight-bits")
