"""A simulator at work in a process of its own: a job goes in as JSON, a line of JSON comes back for every point."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpq_onnx.errors import ModelError
from mpq_onnx.simulators.environments import APART, Installation, last_line

WORKERS = Path(__file__).parent / "workers"


def answers(
    installation: Installation, script: str, job: dict[str, Any], points: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Answers to `points`, in the order in which they are found.

    The worker's folder is a scratch folder: simulators write their own files wherever they stand.

    Raises:
        ModelError: the worker stopped, or gave what is no answer; the message holds what it said last.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mpq-onnx-") as folder,
        (Path(folder) / "said").open("w+b") as said,
    ):
        process = subprocess.Popen(
            [installation.python, APART, str(WORKERS / script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=folder, encoding="utf-8",
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            _send(process, json.dumps({**job, "points": list(points)}))
            for line in process.stdout:
                yield _answer(line, script)
            if process.wait():
                said.seek(0)
                text = said.read().decode("utf-8", "replace")
                raise ModelError(f"{installation.python} {script} stopped: {last_line(text)}")
        finally:
            process.kill()
            process.wait()


def _send(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(text)
        process.stdin.close()
    except OSError:
        pass  # it stopped before it had read all: what it said is told by whoever waits for it


def _answer(line: str, script: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "key" not in answer:
        raise ModelError(f"{script} answered {line.strip()[:80]!r}, which is no result of a simulation")
    return answer
