"""Every route of the tab: what it answers, and how it says that it cannot."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from answers import (
    BUILDER_KEYS,
    CANDIDATE_KEYS,
    CHECK_KEYS,
    CHECKPOINT_KEYS,
    JOB_KEYS,
    PAIRING_KEYS,
    PARAMETER_KEYS,
    VERDICT_KEYS,
    read_job,
    start_job,
)
from boards import BAD_RUNS, BAD_SECONDS, Marked
from imported import compare_import
from servers import Answer, TensorBoard
from waiting import wait_until

from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.plugin.http import COULD_NOT, STATUSES

# --- The tab


def test_plugins_listing_names_the_tab_and_its_module(demo_board: TensorBoard) -> None:
    listed = demo_board.ask("GET", "data/plugins_listing").document["ckptmeta"]
    assert listed["enabled"] is True
    assert listed["tab_name"] == "Checkpoints"
    assert listed["loading_mechanism"] == {
        "type": "IFRAME",
        "module_path": f"{urlsplit(demo_board.url).path}data/plugin/ckptmeta/index.js",
    }


def test_bundle_is_a_module_that_renders(demo_board: TensorBoard) -> None:
    answer = demo_board.get("index.js")
    assert answer.status == 200
    assert answer.headers.get_content_type() == "text/javascript"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "ckptmeta-app" in answer.text, "The tab's bundle is not built; run: make frontend"
    assert re.search(r"export\s*\{[^}]*\brender\b", answer.text)


# --- Checkpoints and builders


def test_checkpoints_of_the_demo_are_listed_with_their_pairings(demo_board: TensorBoard, demo_and_stock: Path) -> None:
    document = demo_board.get("checkpoints").document
    assert set(document) == {"logdirs", "checkpoints", "problems", "builders", "graphs"}
    assert document["logdirs"] == [{"name": "", "path": str(demo_and_stock)}]
    assert document["problems"] == []
    assert document["builders"] == {"state": "ready"}
    assert document["graphs"] == {"attached": True, "problem": ""}
    listed = document["checkpoints"]
    assert [f"{c['run']}/{c['name']}" for c in listed] == [
        *(f"custom/ckpt-{step}" for step in (10, 20, 30)),
        *(f"mlp/ckpt-{step}" for step in (10, 20, 30)),
        *(f"scoped/model.ckpt-{step}" for step in (10, 20, 30)),
    ]
    for checkpoint in listed:
        assert set(checkpoint) == CHECKPOINT_KEYS
        assert set(checkpoint["pairing"]) == PAIRING_KEYS
        assert checkpoint["prefix"] == str(demo_and_stock / checkpoint["run"] / checkpoint["name"])
        assert checkpoint["step"] == int(checkpoint["name"].rpartition("-")[2])
        assert checkpoint["state"] in ("listed", "complete")
    files = [*(demo_and_stock / "mlp").glob("ckpt-30.*")]
    mlp = demo_board.checkpoint("mlp/ckpt-30")
    assert mlp["bytes"] == sum(f.stat().st_size for f in files)
    assert mlp["modified"] == pytest.approx(max(f.stat().st_mtime for f in files))
    assert mlp["pairing"] == {
        "builder": "mnist-mlp",
        "arguments": {},
        "reason": "pattern mlp/*",
        "claims": ["mnist-mlp"],
    }


def test_checkpoint_ids_are_the_same_in_another_tensorboard(demo_board: TensorBoard, marked: Marked) -> None:
    id = demo_board.checkpoint("mlp/ckpt-30")["id"]
    assert marked.board.checkpoint("mlp/ckpt-30")["id"] == id
    assert re.fullmatch(r"[\w-]+", id)
    ids = [c["id"] for c in demo_board.get("checkpoints").document["checkpoints"]]
    assert len(set(ids)) == len(ids)


def test_builders_of_the_demo_are_listed_with_their_parameters(demo_board: TensorBoard, demo_builders: Path) -> None:
    document = demo_board.get("builders").document
    assert set(document) == {"state", "builders", "problems"}
    assert (document["state"], document["problems"]) == ("ready", [])
    by_name = {b["name"]: b for b in document["builders"]}
    assert list(by_name) == ["mnist-mlp", "custom-model", "scoped-graph"]
    for builder in by_name.values():
        assert set(builder) == BUILDER_KEYS
        assert builder["given"] == str(demo_builders)
        assert builder["source"].startswith(f"{demo_builders}:")
    (units,) = by_name["mnist-mlp"]["parameters"]
    assert set(units) == PARAMETER_KEYS
    assert (units["name"], units["annotation"], units["default"], units["required"]) == ("units", "int", 128, False)
    assert by_name["custom-model"]["checkpoints"] == ["custom/**"]
    assert by_name["scoped-graph"]["keras"] == "legacy"


def test_builders_of_a_broken_module_leave_the_others(odd_board: TensorBoard) -> None:
    document = odd_board.get("builders").document
    assert {"raises", "nothing"} <= {b["name"] for b in document["builders"]}
    (problem,) = document["problems"]
    assert set(problem) == {"code", "message", "details"}
    assert problem["code"] == "module_failed"
    assert "imports_missing.py" in problem["message"]
    assert "there_is_no_such_module" in problem["message"] + problem["details"]


# --- Verdicts


def test_verdict_of_the_demo_is_a_match_in_full(demo_board: TensorBoard) -> None:
    id = demo_board.checkpoint("mlp/ckpt-30")["id"]
    answer = demo_board.post("verdict", {"checkpoint": id})
    verdict = answer.document
    assert answer.status == 200
    assert set(verdict) == VERDICT_KEYS
    assert (verdict["checkpoint"], verdict["builder"], verdict["arguments"]) == (id, "mnist-mlp", {})
    assert (verdict["status"], verdict["variables"], verdict["bound"], verdict["error"]) == ("match", 4, 4, None)
    for empty in ("missing", "unexpected", "shape_mismatches", "dtype_mismatches", "renames"):
        assert verdict[empty] == []
    assert all(set(row) == {"key", "shape", "dtype"} for row in verdict["bookkeeping"])
    assert {"step/.ATTRIBUTES/VARIABLE_VALUE", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"} <= {
        row["key"] for row in verdict["bookkeeping"]
    }
    listed = demo_board.checkpoint("mlp/ckpt-30")
    assert (listed["format"], listed["state"]) == ("object", "complete")


def test_verdict_and_export_with_other_arguments_name_what_differs(demo_board: TensorBoard) -> None:
    choice = {
        "checkpoint": demo_board.checkpoint("mlp/ckpt-30")["id"],
        "builder": "mnist-mlp",
        "arguments": {"units": 64},
    }
    verdict = demo_board.post("verdict", choice).document
    assert verdict["arguments"] == {"units": 64}
    assert verdict["status"] == "mismatch"
    fields = {"name", "key", "place", "model", "checkpoint", "explained"}
    assert all(set(row) == fields for row in verdict["shape_mismatches"])
    differing = {row["name"]: (row["model"], row["checkpoint"]) for row in verdict["shape_mismatches"]}
    assert differing == {
        "mlp/hidden/kernel": ([784, 64], [784, 128]),
        "mlp/hidden/bias": ([64], [128]),
        "mlp/digit/kernel": ([64, 10], [128, 10]),
    }
    answer = demo_board.post("export", {**choice, "check": False})
    assert (answer.status, answer.error["code"]) == (409, "not_matching")
    assert "Content-Disposition" not in answer.headers
    for name in differing:
        assert name in answer.error["details"]


# --- Which builder, and which arguments


def test_which_ranks_every_builder_and_proposes_the_match(demo_board: TensorBoard) -> None:
    id = demo_board.checkpoint("custom/ckpt-30")["id"]
    answer = demo_board.post("which", {"checkpoint": id})
    ranking = answer.document
    assert answer.status == 200
    assert set(ranking) == {"checkpoint", "candidates", "proposed", "reason"}
    assert ranking["checkpoint"] == id
    assert ranking["candidates"][0]["builder"] == "custom-model"
    assert all(set(c) == CANDIDATE_KEYS for c in ranking["candidates"])
    assert len(ranking["candidates"]) == 3
    assert ranking["proposed"] == {"builder": "custom-model", "arguments": {}, "reason": ranking["reason"]}
    assert ranking["reason"] == "The only one of 3 builders that matches: 4 of 4 variables bound."


def test_solve_finds_an_argument_or_says_why_not(demo_board: TensorBoard) -> None:
    id = demo_board.checkpoint("mlp/ckpt-30")["id"]
    answer = demo_board.post("solve", {"checkpoint": id, "unknown": ["units"], "arguments": {"units": 32}})
    solution = answer.document
    assert (answer.status, set(solution)) == (200, {"arguments", "determined", "reason", "verdict"})
    assert (solution["determined"], solution["arguments"]) == (True, {"units": 128})
    assert solution["reason"] == "units = 128 (from mlp/hidden/kernel [784, 128], 3 variables agree)"
    assert (set(solution["verdict"]), solution["verdict"]["status"]) == (VERDICT_KEYS, "match")
    # Another model's checkpoint says nothing that fits.
    other = {"checkpoint": demo_board.checkpoint("custom/ckpt-30")["id"], "builder": "mnist-mlp"}
    wrong = demo_board.post("solve", {**other, "unknown": ["units"]}).document
    assert (wrong["determined"], wrong["arguments"], wrong["verdict"]["status"]) == (False, {}, "mismatch")
    assert wrong["reason"] == "what units changes is bound to nothing in the checkpoint"


@pytest.mark.parametrize(
    ("route", "body", "status", "code"),
    [
        ("which", {}, 400, "bad_request"),
        ("which", {"checkpoint": "x", "builder": "mnist-mlp"}, 400, "bad_request"),
        ("which", {"checkpoint": "x"}, 404, "unknown_checkpoint"),
        ("solve", {"checkpoint": "{mlp}"}, 400, "bad_request"),
        ("solve", {"checkpoint": "{mlp}", "unknown": []}, 400, "bad_request"),
        ("solve", {"checkpoint": "{mlp}", "unknown": "units"}, 400, "bad_request"),
        ("solve", {"checkpoint": "{mlp}", "unknown": [["units"]]}, 400, "bad_request"),
        ("solve", {"checkpoint": "{mlp}", "unknown": ["units", "units"]}, 400, "bad_request"),
        ("solve", {"checkpoint": "{mlp}", "unknown": ["width"]}, 400, "invalid_arguments"),
        ("solve", {"checkpoint": "{mlp}", "unknown": ["units"], "builder": "nobody"}, 404, "unknown_builder"),
    ],
)
def test_which_and_solve_asked_wrongly_are_refused(
    demo_board: TensorBoard, route: str, body: dict[str, Any], status: int, code: str
) -> None:
    if body.get("checkpoint") == "{mlp}":
        body = {**body, "checkpoint": demo_board.checkpoint("mlp/ckpt-30")["id"]}
    answer = demo_board.post(route, body)
    assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.parametrize("route", ["which", "solve"])
def test_which_and_solve_run_nothing_for_a_foreign_page(marked: Marked, route: str) -> None:
    before = marked.marks
    body = {"checkpoint": marked.board.checkpoint("mlp/ckpt-30")["id"], "unknown": ["units"]}
    answer = marked.board.post(route, body, {"Origin": "http://evil.example"})
    assert (answer.status, answer.error["code"]) == (403, "forbidden_origin")
    assert marked.board.get(route).status == 405
    assert marked.marks == before


# --- Exports


def test_export_is_an_attachment_that_restores_without_the_source(demo_board: TensorBoard, tmp_path: Path) -> None:
    checkpoint = demo_board.checkpoint("mlp/ckpt-30")
    answer = demo_board.post("export", {"checkpoint": checkpoint["id"]})
    assert answer.status == 200
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="mlp-ckpt-30.meta"')
    assert answer.headers.get_content_type() == "application/octet-stream"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    check = json.loads(answer.headers["Ckptmeta-Check"])
    assert set(check) == CHECK_KEYS
    assert (check["status"], check["reference"]) == ("passed", "tf.train.Checkpoint")
    assert check["max_abs_difference"] <= 1e-6
    file = tmp_path / "mlp-ckpt-30.meta"
    file.write_bytes(answer.body)
    compared = compare_import(file, checkpoint["prefix"])
    assert (compared["inputs"], compared["foreign"]) == (["image"], [])
    assert list(compared["outputs"]) == ["output_0"]
    assert compared["outputs"]["output_0"] <= 1e-6


def test_export_as_text_unchecked_says_so(demo_board: TensorBoard) -> None:
    body = {"checkpoint": demo_board.checkpoint("mlp/ckpt-30")["id"], "format": "metagraph-text", "check": False}
    answer = demo_board.post("export", body)
    assert answer.status == 200
    assert 'filename="mlp-ckpt-30.pbtxt"' in answer.headers["Content-Disposition"]
    assert answer.headers.get_content_type() == "text/plain"
    assert answer.text.startswith("meta_info_def {")
    assert json.loads(answer.headers["Ckptmeta-Check"])["status"] == "skipped"


def test_export_of_several_files_is_a_zip_with_a_copy_of_the_weights(demo_board: TensorBoard) -> None:
    checkpoint = demo_board.checkpoint("mlp/ckpt-30")
    id, _ = start_job(demo_board, {"checkpoint": checkpoint["id"], "format": "saved_model", "check": False})

    def ended() -> dict[str, Any] | None:
        job = read_job(demo_board, id)
        return None if job["state"] == "running" else job

    result = wait_until(ended, "the export ends")["result"]
    assert result["filename"] == "mlp-ckpt-30.zip"
    assert (result["inputs"], result["outputs"]) == ({"image": "image:0"}, {"output_0": "output_0:0"})
    answers = [demo_board.get(f"jobs/{id}/file") for _ in range(2)]
    assert [a.headers.get_content_type() for a in answers] == ["application/zip"] * 2
    assert answers[0].body == answers[1].body
    with zipfile.ZipFile(io.BytesIO(answers[0].body)) as archive:
        assert archive.testzip() is None
        files = {i.filename: i.file_size for i in archive.infolist()}
        weights = archive.read("mlp-ckpt-30/variables/variables.data-00000-of-00001")
    assert sorted(files) == [
        "mlp-ckpt-30/saved_model.pb",
        "mlp-ckpt-30/variables/variables.data-00000-of-00001",
        "mlp-ckpt-30/variables/variables.index",
    ]
    assert sum(files.values()) == result["bytes"]
    assert weights == Path(f"{checkpoint['prefix']}.data-00000-of-00001").read_bytes()


@pytest.mark.parametrize("format", ["onnx2", "meta", "", "../x", "METAGRAPH"])
def test_export_in_an_unknown_format_names_those_there_are(demo_board: TensorBoard, format: str) -> None:
    body = {"checkpoint": demo_board.checkpoint("mlp/ckpt-30")["id"], "format": format}
    answer = demo_board.post("export", body)
    assert (answer.status, answer.error["code"]) == (400, "unknown_format")
    assert "metagraph-text" in answer.error["message"]


# --- What bad input gets

Verdicts = Mapping[str, Answer]


@pytest.fixture(scope="module")
def bad_verdicts(odd_board: TensorBoard) -> Verdicts:
    """The answers for every bad builder and checkpoint, taken all at once: that is what a bad day looks like."""
    bodies: dict[str, dict[str, str]] = {
        name: {"checkpoint": odd_board.checkpoint(f"{name}/ckpt-1")["id"]} for name in (*BAD_RUNS, "prints-megabytes")
    }
    unpaired = odd_board.checkpoint("unpaired/ckpt-1")["id"]
    bodies["nothing"] = {"checkpoint": unpaired, "builder": "nothing"}
    for name in ("truncated-1", "half-1"):
        bodies[name] = {"checkpoint": odd_board.checkpoint(f"bad/{name}")["id"], "builder": "raises"}
    with ThreadPoolExecutor(len(bodies)) as pool:
        return dict(zip(bodies, pool.map(lambda body: odd_board.post("verdict", body), bodies.values()), strict=True))


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("raises", "builder_failed", ["Builder 'raises'", "ValueError: no layer 'hiden'"]),
        ("exits", "builder_exited", ["Builder 'exits'", "sys.exit('enough')"]),
        ("exits-hard", "builder_exited", ["Builder 'exits-hard'", "exit status 7"]),
        ("crashes", "builder_crashed", ["Builder 'crashes'", "SIGSEGV"]),
        ("eats-memory", "builder_out_of_memory", ["Builder 'eats-memory'", "1.5 GiB", "--ckptmeta_memory_limit"]),
        ("hangs", "builder_timeout", ["Builder 'hangs'", f"{BAD_SECONDS:g} s", "--ckptmeta_timeout"]),
        ("nothing", "builder_returned", ["Builder 'nothing'"]),
        ("truncated-1", "checkpoint_corrupt", ["truncated-1"]),
        ("half-1", "checkpoint_incomplete", ["half-1"]),
    ],
)
def test_verdict_of_something_bad_is_one_clear_error(
    bad_verdicts: Verdicts, name: str, code: str, told: list[str]
) -> None:
    answer = bad_verdicts[name]
    assert answer.status == 200
    verdict = answer.document
    assert set(verdict) == VERDICT_KEYS
    assert verdict["status"] == "error"
    assert set(verdict["error"]) == {"code", "message", "details"}
    assert verdict["error"]["code"] == code
    for text in told:
        assert text in verdict["error"]["message"]


def test_verdict_of_a_builder_that_raises_holds_its_own_traceback_alone(bad_verdicts: Verdicts) -> None:
    details = bad_verdicts["raises"].document["error"]["details"]
    assert details.startswith("Traceback (most recent call last):")
    assert details.endswith("ValueError: no layer 'hiden'\nthere are: hidden, digit")
    assert re.findall(r'File "[^"]*/([^/"]+)", line \d+, in (\w+)', details) == [
        ("misbehaves.py", "raises"),
        ("misbehaves.py", "find_layer"),
    ]


def test_verdict_of_a_builder_that_ends_its_process_holds_its_last_words(bad_verdicts: Verdicts) -> None:
    assert "last words" in bad_verdicts["exits-hard"].document["error"]["details"]


def test_verdict_of_a_builder_that_prints_megabytes_is_a_small_match(bad_verdicts: Verdicts) -> None:
    answer = bad_verdicts["prints-megabytes"]
    assert answer.document["status"] == "match"
    assert len(answer.body) < 10_000


def test_tensorboard_after_bad_builders_answers_and_lists_what_it_learnt(
    odd_board: TensorBoard, bad_verdicts: Verdicts
) -> None:
    assert bad_verdicts
    states = {f"{c['run']}/{c['name']}": c["state"] for c in odd_board.get("checkpoints").document["checkpoints"]}
    assert states["bad/truncated-1"] == "corrupt"
    assert states["bad/half-1"] == "incomplete"
    assert states["hangs/ckpt-1"] == "complete"
    assert odd_board.ask("GET", "data/runs").status == 200


@pytest.mark.parametrize(
    ("run", "status", "code", "told"),
    [
        ("disputed", 409, "ambiguous_pairing", ["raises", "exits"]),
        ("forsaken", 404, "unknown_builder", ["nobody's", "imports_missing.py"]),
        ("unpaired", 409, "no_builder", ["ckpt-1", "imports_missing.py"]),
    ],
)
@pytest.mark.parametrize("route", ["verdict", "open", "export"])
def test_checkpoint_without_one_builder_is_asked_for(
    odd_board: TensorBoard, route: str, run: str, status: int, code: str, told: list[str]
) -> None:
    answer = odd_board.post(route, {"checkpoint": odd_board.checkpoint(f"{run}/ckpt-1")["id"]})
    assert (answer.status, answer.error["code"]) == (status, code)
    for text in told:
        assert text in answer.error["message"]
    assert "(--" not in answer.error["message"]  # no flag without saying whose it is


def test_pairing_that_is_disputed_or_forsaken_is_shown_as_such(odd_board: TensorBoard) -> None:
    disputed = odd_board.checkpoint("disputed/ckpt-1")["pairing"]
    assert (disputed["builder"], disputed["claims"]) == (None, ["raises", "exits"])
    forsaken = odd_board.checkpoint("forsaken/ckpt-1")["pairing"]
    assert (forsaken["builder"], forsaken["claims"]) == (None, ["nobody's"])
    assert "not registered" in forsaken["reason"]


# --- All of them


def test_answer_of_any_kind_is_never_taken_for_html(odd_board: TensorBoard, bad_verdicts: Verdicts) -> None:
    hostile = "<script>alert(1)</script>"
    id = odd_board.checkpoint("raises/ckpt-1")["id"]
    answers = [
        *bad_verdicts.values(),
        odd_board.get("checkpoints"),
        odd_board.get("builders"),
        odd_board.get(f"jobs/{hostile.replace('/', '')}"),
        odd_board.get("export"),
        odd_board.post("verdict", {"checkpoint": hostile}),
        odd_board.post("verdict", {"checkpoint": id, "builder": hostile}),
        odd_board.post("verdict", {hostile: 1}),
        odd_board.post("export", {"checkpoint": id, "format": hostile}),
        odd_board.ask("POST", "data/plugin/ckptmeta/verdict", body=hostile),
        odd_board.get("checkpoints", Host="<b>"),
        odd_board.get("checkpoints", Origin=hostile),
    ]
    for answer in answers:
        assert answer.headers.get_content_type() == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


# --- The documentation


@pytest.fixture(scope="module")
def http_api() -> str:
    return (Path(__file__).parents[2] / "docs" / "http_api.md").read_text(encoding="utf-8")


def test_every_code_is_documented_with_its_status(http_api: str) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", http_api, re.MULTILINE))
    # Those three only the command line gives.
    expected = {c.value: str(STATUSES.get(c, COULD_NOT)) for c in Code}
    expected |= {c.value: "–" for c in (Code.OUTPUT_EXISTS, Code.OUTPUT_UNWRITABLE, Code.BEAM_MISSING)}
    assert documented == expected


def test_every_field_is_documented(http_api: str) -> None:
    for keys in (CHECKPOINT_KEYS, PAIRING_KEYS, BUILDER_KEYS, PARAMETER_KEYS, VERDICT_KEYS, JOB_KEYS, CHECK_KEYS):
        assert [key for key in sorted(keys) if f'"{key}"' not in http_api] == []


def test_route_that_there_is_not_is_answered_as_any_other_error(demo_board: TensorBoard) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = demo_board.ask(method, "data/plugin/ckptmeta/nope", headers={"Content-Type": "application/json"})
        assert (answer.status, answer.error["code"]) == (404, "not_found")
        assert "/data/plugin/ckptmeta/nope" in answer.error["message"]


def test_every_route_is_documented(http_api: str, demo_board: TensorBoard) -> None:
    routes = set(re.findall(r"^### (.*)$", http_api, re.MULTILINE))
    assert routes == {
        "`GET /checkpoints`",
        "`GET /builders`",
        "`GET /sources?checkpoint=ID`",
        "`GET /contents?checkpoint=ID`",
        "`POST /verdict`",
        "`POST /which`",
        "`POST /solve`",
        "`POST /open`",
        "`POST /diff`",
        "`POST /export`",
        "`GET /jobs/ID`, `GET /jobs/ID/file`, `DELETE /jobs/ID`",
    }
    for method, path in (found for group in routes for found in re.findall(r"`(\w+) /(\S+?)`", group)):
        answer = demo_board.ask(method, f"data/plugin/ckptmeta/{path}", headers={"Content-Type": "application/json"})
        assert answer.headers.get_content_type() == "application/json", path
        assert answer.status != 405
