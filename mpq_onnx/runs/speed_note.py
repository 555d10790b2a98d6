"""Whether a written file runs as fast as the float model in onnxruntime on this machine."""

from mpq_onnx.datasets import Dataset
from mpq_onnx.runtime import timing
from mpq_onnx.runtime.session import Runner

UNCERTAIN = 0.05
"""Share of a time by which two measurements of one file may differ."""


def speed_notes(exact: Runner, written: Runner, dataset: Dataset) -> tuple[str, ...]:
    """A line where the file is slower; nothing where it is as fast.

    Args:
        exact: the float model.
        written: the quantized file.
        dataset: its first example is run.
    """
    float_time, own_time = timing.interleaved_milliseconds((exact, written), dataset.read([0]).inputs)
    if own_time <= float_time * (1 + UNCERTAIN):
        return ()
    return (
        f"the file runs slower than float in onnxruntime on this machine: {own_time:.3g} ms an example, float {float_time:.3g}"
        " (docs/onnxruntime.md says what its integer kernels take)",
    )
