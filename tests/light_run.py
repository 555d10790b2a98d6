"""Runs commands where only the packages of requirements-light.txt can be imported: run by test_light.

python light_run.py REQUIREMENTS COMMANDS, COMMANDS a JSON list of lists of arguments; prints a JSON object: "results", a list
of [exit code, stdout, stderr], and "unused", the requirements of which nothing was imported.
"""

import contextlib
import importlib.abc
import importlib.metadata
import importlib.util
import io
import json
import re
import sys
from pathlib import Path

ALIKE = {"onnxruntime-gpu": "onnxruntime"}
"""Another distribution of the same package."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return normal(found.group())


def needed(requirements: list[str]) -> set[str]:
    """The distributions that pip would install for these, by their metadata here."""
    installed = {normal(each.metadata["Name"]): each for each in importlib.metadata.distributions()}
    installed |= {as_: installed[name] for name, as_ in ALIKE.items() if name in installed}
    found: set[str] = set()
    waiting = [named(each) for each in requirements]
    while waiting:
        name = waiting.pop()
        if name in found or name not in installed:  # not installed: for another system or Python
            continue
        found.add(name)
        wanted = installed[name].requires or ()
        waiting += [named(each) for each in wanted if not re.search(r"\bextra\b", each)]
    return found | {name for name, as_ in ALIKE.items() if as_ in found}


class OnlyThese(importlib.abc.MetaPathFinder):
    """Nothing is found of what other distributions brought."""

    def __init__(self, allowed: set[str]) -> None:
        self.hidden = {
            package
            for package, owners in importlib.metadata.packages_distributions().items()
            if not allowed & {normal(owner) for owner in owners}
        } - {"mpq_onnx"}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    lines = Path(sys.argv[1]).read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    sys.meta_path.insert(0, OnlyThese(needed(requirements)))
    assert "torch" not in sys.modules
    from mpq_onnx.cli import main as command_line

    results = []
    for arguments in json.loads(sys.argv[2]):
        output, errors, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                command_line(arguments)
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        results.append([code, output.getvalue(), errors.getvalue()])
    owners = importlib.metadata.packages_distributions()
    loaded = {normal(owner) for name in sys.modules if "." not in name for owner in owners.get(name, ())}
    loaded |= {ALIKE[name] for name in loaded & ALIKE.keys()}
    unused = [line for line in requirements if ";" not in line and named(line) not in loaded]
    print(json.dumps({"results": results, "unused": unused}))


if __name__ == "__main__":
    main()
