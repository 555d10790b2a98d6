"""mpq-onnx by its default options; labels are not given to it, as to no other tool here."""

import tempfile
from pathlib import Path

from onnx_session import forward_of
from piece_of_work import Forward, PieceOfWork, carry_out

import mpq_onnx


def quantize(work: PieceOfWork) -> Forward:
    with tempfile.TemporaryDirectory() as folder:
        result = mpq_onnx.allocate(
            work.model,
            work.train,
            Path(folder) / "out",
            weight_bits=work.weight_bits,
            activation_bits=work.activation_bits,
        )
        return forward_of(Path(result.model_path))


if __name__ == "__main__":
    carry_out(quantize)
