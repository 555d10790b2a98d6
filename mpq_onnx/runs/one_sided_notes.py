"""What a session with onnxruntime's defaults may make of layers that are quantized on one side alone."""

from mpq_onnx.errors import first_names
from mpq_onnx.report.graph_facts import GraphFacts, LayerFacts


def one_sided_notes(graph: GraphFacts) -> tuple[str, ...]:
    """A sentence that names such layers; nothing where there are none.

    Float weights beside quantized inputs become 8 bits (WeightBiasQuantization), float inputs of a MatMul with quantized
    weights, too (MatMulNBits); our own sessions switch both off.
    """
    named = [layer.node for layer in graph.layers if _is_completed(layer)]
    if not named:
        return ()
    return (
        f"weights or inputs alone are quantized at {first_names(named)}: a session with onnxruntime's defaults may quantize"
        " the others too when it loads the file; docs/onnxruntime.md says what to switch off, as is done here",
    )


def _is_completed(layer: LayerFacts) -> bool:
    if not layer.constant:
        return False
    if layer.input is not None:
        return layer.weight is None
    return layer.weight is not None and layer.op_type == "MatMul"
