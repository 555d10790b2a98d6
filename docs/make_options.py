"""Write options.md: every option of an allocation, from the requests that state them.

python docs/make_options.py
"""

from pathlib import Path

from tabulate import tabulate

from mpq_onnx.runs.declared import HEADINGS, Option
from mpq_onnx.runs.option_values import allocation_options

PAGE = Path(__file__).with_name("options.md")
INTRODUCTION = """# Options of an allocation

Made by `docs/make_options.py` from `mpq_onnx.AllocateOptions` and `mpq_onnx.EnergyOptions`; the command line of `allocate` and
`search`, `--config` files and the axes of a [sweep](sweep.md) have the same. What each does to accuracy: [choices](choices.md).
With `--noise`, those under Method and Training mean the energies; energies by channel are `--per-channel`.
"""


def page() -> str:
    """The whole page."""
    declared = allocation_options()
    sections = [INTRODUCTION]
    for heading in HEADINGS:
        rows = [_row(each) for each in declared.values() if each.declared.heading == heading]
        table = tabulate(rows, ["option", "values", "default", ""], tablefmt="github", disable_numparse=True)
        sections.append(f"\n## {heading}\n\n{table}\n")
    return "".join(sections)


def _row(each: Option) -> list[str]:
    declared = each.declared
    flag = f"`--{each.spelled}`" + (f", `--no-{each.spelled}`" if each.kind is bool else "")
    values = ", ".join(declared.choices) or {bool: "", tuple: "numbers"}.get(each.kind, each.kind.__name__)
    return [flag, values, _default(each), declared.help]


def _default(each: Option) -> str:
    if each.default is None:
        return each.declared.shown_default or ""
    if isinstance(each.default, bool):
        return "on" if each.default else "off"
    return ",".join(map(str, each.default)) if isinstance(each.default, tuple) else str(each.default)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
