"""The analog side of the command line."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from test_cli import assert_one_line, run_inside

ENERGY = ["--method", "closed-form", "--repeats", "2"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    """Shot noise on the float network, refined, an energy per channel."""
    folder = tmp_path_factory.mktemp("noisy") / "out"
    result = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}", "--noise", "shot", "--energy-per-mac", 4, "--per-channel",
        "--steps", 5, "--repeats", 2, "-o", folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


@pytest.fixture(scope="module")
def noisy_w8a8(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    """Thermal and weight noise on top of W8A8, in one command."""
    folder = tmp_path_factory.mktemp("thermal") / "out"
    result = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}", "--weight-bits", 8, "--activation-bits", 8,
        "--noise", "thermal", "--noise", "weight", "--energy-per-mac", 8, "--rounding-examples", 32, "-o", folder, "--json",
        *ENERGY,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (folder / "stdout.json").write_text(result.stdout)
    return folder


def test_allocate_writes_energies_and_tables_them(noisy: Path) -> None:
    names = {path.name for path in noisy.iterdir()}
    assert names >= {"energy.json", "model.onnx", "result.json", "training.log"}
    assert ".progress" not in names
    document = json.loads((noisy / "energy.json").read_text())
    assert 0.999 * 4 < document["achieved"]["mean_energy_per_mac"] <= 4
    text = (noisy / "stdout.txt").read_text()
    for part in (
        "depthwise",
        "photons",
        "SNR dB",
        "equivalent bits",
        "uniform",
        "aJ",
        "kept:",
    ):
        assert part in text
    assert "closed-form" in text or "refined" in text
    stem = next(node for node in onnx.load(noisy / "model.onnx").graph.node if node.name == "stem")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in stem.attribute}
    assert (stem.domain, stem.op_type) == ("mpq_onnx.noise", "BankShotConv")
    assert attributes["noise"] == [b"shot"] and attributes["energy_unit"] == b"photons"
    assert attributes["fan_in"] == 27 and len(attributes["energy_per_mac"]) == 8


def test_noise_on_a_quantized_network_reads_its_ranges(noisy_w8a8: Path) -> None:
    result = json.loads((noisy_w8a8 / "stdout.json").read_text())
    assert result["chosen"]["allocation"]["unit"] == "relative"
    assert (
        abs(result["noise_check"]["onnxruntime_sqnr"] - result["noise_check"]["mirror_sqnr"]) < 2
    )  # dB; 16 draws of the weights each
    model = onnx.load(noisy_w8a8 / "model.onnx")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    inner = next(node for node in model.graph.node if node.name == "inner")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in inner.attribute}
    assert inner.op_type == "BankThermalWeightConv"
    np.testing.assert_allclose(attributes["weight_range"], constants["inner.weight_scale"] * 255, rtol=1e-6)
    assert attributes["input_range"] == pytest.approx(
        float(constants[inner.input[0].replace("_dequantized", "_scale")]) * 255
    )


def test_stock_onnxruntime_runs_the_files(noisy: Path, noisy_w8a8: Path) -> None:
    for folder in (noisy, noisy_w8a8):
        session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        x = np.zeros((3, 3, 12, 12), np.float32) + 1
        first, second = (session.run(None, {"images": x})[0] for _ in range(2))
        assert first.shape == (3, 6) and not np.array_equal(first, second)


def test_evaluate_repeats_and_replays(noisy: Path, cnn_file: Path, image_file: Path) -> None:
    def evaluate(*more: object) -> dict:
        result = run_inside(
            "evaluate",
            noisy / "model.onnx",
            "--data",
            f"npz:{image_file}",
            "--baseline",
            cnn_file,
            "--json",
            *more,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    first, again, other = (evaluate("--repeats", 3, "--seed", seed) for seed in (1, 1, 2))
    spread = first["evaluation"]["noise"]["top1"]
    assert len(spread["values"]) == 3 and spread["low"] <= spread["mean"] <= spread["high"]
    assert np.mean(spread["values"]) == pytest.approx(first["evaluation"]["metrics"]["top1"]["value"])
    for timed in (first, again, other):
        timed["evaluation"].pop("examples_per_second")
    assert first == again
    assert (
        first["evaluation"]["comparison"]["output_sqnr"] != other["evaluation"]["comparison"]["output_sqnr"]
    )


def test_signal_to_noise_by_node(noisy_w8a8: Path, image_file: Path) -> None:
    result = run_inside(
        "evaluate",
        noisy_w8a8 / "model.onnx",
        "--data",
        f"npz:{image_file}?count=64",
        "--snr",
        "--repeats",
        1,
        "--json",
    )
    assert result.returncode == 0, result.stderr
    nodes = {node["node"]: node for node in json.loads(result.stdout)["ratios"]["nodes"]}
    assert set(nodes) == {"stem", "inner", "depthwise", "fc"}
    # Only the first node sees clean inputs: its own noise is all there is.
    assert nodes["stem"]["snr"] == pytest.approx(nodes["stem"]["cascaded_snr"], abs=0.01)
    assert nodes["fc"]["cascaded_snr"] < nodes["fc"]["snr"]
    assert nodes["stem"]["range_from"] == "quantizer" and 1 < nodes["stem"]["noise_equivalent_bits"] < 12


def test_noise_to_bits_makes_a_file_that_apply_takes(
    noisy_w8a8: Path, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    bits = tmp_path / "allocation.json"
    result = run_inside(
        "convert",
        noisy_w8a8 / "model.onnx",
        "--data",
        f"npz:{image_file}?count=64",
        "--noise-to-bits",
        "-o",
        bits,
    )
    assert result.returncode == 0, result.stderr
    widths = {
        node["node"]: node["activation_bits"]
        for node in json.loads(bits.read_text())["nodes"]
        if node["activation_bits"] is not None
    }
    assert (
        widths["relu0"] < 8 and widths["fc"] < 8 and widths["gap"] == 8
    )  # behind stem; of fc; no noise of its own
    done = run_inside(
        "apply", cnn_file, bits, "--data", f"npz:{image_file}", "--calibration", noisy_w8a8 / "digital/calibration.json",
        "--rounding-examples", 32, "-o", tmp_path / "bits.onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ort.InferenceSession(str(tmp_path / "bits.onnx"), providers=["CPUExecutionProvider"])


def test_noise_to_bits_of_a_float_network(
    noisy: Path, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    bits = tmp_path / "allocation.json"
    data = f"npz:{image_file}?count=64"
    assert (
        run_inside("convert", noisy / "model.onnx", "--data", data, "--noise-to-bits", "-o", bits).returncode
        == 0
    )
    done = run_inside("apply", cnn_file, bits, "--data", data, "-o", tmp_path / "bits.onnx")
    assert done.returncode == 0, done.stderr


def test_apply_honours_edited_energies(noisy: Path, cnn_file: Path, tmp_path: Path) -> None:
    document = json.loads((noisy / "energy.json").read_text())
    document["nodes"][0]["energy_per_mac"] = 123.0
    edited, output = tmp_path / "energy.json", tmp_path / "noisy.onnx"
    edited.write_text(json.dumps(document))
    result = run_inside("apply", cnn_file, edited, "-o", output)
    assert result.returncode == 0, result.stderr
    assert "photons a MAC" in result.stdout and "edited by hand" in result.stdout
    stem = next(node for node in onnx.load(output).graph.node if node.name == "stem")
    assert [list(each.floats) for each in stem.attribute if each.name == "energy_per_mac"] == [[123.0]]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda nodes: nodes[0].update(node="stm"),
            ("has not: node stm (meant is node stem?)", "energies may be edited"),
        ),
        (lambda nodes: nodes.append(dict(nodes[0])), ("node stem has two entries",)),
        (lambda nodes: nodes.pop(), ("no entry for node fc",)),
        (
            lambda nodes: nodes[1].update(energy_per_mac="two"),
            ("(node inner)", '"two" must be a number or a list'),
        ),
    ],
)
def test_edited_entries_that_do_not_fit_are_named(
    change, parts: tuple[str, ...], noisy: Path, cnn_file: Path, tmp_path: Path
) -> None:
    document = json.loads((noisy / "energy.json").read_text())
    change(document["nodes"])
    (tmp_path / "energy.json").write_text(json.dumps(document))
    result = run_inside("apply", cnn_file, tmp_path / "energy.json", "-o", tmp_path / "noisy.onnx")
    assert_one_line(result, 3, *parts)


def test_compat_is_said_on_every_output(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    result = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}", "--noise", "shot", "--energy-per-mac", 4, "--compat",
        "garg2021", "-o", tmp_path / "out", *ENERGY,
    )  # fmt: skip
    assert result.returncode == 0 and "COMPAT garg2021" in result.stdout
    nodes = {node["node"]: node for node in json.loads((tmp_path / "out/energy.json").read_text())["nodes"]}
    assert nodes["depthwise"]["fan_in"] == 9 * 8  # not divided by its 8 groups
    found = run_inside("evaluate", tmp_path / "out/model.onnx", "--data", f"npz:{image_file}", "--repeats", 1)
    assert "COMPAT garg2021" in found.stdout


def test_whole_repeats(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    result = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}", "--noise", "shot", "--energy-per-mac", 4.5,
        "--energy-levels", "repeats", "--per-channel", "--steps", 3, "--repeats", 2, "-o", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "out/energy.json").read_text())
    energies = np.concatenate([np.atleast_1d(node["energy_per_mac"]) for node in document["nodes"]])
    assert (energies >= 1).all() and (energies == np.round(energies)).all()
    assert document["achieved"]["mean_energy_per_mac"] <= 4.5


@pytest.mark.slow
def test_search_finds_the_smallest_energy_and_goes_on(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    command = (
        "search", cnn_file, "--data", f"npz:{image_file}", "--test", f"npz:{image_file}", "--noise", "shot",
        "--min", "top1=0.7", "--from", 0.1, "--to", 200, "--tolerance", 0.3, "-o", tmp_path, "--json", *ENERGY,
    )  # fmt: skip
    first = run_inside(*command)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    missed = [probe["budget"] for probe in result["probes"] if not probe["reached"]]
    assert max(missed) < result["best"]["budget"] <= 1.3 * max(missed)
    assert result["best"]["metrics"]["top1"] >= 0.7
    assert Path(result["model_path"]).is_file()
    probes = {path: path.stat().st_mtime_ns for path in (tmp_path / "probes").rglob("probe.json")}
    assert json.loads(run_inside(*command).stdout) == result
    assert probes == {path: path.stat().st_mtime_ns for path in (tmp_path / "probes").rglob("probe.json")}
    assert_one_line(run_inside(*command, "--seed", 3), 2, "another search")
    same = run_inside("search", cnn_file, "--config", tmp_path / "config.yaml", "-o", tmp_path, "--json")
    assert json.loads(same.stdout) == result


def test_search_for_energies_quantizes_first(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    """Thermal noise needs ranges, which the widths bring; every option of the digital allocation can be given."""
    command = (
        "search", cnn_file, "--data", f"npz:{image_file}", "--test", f"npz:{image_file}", "--noise", "thermal",
        "--min", "top1=0.5", "--from", 100, "--to", 1000, "--tolerance", 0.9, "-o", tmp_path, "--json", "--method", "uniform",
        "--weight-bits", 6, "--activation-bits", 8, "--rounding", "nearest", "--granularity", "channel", "--repeats", 2,
    )  # fmt: skip
    first = run_inside(*command)
    assert first.returncode == 0, first.stderr
    digital = json.loads((tmp_path / "digital/allocation.json").read_text())
    assert digital["settings"]["granularity"] == "channel" and digital["settings"]["rounding"] == "nearest"
    written = (tmp_path / "digital/model.onnx").stat().st_mtime_ns
    assert run_inside(*command).stdout == first.stdout
    assert (tmp_path / "digital/model.onnx").stat().st_mtime_ns == written


def test_search_for_bits(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    """What the probes have in common is measured once, and kept with the request, like an allocation's."""
    command = (
        "search", cnn_file, "--data", f"npz:{image_file}", "--test", f"npz:{image_file}", "--min", "top1=0.5",
        "--tolerance", 0.5, "--method", "uniform", "--activation-bits", 8, "--observer", "minmax", "--rounding", "nearest",
    )  # fmt: skip
    result = run_inside(*command, "-o", tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["best"]["metrics"]["top1"] >= 0.5
    calibrations = {path.read_text() for path in tmp_path.rglob("calibration.json")}
    assert len(calibrations) == 1 and json.loads(calibrations.pop())["observer"] == "minmax"
    same = run_inside("search", cnn_file, "--config", tmp_path / "config.yaml", "-o", tmp_path, "--json")
    assert same.stdout == result.stdout
    assert_one_line(run_inside(*command, "--weight-bits", 4, "-o", tmp_path / "no"), 2, "--from")


@pytest.mark.parametrize(
    ("noise", "ends"),
    [
        pytest.param(("--rounding", "nearest"), (2, 8), marks=pytest.mark.slow),
        (("--noise", "shot", "--repeats", 2), (1, 1000)),
    ],
)
def test_search_for_what_may_be_lost(
    noise: tuple[object, ...], ends: tuple[float, float], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    """Against the float model's own figure on the test data, which nobody has to know."""
    command = (
        "search", cnn_file, "--data", f"npz:{image_file}?count=64", "--test", f"npz:{image_file}", "--max-drop", "top1=0.05",
        "--from", ends[0], "--to", ends[1], "--tolerance", 0.9, "--method", "uniform", *noise,
    )  # fmt: skip
    done = run_inside(*command, "-o", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["best"]
    probe = json.loads((tmp_path / "probes" / f"{best['budget']:.6g}" / "probe.json").read_text())
    assert best["metrics"]["top1"] >= probe["baseline"]["top1"] - 0.05
    assert (
        probe["baseline"]["top1"]
        == json.loads(run_inside("evaluate", cnn_file, "--data", f"npz:{image_file}", "--json").stdout)[
            "evaluation"
        ]["metrics"]["top1"]["value"]
    )
    same = run_inside("search", cnn_file, "--config", tmp_path / "config.yaml", "-o", tmp_path, "--json")
    assert same.stdout == done.stdout
    for wrong in ("top1=5", "log_loss=0.1", "sqnr=3"):
        refused = run_inside(*command[:6], "--max-drop", wrong, "-o", tmp_path / "no")
        assert_one_line(refused, 2, "--max-drop")


def test_impossible_requests_exit_with_one_line(
    noisy: Path, cnn_file: Path, image_file: Path, encoder_file: Path, tmp_path: Path
) -> None:
    data = ("--data", f"npz:{image_file}", "-o", tmp_path / "out")
    shot = ("--noise", "shot")
    assert_one_line(run_inside("allocate", cnn_file, *data, *shot), 2, "--energy-per-mac")
    assert_one_line(
        run_inside("allocate", cnn_file, *data, "--weight-bits", 4, "--per-channel"), 2, "--noise"
    )
    packed = ("--weight-bits", 8, "--activation-bits", 8, "--storage", "packed")
    assert_one_line(
        run_inside("allocate", cnn_file, *data, *packed, *shot, "--energy-per-mac", 1), 2, "packed"
    )
    assert_one_line(
        run_inside("allocate", cnn_file, *data, *shot, "--energy-per-mac", 0), 2, "cannot be reached"
    )
    assert_one_line(
        run_inside("allocate", cnn_file, *data, "--noise", "pink", "--energy-per-mac", 1),
        2,
        "pink",
        "thermal",
    )
    assert_one_line(
        run_inside("allocate", cnn_file, *data, *shot, "--energy-per-mac", 0.5, "--energy-levels", "repeats"),
        2,
        "smallest is 1",
    )
    assert_one_line(
        run_inside("allocate", cnn_file, *data, "--noise", "thermal", "--energy-per-mac", 1),
        3,
        "stem",
        "--weight-bits 8",
    )
    assert_one_line(
        run_inside("allocate", noisy / "model.onnx", *data, *shot, "--energy-per-mac", 1), 2, "noisy already"
    )
    assert_one_line(run_inside("evaluate", cnn_file, *data[:2], "--repeats", 2), 2, "no noise")
    assert_one_line(
        run_inside("apply", encoder_file, noisy / "energy.json", "-o", tmp_path / "x.onnx"),
        3,
        "another model",
    )
    assert_one_line(
        run_inside("convert", cnn_file, *data[:2], "--noise-to-bits", "-o", tmp_path / "x.json"),
        2,
        "no noise",
    )
    assert not (tmp_path / "out").exists()
    missed = run_inside(
        "search", cnn_file, *data, "--test", data[1], *shot, "--min", "top1=0.99", "--to", 1, *ENERGY
    )
    assert missed.returncode == 1 and "goal not reached" in missed.stderr
