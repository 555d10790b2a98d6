"""Uniform at the same budget, and what is kept: never worse than uniform, whatever a method proposes."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.arithmetic.quantization import fake_quantize, levels_of
from mpq_onnx.documents.calibration import TensorCalibration
from mpq_onnx.errors import UsageError
from mpq_onnx.precision.energies import EnergyProblem
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.registries import ENERGY_LEVELS, METHODS
from mpq_onnx.runs.keeping import best_of
from mpq_onnx.runs.sweep_plan import runs_of
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.tally import Comparison

FAST = ("--rounding", "nearest", "--steps", "2", "--rounding-examples", "32")


def allocate(model: Path, data: str, folder: Path, *arguments: object) -> dict:
    """The command's JSON."""
    done = run_inside("allocate", model, "--data", data, "-o", folder, "--json", *FAST, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def weight_levels(path: Path) -> dict[str, int]:
    """Most distinct integers of one channel of each weight of a file, by the node that reads it; onnx alone reads it."""
    proto = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    producers = {name: node for node in proto.graph.node for name in node.output}
    found = {}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            integers = constants[producers[node.input[1]].input[0]]
            rows = integers.reshape(len(integers), -1).astype(np.int64)
            found[node.name] = int((rows.max(axis=1) - rows.min(axis=1)).max()) + 1
    return found


def no_worse(result: dict, than: dict) -> bool:
    """Not further from the float model; the SQNR no less, or no less than half where classes are chosen."""
    kept, other = result["chosen"], than
    comparisons = [each["evaluation"]["comparison"] for each in (kept, other)]
    sqnr, limit = (float(each["output_sqnr"]) for each in comparisons)
    slack = 3.02 if comparisons[0]["agreement"] else 0.0
    return kept["distance"] <= max(other["distance"], 1e-6) and sqnr >= limit - slack


def test_a_fractional_budget_has_two_uniform_rows(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    result = allocate(
        cnn_file, f"npz:{image_file}", tmp_path, "--weight-bits", 2.5, "--activation-bits", 5.3,
        "--method", "water-filling", "--keep-candidates",
    )  # fmt: skip
    uniform, whole = result["uniform"]["allocation"], result["uniform_whole"]["allocation"]
    assert uniform["mean_weight_bits"] == pytest.approx(math.log2(5), rel=1e-12)
    assert uniform["mean_activation_bits"] == pytest.approx(math.log2(39), rel=1e-12)  # 39 < 2^5.3 < 40
    assert (whole["mean_weight_bits"], whole["mean_activation_bits"]) == (2, 5)
    assert [each["name"] for each in result["candidates"]] == ["uniform", "uniform-whole", "water-filling"]
    assert no_worse(result, result["uniform"])
    assert max(weight_levels(tmp_path / "candidates" / "uniform.onnx").values()) == 5
    assert max(weight_levels(tmp_path / "candidates" / "uniform-whole.onnx").values()) == 4
    page = run_inside("report", tmp_path, "-o", tmp_path / "report.html")
    assert page.returncode == 0, page.stderr
    assert "uniform-whole" in (tmp_path / "report.html").read_text()
    card = json.loads((tmp_path / "card.json").read_text())
    assert {"uniform, top1", "uniform whole width, top1"} <= set(card["accuracy"])


@pytest.mark.parametrize("storage", ["int8", "packed"])
def test_fractional_levels_reach_every_file(
    cnn_file: Path, image_file: Path, tmp_path: Path, storage: str
) -> None:
    """5 levels through allocation.json, file, card, evaluate, hand-off and apply."""
    result = allocate(
        cnn_file, f"npz:{image_file}", tmp_path / "run", "--weight-bits", 2.4, "--activation-bits", 8,
        "--method", "uniform", "--storage", storage, "--bit-choices", "2,3,4,8",
        "--no-bias-correction",
    )  # fmt: skip
    kept = result["chosen"]["name"]
    document = json.loads((tmp_path / "run" / "allocation.json").read_text())
    wanted = {"uniform": math.log2(5), "uniform-whole": 2.0}[kept]
    assert document["settings"]["method"] == kept
    widths = {entry["weight_bits"] for entry in document["nodes"] if entry["weight"]}
    assert widths == {wanted}
    achieved = document["achieved"]
    elements = sum(entry["weight_elements"] for entry in document["nodes"])
    assert achieved["weight_bits"] == pytest.approx(wanted, rel=1e-12)
    assert achieved["weight_bytes"] == math.ceil(elements * wanted / 8)
    macs = sum(entry["macs"] for entry in document["nodes"])
    assert achieved["bit_operations"] == pytest.approx(macs * wanted * 8, rel=1e-9)
    check = result["mirror_check"]
    assert min(float(check["optimized_sqnr"]), float(check["unoptimized_sqnr"])) > 40
    model = tmp_path / "run" / "model.onnx"
    again = tmp_path / "again.onnx"
    applied = run_inside(
        "apply", cnn_file, tmp_path / "run" / "allocation.json", "-o", again, "--storage", storage
    )
    assert applied.returncode == 0, applied.stderr
    if storage == "int8":
        assert weight_levels(again) == weight_levels(model)
        assert max(weight_levels(model).values()) == levels_of(wanted)
        handed = run_inside("handoff", model, "-o", tmp_path / "handoff", "--to", "json")
        assert handed.returncode == 0, handed.stderr
    carded = run_inside("card", model, "--json")
    assert carded.returncode == 0, carded.stderr


def test_uniform_under_a_budget_of_the_largest_activation(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    result = allocate(
        cnn_file, f"npz:{image_file}", tmp_path, "--activation-bits", 4.4, "--activation-budget", "max",
        "--method", "gradient",
    )  # fmt: skip
    assert result["uniform"]["allocation"]["mean_activation_bits"] == pytest.approx(math.log2(21), rel=1e-12)
    gradient = next(each for each in result["candidates"] if each["name"] == "gradient")
    # What is left beside the largest map is spent: smaller maps are as wide as its memory allows, not all at its 4 bits.
    assert gradient["allocation"]["mean_activation_bits"] > 4
    assert no_worse(result, result["uniform"])


def far_too_narrow(problem: WidthProblem) -> list:
    """Two bits everywhere, at any budget."""
    twos = problem.each_side(lambda kind, side: np.full(len(side.items.sizes), 2.0))
    return [problem.candidate("water-filling", twos)]


def test_bad_widths_are_not_kept(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "water-filling", far_too_narrow)
    arguments = ("--weight-bits", 6, "--activation-bits", 6, "--method", "water-filling", *FAST)
    done = run_inside("allocate", cnn_file, "--data", f"npz:{image_file}", "-o", tmp_path / "a", *arguments)
    assert done.returncode == 0, done.stderr
    assert "kept: uniform," in done.stdout
    assert "NOTE: uniform is kept: water-filling did no better" in done.stdout
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["loses_to_uniform"] is True and result["chosen"] == result["uniform"]
    document = json.loads((tmp_path / "a" / "allocation.json").read_text())
    assert document["settings"]["method"] == "uniform" and document["achieved"]["weight_bits"] == 6
    found = mpq_onnx.sweep(
        cnn_file,
        {"data": f"npz:{image_file}", "weight_bits": 3.5, "method": "water-filling", "rounding": "nearest"},
        tmp_path / "sweep",
    )
    (row,) = found.rows
    assert row["kept"] in ("uniform", "uniform-whole") and row["loses_to_uniform"]
    assert row["uniform_mean_weight_bits"] == pytest.approx(math.log2(11))
    assert row["uniform_whole_mean_weight_bits"] == 3
    assert row["output_sqnr"] >= row["uniform_validation_output_sqnr"]


def starved(problem: EnergyProblem) -> list:
    """Almost everything for the first node."""
    wanted = np.where(np.arange(len(problem.items.sizes)) == 0, 1.0, 1e-9)
    total = problem.energy_per_mac * problem.items.sizes.sum()
    energies = wanted * total / (wanted * problem.items.sizes).sum()
    return [problem.candidate("closed-form", {"energies": energies})]


def test_bad_energies_are_not_kept(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "closed-form", starved)
    data = f"npz:{image_file}?count=64"
    noise = ("--noise", "shot", "--method", "closed-form", "--repeats", 2)
    done = run_inside(
        "allocate", cnn_file, "--data", data, "--energy-per-mac", 50, "-o", tmp_path / "a", *noise
    )
    assert done.returncode == 0, done.stderr
    assert (
        "kept: uniform;" in done.stdout and "NOTE: uniform is kept: closed-form did no better" in done.stdout
    )
    document = json.loads((tmp_path / "a" / "energy.json").read_text())
    assert document["settings"]["method"] == "uniform"
    assert {entry["energy_per_mac"] for entry in document["nodes"]} == {50.0}
    found = mpq_onnx.search_energy(
        cnn_file, data, data, tmp_path / "search", goals=(mpq_onnx.Goal("top1", 0.0),),
        interval=mpq_onnx.Interval(20, 50, 0.9), options=mpq_onnx.EnergyOptions(("shot",), method="closed-form", repeats=1),
    )  # fmt: skip
    assert found.best is not None
    probe = json.loads(
        (tmp_path / "search" / "probes" / f"{found.best.budget:g}" / "energy.json").read_text()
    )
    assert probe["settings"]["method"] == "uniform"


def test_uniform_repeats_are_whole_and_say_what_is_left(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=64", "--noise", "shot", "--energy-per-mac", 2.5,
        "--energy-levels", "repeats", "--method", "closed-form", "--repeats", 1, "-o", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "uniform spends 2 of the 2.5 repeats" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["uniform"]["allocation"]["mean_energy_per_mac"] == 2
    closed = next(each for each in result["candidates"] if each["name"] == "closed-form")
    assert 2 < closed["allocation"]["mean_energy_per_mac"] <= 2.5


@pytest.mark.parametrize("seed", range(5))
def test_whole_repeats_leave_nothing_that_a_step_could_use(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10_000, 12).astype(float)
    wanted = np.exp(rng.normal(0, 3, 12)) * (rng.random(12) > 0.2)
    total = 3.7 * sizes.sum()
    found = ENERGY_LEVELS["repeats"].fit(wanted, sizes, total)
    spent = (found * sizes).sum()
    assert spent <= total < spent + sizes.min()
    assert (found >= 1).all() and (found == np.round(found)).all()


@dataclasses.dataclass(frozen=True)
class Figures:
    """What best_of looks at."""

    distance: float
    evaluation: Evaluation

    @staticmethod
    def of(distance: float, sqnr: float) -> "Figures":
        return Figures(distance, Evaluation(1, {}, "none", 1.0, Comparison({}, None, None, sqnr, None, ())))


def test_what_is_kept_is_no_worse_than_uniform_in_either_figure() -> None:
    values = [
        Figures.of(*pair)
        for pair in itertools.product((0.1, 0.2, math.nan), (10.0, 20.0, -math.inf, math.nan))
    ]
    for uniform, *others in itertools.permutations(values, 3):
        kept = best_of(uniform, [uniform, *others])
        assert kept in (uniform, *others)
        if kept is uniform:
            continue
        theirs, limit = kept.evaluation.comparison, uniform.evaluation.comparison
        assert theirs is not None and limit is not None
        assert math.isnan(uniform.distance) or kept.distance <= uniform.distance
        assert not theirs.output_sqnr < limit.output_sqnr  # no number stands below all
    better = Figures.of(0.05, 30.0)
    assert best_of(values[0], [values[0], values[1], better]) is better
    # Log-probabilities say nothing below a millionth: there the SQNR decides.
    assert best_of(Figures.of(1e-8, 50.0), [Figures.of(1e-8, 50.0), Figures.of(2e-8, 60.0)]).distance == 2e-8


def test_errors_between_whole_widths_fall_geometrically() -> None:
    """Against the quantizer itself, on values spread evenly over its range."""
    x = np.linspace(-1, 1, 20_001)

    def error(levels: int) -> float:
        scale = 2 / (levels - 1)
        return float(np.mean((fake_quantize(x, scale, round(1 / scale) + 0.0, levels) - x) ** 2))

    errors = tuple(error(2**bits) for bits in range(1, 17))
    measured = TensorCalibration((1,), -1.0, 1.0, ((-1.0, 1.0),) * 16, errors)
    for levels in (11, 13, 23, 45, 91, 181):
        bits = math.log2(levels)
        assert measured.error(bits) == pytest.approx(error(levels), rel=0.12)
        low, high = math.floor(bits), math.ceil(bits)
        assert measured.error(high) < measured.error(bits) < measured.error(low)
        linear = np.interp(bits, [low, high], [measured.error(low), measured.error(high)])
        assert abs(measured.error(bits) - error(levels)) < abs(linear - error(levels))
    assert [measured.error(bits) for bits in range(1, 17)] == list(errors)
    exact = dataclasses.replace(measured, errors=(0.5, 0.0, *[0.0] * 14))
    assert exact.error(3.3) == 0 and 0 <= exact.error(math.log2(3)) <= 0.5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--weight-bits", "20"], ["--weight-bits 20", "16"]),
        (["--activation-bits", "nan"], ["--activation-bits nan"]),
        (["--weight-bits", "inf"], ["--weight-bits inf"]),
        (["--weight-bits", "-1"], ["--weight-bits -1"]),
        (["--weight-bits", "4", "--bit-choices", "4,4,8"], ["--bit-choices", "4 and 4", "once"]),
        (["--weight-bits", "4", "--bit-choices", "2,2.5,2.6"], ["2.5 and 2.6", "6 levels"]),
        (["--weight-bits", "4", "--bit-choices", "nan,4"], ["--bit-choices", "nan"]),
        (["--weight-bits", "4", "--bit-choices", "-2,4"], ["--bit-choices", "-2"]),
        (["--activation-bits", "4", "--activation-bit-choices", "0,4"], ["--activation-bit-choices", "0"]),
        (["--activation-bits", "4", "--bit-choices", "0"], ["--activation-bit-choices"]),
        # 2.5 bits are 6 levels, which are more than 2.5 bits.
        (["--weight-bits", "2.5", "--bit-choices", "2.5,8"], ["cannot be reached", "2.585"]),
    ],
)
def test_widths_that_are_none_are_refused(
    arguments: list[str], parts: list[str], cnn_file: Path, tmp_path: Path
) -> None:
    result = run_inside("allocate", cnn_file, "--data", "npz:absent.npz", "-o", tmp_path / "out", *arguments)
    assert_one_line(result, 2, *parts)
    names = {"--weight-bits": "weight_bits", "--activation-bits": "activation_bits"}
    config: dict = {"data": "npz:absent.npz"}
    for option, text in itertools.batched(arguments, 2) if hasattr(itertools, "batched") else []:
        values = [float(each) for each in text.split(",")]
        name = names.get(option, option.strip("-").replace("-", "_"))
        config[name] = values[0] if option in names else values
    with pytest.raises(UsageError):
        list(runs_of(config if len(config) > 1 else {"data": "npz:absent.npz", "weight_bits": 99}))


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["search", "--min", "top1=0.5", "--to", "20"], ["--to 20", "16"]),
        (["search", "--min", "top1=0.5", "--from", "1"], ["cannot be reached", "is 2"]),
        (["search", "--min", "top1=0.5", "--noise", "shot", "--to", "nan"], ["0 < low < high"]),
        (["search", "--min", "top1=0.5", "--noise", "shot", "--from", "-3"], ["0 < low < high"]),
        (["allocate", "--weight-bits", "4", "--learning-rate", "nan"], ["learning-rate nan", "above 0"]),
        (["allocate", "--weight-bits", "4", "--penalty", "-1"], ["penalty -1", "above 0"]),
        (["allocate", "--noise", "shot", "--energy-per-mac", "nan"], ["--energy-per-mac nan"]),
        (["allocate", "--noise", "shot", "--energy-per-mac", "2", "--weight-bits", "0"], ["--weight-bits 0"]),
        (["allocate", "--noise", "shot", "--energy-per-mac", "2", "--penalty", "inf"], ["penalty inf"]),
    ],
)
def test_budgets_that_are_none_are_refused_before_the_model_is_looked_for(
    command: list[str], parts: list[str], tmp_path: Path
) -> None:
    name, *options = command
    test = ["--test", "npz:absent.npz"] if name == "search" else []
    result = run_inside(
        name, "absent.onnx", "--data", "npz:absent.npz", *test, "-o", tmp_path / "out", *options
    )
    assert_one_line(result, 2, *parts)
    assert not (tmp_path / "out").exists()


def test_python_callers_are_told_the_same() -> None:
    for choices in ((4, 4.0, 8), (True, 4), ("4", 8), (float("nan"),), ()):
        with pytest.raises(UsageError, match="bit-choices"):
            mpq_onnx.AllocateOptions(bit_choices=choices)  # type: ignore[arg-type]


def test_more_budget_than_the_widest_choice_is_said(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    result = allocate(
        cnn_file, f"npz:{image_file}", tmp_path, "--weight-bits", 12, "--method", "water-filling",
        "--weight-scheme", "asymmetric",
    )  # fmt: skip
    assert result["chosen"]["name"] == "uniform" and result["uniform"]["allocation"]["mean_weight_bits"] == 8
    assert any("--weight-bits 12: cannot be spent" in note for note in result["notes"])
    assert not any("found the same widths" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("observer", "reason"),
    [("entropy", "observer entropy finds"), ("percentile", "no tensor's next width fits")],
)
def test_what_is_left_of_a_budget_is_said(
    observer: str, reason: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    options = ("--method", "water-filling", "--rounding", "nearest", "--observer", observer)
    result = allocate(
        cnn_file, f"npz:{image_file}", tmp_path, "--activation-bits", 7.5, *options, "--no-bias-correction"
    )
    (note,) = [each for each in result["notes"] if "unspent" in each]
    left = 7.5 - result["chosen"]["allocation"]["mean_activation_bits"]
    assert note.startswith(f"{left:.2f} of --activation-bits 7.5 are left unspent") and reason in note


def test_what_uniform_finds_too_is_said_where_there_is_a_choice(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    arguments = (cnn_file, f"npz:{image_file}")
    method = ("--method", "water-filling", "--rounding", "nearest")
    least = allocate(*arguments, tmp_path / "least", "--weight-bits", 2, *method)
    assert any("water-filling found the same widths" in note for note in least["notes"])
    most = allocate(*arguments, tmp_path / "most", "--weight-bits", 8, "--activation-bits", 8, *method)
    assert most["chosen"]["name"] == "uniform"
    assert not any("found the same widths" in note for note in most["notes"])
