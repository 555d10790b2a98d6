"""Import every module of the package in a process of its own, and say which cannot be: run by test_imports.py.

What others have written is loaded once, before the processes part: this package's own order of imports is what is tested.
"""

import contextlib
import importlib
import os
import pkgutil
import sys
import traceback

OTHERS = (
    "click", "distributed", "jinja2",
    "jsonschema", "matplotlib.figure", "numpy", "onnx", "onnx_ir", "onnx_ir.passes.common", "onnxruntime",
    "onnxscript", "onnxscript.optimizer", "onnxscript.rewriter.rules.common", "onnxscript.version_converter", "PIL.Image",
    "pydantic",
    "scipy.optimize", "scipy.special", "scipy.stats", "sklearn.metrics", "tabulate", "torch", "torch.fx", "torchvision",
    "tqdm", "transformers", "yaml",
)  # fmt: skip


def main() -> None:
    for name in OTHERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    found = pkgutil.walk_packages([sys.argv[1]], "mpq_onnx.", onerror=lambda name: None)
    names = sorted(each.name for each in found if not each.name.endswith("__main__"))
    # walk_packages has imported the packages; every process starts without them.
    for name in [name for name in sys.modules if name.partition(".")[0] == "mpq_onnx"]:
        del sys.modules[name]
    for name in names:
        process = os.fork()
        if not process:
            try:
                importlib.import_module(name)
            except BaseException:
                print(f"{name}: {traceback.format_exc().splitlines()[-1]}", flush=True)
            os._exit(0)
        os.waitpid(process, 0)
    print(f"{len(names)} modules", flush=True)


if __name__ == "__main__":
    main()
