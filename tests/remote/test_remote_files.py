"""Files by URL: what is one, what a listing gives, what a read fetches, and what is said where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from s3 import S3, listings, reads

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.remote import (
    RemoteFile,
    as_path,
    find_entry,
    is_remote,
    list_folder,
    read_range,
)


@pytest.mark.parametrize("path", ["s3://bucket/runs", "gs://b", "memory://x", "S3A://b/x", "my+driver-2.0://h/p"])
def test_url_names_a_remote_file(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize(
    "path", ["runs", "/runs", "~/runs", "a:b/c", "/a://b", "file:///runs", "local:///runs", "://x", "1://x", ""]
)
def test_path_names_a_local_file(path: str) -> None:
    assert not is_remote(path)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("file:///runs/a", "/runs/a"),
        ("s3://bucket/runs//", "s3://bucket/runs"),
        ("s3://bucket/", "s3://bucket"),
        ("memory://", "memory://"),
        ("runs/", "runs/"),
    ],
)
def test_url_is_told_in_one_form(given: str, path: str) -> None:
    assert as_path(given) == path


def test_listing_tells_names_kinds_sizes_and_times_in_one_request(s3: S3) -> None:
    with s3.watch() as asked:
        found = {e.name: e for e in list_folder("s3://demo/runs/mlp")}
        (root,) = list_folder("s3://demo")
    assert (root.name, root.is_folder) == ("runs", True)
    assert found["ckpt-10.index"].size == int(
        s3.client.head_object(Bucket="demo", Key="runs/mlp/ckpt-10.index")["ContentLength"]
    )
    assert found["ckpt-10.index"].modified > 1e9
    assert not found["ckpt-10.index"].is_folder
    assert (len([a for a in asked if a["method"] == "GET"]), listings(asked)) == (2, 2)


def test_listing_drops_what_does_not_lie_right_in_the_folder(s3: S3) -> None:
    bucket = f"odd-{uuid.uuid4().hex}"
    s3.client.create_bucket(Bucket=bucket)
    keys = ("runs/", "runs/good", "runs//hidden", "runs/../up", "runs/./here", "runs/a::memory:x/b", "runs-2/other")
    for key in keys:
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [(e.name, e.is_folder) for e in list_folder(f"s3://{bucket}/runs")] == [
        ("a::memory:x", True),
        ("good", False),
    ]
    # A name does not choose another file system, as in fsspec's own chained URLs.
    assert [e.name for e in list_folder(f"s3://{bucket}/runs/a::memory:x")] == ["b"]
    assert read_range(f"s3://{bucket}/runs/a::memory:x/b", 0, 10) == b"x"


def test_listing_is_never_one_of_before(s3: S3) -> None:
    bucket = f"fresh-{uuid.uuid4().hex}"
    s3.client.create_bucket(Bucket=bucket)
    s3.client.put_object(Bucket=bucket, Key="runs/a", Body=b"one")
    (before,) = list_folder(f"s3://{bucket}/runs")
    s3.client.put_object(Bucket=bucket, Key="runs/a", Body=b"two")  # of the same size, perhaps in the same second
    s3.client.put_object(Bucket=bucket, Key="runs/b", Body=b"x")
    after = list_folder(f"s3://{bucket}/runs")
    assert [e.name for e in after] == ["a", "b"]
    assert after[0].mark != before.mark


def test_reads_fetch_what_they_ask_for_and_no_more(s3: S3) -> None:
    url = "s3://demo/runs/mlp/ckpt-10.data-00000-of-00001"
    whole = s3.client.get_object(Bucket="demo", Key=url.removeprefix("s3://demo/"))["Body"].read()
    with s3.watch() as asked:
        file = RemoteFile(url, len(whole))
        file.seek(-8, os.SEEK_END)
        assert file.read(100) == whole[-8:]
        assert file.read() == b""
        file.seek(5)
        assert (file.read(3), file.tell()) == (whole[5:8], 8)
        assert file.read_many([(0, 2), (1000, 5)]) == [whole[:2], whole[1000:1005]]
        assert read_range(url, len(whole) - 1, len(whole) + 10) == whole[-1:]
    assert sum(a["bytes"] for a in asked) == 8 + 3 + 2 + 5 + 1
    assert len(reads(asked)) == 5
    assert {r for _, r in reads(asked)} >= {f"bytes={len(whole) - 8}-{len(whole) - 1}", "bytes=5-7"}


def test_file_that_is_not_there_is_none(s3: S3) -> None:
    assert find_entry("s3://demo/runs/mlp/nothing") is None
    with pytest.raises(FileNotFoundError):
        read_range("s3://demo/runs/mlp/nothing", 0, 5)
    with pytest.raises(FileNotFoundError):
        RemoteFile("s3://demo/runs/mlp")  # a folder
    with pytest.raises(NotADirectoryError):
        list_folder("s3://demo/runs/mlp/ckpt-10.index")


def test_file_system_that_cannot_be_reached_is_an_os_error(monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="Could not connect"):
        list_folder(f"s3://unreachable-{uuid.uuid4().hex}/runs")


@pytest.mark.parametrize(
    ("url", "hidden", "said"),
    [
        ("s3://bucket/runs", "s3fs", "pip install s3fs"),
        ("gs://bucket/runs", "gcsfs", "pip install gcsfs"),
        ("gs://bucket/runs", "fsspec", 'pip install "tensorboard-plugin-ckptmeta[remote]" gcsfs'),
        ("nonsense://bucket/runs", "s3fs", "knows no scheme 'nonsense'"),
    ],
)
def test_missing_driver_is_named_in_one_error(cli: Callable, tmp_path: Path, url: str, hidden: str, said: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{hidden!r}] = None\n")
    outcome = cli("scan", url, environment={"PYTHONPATH": str(tmp_path)})
    assert (outcome.status, outcome.stdout) == (3, "")
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_chained_url_is_refused() -> None:
    with pytest.raises(OSError, match="chained"):
        list_folder("zip://x::memory:")
    with pytest.raises(CkptMetaError) as refused:
        list_folder("nonsense://x")
    assert refused.value.code is Code.CHECKPOINT_UNREADABLE


def test_local_logdir_imports_neither_fsspec_nor_a_driver(demo_runs: Path) -> None:
    program = """
import json, sys
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner

found = Scanner([Logdir("", sys.argv[1])]).scan().checkpoints
contents = Inspector().read(found[0])
print(json.dumps([len(found), sorted({"fsspec", "s3fs", "aiohttp", "tensorflow"} & set(sys.modules))]))
"""
    command = [sys.executable, "-c", program, str(demo_runs)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [9, []]
