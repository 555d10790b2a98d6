"""What test_ranks.py has two processes do: `python ranks_work.py PARTS FOLDER PORT`."""

import json
import logging
import os
import signal
import sys
from pathlib import Path

import mpq_onnx
from mpq_onnx.cli import main
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.rounding import reconstruction

BITS = {
    "weight_bits": 3, "activation_bits": 4,
    "options": mpq_onnx.AllocateOptions(steps=6, observer="ema-percentile"),
}  # fmt: skip
QUANTIZED = {
    "energy_per_mac": 20, "weight_bits": 4, "activation_bits": 6,
    "options": mpq_onnx.EnergyOptions(("thermal",), repeats=1, method="closed-form"),
    "digital": mpq_onnx.AllocateOptions(effort="quick"),
}  # fmt: skip
BLOCKS = {
    "weight_bits": 3, "activation_bits": 8,
    "options": mpq_onnx.AllocateOptions(steps=6, rounding="block", granularity="channel"),
}  # fmt: skip
LEARNED = {
    "energy_per_mac": 20,
    "options": mpq_onnx.EnergyOptions(("shot",), granularity="channel", steps=20, method="gradient"),
}
STEPS, LAST_STAGE = 60, "compare what training found with the costs"
"""Of the run that is not finished: one checkpoint, and then the end."""


def few(folder: Path, results: Path, ranks: Ranks = ALONE) -> None:
    """Widths, and energies of a network that is quantized first."""
    cnn, images = folder / "cnn.onnx", f"npz:{folder / 'images.npz'}"
    mpq_onnx.allocate(cnn, images, results / "bits", **BITS, ranks=ranks)
    mpq_onnx.allocate_energy(cnn, images, results / "quantized", **QUANTIZED, ranks=ranks)


def more(folder: Path, results: Path, ranks: Ranks = ALONE) -> None:
    """What takes longer: a transformer, rounding by blocks, learned energies."""
    reconstruction.STEPS = 20
    cnn, images = folder / "cnn.onnx", f"npz:{folder / 'images.npz'}"
    mpq_onnx.allocate(folder / "encoder.onnx", "random?count=64", results / "encoder", **BITS, ranks=ranks)
    mpq_onnx.allocate(cnn, images, results / "blocks", **BLOCKS, ranks=ranks)
    mpq_onnx.allocate_energy(cnn, images, results / "learned", **LEARNED, ranks=ranks)


def refusal(folder: Path, data: str, ranks: Ranks) -> str:
    """What an allocation on `data` ends with."""
    try:
        mpq_onnx.allocate(folder / "cnn.onnx", data, folder / "refused", **BITS, ranks=ranks)
    except mpq_onnx.MpqOnnxError as error:
        return str(error)
    return "nothing"


class Murder(logging.Handler):
    """The second process goes when the first has come to LAST_STAGE."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == LAST_STAGE:
            os.kill(int((self.folder / "victim").read_text()), signal.SIGKILL)


def unfinished(folder: Path) -> list[str]:
    """The command line of what is not finished."""
    return [
        "allocate", str(folder / "cnn.onnx"), "--data", f"npz:{folder / 'images.npz'}", "-o", str(folder / "lost"),
        "--weight-bits", "3", "--steps", str(STEPS),
    ]  # fmt: skip


def lose(folder: Path) -> None:
    """The command, which one of two processes leaves before its end."""
    if os.environ["RANK"] == "0":
        logging.getLogger("mpq_onnx").addHandler(Murder(folder))
    else:
        (folder / "victim").write_text(str(os.getpid()))
    main(unfinished(folder))


def work(parts: str, folder: Path, port: str) -> None:
    """Allocations that two processes are to make, some that they are to refuse, one that they cannot finish."""
    with mpq_onnx.joined_ranks() as ranks:
        if parts == "more":
            more(folder, folder / "two", ranks)
            return
        few(folder, folder / "two", ranks)
        os.chdir(folder / f"only-{ranks.rank}")
        said = {
            "other data": refusal(folder, "npz:images.npz", ranks),
            "few": refusal(folder, f"npz:{folder / 'images.npz'}?count=4", ranks),
        }
        (folder / f"said-{ranks.rank}.json").write_text(json.dumps(said))
    os.environ["MASTER_PORT"] = port
    lose(folder)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
