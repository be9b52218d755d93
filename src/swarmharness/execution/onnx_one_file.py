"""Puts the tensors that an ONNX model keeps in other files into the model itself; it never runs a model.

`python -m swarmharness.execution.onnx_one_file SOURCE TARGET` does it, in a process with a limit: only that one has
`onnx`. Equal sources give equal bytes, so whoever adds the same model has the same digest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from swarmharness.errors import InputError, cause_text
from swarmharness.execution.limits import forbid_core_dumps, limit_memory
from swarmharness.execution.onnx_inspection import INSPECTION_TIMEOUT_S, MODEL_BYTES_MAX

_ROOM_BYTES = 1024 * 1024
"""What the whole may have beyond its parts: lengths and names."""


def join_external(source: Path, target: Path, external_paths: Sequence[str]) -> None:
    """Write the model at `source` to `target` as one file; blocks.

    Raises InputError when a file that it names is not beside it, or the whole is too large for one ONNX file.
    """
    size_bytes = source.stat().st_size + _ROOM_BYTES
    for relative in dict.fromkeys(external_paths):
        path = source.parent / relative
        if not path.resolve().is_relative_to(source.parent.resolve()):
            raise InputError(f"{source} keeps tensors in {relative!r}, which is not beside it; copy the file there")
        if not path.is_file():
            raise InputError(f"{source} keeps tensors in {relative!r}, and there is no such file beside it")
        size_bytes += path.stat().st_size
    if size_bytes > MODEL_BYTES_MAX:
        raise InputError(
            f"{source} and the files that it keeps tensors in have {size_bytes} bytes together; a skill's model is one "
            f"file of at most {MODEL_BYTES_MAX}: quantise it, or export it with fewer bits"
        )
    command = [sys.executable, "-P", "-m", __name__, str(source), str(target), str(size_bytes)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSPECTION_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InputError(f"{source} could not be put into one file within {INSPECTION_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        reason = done.stdout.decode(errors="replace").strip() or f"status {done.returncode}"
        raise InputError(f"{source} cannot be put into one file: {reason}")


def main() -> None:
    """Do it; exit status 3 and a reason when it cannot be done."""
    source, target, size_bytes = sys.argv[1:4]
    forbid_core_dumps()
    limit_memory(512 * 1024**2 + 6 * int(size_bytes))
    import onnx

    try:
        Path(target).write_bytes(onnx.load(source).SerializeToString(deterministic=True))
    except Exception as error:  # whatever the library raises, the parent tells as the reason
        print(cause_text(error)[:300])
        sys.exit(3)


if __name__ == "__main__":
    main()
