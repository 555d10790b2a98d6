"""How levels are chosen; a method is one file and one line in METHODS, and knows nothing of bits or energies.

A method takes a Problem and returns Candidates, each of which keeps the budgets; the caller measures them and uniform, and
keeps the best.
"""

from mpq_onnx.registry import Registry

METHODS: Registry = Registry(
    {
        "uniform": "mpq_onnx.precision.methods.uniform:propose",
        "water-filling": "mpq_onnx.precision.methods.closed_form:propose",
        "closed-form": "mpq_onnx.precision.methods.closed_form:propose",
        "gradient": "mpq_onnx.precision.methods.gradient:propose",
        "refined": "mpq_onnx.precision.methods.refined:propose",
    }
)
"""Water-filling is what the closed form is called for bits; both names mean it, whatever is allocated."""
