"""The command line, in processes of its own where that is the point: the main job, and what bad input is answered with."""

import contextlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_cnn, make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.cli import main
from mpq_onnx.runtime.session import cuda_present
from mpq_onnx.zoo.torch_module import settle_batch_norms

COMMAND = [sys.executable, "-m", "mpq_onnx"]
FAST = ["--steps", "4", "--rounding-examples", "64"]


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False, **options
    )


def run_inside(*arguments: object) -> subprocess.CompletedProcess:
    """The same in this process, without the seconds that a new one takes to import torch."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main([*map(str, arguments)])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def without_stages(errors: str) -> str:
    """What stands on stderr beside the lines that name stages."""
    return "".join(
        line for line in errors.splitlines(keepends=True) if not re.match(r"\d\d:\d\d:\d\d \S", line)
    )


def assert_one_line(result: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    """One line on stderr, stages left out, that has all `parts`, nothing on stdout, the exit code."""
    assert result.returncode == code, result.stderr
    said = without_stages(result.stderr)
    assert len(said.strip().splitlines()) == 1, result.stderr
    for part in parts:
        assert part in said
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    path = tmp_path_factory.mktemp("cli") / "float.onnx"
    result = run("export", cnn_file, "-o", path)
    assert result.returncode == 0, result.stderr
    assert "largest difference from the source" in result.stdout
    return path


@pytest.fixture(scope="module")
def allocated(tmp_path_factory: pytest.TempPathFactory, exported: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("allocated") / "out"
    result = run_inside(
        "allocate", exported, "--data", f"npz:{image_file}", "--weight-bits", 3, "--activation-bits", 5.5,
        "-o", folder, "--keep-candidates", *FAST,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (folder / "stdout.txt").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder


def test_allocate_writes_everything_and_tables_it(allocated: Path) -> None:
    names = {path.name for path in allocated.iterdir()}
    assert names >= {
        "allocation.json",
        "model.onnx",
        "calibration.json",
        "training.log",
        "result.json",
        "candidates",
    }
    assert ".progress" not in names
    document = json.loads((allocated / "allocation.json").read_text())
    assert document["achieved"]["weight_bits"] <= 3
    assert document["achieved"]["activation_bits"] <= 5.5
    text = (allocated / "stdout.txt").read_text()
    for part in (
        "stem",
        "depthwise",
        "SQNR dB",
        "uniform",
        "kept:",
        "rounding adaptive",
    ):
        assert part in text
    assert "water-filling" in text or "refined" in text
    assert "bytes" in text and "stored as int8" in text
    log = (allocated / "training.log").read_text()
    assert "weight bits" in log and "step 4" in log
    onnx.checker.check_model(str(allocated / "model.onnx"), full_check=True)


def test_stages_are_named_on_stderr_where_it_is_no_terminal(allocated: Path) -> None:
    lines = (allocated / "stderr.txt").read_text().splitlines()
    stages = [line.partition(" ")[2] for line in lines]
    wanted = (
        "read ", "calibrate: 3 batches", "candidate uniform", "round weights: 4 layers", "evaluate: 1 batch",
        "costs of widths", "learn widths: 4 steps", "compare: 1 batch", "check: 3 sessions",
    )  # fmt: skip
    places = [next(i for i, stage in enumerate(stages) if stage.startswith(name)) for name in wanted]
    assert places[:2] == sorted(places[:2]) and places[-3:] == sorted(places[-3:])
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)


def test_evaluate_reports_everything_as_json(allocated: Path, exported: Path, image_file: Path) -> None:
    result = run(
        "evaluate", allocated / "model.onnx", "--data", f"npz:{image_file}", "--baseline", exported, "--json",
        "--min", "top1=0.5", "--min", "agreement=0.5",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "evaluate: 3 batches" in result.stderr
    document = json.loads(result.stdout)
    evaluation = document["evaluation"]
    assert evaluation["examples"] == 192
    top1, comparison = evaluation["metrics"]["top1"], evaluation["comparison"]
    assert top1["low"] <= top1["value"] <= top1["high"]
    assert comparison["metrics"]["top1"]["value"] == pytest.approx(1 - 20 / 192)  # every tenth label is wrong
    assert comparison["top1_difference"]["value"] == pytest.approx(
        top1["value"] - comparison["metrics"]["top1"]["value"]
    )
    assert 0.5 < comparison["agreement"]["value"] <= 1
    assert comparison["output_sqnr"] > 5
    assert evaluation["examples_per_second"] > 0
    assert document["bytes"] == (allocated / "model.onnx").stat().st_size
    assert document["allocation"]["mean_weight_bits"] <= 3
    assert document["allocation"]["bit_operations"] > 0


def test_without_labels_the_baseline_is_the_target(allocated: Path, exported: Path) -> None:
    result = run_inside(
        "evaluate", allocated / "model.onnx", "--data", "random?count=40", "--baseline", exported, "--json"
    )
    evaluation = json.loads(result.stdout)["evaluation"]
    assert evaluation["labels"] == "baseline"
    assert evaluation["metrics"]["top1"] == evaluation["comparison"]["agreement"]


def test_a_missed_gate_exits_with_1(exported: Path, image_file: Path) -> None:
    result = run_inside("evaluate", exported, "--data", f"npz:{image_file}", "--min", "top1=0.999")
    assert_one_line_gate = [line for line in result.stderr.splitlines() if "gate failed" in line]
    assert result.returncode == 1
    assert len(assert_one_line_gate) == 1 and "top1" in assert_one_line_gate[0]


def test_evaluate_and_compare_do_not_load_torch(allocated: Path, exported: Path, image_file: Path) -> None:
    code = (
        "import sys\nfrom mpq_onnx.cli import cli\n"
        f"cli.main(['evaluate', {str(exported)!r}, '--data', {f'npz:{image_file}?count=8'!r}], standalone_mode=False)\n"
        f"cli.main(['compare', {str(exported)!r}, {str(allocated / 'model.onnx')!r}, '--data',"
        f" {f'npz:{image_file}?count=8'!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_compare_tables_every_node(allocated: Path, exported: Path, image_file: Path) -> None:
    result = run_inside(
        "compare", exported, allocated / "model.onnx", "--data", f"npz:{image_file}?count=16", "--json"
    )
    nodes = json.loads(result.stdout)["nodes"]
    assert nodes[0]["node"] == "stem"
    assert all(node["sqnr"] == "inf" or node["sqnr"] > 0 for node in nodes)


def test_compare_shows_the_worst_tensors_unless_asked_for_all(encoder_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    mpq_onnx.export(encoder_file, path)
    arguments = ("compare", path, path, "--data", "random?count=4")
    tensors = len(json.loads(run_inside(*arguments, "--json").stdout)["nodes"])
    shown, everything = run_inside(*arguments).stdout, run_inside(*arguments, "--all").stdout
    assert f"the 20 worst of {tensors}; {tensors - 20} more have" in shown
    assert len(everything.splitlines()) == tensors + 2 == len(shown.splitlines()) + tensors - 22


def test_columns_that_nothing_is_in_are_left_out(exported: Path, image_file: Path) -> None:
    alone = run_inside("evaluate", exported, "--data", f"npz:{image_file}?count=8").stdout
    beside = run_inside(
        "evaluate", exported, "--data", f"npz:{image_file}?count=8", "--baseline", exported
    ).stdout
    for heading in ("difference", "agreement %", "SQNR dB"):
        assert heading in beside and heading not in alone


def test_evaluate_tells_widths_from_the_types_that_hold_them(
    allocated: Path, image_file: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", allocated / "model.onnx", "--data", f"npz:{image_file}?count=8")
    document = json.loads(run_inside(*arguments, "--json").stdout)
    for name in ("mean_weight_bits", "mean_activation_bits"):
        assert document["widths"][name] == document["allocation"][name] < 8
        assert document["stored"][name] == 8
    shown = run_inside(*arguments).stdout
    assert "weights stored in 8 bits; activations stored in 8 bits" in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda nodes: nodes.append(dict(nodes[-1])),
        lambda nodes: nodes[-1].update(macs=nodes[-1]["macs"] + 1),
        lambda nodes: nodes[-1].update(activation_elements=nodes[-1]["activation_elements"] + 1),
    ],
)
def test_apply_refuses_entries_that_are_not_the_models(
    change, allocated: Path, exported: Path, image_file: Path, tmp_path: Path
) -> None:
    document = json.loads((allocated / "allocation.json").read_text())
    change(document["nodes"])
    (tmp_path / "allocation.json").write_text(json.dumps(document))
    result = run_inside(
        "apply", exported, tmp_path / "allocation.json", "-o", tmp_path / "m.onnx", "--data", f"npz:{image_file}",
        "--calibration", allocated / "calibration.json",
    )  # fmt: skip
    assert_one_line(result, 3, document["nodes"][-1]["node"])
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("changed", [True, False])
def test_what_the_optimizer_changes_is_a_note(
    changed: bool,
    allocated: Path,
    exported: Path,
    image_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpq_onnx.runs import allocating, applying_on_mirror
    from mpq_onnx.runs.mirror_check import MirrorCheck

    check = MirrorCheck(8, 50.0, 50.0, 1.0, 20.0, 40.0, changed)
    for workflow in (allocating, applying_on_mirror):
        monkeypatch.setattr(workflow, "check_against_mirror", lambda *arguments: check)
    data = ("--data", f"npz:{image_file}")
    found = run_inside("allocate", exported, *data, "--weight-bits", 4, "-o", tmp_path / "out", *FAST)
    assert found.stdout.count("NOTE: onnxruntime's optimizer changes this file") == changed
    notes = json.loads((tmp_path / "out" / "result.json").read_text())["notes"]
    assert sum("optimizer changes this file: 20.0 dB" in note for note in notes) == changed
    arguments = ("apply", exported, allocated / "allocation.json", *data, "-o", tmp_path / "m.onnx")
    assert run_inside(*arguments).stdout.count("optimizer changes this file") == changed
    document = json.loads(run_inside(*arguments, "--json").stdout)
    assert sum("optimizer" in note for note in document["notes"]) == changed


def test_apply_reproduces_the_model_and_honours_edits(
    allocated: Path, exported: Path, image_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "allocation.json"
    document = json.loads((allocated / "allocation.json").read_text())
    for node in document["nodes"]:
        if node["node"] == "inner":
            node["weight_bits"] = 8
    copy.write_text(json.dumps(document))
    output = tmp_path / "edited.onnx"
    result = run_inside(
        "apply", exported, copy, "-o", output, "--data", f"npz:{image_file}",
        "--calibration", allocated / "calibration.json", "--storage", "packed",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    stored = {tensor.name: tensor for tensor in onnx.load(output).graph.initializer}
    assert (
        stored["inner.weight_quantized"].data_type == TensorProto.INT8
    )  # scheme int8: see arithmetic/saturation.py
    evaluated = run_inside("evaluate", output, "--data", f"npz:{image_file}", "--json")
    found = json.loads(evaluated.stdout)["allocation"]
    assert found["mean_weight_bits"] > 3 and found["method"] == "edited"
    assert "edited by hand" in result.stdout
    assert "edited by hand" in (tmp_path / "edited.card.md").read_text()
    assert "edited by hand" not in (allocated / "card.md").read_text()


def test_apply_without_data_needs_nearest_rounding(allocated: Path, exported: Path, tmp_path: Path) -> None:
    document = json.loads((allocated / "allocation.json").read_text())
    copy = tmp_path / "allocation.json"
    copy.write_text(json.dumps(document))
    arguments = (
        "apply",
        exported,
        copy,
        "-o",
        tmp_path / "m.onnx",
        "--calibration",
        allocated / "calibration.json",
    )
    both = '"rounding" to "nearest" and "bias_correction" to false'
    assert_one_line(run_inside(*arguments), 2, "--data", both, "bias correction measures")
    document["settings"].update(rounding="nearest")
    copy.write_text(json.dumps(document))
    alone = run_inside(*arguments)
    assert_one_line(alone, 2, "--data", 'set "bias_correction" to false')
    assert "rounding" not in alone.stderr
    document["settings"].update(bias_correction=False)
    copy.write_text(json.dumps(document))
    assert run_inside(*arguments).returncode == 0
    assert (tmp_path / "m.onnx").is_file()


def test_same_seed_gives_the_same_files(
    allocated: Path, exported: Path, image_file: Path, tmp_path: Path
) -> None:
    result = run_inside(
        "allocate", exported, "--data", f"npz:{image_file}", "--weight-bits", 3, "--activation-bits", 5.5,
        "-o", tmp_path, "--json", *FAST,
    )  # fmt: skip
    assert json.loads(result.stdout)["folder"] == str(tmp_path)
    assert (
        without_stages(result.stderr) == "" and "\r" not in result.stderr
    )  # not a terminal: no progress bars
    for name in ("allocation.json", "model.onnx"):
        assert (tmp_path / name).read_bytes() == (allocated / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--weight-bits", "1.5"], ["--weight-bits 1.5", "smallest", "2"]),
        (["--activation-bits", "1"], ["--activation-bits 1", "smallest"]),
        (["--weight-bits", "3", "--bit-choices", "4,8"], ["smallest", "4"]),
        ([], ["--weight-bits", "--activation-bits"]),
        (["--weight-bits", "4", "--method", "magic"], ["magic", "water-filling"]),
        (["--weight-bits", "4", "--observer", "crystal"], ["crystal", "percentile"]),
        (["--weight-bits", "4", "--rounding", "up"], ["up", "adaptive"]),
        (["--weight-bits", "4", "--storage", "floppy"], ["floppy", "packed"]),
        (["--weight-bits", "4", "--bit-choices", "2,99"], ["99"]),
        (["--weight-bits", "4", "--device", "tpu"], ["tpu"]),
        (
            [
                "--activation-bits",
                "4",
                "--activation-scheme",
                "symmetric-unsigned",
                "--activation-ranges",
                "dynamic",
            ],
            ["symmetric-unsigned", "static"],
        ),
    ],
)
def test_impossible_requests_exit_with_2_before_any_work(
    arguments: list[str], parts: list[str], exported: Path, tmp_path: Path
) -> None:
    # The data does not even exist: the request is refused before anyone looks for it.
    result = run_inside("allocate", exported, "--data", "npz:absent.npz", "-o", tmp_path / "out", *arguments)
    assert_one_line(result, 2, *parts)
    assert not (tmp_path / "out").exists()


def test_an_unsupported_op_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chance.onnx"
    nodes = [helper.make_node("Bernoulli", ["x"], ["y"], "coins")]
    onnx.save(make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 3])], [("y", ["n", 3, 3])], {}), path)
    result = run_inside("allocate", path, "--data", "random", "--weight-bits", 4, "-o", tmp_path / "out")
    assert_one_line(result, 3, "Bernoulli", "coins", "chance.onnx")


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    content = make_cnn().SerializeToString()
    path.write_bytes(content[: len(content) // 2])
    for command in (
        ["export", path, "-o", tmp_path / "x.onnx"],
        ["evaluate", path, "--data", "random"],
        ["allocate", path, "--data", "random", "--weight-bits", 4, "-o", tmp_path / "out"],
    ):
        assert_one_line(run_inside(*command), 3, "half.onnx")


def test_a_wrong_data_shape_is_refused(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    np.savez(path, images=np.zeros((8, 3, 12, 13), np.float32))
    assert_one_line(
        run_inside("evaluate", exported, "--data", f"npz:{path}"), 3, "(3, 12, 13)", "(3, 12, 12)"
    )


def test_nan_in_data_is_refused(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.npz"
    images = np.zeros((8, 3, 12, 12), np.float32)
    images[5, 1, 2, 3] = np.nan
    np.savez(path, images=images)
    out = tmp_path / "out"
    assert_one_line(run_inside("evaluate", exported, "--data", f"npz:{path}"), 3, "NaN", "example 5")
    result = run_inside("allocate", exported, "--data", f"npz:{path}", "--weight-bits", 4, "-o", out)
    assert_one_line(result, 3, "NaN")
    assert not out.exists()


def test_an_allocation_of_another_model_is_refused(allocated: Path, image_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(make_cnn(seed=7), other)
    output = tmp_path / "kept.onnx"
    output.write_text("what stood here before")
    result = run_inside(
        "apply", other, allocated / "allocation.json", "-o", output, "--data", f"npz:{image_file}"
    )
    assert_one_line(result, 3, "another model", "allocation.json")
    assert output.read_text() == "what stood here before"


def test_a_baseline_of_another_network_is_refused(exported: Path, encoder_file: Path) -> None:
    result = run_inside("evaluate", exported, "--data", "random", "--baseline", encoder_file)
    assert_one_line(result, 3, "tokens", "images")


@pytest.mark.skipif(cuda_present(), reason="this machine has a CUDA device")
def test_cuda_without_a_cuda_device_is_refused(exported: Path, tmp_path: Path) -> None:
    arguments = ("--data", "random", "--device", "cuda")
    assert_one_line(run_inside("evaluate", exported, *arguments), 2, "no CUDA device")
    result = run_inside("allocate", exported, *arguments, "--weight-bits", 4, "-o", tmp_path / "out")
    assert_one_line(result, 2, "no CUDA device")


def test_transformers_without_labels_activations_only(encoder_file: Path, tmp_path: Path) -> None:
    result = run_inside(
        "allocate", encoder_file, "--data", "random?count=40", "--activation-bits", 6.5, "-o", tmp_path, *FAST
    )
    assert result.returncode == 0, result.stderr
    assert "labels: the float model's" in result.stdout and "float" in result.stdout
    allocation = json.loads((tmp_path / "allocation.json").read_text())
    assert all(node["weight_bits"] is None for node in allocation["nodes"])
    assert allocation["achieved"]["activation_bits"] <= 6.5


def test_a_missing_option_is_a_usage_error(exported: Path) -> None:
    assert_one_line(run_inside("evaluate", exported), 2, "--data", "evaluate --help")
    assert_one_line(run("frobnicate"), 2, "frobnicate")
    assert_one_line(
        run_inside("evaluate", exported, "--data", "random", "--min", "beauty=1"), 2, "beauty", "top1"
    )
    assert_one_line(
        run_inside("evaluate", exported, "--data", "random", "--min", "top1=0.9"), 2, "not measured"
    )


def _small_disk() -> None:
    """No file of this process may pass 10 kB, which is what a full disk looks like to it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def test_a_full_disk_leaves_what_was_there(cnn_file: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.onnx"
    model = make_cnn()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((100, 80), np.float32), "table"))
    nodes = [helper.make_node("MatMul", ["x", "table"], ["y"], "wide")]
    onnx.save(
        make_model(
            nodes,
            [("x", TensorProto.FLOAT, ["n", 100])],
            [("y", ["n", 80])],
            {"table": np.ones((100, 80), np.float32)},
        ),
        big,
    )
    output = tmp_path / "kept.onnx"
    output.write_text("what stood here before")
    result = run("export", big, "-o", output, preexec_fn=_small_disk)
    assert_one_line(result, 3, "cannot write", "kept.onnx")
    assert output.read_text() == "what stood here before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.onnx", "kept.onnx"]


def test_ctrl_c_leaves_what_was_there_and_resume_ends_the_same(
    exported: Path, image_file: Path, tmp_path: Path
) -> None:
    def arguments(folder: Path) -> list[str]:
        return [
            "allocate", str(exported), "--data", f"npz:{image_file}", "--weight-bits", "3", "--activation-bits", "5",
            "-o", str(folder), "--steps", "100", "--rounding", "nearest", "--overwrite",
        ]  # fmt: skip

    folder, whole = tmp_path / "interrupted", tmp_path / "whole"
    folder.mkdir()
    (folder / "allocation.json").write_text("what stood here before")
    process = subprocess.Popen(
        [*COMMAND, *arguments(folder)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
        # A shell's background jobs ignore SIGINT, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoint = folder / ".progress" / "checkpoint.pt"
    deadline = time.monotonic() + 200
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert checkpoint.exists()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    said = without_stages(stderr)
    assert len(said.strip().splitlines()) == 1 and "interrupted" in said and "--resume goes on" in said
    assert (folder / "allocation.json").read_text() == "what stood here before"
    assert not (folder / "model.onnx").exists()

    other = run_inside(*arguments(folder), "--seed", 5, "--resume")
    assert_one_line(other, 2, "--resume", "another request")
    assert run_inside(*arguments(folder), "--resume").returncode == 0
    assert run_inside(*arguments(whole)).returncode == 0
    assert (folder / "allocation.json").read_bytes() == (whole / "allocation.json").read_bytes()
    assert (folder / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()


def test_python_factories_and_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # which export puts the folder at the head of
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(
        "import torch\ndef make():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),"
        " torch.nn.Flatten(), torch.nn.Linear(144, 5)), (torch.zeros(2, 3, 8, 8),)\n"
    )
    options = "layout=nhwc&mean=0.5&std=0.25"
    result = run_inside("export", "python:my_model:make", "-o", "m.onnx", "--preprocess", options, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["largest_difference"] < 1e-4
    model = onnx.load(tmp_path / "m.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["mpq_onnx.preprocessing"] == options
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert all(node.name for node in model.graph.node)


@pytest.mark.slow
def test_torchvision_models_by_name(tmp_path: Path) -> None:
    import torch
    import torchvision

    path = tmp_path / "resnet.onnx"
    result = run_inside("export", "torchvision:resnet18", "-o", path, "--seed", 3, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["largest_difference"] <= 1e-3 * max(1, document["largest_output"])
    assert "crop=224" in document["metadata"]["mpq_onnx.preprocessing"]

    torch.manual_seed(3)
    state = tmp_path / "state.pt"
    module = torchvision.models.get_model("resnet18", weights=None)
    settle_batch_norms(module, 3, 224, 224)
    torch.save(module.state_dict(), state)
    again = tmp_path / "again.onnx"
    result = run_inside("export", "torchvision:resnet18", "-o", again, "--weights", state)
    assert result.returncode == 0, result.stderr
    ours = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for tensor in onnx.load(again).graph.initializer:
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(tensor), ours[tensor.name], rtol=1e-4, atol=1e-5
        )

    assert_one_line(run_inside("export", "torchvision:nosuch", "-o", path), 3, "nosuch")
    assert_one_line(
        run_inside("export", "torchvision:mobilenet_v2", "-o", path, "--weights", state),
        3,
        "state dict",
        "state.pt",
    )
