"""Documents that are made from the code are up to date."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from test_noise_operators import Case, noisy_runs

from mpq_onnx import datasets, zoo
from mpq_onnx.cli import cli
from mpq_onnx.handoff_targets import TARGETS
from mpq_onnx.json_document import load_schema
from mpq_onnx.metadata import MODEL_FACTS
from mpq_onnx.ops.noisy_function import NOISE_ATTRIBUTES
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.registries import ENERGY_LEVELS, NOISE_MODELS
from mpq_onnx.tasks import TASKS
from mpq_onnx.workflows.energy_options import COMPATS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", ["operators", "options"])
def test_pages_that_scripts_write_are_as_they_write_them(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", ROOT / "docs" / f"make_{page}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / f"{page}.md").read_text() == module.page()


def test_every_field_of_columns_is_documented() -> None:
    page, schema = (ROOT / "docs" / "columns.md").read_text(), load_schema("columns.schema.json")
    names = {*schema["properties"], *schema["properties"]["label"]["properties"]}
    names |= {*schema["$defs"]["number"]["properties"], *schema["$defs"]["category"]["properties"]}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    jsonschema.validate(json.loads(example), schema)


def test_every_data_kind_task_and_fact_is_documented() -> None:
    data, models = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("data", "models"))
    assert [kind for kind in datasets.KINDS if f"| `{kind}" not in data] == []
    assert [name for name in (*TASKS, *MODEL_FACTS) if f"`{name}`" not in models] == []
    assert [kind for kind in zoo.KINDS if f"| `{kind}" not in models] == []


def test_every_field_of_layers_and_every_target_is_documented() -> None:
    page, schema = (ROOT / "docs" / "handoff.md").read_text(), load_schema("handoff.schema.json")
    names = [*schema["properties"], *schema["properties"]["layers"]["items"]["properties"], *TARGETS]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_field_of_a_calibration_is_documented() -> None:
    page, schema = (ROOT / "docs" / "calibration.md").read_text(), load_schema("calibration.schema.json")
    names = [*schema["properties"], *schema["properties"]["tensors"]["additionalProperties"]["properties"]]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", ["allocation", "energy_allocation"])
def test_every_field_of_the_documents_is_documented(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    schema = load_schema(f"{name}.schema.json")
    names = [*schema["properties"], *schema["properties"]["settings"]["properties"]]
    names += schema["properties"]["nodes"]["items"]["properties"]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", ["allocation", "energy_allocation"])
def test_the_examples_in_the_docs_are_valid(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    jsonschema.validate(json.loads(example), load_schema(f"{name}.schema.json"))


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


def test_the_schema_knows_every_noise_model() -> None:
    settings = load_schema("energy_allocation.schema.json")["properties"]["settings"]["properties"]
    assert settings["noise"]["items"]["enum"] == list(NOISE_MODELS)
    assert settings["energy_levels"]["enum"] == list(ENERGY_LEVELS)
    assert settings["compat"]["enum"] == list(COMPATS)


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
