"""dlrm?numeric=13&tables=1000,1000&embedding=16&bottom=64&top=64 - a deep learning recommendation model (arXiv 1906.00091).

A bottom MLP makes a vector of the numeric features, embedding tables make one of each category, all pairs of vectors are
multiplied, and a top MLP makes the logit of a click. Names and shapes of the state dict are those of
facebookresearch/dlrm (bot_l, emb_l, top_l), so that its checkpoints load; with --weights the sizes come from the checkpoint.
The sigmoid is left to the reader of the logit: eight bits of a probability would blur its ends.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpq_onnx.datasets.spec import DataSpec, parse_spec
from mpq_onnx.errors import DataError, ModelError, UsageError
from mpq_onnx.graph.metadata import METADATA_TABLES, METADATA_TASK
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import export_module, load_state, read_state

CRITEO_NUMERIC, CRITEO_TABLES = 13, 26


@dataclass(frozen=True)
class DlrmSizes:
    """Everything that the network's shape depends on."""

    numeric: int = CRITEO_NUMERIC
    """Numeric features."""
    tables: tuple[int, ...] = (10_000,) * CRITEO_TABLES
    """Rows of every embedding table."""
    embedding: int = 16
    """Length of an embedding, and of the bottom MLP's output."""
    bottom: tuple[int, ...] = (512, 256, 64)
    """Hidden layers of the bottom MLP."""
    top: tuple[int, ...] = (512, 256)
    """Hidden layers of the top MLP."""


class Dlrm(nn.Module):
    """One lookup a table; dot interaction without self-products."""

    pairs: Tensor
    """Where the products of two different vectors lie among all products."""

    def __init__(self, sizes: DlrmSizes) -> None:
        super().__init__()
        vectors = 1 + len(sizes.tables)
        pairs = vectors * (vectors - 1) // 2
        self.bot_l = _mlp([sizes.numeric, *sizes.bottom, sizes.embedding], last=nn.ReLU())
        self.emb_l = nn.ModuleList(nn.Embedding(rows, sizes.embedding) for rows in sizes.tables)
        self.top_l = _mlp([sizes.embedding + pairs, *sizes.top, 1], last=nn.Identity())
        rows, columns = torch.tril_indices(vectors, vectors, offset=-1)
        self.register_buffer("pairs", rows * vectors + columns, persistent=False)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        """dense float [batch, numeric], sparse int64 [batch, tables] -> logits [batch]."""
        numeric = self.bot_l(dense)
        looked_up = [table(sparse[:, index]) for index, table in enumerate(self.emb_l)]
        vectors = torch.stack([numeric, *looked_up], dim=1)
        products = torch.matmul(vectors, vectors.transpose(1, 2)).flatten(1)
        return self.top_l(torch.cat([numeric, products.index_select(1, self.pairs)], dim=1)).squeeze(1)


def names() -> list[str]:
    """The options that a spec takes."""
    return [f"dlrm?{'&'.join(f'{field.name}=' for field in dataclasses.fields(DlrmSizes))}"]


def open_source(text: str, options: SourceOptions) -> SourceModel:
    """Build a DLRM of the sizes in `text` or in the checkpoint, load or draw its weights, export it."""
    spec = parse_spec(f"dlrm?{text.lstrip('?')}")
    if options.pretrained:
        raise UsageError("dlrm: there are no weights to download; give a checkpoint as --weights")
    if options.weights is not None:
        if spec.options:
            raise UsageError("dlrm: the sizes come from the checkpoint; leave them out with --weights")
        sizes = sizes_of(read_state(options.weights), options.weights)
    else:
        sizes = _sizes(spec)
    torch.manual_seed(options.seed)
    module = Dlrm(sizes)
    if options.weights is not None:
        load_state(module, options.weights)
    example = {
        "dense": torch.randn(2, sizes.numeric),
        "sparse": torch.zeros(2, len(sizes.tables), dtype=torch.int64),
    }
    metadata = {METADATA_TASK: "binary-classification", METADATA_TABLES: json.dumps(sizes.tables)}
    return dataclasses.replace(export_module(module, example, "dlrm"), metadata=metadata)


def sizes_of(state: Mapping[str, Tensor], where: str) -> DlrmSizes:
    """The sizes of the network that a state dict belongs to.

    Raises:
        ModelError: it is not a DLRM's.
    """
    try:
        bottom, top = _layers(state, "bot_l"), _layers(state, "top_l")
        count = sum(name.startswith("emb_l.") for name in state)
        tables = tuple(len(state[f"emb_l.{index}.weight"]) for index in range(count))
        return DlrmSizes(
            bottom[0].shape[1],
            tables,
            len(bottom[-1]),
            tuple(len(weight) for weight in bottom[:-1]),
            tuple(len(weight) for weight in top[:-1]),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{where}: is not a DLRM's state dict: bot_l.N.weight, emb_l.N.weight and top_l.N.weight are expected"
        ) from error


def _layers(state: Mapping[str, Tensor], name: str) -> list[Tensor]:
    indices = sorted(
        int(key.split(".")[1]) for key in state if key.startswith(f"{name}.") and key.endswith(".weight")
    )
    return [state[f"{name}.{index}.weight"] for index in indices]


def _mlp(widths: Sequence[int], last: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (inner, outer) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(inner, outer), last if index == len(widths) - 2 else nn.ReLU()]
    return nn.Sequential(*layers)


def _sizes(spec: DataSpec) -> DlrmSizes:
    default = DlrmSizes()
    sizes = DlrmSizes(
        spec.integer("numeric", default.numeric),
        _integers(spec, "tables", default.tables),
        spec.integer("embedding", default.embedding),
        _integers(spec, "bottom", default.bottom),
        _integers(spec, "top", default.top),
    )
    spec.refuse_unused()
    if min(sizes.numeric, sizes.embedding, *sizes.tables, *sizes.bottom, *sizes.top) < 1:
        raise UsageError(f"{spec.text}: every size must be at least 1")
    return sizes


def _integers(spec: DataSpec, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    text = spec.option(name)
    if text is None:
        return default
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{spec.text}: {name}={text}: write whole numbers with commas between them") from None
