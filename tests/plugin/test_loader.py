"""The flags, and how the plugin is attached to TensorBoard, whatever TensorBoard it is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import WITHOUT_GRAPHS, TensorBoard, hide_tensorflow, serve
from tensorboard.plugins import base_plugin

from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.plugin.loader import CkptMetaLoader, find_logdirs
from tb_ckptmeta.plugin.plugin import CkptMetaPlugin


def parse_flags(*arguments: object) -> argparse.Namespace:
    """The flags as TensorBoard hands them to its plugins."""
    parser = argparse.ArgumentParser()
    loader = CkptMetaLoader()
    loader.define_flags(parser)
    flags = parser.parse_args([str(a) for a in arguments])
    loader.fix_flags(flags)
    return flags


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    path = tmp_path / "my_builders.py"
    path.write_text("raise AssertionError('Nobody has asked for this yet.')\n")
    return path


# --- Flags


def test_flags_by_default_are_those_of_a_careful_start() -> None:
    flags = parse_flags()
    assert (flags.ckptmeta_builders, flags.ckptmeta_allowed_hosts) == ([], [])
    assert flags.ckptmeta_timeout == 600.0
    assert flags.ckptmeta_memory_limit > 0.2


def test_flags_may_be_repeated(builders: Path) -> None:
    flags = parse_flags(
        *("--ckptmeta_builders", builders, "--ckptmeta_builders", "my_package.builders"),
        *("--ckptmeta_allowed_hosts", "a,b", "--ckptmeta_allowed_hosts", "c"),
    )
    assert flags.ckptmeta_builders == [str(builders), "my_package.builders"]
    assert flags.ckptmeta_allowed_hosts == ["a,b", "c"]


@pytest.mark.parametrize("spec", ["there_is_no.py", "no/such/folder/x.py", "not a module", "os:system", "a..b", ""])
def test_builders_that_cannot_be_are_refused_by_the_flag_s_name(spec: str) -> None:
    with pytest.raises(base_plugin.FlagsError) as refused:
        parse_flags("--ckptmeta_builders", spec)
    assert str(refused.value).startswith("--ckptmeta_builders: ")
    assert repr(spec) in str(refused.value) or f" {spec} " in str(refused.value)


@pytest.mark.parametrize("name", ["ckptmeta_timeout", "ckptmeta_memory_limit"])
@pytest.mark.parametrize("value", ["0", "-1", "-0.5", "nan"])
def test_limit_that_is_not_above_zero_is_refused_by_the_flag_s_name(name: str, value: str) -> None:
    with pytest.raises(base_plugin.FlagsError) as refused:
        parse_flags(f"--{name}={value}")
    assert f"--{name}" in str(refused.value)


def test_flags_of_another_program_are_let_pass() -> None:
    # Notebooks and `tensorboard dev` parse flags without ours.
    CkptMetaLoader().fix_flags(argparse.Namespace())


def test_start_with_builders_that_are_not_there_ends_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", tmp_path, "--ckptmeta_builders", "nowhere.py"]
    environment = {**os.environ, **hide_tensorflow(tmp_path / "hidden")}
    ended = subprocess.run(
        [*command, "--port", "0"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: --ckptmeta_builders: There is no builders file nowhere.py")
    assert str(tmp_path / "nowhere.py") in last
    assert "Traceback" not in ended.stderr


# --- Logdirs


def test_logdir_is_one_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    flags = argparse.Namespace(logdir_spec="")
    assert find_logdirs("runs", flags) == [Logdir("", str(tmp_path / "runs"))]
    assert find_logdirs("~/runs", flags) == [Logdir("", "/home/somebody/runs")]
    # A comma or a colon in a path says nothing there.
    assert find_logdirs("/a:b,c", flags) == [Logdir("", "/a:b,c")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a:/x,b:/y", [("a", "/x"), ("b", "/y")]),
        ("/x,/y", [("", "/x"), ("", "/y")]),
        ("a:/x,/y", [("a", "/x"), ("", "/y")]),
        ("/x:y", [("", "/x:y")]),
        ("a:/x:y", [("a", "/x:y")]),
        (",a:/x,,", [("a", "/x")]),
        ("", []),
    ],
)
def test_logdir_spec_is_read_as_tensorboard_reads_it(spec: str, expected: list[tuple[str, str]]) -> None:
    flags = argparse.Namespace(logdir_spec=spec)
    assert find_logdirs("", flags) == [Logdir(name, path) for name, path in expected]
    assert find_logdirs(None, flags) == find_logdirs("", flags)


def test_no_logdir_at_all_is_an_empty_list() -> None:
    assert find_logdirs(None, argparse.Namespace()) == []


# --- Without what one would expect


def test_load_without_our_flags_makes_a_plugin(tmp_path: Path) -> None:
    context = base_plugin.TBContext(logdir=str(tmp_path), flags=argparse.Namespace())
    plugin = CkptMetaLoader().load(context)
    assert isinstance(plugin, CkptMetaPlugin)
    assert plugin.is_active() is False
    assert "/checkpoints" in plugin.get_plugin_apps()


def test_load_of_builders_that_have_gone_since_makes_a_plugin(tmp_path: Path) -> None:
    flags = argparse.Namespace(ckptmeta_builders=[str(tmp_path / "gone.py")])
    context = base_plugin.TBContext(logdir=str(tmp_path), flags=flags)
    assert isinstance(CkptMetaLoader().load(context), CkptMetaPlugin)


def test_load_in_a_fresh_interpreter_imports_no_tensorflow(demo_runs: Path, demo_builders: Path) -> None:
    # TensorFlow is installed here; TensorBoard's own start may import it, but nothing of ours does.
    program = f"""
import argparse, sys
from tensorboard.plugins import base_plugin
from tensorboard.plugins.graph import graphs_plugin
from werkzeug.test import Client
from tb_ckptmeta.plugin.loader import CkptMetaLoader

context = base_plugin.TBContext(logdir={str(demo_runs)!r})
context.plugin_name_to_instance = {{"graphs": graphs_plugin.GraphsPlugin(context)}}
context.flags = argparse.Namespace(ckptmeta_builders=[{str(demo_builders)!r}])
plugin = CkptMetaLoader().load(context)
assert plugin.is_active()
routes = plugin.get_plugin_apps()
listed = Client(routes["/checkpoints"]).get("/").json["checkpoints"]
assert len(listed) == 9
verdict = Client(routes["/verdict"]).post("/", json={{"checkpoint": listed[0]["id"]}}).json
assert verdict["status"] == "match", verdict
heavy = {{m.partition(".")[0] for m in sys.modules}} & {{"tensorflow", "keras", "tf_keras", "my_builders", "train"}}
assert not heavy, heavy
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def without_graphs(
    demo_runs: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard that has no Graphs dashboard."""
    folder = tmp_path_factory.mktemp("without_graphs")
    arguments = ["--logdir", demo_runs, "--ckptmeta_builders", demo_builders]
    with serve(folder, *arguments, adapt=WITHOUT_GRAPHS) as board:
        board.wait_for_builders()
        yield board


def test_tab_without_the_graphs_dashboard_works_and_says_why_it_opens_none(without_graphs: TensorBoard) -> None:
    assert without_graphs.ask("GET", "data/plugins_listing").document["ckptmeta"]["enabled"] is True
    document = without_graphs.get("checkpoints").document
    assert len(document["checkpoints"]) == 9
    assert document["graphs"]["attached"] is False
    assert "no Graphs plugin" in document["graphs"]["problem"]
    id = without_graphs.checkpoint("mlp/ckpt-30")["id"]
    answer = without_graphs.post("open", {"checkpoint": id})
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert answer.error["message"] == document["graphs"]["problem"]
    assert without_graphs.post("verdict", {"checkpoint": id}).document["status"] == "match"


@pytest.fixture(scope="module")
def without_tensorflow(
    demo_runs: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard in an environment where TensorFlow is not installed."""
    folder = tmp_path_factory.mktemp("without_tensorflow")
    arguments = ["--logdir", demo_runs, "--ckptmeta_builders", demo_builders]
    with serve(folder / "board", *arguments, environment=hide_tensorflow(folder / "hidden")) as board:
        board.wait_for_builders()
        yield board


def test_tensorboard_without_tensorflow_lists_and_says_what_to_install(without_tensorflow: TensorBoard) -> None:
    board = without_tensorflow
    assert len(board.get("checkpoints").document["checkpoints"]) == 9
    (problem,) = board.get("builders").document["problems"]
    assert problem["code"] == "tensorflow_missing"
    assert 'pip install "tensorboard-plugin-ckptmeta[tensorflow]"' in problem["message"]
    answer = board.post("verdict", {"checkpoint": board.checkpoint("mlp/ckpt-30")["id"]})
    assert answer.status in (404, 409, 501)
    assert 'pip install "tensorboard-plugin-ckptmeta[tensorflow]"' in answer.error["message"]
    # What the checkpoints themselves hold needs no TensorFlow.
    assert {run.partition(" • ")[0] for run in board.graphs("info").document} == {"• custom", "• mlp", "• scoped"}
    assert "model" in {n.name.partition("/")[0] for n in board.graph("• mlp • ckpt-30 • objects").node}
