"""Documents that are made from the code are up to date."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_noise_operators import Case, noisy_runs

from mpq_onnx import datasets, zoo
from mpq_onnx.cli import cli
from mpq_onnx.datasets.columns import ColumnsFile
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.documents.document import Document
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.graph.metadata import MODEL_FACTS
from mpq_onnx.handoff_targets import TARGETS
from mpq_onnx.handoff_targets.layers import LayerTable
from mpq_onnx.ops.noisy_function import NOISE_ATTRIBUTES
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.registries import NOISE_MODELS
from mpq_onnx.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (Allocation, EnergyAllocation, Calibration, ColumnsFile, LayerTable)


@pytest.mark.parametrize("page", ["operators", "options", "commands", "api"])
def test_pages_that_scripts_write_are_as_they_write_them(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", ROOT / "docs" / f"make_{page}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / f"{page}.md").read_text() == module.page()


def fields(kind: type[Document]) -> list[str]:
    """Names of the fields of a file, those of its parts included."""
    schema = kind.json_schema()
    return [name for part in (schema, *schema["$defs"].values()) for name in part["properties"]]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_field_of_the_documents_is_documented(kind: type[Document]) -> None:
    page = (ROOT / kind.KIND.page).read_text()
    assert [name for name in fields(kind) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("kind", [Allocation, EnergyAllocation, ColumnsFile])
def test_the_examples_in_the_docs_are_valid(kind: type[Document]) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / kind.KIND.page).read_text(), re.DOTALL)
    kind.parse(example, "the page")


def test_every_data_kind_task_and_fact_is_documented() -> None:
    data, models = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("data", "models"))
    assert [kind for kind in datasets.KINDS if f"| `{kind}" not in data] == []
    assert [name for name in (*TASKS, *MODEL_FACTS) if f"`{name}`" not in models] == []
    assert [kind for kind in zoo.KINDS if f"| `{kind}" not in models] == []


def test_every_target_is_documented() -> None:
    page = (ROOT / "docs" / "handoff.md").read_text()
    assert [name for name in TARGETS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("noise", NOISE_MODELS)
def test_the_numpy_references_are_what_onnxruntime_draws(noise: str) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "ops" / f"{noise}.md").read_text(), re.DOTALL
    )
    reference: dict = {}
    exec(code, reference)
    case = Case("MatMul", (5, 7), (7, 4), 7)
    model = case.model()
    energy, weight_range = np.array([1.0, 2.0, 4.0, 8.0]), (1.0, 1.5, 2.0, 2.5)
    site = case.site(model, weight_range=weight_range, input_range=3.0)
    InsertNoisePass({"mac": NodeNoise(site, energy)}, (noise,), seed=0)(model)
    draws = noisy_runs(model, case.feeds, 4000)
    wanted = reference["deviation"](case.x, case.w, site.fan_in, energy, weight_range, site.input_range)
    np.testing.assert_allclose(draws.std(axis=0), wanted, rtol=0.07)
    ratios = draws.std(axis=0) / wanted
    assert abs(ratios.mean() - 1) < 0.01


def test_every_attribute_of_noisy_operators_is_documented() -> None:
    page = (ROOT / "docs" / "ops" / "README.md").read_text()
    assert [name for name in NOISE_ATTRIBUTES if f"`{name}`" not in page] == []


def test_every_command_and_option_has_help() -> None:
    for name, command in cli.commands.items():
        result = CliRunner().invoke(cli, [name, "--help"])
        assert result.exit_code == 0
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in ("help", "seed"):
                assert parameter.help, (name, parameter.name)
