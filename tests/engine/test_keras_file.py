"""Keras' own files, as Keras writes them and as it never would."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits
from tb_ckptmeta.core.legacy import find_keras
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.keras_file import read_keras_contents
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner

h5py = pytest.importorskip("h5py")

KERNEL = np.arange(6, dtype="float32").reshape(2, 3)


def fill(file: Any) -> None:
    """What `save_weights` of Keras 3 writes of a model with one layer."""
    file.create_group("layers/dense/vars").attrs["name"] = "dense"
    file["layers/dense/vars/0"] = KERNEL
    file["layers/dense/vars/1"] = np.zeros(3, "float32")
    file["optimizer/vars/0"] = np.int64(7)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write `m.weights.h5`: as Keras would, then `change`d."""

    def write(change: Callable[[Any], None] = lambda file: None) -> str:
        path = str(tmp_path / "m.weights.h5")
        with h5py.File(path, "w") as file:
            fill(file)
            change(file)
        return path

    return write


@pytest.fixture
def pack(write: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Write `m.keras` around such a file."""

    def pack(version: str = "3.9.0", compression: int = zipfile.ZIP_STORED, member: str = "model.weights.h5") -> str:
        with zipfile.ZipFile(tmp_path / "m.keras", "w", compression) as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("config.json", '{"class_name": "__import__(\'os\').abort()"}')
            archive.write(write(), member)
        return str(tmp_path / "m.keras")

    return pack


def raised(path: str, limits: Limits | None = None) -> tuple[Code, str]:
    with pytest.raises(CkptMetaError) as caught:
        read_keras_contents(path, "keras") if limits is None else read_keras_contents(path, "keras", limits)
    return caught.value.code, caught.value.message


def holds_the_model(contents: Contents) -> bool:
    assert contents.tensors == {
        "layers/dense/vars/0": StoredTensor((2, 3), "float32", 24),
        "layers/dense/vars/1": StoredTensor((3,), "float32", 12),
        "optimizer/vars/0": StoredTensor((), "int64", 8),
    }
    assert contents.objects is None
    assert len(contents.fingerprint) == 64
    return True


def test_read_of_a_weights_file_lists_its_arrays(write: Callable[..., str]) -> None:
    contents = read_keras_contents(write(), "keras-weights")
    assert holds_the_model(contents)
    assert (contents.format, find_keras(contents)) == ("keras-weights", "3")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("version", "keras"), [("3.9.0", "3"), ("2.21.0", "legacy")])
def test_read_of_an_archive_lists_its_arrays_and_runs_no_configuration(
    pack: Callable[..., str], version: str, keras: str, compression: int
) -> None:
    contents = read_keras_contents(pack(version, compression), "keras")
    assert holds_the_model(contents)
    assert find_keras(contents) == keras


def test_read_of_other_types_names_them_as_tensorflow_does(write: Callable[..., str]) -> None:
    def change(file: Any) -> None:
        file["b"] = np.array([True])
        file["h"] = np.zeros(2, "float16")
        file["s"] = "text"
        half = file.create_dataset("bf", data=np.zeros(2, "V2"))
        half.attrs["dtype"] = "bfloat16"

    tensors = read_keras_contents(write(change), "keras-weights").tensors
    assert {k: tensors[k].dtype for k in ("b", "h", "s", "bf")} == {
        "b": "bool",
        "h": "float16",
        "s": "string",
        "bf": "bfloat16",
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_read_of_other_values_gives_another_fingerprint(write: Callable[..., str], chunked: bool) -> None:
    def at(value: float) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            options = {"chunks": (10,), "compression": "gzip"} if chunked else {}
            file.create_dataset("more", data=np.full(10, value), **options)

        return change

    first, again, other = (read_keras_contents(write(at(v)), "keras-weights").fingerprint for v in (1.0, 1.0, 2.0))
    assert first == again != other


# --- what leads out of the file, or fills memory


def _link_out(file: Any) -> None:
    file["out"] = h5py.ExternalLink("/etc/passwd", "/")


def _link(file: Any) -> None:
    file["alias"] = h5py.SoftLink("/layers")


def _store_out(file: Any) -> None:
    file.create_dataset("outside", (4,), "uint8", external=[("/etc/passwd", 0, 4)])


def _put_together(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "uint8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("virtual", layout)


def _claim_much(file: Any) -> None:
    file.create_dataset("bomb", (1 << 40,), "uint8", chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_link_out, "out is a link (ExternalLink), and links are not followed"),
        (_link, "alias is a link (SoftLink), and links are not followed"),
        (_store_out, "outside is stored in another file"),
        (_put_together, "virtual is a virtual dataset"),
        (_claim_much, f"bomb claims {1 << 40} bytes, and 0 are stored"),
    ],
)
def test_read_of_a_trick_refuses_it(write: Callable[..., str], change: Callable[[Any], None], says: str) -> None:
    code, message = raised(write(change))
    assert code is Code.CHECKPOINT_CORRUPT
    assert says in message


def test_read_of_a_group_that_holds_itself_ends(write: Callable[..., str]) -> None:
    def change(file: Any) -> None:
        file["layers/dense/again"] = file["layers"]

    assert holds_the_model(read_keras_contents(write(change), "keras-weights"))


def test_read_of_an_archive_that_claims_much_refuses_it(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    code, message = raised(str(tmp_path / "m.keras"))
    assert code is Code.CHECKPOINT_CORRUPT
    assert f"claims {300 << 20} bytes" in message


# --- what is no such file


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
@pytest.mark.parametrize("content", [b"x", b"PK\x03\x04 and no more", b"\x89HDF\r\n\x1a\n and no more", bytes(4096)])
def test_read_of_no_such_file_says_so(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    code, message = raised(str(tmp_path / name))
    assert code is Code.CHECKPOINT_CORRUPT
    assert message.startswith(f"{tmp_path / name} is corrupt: it is no ")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_read_of_a_part_says_so(write: Callable[..., str], pack: Callable[..., str], keep: float) -> None:
    for path in (pack(), write()):
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(len(content) * keep)])
        assert raised(path)[0] is Code.CHECKPOINT_CORRUPT


def test_read_of_an_archive_without_weights_says_so(pack: Callable[..., str]) -> None:
    code, message = raised(pack(member="model.weights.npz"))
    assert code is Code.UNSUPPORTED_CHECKPOINT
    assert "without model.weights.h5" in message


def test_read_of_the_layout_of_keras_2_says_what_to_do(write: Callable[..., str]) -> None:
    def change(file: Any) -> None:
        file.attrs["layer_names"] = ["dense"]

    code, message = raised(write(change))
    assert code is Code.UNSUPPORTED_CHECKPOINT
    assert "save the weights anew" in message


def test_read_of_a_file_that_has_gone_says_so(tmp_path: Path) -> None:
    assert raised(str(tmp_path / "gone.keras"))[0] is Code.CHECKPOINT_MISSING


def test_read_beyond_its_limits_is_ended_and_told(write: Callable[..., str]) -> None:
    code, message = raised(write(), Limits(60.0, 1 << 20))
    assert code is Code.CHECKPOINT_UNREADABLE
    assert "need more than 60 s and 1 MiB" in message
    assert "--memory-limit" not in message


# --- in a logdir


def scan_one(path: str) -> Checkpoint:
    (found,) = Scanner([Logdir("", str(Path(path).parent))]).scan().checkpoints
    return found


def test_inspector_of_a_keras_file_calls_it_complete(write: Callable[..., str]) -> None:
    inspector, checkpoint = Inspector(), scan_one(write())
    assert holds_the_model(inspector.read(checkpoint))
    applied = inspector.apply(checkpoint)
    assert (applied.format, applied.state, applied.problem) == ("keras-weights", "complete", "")


def test_inspector_of_a_corrupt_keras_file_keeps_its_format(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"x")
    inspector, checkpoint = Inspector(), scan_one(str(tmp_path / "m.keras"))
    with pytest.raises(CkptMetaError):
        inspector.read(checkpoint)
    applied = inspector.apply(checkpoint)
    assert (applied.format, applied.state) == ("keras", "corrupt")


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_scan_of_an_empty_keras_file_calls_it_incomplete(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    found = scan_one(str(tmp_path / name))
    assert (found.state, found.problem) == (
        "incomplete",
        "It is empty: it is being written, or its writing was interrupted.",
    )
