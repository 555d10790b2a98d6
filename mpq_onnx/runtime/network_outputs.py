"""Models that end in post-processing are compared by what that is made from: the boxes that one keeps have no counterparts."""

import onnx_ir as ir

from mpq_onnx.graph.operators import OWN_DOMAINS
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.graph.quantizers import as_read
from mpq_onnx.runtime.tensors import with_tensors


def with_network_outputs(changed: ir.Model, exact: ir.Model) -> ir.Model:
    """`changed` with what its post-processing reads among its outputs; itself where it has none.

    Args:
        exact: the noise-free model that `changed` was made from; may be `changed`.
    """
    if any(not domain.startswith(OWN_DOMAINS) for domain, *_ in exact.functions):
        return changed  # what multiplies inside functions is not seen
    wanted = [str(value.name) for value in post_processing(exact).reads]
    made = {str(value.name): value for node in changed.graph for value in node.outputs}
    if not wanted or any(name not in made for name in wanted):
        return changed
    inner = [made[name] if changed is exact else as_read(made[name]) for name in wanted]
    names = dict.fromkeys(str(value.name) for value in (*changed.graph.outputs, *inner))
    return with_tensors(changed, list(names))
