"""Sources are found by their names, never out of the logdir, and read only when asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import keras_source
from tb_ckptmeta.engine.keras_source import read_configuration
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner
from tb_ckptmeta.engine.sources import find_shown_source, find_sources, get_source


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """A logdir with one checkpoint, whose files hold nothing: names are all that counts."""
    folder = tmp_path / "logdir"
    write(folder / "run" / "ckpt-1.index", folder / "run" / "ckpt-1.data-00000-of-00001")
    return folder


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no message of any kind")


def get_one(logdir: Path) -> Checkpoint:
    (checkpoint,) = Scanner([Logdir("", str(logdir))]).scan().checkpoints
    return checkpoint


def list_kinds(logdir: Path) -> list[str]:
    return [s.kind for s in find_sources(get_one(logdir))]


def test_checkpoint_alone_has_its_object_graph(logdir: Path) -> None:
    assert list_kinds(logdir) == ["objects"]


def test_meta_beside_it_comes_first_and_is_not_opened(logdir: Path) -> None:
    write(logdir / "run" / "ckpt-1.meta", logdir / "run" / "ckpt-2.meta")
    assert list_kinds(logdir) == ["metagraph", "objects"]
    (logdir / "run" / "ckpt-1.meta").chmod(0)
    assert find_shown_source(get_one(logdir)).kind == "metagraph"


def test_saved_model_above_its_variables_is_found(tmp_path: Path) -> None:
    variables = tmp_path / "model" / "variables"
    write(variables / "variables.index", variables / "variables.data-00000-of-00001")
    write(tmp_path / "model" / "saved_model.pb")
    assert list_kinds(tmp_path) == ["saved_model", "objects"]


@pytest.mark.parametrize("place", ["run", "run/train", "train"])
def test_event_file_of_the_run_may_hold_a_configuration(logdir: Path, place: str) -> None:
    write(logdir / place / "events.out.tfevents.1.host")
    assert list_kinds(logdir) == ["keras_config", "objects"]
    # Nobody has asked for it.
    assert find_shown_source(get_one(logdir)).kind == "objects"


def test_links_out_of_the_logdir_are_no_sources(logdir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / "a.meta", outside / "events.out.tfevents.1.host")
    (logdir / "run" / "ckpt-1.meta").symlink_to(outside / "a.meta")
    (logdir / "run" / "train").symlink_to(outside)
    (logdir / "run" / "events.out.tfevents.2.host").symlink_to(outside / "events.out.tfevents.1.host")
    assert list_kinds(logdir) == ["objects"]
    write(logdir / "elsewhere.meta")
    (logdir / "run" / "ckpt-1.meta").unlink()
    (logdir / "run" / "ckpt-1.meta").symlink_to(logdir / "elsewhere.meta")
    assert list_kinds(logdir) == ["metagraph", "objects"]


def test_source_that_is_not_there_names_those_that_are(logdir: Path) -> None:
    with pytest.raises(CkptMetaError, match=r"no ckpt-1\.meta lies beside it\. It has: objects") as caught:
        get_source(get_one(logdir), "metagraph")
    assert caught.value.code is Code.SOURCE_MISSING
    with pytest.raises(CkptMetaError, match="no kind of source 'os'") as caught:
        get_source(get_one(logdir), "os")
    assert caught.value.code is Code.BAD_REQUEST


def make_archive(folder: Path, config: str, metadata: str = "{}") -> Checkpoint:
    folder.mkdir()
    with zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", metadata)
    return get_one(folder)


def read(checkpoint: Checkpoint) -> keras_source.Configuration:
    return read_configuration(checkpoint, get_source(checkpoint, "keras_config"))


@pytest.mark.parametrize(
    ("config", "metadata", "keras"),
    [
        ('{"module": "keras"}', '{"keras_version": "3.5.0"}', "3"),
        ('{"module": "keras"}', '{"keras_version": "2.15.0"}', "legacy"),
        ('{"module": "keras"}', "{}", "3"),
        ('{"module": "tf_keras.src.models"}', "{}", "legacy"),
        ('{"class_name": "Sequential"}', "{}", "legacy"),
    ],
)
def test_archive_tells_which_keras_it_is_of(tmp_path: Path, config: str, metadata: str, keras: str) -> None:
    assert read(make_archive(tmp_path / "runs", config, metadata)).keras == keras


@pytest.mark.parametrize("config", ["", "[]", "{", "[" * 100_000, " " * (keras_source.MOST_BYTES + 1)])
def test_archive_whose_configuration_is_none_is_refused(tmp_path: Path, config: str) -> None:
    checkpoint = make_archive(tmp_path / "runs", config)
    with pytest.raises(CkptMetaError) as caught:
        read(checkpoint)
    assert caught.value.code is Code.SOURCE_UNREADABLE
    assert "model.keras" in caught.value.message


def test_archive_whose_directory_is_larger_than_any_models_is_refused(tmp_path: Path) -> None:
    checkpoint = make_archive(tmp_path / "runs", "{}")
    with zipfile.ZipFile(checkpoint.prefix, "a") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}-{'x' * 100}", "")
    with pytest.raises(CkptMetaError, match="its directory is larger than any model's"):
        read(checkpoint)


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "model.keras")
    with pytest.raises(CkptMetaError, match="no zip archive") as caught:
        read(get_one(tmp_path / "runs"))
    assert caught.value.code is Code.SOURCE_UNREADABLE
