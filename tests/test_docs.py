"""Documents that are made from the code are up to date."""

import importlib.util
import json
import re
from pathlib import Path

from click.testing import CliRunner

from mpq_onnx.allocation import SCHEMA
from mpq_onnx.cli import cli
from mpq_onnx.json_document import load_schema

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_of_operators_is_the_op_table() -> None:
    spec = importlib.util.spec_from_file_location("make_operators", ROOT / "docs" / "make_operators.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "operators.md").read_text() == module.page()


def test_every_field_of_the_allocation_is_documented() -> None:
    page = (ROOT / "docs" / "allocation.md").read_text()
    schema = load_schema(SCHEMA)
    names = [*schema["properties"], *schema["properties"]["settings"]["properties"]]
    names += schema["properties"]["nodes"]["items"]["properties"]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_example_in_the_docs_is_valid() -> None:
    import jsonschema

    page = (ROOT / "docs" / "allocation.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    jsonschema.validate(json.loads(example), load_schema(SCHEMA))


def test_every_command_and_option_has_help() -> None:
    for name, command in cli.commands.items():
        result = CliRunner().invoke(cli, [name, "--help"])
        assert result.exit_code == 0
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in ("help", "seed"):
                assert parameter.help, (name, parameter.name)
