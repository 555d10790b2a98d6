"""Packages that are not installed: everywhere in one line, with what to type."""

from mpq_onnx.errors import MissingPackageError

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""By the name that is imported, where pip has another for it."""
REMARKS = {"torch": " (README.md, Install, has the way without CUDA)"}


def missing_package(error: ModuleNotFoundError) -> MissingPackageError | None:
    """What is to be said of a package that an import did not find; None where it is a part of this one."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "mpq_onnx"):
        return None
    distribution = DISTRIBUTIONS.get(package, package)
    return MissingPackageError(
        f"{package} is not installed, and this needs it: pip install {distribution}{REMARKS.get(package, '')}",
        name=error.name,
    )
