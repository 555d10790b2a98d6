"""What `inspect` found, in words and a table."""

from typing import Any

from tabulate import tabulate

from mpq_onnx.errors import first_names

MISSING = "-"


def inspection_text(found: Any) -> str:
    """The page for a terminal.

    Args:
        found: an InspectResult.
    """
    made = f", by {found.producer}" if found.producer else ""
    noise = f", {found.noisy} noisy nodes" if found.noisy else ""
    lines = [
        f"{found.path}: {found.format}{noise}; opset {found.opset}, {found.nodes} nodes, {found.bytes:,} bytes{made}",
        *(f"input {_tensor(each)}" for each in found.inputs),
        *(f"output {_tensor(each)}" for each in found.outputs),
        *(f"{key}: {text}" for key, text in found.metadata.items()),
        "",
        _layers(found),
        "",
        f"{found.weights:,} weights, "
        + ("MACs unknown" if found.macs is None else f"{found.macs:,} MACs an example"),
        *_budgets(found),
        *(f"stays float: {each}" for each in found.stays_float),
        *(f"not counted: {each}" for each in found.uncounted),
        *(
            f"unsupported: {name}, node {first_names(nodes)}: allocate refuses the model"
            for name, nodes in found.unsupported.items()
        ),
    ]
    return "\n".join(lines)


def _tensor(tensor: Any) -> str:
    shape = "of any shape" if tensor.shape is None else f"[{', '.join(map(_length, tensor.shape))}]"
    role = f", {tensor.role}" if tensor.role else ""
    axis = "" if tensor.example_axis is None else f", examples along axis {tensor.example_axis}"
    return f"{tensor.name}: {tensor.type} {shape}{role}{axis}"


def _length(size: int | str | None) -> str:
    return "?" if size is None else str(size)


def _layers(found: Any) -> str:
    if not found.layers:
        return "no multiply-accumulates: nothing to quantize"
    rows = [
        [
            each.node,
            each.op_type,
            each.elements or MISSING,
            MISSING if each.macs is None else each.macs,
            _bits(each),
            each.why or "",
        ]
        for each in found.layers
    ]
    headers = ["node", "op", "weights", "MACs", "bits" if found.quantized else "bits to choose from", ""]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", "left", *["right"] * 3, "left"))


def _bits(layer: Any) -> str:
    if layer.weight is None:
        return "two activations"
    if layer.bits is None:
        return "float"
    return (
        f"{layer.bits[0]:g} to {layer.bits[1]:g}"
        if isinstance(layer.bits, tuple | list)
        else f"{layer.bits:g}"
    )


def _budgets(found: Any) -> list[str]:
    """What can be asked for, or what there is."""
    lines = []
    mean = found.mean_weight_bits
    if isinstance(mean, tuple) and found.weight_bytes is not None:
        low, high = found.weight_bytes
        lines.append(
            f"--weight-bits {mean[0]:g} to {mean[1]:g}: {low:,.0f} to {high:,.0f} bytes of weights, tables included"
            " (--bit-choices for others)"
        )
    elif isinstance(mean, float | int):
        lines.append(f"weights have {mean:.3g} bits on average")
    if found.activations is not None:
        verb = "have" if found.quantized else "can get"
        lines.append(f"{found.activations} activations {verb} a quantizer")
    return lines
