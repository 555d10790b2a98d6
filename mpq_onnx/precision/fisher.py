"""What each level of each item costs the task, to second order, from the gradients of a few hundred examples.

A small change d of a value changes the loss by about E[(g . d)^2] / 2, with g the gradient of one example's log-likelihood, its
label drawn from the model's own prediction (the Fisher information, which equals the Hessian of the Kullback-Leibler divergence
from the model itself). What d is, a rounding error or noise, is said by each kind's CostMeter; one pass over the data serves
all. Ranks share the batches, and their sums are added up.
"""

import torch

from mpq_onnx.precision.likelihood import sampled_likelihood
from mpq_onnx.precision.problem import Costs, Problem
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.progress import begin

SEED_STRIDE = 2**32
"""Between what two seeds of the user's draw: more batches, and steps, than anyone takes."""
KEPT_A_VALUE = 2
"""Itself and its gradient: nothing is quantized or noisy."""


def measured_costs(problem: Problem) -> Costs:
    """Costs of every level of every item, on a sample of the training examples; measured once for all budgets."""
    return problem.shared.once_anywhere(("costs", *problem.sides), lambda: _measure(problem))


def _measure(problem: Problem) -> Costs:
    mirror, meters = problem.cost_meters()
    if not meters:  # every level is given
        return {}
    begin(f"costs of {problem.what}")
    generator = torch.Generator()
    watched = list(dict.fromkeys(node for meter in meters for node in meter.watched))
    readers = {node for meter in meters for node in meter.readers}
    examples = min(problem.cost_examples, len(problem.data))
    batch_size = problem.examples_at_once(min(meter.batch_size for meter in meters), KEPT_A_VALUE)
    for batch in problem.data.batches(batch_size, examples):
        generator.manual_seed(problem.training.seed * SEED_STRIDE + batch.place)
        recorder = Recorder(mirror, watched, readers)
        likelihood = sampled_likelihood(batch.by_example(recorder.run_batch(batch.inputs)), batch, generator)
        found = torch.autograd.grad(
            likelihood, [recorder.values[node] for node in watched], allow_unused=True
        )
        gradients = dict(zip(watched, found, strict=True))
        for meter in meters:
            meter.update(recorder, gradients)
    for meter in meters:
        meter.merge(problem.data.ranks)
    return problem.data.ranks.first(lambda: {meter.kind: meter.costs(examples) for meter in meters})
