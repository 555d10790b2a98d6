"""Everything that has a name and can be added to: one file, and one line here.

A table's entries are imported when they are first used, so that names can be listed, checked and completed at once. Most tables
have a group of entry points, by which other packages add to them (docs/plugins.md).
"""

from mpq_onnx.registry import Registry

METHODS: Registry = Registry(
    "mpq_onnx.precision.methods",
    {
        "uniform": "uniform:propose",
        "water-filling": "closed_form:propose",
        "closed-form": "closed_form:propose",
        "gradient": "gradient:propose",
        "refined": "refined:propose",
    },
    "mpq_onnx.methods",
)
"""How levels are chosen: Problem -> Candidates that keep the budgets. Water-filling is the closed form's name for bits; both
names mean it, whatever is allocated."""
ACTIVATION_BUDGETS: Registry = Registry(
    "mpq_onnx.precision.measures", {"mean": ":MEAN_BITS", "max": ":PEAK_BITS"}
)
"""What the budget of the activations' bits is a budget of: a measures.Measure each."""
RESOURCES: Registry = Registry(
    "mpq_onnx.documents.resources",
    {
        "weight_bytes": "weight_bytes:sums",
        "activation_bytes": "activation_bytes:sums",
        "bops": "bit_operations:sums",
    },
)
"""What devices count and --max bounds, beside the columns of a cost table: (ResourceFacts) -> sums of terms."""
TARGETS: Registry = Registry(
    "mpq_onnx.precision.targets",
    {"auto": ":auto", "real": ":real", "generated": ":generated", "distilled": ":distilled"},
)
"""What training holds outputs to: (outputs, batch) -> the mean loss over the batch."""
WIDTH_CHOICES: Registry = Registry(
    "mpq_onnx.mirror.width_choice", {"nearest": ":nearest", "stochastic": ":stochastic"}
)
"""Which allowed width stands for a learned one in the forward pass."""
ROUNDINGS: Registry = Registry(
    "mpq_onnx.rounding",
    {"nearest": "nearest:NEAREST", "adaptive": "adaptive:ADAPTIVE", "block": "block:BLOCK"},
    "mpq_onnx.roundings",
    ("needs_moments",),
)
"""How weights become integers on a given grid: a rounding.layer.RoundingMethod each."""
NEAREST = "nearest"
"""The one that needs neither data nor torch."""
EQUALIZATIONS: Registry = Registry(
    "mpq_onnx.equalization",
    {
        "none": "none:factors",
        "depthwise": "depthwise:factors",
        "cross-layer": "cross_layer:factors",
        "activation-channels": "activation_channels:factors",
    },
    "mpq_onnx.equalizations",
)
"""(canonical float model, shapes, calibration data, device) -> factors of channels."""
OBSERVERS: Registry = Registry(
    "mpq_onnx.arithmetic.observers",
    {
        "minmax": "min_max:MinMaxObserver",
        "ema": "ema_min_max:EmaMinMaxObserver",
        "percentile": "percentile:PercentileObserver",
        "ema-percentile": "ema_percentile:EmaPercentileObserver",
        "mse": "mse:MseObserver",
        "aciq-laplace": "aciq:LaplaceAciqObserver",
        "aciq-gauss": "aciq:GaussAciqObserver",
        "entropy": "entropy:EntropyObserver",
    },
    "mpq_onnx.observers",
)
"""How the range of an activation is found: () -> observers.Observer."""
WEIGHT_OBSERVERS: Registry = Registry(
    "mpq_onnx.arithmetic.weights",
    {"mse": ":least_error_range", "minmax": ":min_max_range"},
    "mpq_onnx.weight_observers",
)
"""The same for the rows of a weight: (rows, levels, scheme) -> (low, high) of each."""
PLACEMENTS: Registry = Registry(
    "mpq_onnx.graph.placement",
    {
        "all": "all_outputs:activation_sites",
        "before-activation": "before_activation:activation_sites",
        "gemm": "mac_inputs:activation_sites",
        "relu": "activation_functions:activation_sites",
    },
    "mpq_onnx.placements",
)
"""Which tensors get a quantizer: (model, shapes, roles) -> activation sites."""
STORAGES: Registry = Registry(
    "mpq_onnx.ops.storage",
    {"int8": "int8:write_weight", "signed": "signed:write_weight", "packed": "packed:write_weight"},
)
"""How quantized weights lie in the file: (model, tensor name, weight) -> the float value that reads it back."""
NOISE_MODELS: Registry = Registry(
    "mpq_onnx.arithmetic.noise",
    {"thermal": "thermal:THERMAL", "shot": "shot:SHOT", "weight": "weight:WEIGHT"},
    "mpq_onnx.noise_models",
    ("unit", "output_variance", "weight_variance"),
    "mpq_onnx.arithmetic.noise.traced:check_formulas",
)
"""Physical noise of multiply-accumulates: a noise.model.NoiseModel each."""
NOISE_DRAWS: Registry = Registry("mpq_onnx.ops.draws", {"bank": "bank:BANK_DRAWS", "exact": "exact:EXACT"})
"""Where the normals of noise come from: an ops.draws.drawing.NoiseDraws each."""
BANK, EXACT = "bank", "exact"
ENERGY_LEVELS: Registry = Registry(
    "mpq_onnx.arithmetic.noise.energy_levels", {"any": ":ANY", "repeats": ":REPEATS"}
)
"""Which energies an accelerator can give a MAC."""
HAND_OFFS: Registry = Registry(
    "mpq_onnx.handoff_targets",
    {
        "qonnx": "qonnx:TARGET",
        "qcdq": "qcdq:TARGET",
        "zigzag": "zigzag:TARGET",
        "timeloop": "timeloop:TARGET",
        "accelforge": "accelforge:TARGET",
        "scalesim": "scalesim:TARGET",
        "csv": "csv_table:TARGET",
        "json": "json_table:TARGET",
        "tensorrt": "tensorrt:TARGET",
        "ort": "onnxruntime:TARGET",
    },
    "mpq_onnx.hand_offs",
    ("write", "runs_in_onnxruntime", "in_standard_operators"),
)
"""Forms of files for other tools: a handoff_targets.target.Target each."""
SIMULATORS: Registry = Registry(
    "mpq_onnx.simulators",
    {
        "onnxruntime": "onnxruntime:ONNXRUNTIME",
        "zigzag": "zigzag:ZIGZAG",
        "scalesim": "scalesim:SCALESIM",
        "accelforge": "accelforge:ACCELFORGE",
    },
    "mpq_onnx.simulators",
    ("resources", "check", "profile"),
)
"""What fills cost tables: a simulators.job.Profiler each."""
DEVICE_TARGETS: Registry = Registry("mpq_onnx.targets", {}, "mpq_onnx.targets", ())
"""Devices that other packages describe, beside targets/shipped/: the text of a target file, or its path, each."""

SMALLEST_ENERGY, LARGEST_ENERGY = 1e-30, 1e30
"""Per MAC: files hold energies as float32."""
FIGURE_FORMATS = ("svg", "png")
"""Of the figures of a report as files."""
DEVICES = ("auto", "cpu", "cuda")
"""Where networks are computed."""
LAYER, CHANNEL = "layer", "channel"
GRANULARITIES = (LAYER, CHANNEL)
"""How finely levels are chosen: one a tensor or node, or one an output channel of it."""
PER_CHANNEL, PER_TENSOR = "channel", "tensor"
WEIGHT_SCALES = (PER_CHANNEL, PER_TENSOR)
INT32_BIAS, FLOAT_BIAS = "int32", "float"
BIASES = (INT32_BIAS, FLOAT_BIAS)
STATIC, DYNAMIC = "static", "dynamic"
ACTIVATION_RANGES = (STATIC, DYNAMIC)
"""Calibrated, or of each example."""
COMPAT_NONE, COMPAT_GARG2021 = "none", "garg2021"
COMPATS = (COMPAT_NONE, COMPAT_GARG2021)
"""Whose fan-in is used: this project's, or that of the code of arXiv 2102.06365."""
INCLUDE, EIGHT_BITS, FLOAT = "include", "8", "float"
FIRST_LAST = (INCLUDE, EIGHT_BITS, FLOAT)
"""First and last layer: in the budget as all others, 8 bits outside it, or float."""
