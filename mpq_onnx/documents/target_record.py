"""What an allocation keeps of the target that it was made for: enough to be applied where the target's file is not."""

from dataclasses import dataclass

from mpq_onnx.documents.constraints import Part


@dataclass(frozen=True)
class TargetRecord(Part):
    """A target file."""

    name: str
    """As the file calls the target."""
    sha256: str
    """Of the file's text."""
    text: str
    """The file's text (see docs/targets.md), whose rules the allocation keeps."""
