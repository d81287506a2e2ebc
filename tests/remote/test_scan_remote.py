"""A remote logdir is listed as a local one is, one listing a folder."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fsspec
import pytest
from s3 import S3, listings, reads

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.recognise import INCOMPLETE
from tb_ckptmeta.engine.records import read_records
from tb_ckptmeta.engine.scan import Scanner, check_confined, find_by_prefix

Put = Callable[[Path], str]


@pytest.fixture(params=["memory", "upload"])
def put(request: pytest.FixtureRequest) -> Put:
    """Both file systems: `memory://`, and S3."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A logdir with checkpoints of every kind of name, and what only looks like one."""
    root = tmp_path / "odd"
    names = (
        *("ckpt-1.index", "ckpt-1.data-00000-of-00001", "checkpoint", "events.out.tfevents.1.host"),
        *("a/ckpt-10.index", "a/ckpt-10.data-00000-of-00002", "a/ckpt-9.index", "a/ckpt-9.data-00000-of-00001"),
        *("a/ckpt-9.meta", "a/ckpt-11.index.tempstate12", "a/b.c/weights.05-0.31.weights.h5", "a/m.keras"),
        *("deep/1/2/3/model.ckpt-7", "deep/1/2/3/model.ckpt-7.meta", "v1/ckpt-00000-of-00002.x", "v1/x.meta"),
        *("v1/model.ckpt-3-00000-of-00002", "v1/model.ckpt-3-00001-of-00002"),
        *("t/ckpt-5_temp/part-00000-of-00002.index", "t/ckpt-5.index", "t/ckpt-5.data-00000-of-00001"),
        *("t/ckpt-6_temp/part-00000-of-00002.data-00000-of-00001", "größe/ckpt-1.index", "r/ckpt-2.index"),
        "r/ckpt-2.data-00000-of-00001",
    )
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number + 1))
    record = {"pairings": [{"checkpoints": "ckpt-*", "builder": "mlp", "arguments": {"units": 3}}]}
    (root / "r" / "ckptmeta.json").write_text(json.dumps(record))
    (root / "a" / "ckptmeta.json").write_text("no JSON")
    return root


def describe(report: ScanReport, root: str) -> list[dict[str, Any]]:
    """What a scan says of its checkpoints, paths from the logdir, times aside."""
    rows = [asdict(c) for c in report.checkpoints]
    for row in rows:
        del row["modified"], row["root"], row["listed"]
        row["prefix"] = row["prefix"].removeprefix(root)
        row["files"] = [f.removeprefix(root) for f in row["files"]]
    return rows


@pytest.mark.parametrize("name", ["", "named"])
def test_scan_of_a_url_lists_what_a_scan_of_the_folder_does(put: Put, odd: Path, name: str) -> None:
    url = put(odd)
    local, remote = Scanner([Logdir(name, str(odd))]).scan(), Scanner([Logdir(name, url)]).scan()
    assert len(local.checkpoints) >= 11
    assert describe(remote, url) == describe(local, str(odd))
    assert {k.removeprefix(url): v for k, v in remote.records.items()} == {
        k.removeprefix(str(odd)): v for k, v in local.records.items()
    }
    assert [p.replace(url, "") for p in remote.problems] == [p.replace(str(odd), "") for p in local.problems] != []
    for here, there in zip(local.checkpoints, remote.checkpoints, strict=True):
        assert abs(there.modified - here.modified) < 3600
        assert (there.root, there.listed is not None, here.listed) == (url, True, None)
        assert remote.find_records(there) == local.find_records(here)
    assert [c.name for c in remote.checkpoints if c.listed and c.listed.metagraph] == [
        c.name for c in local.checkpoints if Path(os.path.dirname(c.prefix), f"{c.name}.meta").exists()
    ]


def test_scan_takes_one_listing_a_folder_and_reads_records_alone(s3: S3, upload: Put, odd: Path) -> None:
    url = upload(odd)
    folders = 1 + sum(p.is_dir() for p in odd.rglob("*"))
    with s3.watch() as asked:
        found = Scanner([Logdir("", url)]).scan()
    assert found.checkpoints
    assert listings(asked) == folders
    assert sorted(name for name, _ in reads(asked)) == ["ckptmeta.json"] * 2


def test_rescan_reads_a_record_again_only_when_the_listing_says_that_it_has_changed(
    s3: S3, upload: Put, odd: Path
) -> None:
    (odd / "a" / "ckptmeta.json").unlink()
    url = upload(odd)
    scanner = Scanner([Logdir("", url)])
    first = scanner.scan()
    with s3.watch() as asked:
        again = scanner.scan()
    assert (reads(asked), again) == ([], first)
    assert listings(asked) == 1 + sum(p.is_dir() for p in odd.rglob("*"))
    body = (odd / "r" / "ckptmeta.json").read_bytes().replace(b'"mlp"', b'"cnn"')  # of the same size
    s3.client.put_object(Bucket=url.removeprefix("s3://"), Key="r/ckptmeta.json", Body=body)
    with s3.watch() as asked:
        changed = scanner.scan()
    assert [name for name, _ in reads(asked)] == ["ckptmeta.json"]
    assert [r.builder for r in changed.records[f"{url}/r"]] == ["cnn"]
    s3.client.delete_object(Bucket=url.removeprefix("s3://"), Key="r/ckptmeta.json")
    assert scanner.scan().records == {}


def test_rescan_makes_anew_only_what_has_changed(put: Put, odd: Path, s3: S3) -> None:
    url = put(odd)
    scanner = Scanner([Logdir("", url)])
    before = {c.pattern_path: c for c in scanner.scan().checkpoints}
    fsspec.filesystem(url.partition("://")[0], use_listings_cache=False).pipe_file(f"{url}/a/ckpt-9.meta", b"longer")
    report = scanner.scan()
    after = {c.pattern_path: c for c in report.checkpoints}
    assert after.keys() == before.keys()
    anew = {path for path, checkpoint in after.items() if checkpoint is not before[path]}
    assert anew - {"t/ckpt-6"} == {path for path in after if path.startswith("a/") and "b.c" not in path}
    assert describe(report, url) == describe(Scanner([Logdir("", url)]).scan(), url)


def test_scan_of_two_urls_gives_runs_of_one_name_ids_of_their_own(memory: Put, odd: Path) -> None:
    found = Scanner([Logdir("", memory(odd)), Logdir("", memory(odd))]).scan().checkpoints
    assert len({c.id for c in found}) == len(found)


def test_scan_of_a_bucket_that_there_is_not_says_so(s3: S3) -> None:
    for url in (f"s3://none-{uuid.uuid4().hex}/runs", "s3://demo/none"):
        report = Scanner([Logdir("", url)]).scan()
        assert report.checkpoints == []
        (problem,) = report.problems
        assert "There is nothing at " + url in problem


def test_scan_without_permission_says_so_and_lists_the_rest(monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"locked-{uuid.uuid4().hex}"
    s3.client.create_bucket(Bucket=bucket)
    report = Scanner([Logdir("", f"s3://{bucket}/runs"), Logdir("", "memory://nowhere")]).scan()
    assert len(report.problems) == 2
    assert f"s3://{bucket}/runs cannot be listed: Unable to locate credentials" in report.problems[0]


def test_record_that_is_refused_is_a_problem(s3: S3, upload: Put, odd: Path) -> None:
    url = upload(odd)
    bucket = url.removeprefix("s3://")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/r/*"}
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    report = Scanner([Logdir("", url)]).scan()
    assert any(f"{url}/r/ckptmeta.json cannot be read" in p for p in report.problems)
    assert len(report.checkpoints) == len(Scanner([Logdir("", str(odd))]).scan().checkpoints)


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001"])
def test_checkpoint_is_found_by_its_url_or_that_of_its_file(put: Put, odd: Path, ending: str) -> None:
    url = put(odd)
    found = find_by_prefix(f"{url}/a/ckpt-9{ending}")
    assert found is not None
    assert (found.prefix, found.root, found.run) == (f"{url}/a/ckpt-9", f"{url}/a", ".")
    assert found.pattern_path.endswith("/a/ckpt-9")
    assert found.bytes == sum(p.stat().st_size for p in odd.glob("a/ckpt-9.[id]*"))
    assert found.id == getattr(find_by_prefix(f"{url}/a/ckpt-9"), "id", None)
    check_confined(found)


def test_url_that_names_no_checkpoint_finds_none(put: Put, odd: Path) -> None:
    url = put(odd)
    for path in (f"{url}/a/ckpt-8", f"{url}/none/ckpt-9", url, "s3://bucket-alone", "memory://"):
        assert find_by_prefix(path) is None
    assert read_records(f"{url}/a/b.c") == ()
    with pytest.raises(CkptMetaError) as refused:
        read_records(f"{url}/a")
    assert refused.value.code is Code.INVALID_RECORD


def test_incomplete_checkpoints_are_told_by_names(memory: Put, odd: Path) -> None:
    found = {f"{c.run}/{c.name}": c for c in Scanner([Logdir("", memory(odd))]).scan().checkpoints}
    assert found["a/ckpt-10"].state == found["t/ckpt-6"].state == INCOMPLETE
    assert "1 of 2 shards missing" in found["a/ckpt-10"].problem
    assert "t/ckpt-5_temp" not in "".join(found)
