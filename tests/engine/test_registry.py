"""The registry over real workers: what it keeps, what it reads again, and what it says of what is broken."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits, Source
from tb_ckptmeta.engine.rebuild import Rebuilder
from tb_ckptmeta.engine.registry import Builders, Registry
from tb_ckptmeta.engine.specs import find_installed_specs, parse_specs

_LIMITS = Limits(120.0, 8 << 30)
_BUILDER = """
from tb_ckptmeta import builder

@builder({name!r}, checkpoints={checkpoints!r})
def build():
    raise AssertionError("only listed")
"""

Write = Callable[[str, str], Path]
Open = Callable[..., Registry]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a source file below the test's folder, so that it differs in time from what was there before."""

    def write(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else None
        path.write_text(source, encoding="utf-8")
        if before is not None and path.stat().st_mtime_ns <= before:
            os.utime(path, ns=(before + 1_000_000, before + 1_000_000))
        return path

    return write


@pytest.fixture
def write_builder(write: Write) -> Callable[..., Path]:
    """Write a module that registers one builder."""

    def write_builder(file: str, name: str, checkpoints: str = "mlp/*") -> Path:
        return write(file, _BUILDER.format(name=name, checkpoints=checkpoints))

    return write_builder


@pytest.fixture
def open_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any, quick_tensorflow: dict[str, str]
) -> Open:
    """Make a registry of some SPECs, and of installed packages where they are asked for."""
    monkeypatch.chdir(tmp_path)
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)

    def open_registry(*specs: Path | str, installed: bool = False) -> Registry:
        return Registry([*parse_specs(map(str, specs)), *(find_installed_specs() if installed else [])], _LIMITS)

    return open_registry


def names_of(builders: Builders) -> list[str]:
    return sorted(builders.by_name)


def test_registry_of_an_edited_module_reads_it_again_and_only_then(
    open_registry: Open, write_builder: Callable[..., Path]
) -> None:
    path = write_builder("my_builders.py", "first")
    registry = open_registry(path)
    assert not registry.is_loaded
    assert names_of(registry.last()) == []
    first = registry.read()
    assert registry.is_loaded
    assert names_of(first) == ["first"]
    assert registry.read().get("first").description is first.get("first").description  # no worker was asked again
    write_builder("my_builders.py", "second")
    assert names_of(registry.last()) == ["first"]
    assert (names_of(registry.read(patience=0.0)), registry.state) == (["first"], "loading")
    assert (names_of(registry.read()), registry.state) == (["second"], "ready")


@pytest.fixture
def hanging(open_registry: Open, write: Write, leaves_nothing: Any) -> Registry:
    """A registry whose only module is being read, and hangs."""
    begun = leaves_nothing.temporary.parent / "begun"
    path = write("my_builders.py", f"open({str(begun)!r}, 'w').close()\nwhile True:\n    pass\n")
    registry = open_registry(path)
    registry.read(patience=0.0)
    wait_until(begun.exists, "the module is being read")
    return registry


def test_registry_that_is_closed_ends_what_is_being_read_and_reads_it_again_when_asked(
    hanging: Registry, write_builder: Callable[..., Path], leaves_nothing: Any
) -> None:
    hanging.close()
    assert list(leaves_nothing.temporary.iterdir()) == []
    assert (hanging.state, hanging.last()) == ("loading", Builders(complete=False))
    write_builder("my_builders.py", "first")
    assert names_of(hanging.read()) == ["first"]


def test_who_waits_for_a_module_that_hangs_gets_it_anew_once_it_is_edited(
    hanging: Registry, write_builder: Callable[..., Path], leaves_nothing: Any
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hanging.read)  # and nobody else asks
        write_builder("my_builders.py", "first")
        assert (names_of(waiting.result(60.0)), hanging.state) == (["first"], "ready")
    assert leaves_nothing.wait_until_alone() == {}


def test_who_has_no_patience_left_does_not_wait_for_a_module_that_is_read_anew(
    hanging: Registry, write: Write, leaves_nothing: Any
) -> None:
    begun = leaves_nothing.temporary.parent / "again"
    write("my_builders.py", f"open({str(begun)!r}, 'w').close()\nwhile True:\n    pass\n")
    wait_until(begun.exists, "the module is being read anew")
    assert (hanging.read(patience=0.0), hanging.state) == (Builders(complete=False), "loading")
    hanging.close()


def test_registry_after_a_syntax_error_keeps_the_last_good_list_and_shows_the_error(
    open_registry: Open, write: Write, write_builder: Callable[..., Path]
) -> None:
    path = write_builder("my_builders.py", "first")
    registry = open_registry(path)
    assert names_of(registry.read()) == ["first"]
    write("my_builders.py", "def build(:\n")
    broken = registry.read()
    assert names_of(broken) == ["first"]
    assert [p.code for p in broken.problems] == [Code.MODULE_FAILED]
    assert "SyntaxError" in broken.problems[0].message
    assert registry.read().problems[0] is broken.problems[0]
    write_builder("my_builders.py", "mended")
    mended = registry.read()
    assert names_of(mended) == ["mended"]
    assert mended.problems == ()


def test_registry_of_a_module_that_was_never_good_reads_it_when_it_is_mended(
    open_registry: Open, write: Write, write_builder: Callable[..., Path]
) -> None:
    write("my_builders.py", "import my_helper\n")
    registry = open_registry("my_builders")  # by name, from the working directory
    assert [p.code for p in registry.read().problems] == [Code.MODULE_FAILED]
    write("my_helper.py", "raise RuntimeError('not yet')\n")
    assert "not yet" in registry.read().problems[0].message
    write("my_helper.py", _BUILDER.format(name="helped", checkpoints="mlp/*"))
    mended = registry.read()
    assert names_of(mended) == ["helped"]
    assert mended.problems == ()


def test_registry_of_a_module_that_fails_far_away_reads_it_when_that_is_mended(
    open_registry: Open, write: Write, write_builder: Callable[..., Path]
) -> None:
    write("package/inner/deep.py", "def build(:\n")
    registry = open_registry(write("my_builders.py", "import package.inner.deep\n"))
    assert "SyntaxError" in registry.read().problems[0].message
    write_builder("package/inner/deep.py", "mended")
    assert names_of(registry.read()) == ["mended"]


def test_registry_of_a_module_whose_import_is_edited_reads_it_again(
    open_registry: Open, write: Write, write_builder: Callable[..., Path]
) -> None:
    write_builder("package/inner.py", "before")
    path = write("my_builders.py", "import package.inner\n")
    registry = open_registry(path)
    assert names_of(registry.read()) == ["before"]
    write_builder("package/inner.py", "after")
    assert names_of(registry.read()) == ["after"]


def test_registry_of_a_file_that_is_deleted_keeps_the_list_and_shows_the_error(
    open_registry: Open, write_builder: Callable[..., Path]
) -> None:
    path = write_builder("my_builders.py", "first")
    registry = open_registry(path)
    registry.read()
    path.unlink()
    gone = registry.read()
    assert names_of(gone) == ["first"]
    assert [(p.code, p.message) for p in gone.problems] == [(Code.MODULE_FAILED, f"There is no file {path}.")]


def test_registry_of_a_broken_module_disables_that_one_alone(
    open_registry: Open, write_builder: Callable[..., Path], sample: Callable[[str], Path]
) -> None:
    good = write_builder("my_builders.py", "good")
    builders = open_registry(sample("crashes_at_import"), good, sample("imports_missing")).read()
    assert names_of(builders) == ["good"]
    assert [p.code for p in builders.problems] == [Code.BUILDER_CRASHED, Code.MODULE_FAILED]
    with pytest.raises(CkptMetaError) as caught:
        builders.get("goood")
    assert caught.value.code is Code.UNKNOWN_BUILDER
    assert "No builder 'goood' is registered. Registered: good." in caught.value.message
    assert "there_is_no_such_module" in caught.value.message


def test_registry_of_two_files_of_one_name_keeps_them_apart(
    open_registry: Open, write_builder: Callable[..., Path]
) -> None:
    builders = open_registry(
        write_builder("a/builders.py", "from-a"),
        write_builder("b/builders.py", "from-b"),
        write_builder("json.py", "j"),
    ).read()
    assert builders.problems == ()
    assert names_of(builders) == ["from-a", "from-b", "j"]
    assert f"a{os.sep}builders.py" in builders.get("from-a").description.source
    assert f"b{os.sep}builders.py" in builders.get("from-b").description.source


def test_registry_of_one_name_in_two_files_names_both_and_uses_neither(
    open_registry: Open, write_builder: Callable[..., Path]
) -> None:
    a, b = write_builder("a.py", "same"), write_builder("b.py", "same")
    builders = open_registry(a, b).read()
    assert names_of(builders) == []
    with pytest.raises(CkptMetaError) as caught:
        builders.get("same")
    assert caught.value.code is Code.DUPLICATE_BUILDER
    assert f"{a}:4" in caught.value.message
    assert f"{b}:4" in caught.value.message


def test_registry_of_one_name_twice_in_a_file_names_both_places_and_keeps_the_others(
    open_registry: Open, sample: Callable[[str], Path]
) -> None:
    path = sample("duplicates")
    builders = open_registry(path).read()
    assert names_of(builders) == ["once"]
    assert [p.code for p in builders.problems] == [Code.DUPLICATE_BUILDER]
    assert f"{path}:6 first" in builders.problems[0].message
    assert f"{path}:11 second" in builders.problems[0].message


def test_registry_of_odd_parameters_takes_what_is_no_json_scalar_for_unknown(
    open_registry: Open, sample: Callable[[str], Path]
) -> None:
    builders = open_registry(sample("odd_signatures")).read()
    assert names_of(builders) == ["limitless"]
    parameters = {p.name: p for p in builders.get("limitless").description.parameters}
    assert {name: (p.annotation, p.required, p.default) for name, p in parameters.items()} == {
        "clip": ("float", False, None),
        "fill": ("float", False, None),
        "sizes": (None, False, None),
    }
    assert [p.code for p in builders.problems] == [Code.INVALID_BUILDER]
    assert "'units'" in builders.problems[0].message


def test_registry_of_an_entry_point_is_shadowed_by_an_explicit_builder_with_a_note(
    open_registry: Open,
    write: Write,
    write_builder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_builder("site/offering.py", "shared", "offered/*")
    write("site/offering_more.py", _BUILDER.format(name="offered", checkpoints="more/*"))
    write("site/offering-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    write(
        "site/offering-1.0.dist-info/entry_points.txt",
        "[tb_ckptmeta.builders]\nmain = offering\nmore = offering_more:build\ngone = offering_gone\n",
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]]))
    explicit = write_builder("my_builders.py", "shared", "mine/*")

    builders = open_registry(explicit, installed=True).read()

    assert names_of(builders) == ["offered", "shared"]
    assert builders.get("shared").description.checkpoints == ("mine/*",)
    assert builders.get("shared").notes == ("It shadows the one that main = offering (entry point) registers.",)
    assert builders.get("offered").spec.entry_point
    assert [p.code for p in builders.problems] == [Code.MODULE_FAILED]
    assert "offering_gone" in builders.problems[0].message


def test_rebuilder_of_an_edited_model_rebuilds_it_and_keeps_it_otherwise(
    tmp_path: Path, sample: Callable[[str], Path], leaves_nothing: Any, write: Write
) -> None:
    models = Path(shutil.copy(sample("small_models"), tmp_path))
    differs = Path(shutil.copy(sample("differs"), tmp_path))
    os.utime(models, ns=(10**18, 10**18))
    os.utime(differs, ns=(10**18, 10**18))
    [spec] = parse_specs([str(differs)])
    source = Source(spec, "other-units", {"units": 32}, graph=False, keras=None, keras_hint=None)
    rebuilder = Rebuilder(_LIMITS)

    def shapes(artifacts: Any) -> list[tuple[int | None, ...] | None]:
        return [v.shape for v in artifacts.rebuilt.variables]

    first = rebuilder.rebuild(source)
    assert shapes(first) == [(784, 32), (32,), (32, 10), (10,)]
    assert rebuilder.rebuild(source) is first
    write("small_models.py", models.read_text(encoding="utf-8").replace("layers.Dense(10", "layers.Dense(11"))
    assert shapes(rebuilder.rebuild(source)) == [(784, 32), (32,), (32, 11), (11,)]
