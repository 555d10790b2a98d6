"""What an allocation costs by parts, measured here, and what follows for a decoder of 7 billion parameters, on paper.

Time, memory and traffic on 1, 8 and 64 devices; docs/scale.md shows what this prints. The parts are measured on one core: what
is counted is CPU time, so that others on the machine do not matter. A device on paper computes DEVICE_GMACS times a billion
multiply-accumulates a second (a GPU in float32: assumed, not measured here) where one core does what was measured, and has
HOST_CORES of these cores beside it for what numpy does. Two CPU minutes:

    python benchmarks/scale_model.py
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import logging
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import frozen_mirror
from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.training import learning
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_loop import training_step
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.registries import OBSERVERS
from mpq_onnx.rounding.adaptive import ADAPTIVE
from mpq_onnx.rounding.layer import Layer, Moments
from mpq_onnx.rounding.layerwise import MOST_SAMPLES
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration
from mpq_onnx.runtime.session import Runner

GIGA = 1e9
DEVICE_GMACS, HOST_CORES = 25_000.0, 16
"""Assumed of a device: 50 TFLOP/s in float32; 16 cores."""
DEVICES = (1, 8, 64)
WIDTH, INNER, TOKENS, BLOCKS = 1024, 2048, 32, 2
"""Of the network that the parts are measured on: feed-forward layers."""
EXAMPLES = 16
CHOICES = tuple(range(2, 9))
PARTS = Path(__file__).resolve().parent / "output" / "scale_model"


@dataclass(frozen=True)
class Decoder:
    """A decoder of gated feed-forward layers and attention, as Llama 7B is."""

    width: int = 4096
    inner: int = 11008
    layers: int = 32
    heads: int = 32
    vocabulary: int = 32000
    tokens: int = 2048
    """Of an example."""
    examples: int = 32
    """For costs and for rounding, as few as --effort normal takes of a network so large."""
    calibrated: int = 128
    chosen_by: int = 32
    steps: int = 32
    batch: int = 16
    candidates: int = 2

    @property
    def products(self) -> list[tuple[int, int]]:
        """(taps, output channels) of every product with a weight."""
        block = [(self.width, self.width)] * 4 + [(self.width, self.inner)] * 2 + [(self.inner, self.width)]
        return block * self.layers + [(self.width, self.vocabulary)]

    @property
    def weights(self) -> float:
        return float(sum(taps * channels for taps, channels in self.products))

    @property
    def gmacs(self) -> float:
        """Of an example: products with weights, and both of attention."""
        attention = 2 * self.tokens**2 * self.width * self.layers
        return (self.weights * self.tokens + attention) / GIGA

    @property
    def activations(self) -> float:
        """Quantized elements of an example; scores and their softmax are most of them."""
        by_token = 8 * self.width + 4 * self.inner
        scores = 2 * self.heads * self.tokens
        return float(self.layers * self.tokens * (by_token + scores) + self.tokens * self.vocabulary)

    @property
    def kept(self) -> float:
        """Elements of an example that wait at a layer, in both streams: the residual, and what a block has made."""
        return 2.0 * self.tokens * (self.width + 2 * self.inner)


@dataclass
class Measured:
    """Of this machine, one core."""

    seconds: dict[str, float] = field(default_factory=dict)
    bytes_a_weight: dict[str, float] = field(default_factory=dict)
    """Beyond what the process has before, by stage: the most of it."""
    gloo: float = 0.0
    """Bytes a second that two processes of this machine sum."""


def network(path: Path) -> None:
    """Feed-forward layers with residuals, random weights."""
    rng, nodes, tensors, source = np.random.default_rng(0), [], {}, "x0"
    for block in range(BLOCKS):
        for name, shape in (("up", (WIDTH, INNER)), ("down", (INNER, WIDTH))):
            weight = rng.standard_normal(shape, np.float32) / np.sqrt(shape[0])
            tensors[f"{name}{block}"] = weight.astype(np.float32)
        nodes += [
            helper.make_node("MatMul", [source, f"up{block}"], [f"h{block}"], f"up{block}"),
            helper.make_node("Relu", [f"h{block}"], [f"r{block}"], f"relu{block}"),
            helper.make_node("MatMul", [f"r{block}", f"down{block}"], [f"d{block}"], f"down{block}"),
            helper.make_node("Add", [f"d{block}", source], [f"x{block + 1}"], f"add{block}"),
        ]
        source = f"x{block + 1}"
    shape = ["n", TOKENS, WIDTH]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


WEIGHTS = BLOCKS * 2 * WIDTH * INNER
GMACS = WEIGHTS * TOKENS / GIGA


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_times(path: Path, found: dict[str, float]) -> None:
    """Seconds of a core: by GMAC, by element, by weight, by weight and tap, by sample and square of the taps."""
    model = load_float_model(path)
    dataset = model.open_data(f"random?count={EXAMPLES}")
    runner = Runner(model.model, "cpu", threads=1)
    feeds = dataset.read(range(EXAMPLES)).inputs
    runner.run(feeds)
    found["forward, a GMAC"] = cpu(lambda: [runner.run(feeds) for _ in range(4)]) / (4 * EXAMPLES * GMACS)
    values = np.random.default_rng(0).standard_normal((64, 2**15)).astype(np.float32)
    observer = OBSERVERS["mse"]()
    found["observe, 1e9 elements"] = cpu(lambda: observer.update(values)) / values.size * GIGA

    calibration = measure_calibration(model, dataset, CalibrationRules(), "cpu")
    mirror = frozen_mirror(model.model, model.path, torch.device("cpu"))
    problem = WidthProblem(
        mirror=mirror,
        budgets=WidthBudgets(
            find_sites(model.model, calibration.shapes), WidthBudget(4.0, 8.0, CHOICES, CHOICES, "layer")
        ),
        calibration=calibration,
        weight_rules=WeightRules(),
        training=TrainingSettings(batch_size=EXAMPLES),
        data=TrainingData(dataset, mirror, torch.device("cpu")),
        log=logging.getLogger("benchmark"),
    )
    grids = cpu(lambda: [problem.grids(site) for site in problem.sites.free_weights])
    found["grids of 7 widths, 1e9 weights"] = grids / WEIGHTS * GIGA
    found["costs, a GMAC"] = cpu(lambda: measured_costs(problem)) / (EXAMPLES * GMACS)
    learner = problem.learner(problem.uniform())
    optimizer = torch.optim.Adam(learner.parameters, lr=0.01)
    batch = problem.data.batch(range(EXAMPLES))
    step = cpu(lambda: training_step(learning(problem, learner), optimizer, [batch], 0))
    found["training, a GMAC"] = step / (EXAMPLES * GMACS)

    samples = torch.randn(1, 2048, 2 * INNER // 2)
    moment = cpu(lambda: torch.einsum("gsk,gsm->gkm", samples, samples))
    found["second moments, 1e12 samples x taps^2"] = moment / (2048 * INNER**2) * 1e12
    channels = 256
    weight = torch.randn(1, channels, INNER)
    scale, zero, levels = (torch.full((1, channels, 1), each) for each in (0.2, 8.0, 16.0))
    square = torch.einsum("gsk,gsm->gkm", samples, samples) / 2048
    layer, moments = Layer(weight, scale, zero, levels), Moments(square, square)
    rounding = cpu(lambda: ADAPTIVE(layer, moments))
    found["adaptive rounding, 1e12 weights x taps"] = rounding / (channels * INNER**2) * 1e12


@contextmanager
def watched_memory() -> Iterator[dict[str, float]]:
    """The most bytes that the process had in every stage of what runs inside."""
    most: dict[str, float] = {}
    stage, running = "start", True

    class Stages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal stage
            stage = record.getMessage().split(":")[0].split(" /")[0]

    def sample() -> None:
        while running:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            most[stage] = max(most.get(stage, 0.0), float(pages * os.sysconf("SC_PAGE_SIZE")))
            time.sleep(0.01)

    logger, handler = logging.getLogger("mpq_onnx"), Stages()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        running = False
        thread.join()
        logger.removeHandler(handler)


def memory_by_stage(path: Path, queue: multiprocessing.Queue) -> None:
    """In a process of its own: bytes a weight of every stage of an allocation with few activations."""
    with tempfile.TemporaryDirectory() as folder, watched_memory() as most:
        time.sleep(0.1)
        mpq_onnx.allocate(
            path, "random?count=8", folder, weight_bits=4, activation_bits=8,
            options=mpq_onnx.AllocateOptions(effort="quick", device="cpu"), overwrite=True,
        )  # fmt: skip
    start = most.pop("start")
    queue.put({stage: (each - start) / WEIGHTS for stage, each in most.items()})


def sum_over_two(rank: int, port: int, queue: multiprocessing.Queue) -> None:
    """In a process of its own: bytes a second of all_reduce."""
    import torch.distributed as dist

    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    tensor = torch.ones(2**24)
    dist.all_reduce(tensor)
    start, rounds = time.perf_counter(), 4
    for _ in range(rounds):
        dist.all_reduce(tensor)
    if not rank:
        queue.put(rounds * tensor.numel() * 4 / (time.perf_counter() - start))
    dist.barrier()
    dist.destroy_process_group()


def measure() -> Measured:
    found, spawn = Measured(), multiprocessing.get_context("spawn")
    path = PARTS / "decoder.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    network(path)
    measure_times(path, found.seconds)
    queue = spawn.Queue()
    memory = spawn.Process(target=memory_by_stage, args=(path, queue))
    memory.start()
    found.bytes_a_weight = queue.get()
    memory.join()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [spawn.Process(target=sum_over_two, args=(rank, port, queue)) for rank in range(2)]
    for each in pair:
        each.start()
    found.gloo = queue.get()
    for each in pair:
        each.join()
    return found


@dataclass(frozen=True)
class Stage:
    """One stage of the allocation of a decoder."""

    name: str
    device: float
    """Seconds of this machine's core that a device does at DEVICE_GMACS instead."""
    host: float
    """Seconds of such cores that stay so."""
    units: int
    """Into so many pieces the work can be split."""
    traffic: float = 0.0
    """Bytes that each rank sums or gathers."""


def stages(decoder: Decoder, seconds: dict[str, float]) -> list[Stage]:
    gmacs, work = decoder.gmacs, decoder
    forward = seconds["forward, a GMAC"]
    pairs = sum(taps**2 for taps, _ in work.products)
    rows = sum(taps**2 * channels for taps, channels in work.products) / 1e12
    channels = sum(channels for _, channels in work.products)
    logits = 2 * 4.0 * work.chosen_by * work.tokens * work.vocabulary
    rounds = work.candidates
    return [
        Stage(
            "calibration", work.calibrated * gmacs * forward,
            work.calibrated * work.activations / GIGA * seconds["observe, 1e9 elements"], work.calibrated,
            len(work.products) * 4 * 8 * 8193.0,
        ),
        Stage("grids", 0.0, work.weights / GIGA * seconds["grids of 7 widths, 1e9 weights"], len(work.products)),
        Stage(
            "Fisher costs", work.examples * gmacs * seconds["costs, a GMAC"], 0.0, work.examples,
            8.0 * channels * len(CHOICES),
        ),
        Stage(
            "training", work.steps * work.batch * gmacs * seconds["training, a GMAC"], 0.0, work.batch,
            work.steps * 4.0 * len(work.products) * 4,
        ),
        Stage(
            "second moments",
            rounds * (2 * work.examples * gmacs * forward
                      + 2 * MOST_SAMPLES * pairs / 1e12 * seconds["second moments, 1e12 samples x taps^2"]),
            0.0, work.examples, rounds * 2 * 8.0 * pairs,
        ),
        Stage(
            "adaptive rounding", rounds * rows * seconds["adaptive rounding, 1e12 weights x taps"], 0.0, 1,
        ),
        Stage("evaluation", rounds * 2 * work.chosen_by * gmacs * forward, 0.0, work.chosen_by, rounds * logits),
    ]  # fmt: skip


def print_measured(found: Measured) -> None:
    print(tabulate(found.seconds.items(), ["seconds of a core", ""], "github", floatfmt=".3g"), end="\n\n")
    print(tabulate(found.bytes_a_weight.items(), ["bytes a weight, stage", ""], "github", floatfmt=".0f"))
    print(f"\ngloo, two processes of this machine: {found.gloo / GIGA:.2f} GB/s\n")


def print_model(found: Measured, decoder: Decoder) -> None:
    speed = DEVICE_GMACS * found.seconds["forward, a GMAC"]
    print(
        f"{decoder.weights / GIGA:.2f}e9 weights, {decoder.gmacs:,.0f} GMACs and {decoder.activations / GIGA:.1f}e9"
        f" activations an example of {decoder.tokens} tokens; a device as fast as {speed:,.0f} of these cores\n"
    )
    rows, totals = [], dict.fromkeys(DEVICES, 0.0)
    for stage in stages(decoder, found.seconds):
        row: list[object] = [stage.name, f"{stage.device + stage.host:.3g}"]
        for count in DEVICES:
            split = min(count, stage.units)
            sent = 2 * (count - 1) / count * stage.traffic / found.gloo if count > 1 else 0.0
            hours = (stage.device / speed / split + stage.host / HOST_CORES / split + sent) / 3600
            totals[count] += hours
            row.append(f"{hours:.2f}")
        rows.append([*row, f"{stage.traffic / GIGA:.1f}", stage.units])
    rows.append(["all", "", *(f"{totals[count]:.2f}" for count in DEVICES), "", ""])
    headers = ["stage", "core s", *(f"hours on {count}" for count in DEVICES), "GB a rank", "pieces"]
    print(tabulate(rows, headers, "github", disable_numparse=True), end="\n\n")

    weights = max(found.bytes_a_weight.values()) * decoder.weights
    example = 2 * 4 * decoder.activations
    rows = [
        ["weights in all their copies, a process", *[f"{weights / GIGA:,.0f}"] * len(DEVICES)],
        ["one example forward and backward", *[f"{example / GIGA:,.0f}"] * len(DEVICES)],
        [
            "rounding: what waits of all examples",
            *(f"{2 * decoder.kept * -(-decoder.examples // count) / GIGA:,.1f}" for count in DEVICES),
        ],
        ["rounding: moments of one layer", *[f"{2 * 8 * decoder.inner**2 / GIGA:,.1f}"] * len(DEVICES)],
    ]
    headers = ["GB a process", *(f"of {count}" for count in DEVICES)]
    print(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    parts = measure()
    print_measured(parts)
    print_model(parts, Decoder())
