"""Write api.md: where the site puts the docstrings of every public name.

python docs/make_api.py
"""

from pathlib import Path

import mpq_onnx

PAGE = Path(__file__).with_name("api.md")
INTRODUCTION = """# Python API

Made by `docs/make_api.py` from `mpq_onnx.__all__`; the [site](index.md) shows signatures and docstrings here (`make docs`).
What belongs to which command, and a session: [Python](python.md).
"""


def page() -> str:
    """The whole page."""
    functions = [name for name in mpq_onnx.__all__ if name[0].islower()]
    types = [name for name in mpq_onnx.__all__ if not name[0].islower()]
    return INTRODUCTION + "".join(
        f"\n## {title}\n\n"
        + "\n".join(f"::: mpq_onnx.{mpq_onnx._HOMES[name]}.{name}" for name in names)
        + "\n"
        for title, names in (("Functions", functions), ("Types", types))
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
