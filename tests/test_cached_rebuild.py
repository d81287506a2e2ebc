"""A rebuild is made once, whoever asks and however often, until something changes of what it is made of."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import TensorBoard, serve

from tb_ckptmeta.core.job import Limits, Source
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.rebuild import Rebuilder
from tb_ckptmeta.engine.registry import Registry
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.engine.warm import Workers

LIMITS = Limits(300.0, 4 << 30)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """What runs jobs for all tests here: to them, it is only that TensorFlow is imported once."""
    workers = Workers()
    yield workers
    workers.close()


class Place:
    """A copy of the counted builder, with a cache of its own."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self.builders = folder / "counted.py"
        self.cache = folder / "cache"
        self._workers = workers
        self.write("settings.json", '{"activation": "relu"}')
        self.write("words.txt", "logits\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def count(self, name: str = "runs") -> int:
        """Return how often the builder has run, or its module (`modules`)."""
        file = self.folder / f"{name}.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def rebuild(self, **arguments: int) -> Rebuilt:
        """Rebuild as a process does that has just started."""
        rebuilder = Rebuilder(LIMITS, run=self._workers.run, cache=Cache(self.cache), digests=Digests())
        source = Source(parse_spec(str(self.builders)), "counted", arguments, False, "3", None)
        return rebuilder.rebuild(source).rebuilt

    def list_builders(self) -> set[str]:
        spec = parse_spec(str(self.builders))
        registry = Registry([spec], LIMITS, self._workers.run, cache=Cache(self.cache), digests=Digests())
        builders = registry.read()
        assert builders.problems == ()
        return set(builders.by_name)


@pytest.fixture
def place(tmp_path: Path, workers: Workers, sample: Callable[[str], Path]) -> Place:
    for name in ("counted", "counted_sizes"):
        shutil.copy(sample(name), tmp_path)
    return Place(tmp_path, workers)


_SAVE = """
import sys
import tensorflow as tf
for name, shape in (("saved", [2]), ("other", [])):
    module = tf.Module()
    module.v = tf.Variable([1.0, 2.0])
    module.f = tf.function(lambda x: x, [tf.TensorSpec(shape)])
    tf.saved_model.save(module, f"{sys.argv[1]}/{name}")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel; `other` beside it has the same variables."""
    folder = tmp_path_factory.mktemp("saved")
    subprocess.run([sys.executable, "-c", _SAVE, str(folder)], check=True, capture_output=True)
    return folder / "saved"


def rewrite_in_the_same_size_and_time(path: Path, old: str, new: str) -> None:
    status = path.stat()
    text = path.read_text()
    assert old in text
    assert len(old) == len(new)
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_rebuild_of_what_has_not_changed_runs_no_builder(place: Place) -> None:
    first = place.rebuild()
    for path in place.folder.glob("*.py"):
        path.touch()
    assert place.rebuild() == first
    assert place.count() == 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("counted.py", '"hidden"', '"Hidden"'),
        ("counted_sizes.py", "128", "256"),
        ("settings.json", "relu", "tanh"),
        ("words.txt", "logits", "result"),
    ],
)
def test_rebuild_after_a_file_was_edited_that_it_reads_runs_the_builder(
    place: Place, name: str, old: str, new: str
) -> None:
    first = place.rebuild()
    rewrite_in_the_same_size_and_time(place.folder / name, old, new)
    assert place.rebuild() != first
    assert place.count() == 2
    assert place.rebuild() != first
    assert place.count() == 2


_RESTORE = """
restored = tf.train.Checkpoint(v=tf.Variable(0.0))
restored.restore(str(HERE / "small")).expect_partial()
"""
_GET_TENSOR = """
reader = tf.train.load_checkpoint(str(HERE / "small"))
assert type(reader) is type(tf.compat.v1.train.NewCheckpointReader(str(HERE / "small")))
for name in reader.get_variable_to_shape_map():
    assert reader.get_tensor(name) is not None
"""
_LOAD_VARIABLE = """
for name, _ in tf.train.list_variables(str(HERE / "small")):
    tf.train.load_variable(str(HERE / "small"), name)
"""
_COPY = """
import tempfile
made = os.path.join(tempfile.mkdtemp(), "copy.txt")
tf.io.gfile.copy(str(HERE / "words/one.txt"), made)
assert open(made).read() in ("one\\n", "two\\n")
"""
_HDF5 = """
import h5py, io
try: h5py.h5f.open(name=bytes(HERE / 'words/one.txt'))
except OSError: pass
with h5py.File(io.BytesIO(), "w") as file: file["x"] = 1
file = io.BytesIO()
with h5py.File(file, "w") as made: made["x"] = 1
assert h5py.File(file)["x"][()] == 1
"""
_TABLE = """
import tensorflow.lookup as tables
tables.StaticVocabularyTable(
    tables.TextFileInitializer(
        str(HERE / "words/one.txt"),
        tf.string,
        tables.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tables.TextFileIndex.LINE_NUMBER,
    ),
    1,
)
"""


@pytest.mark.parametrize(
    ("read", "new"),
    [
        ("tf.io.gfile.listdir(str(HERE / 'words'))", "words/two.txt"),
        ("tf.io.gfile.glob(str(HERE / 'words' / '*.txt'))", "words/two.txt"),
        ("tf.io.gfile.exists(str(HERE / 'option.txt'))", "option.txt"),
        ("tf.io.matching_files(str(HERE / 'words' / '*.txt'))", "words/two.txt"),
        ("tf.io.read_file(tf.constant(str(HERE / 'words/one.txt')))", "words/one.txt"),
        (_TABLE, "words/one.txt"),
        ("try: tf.load_op_library(str(HERE / 'words/one.txt'))\nexcept tf.errors.NotFoundError: pass", "words/one.txt"),
        ("import h5py\ntry: h5py.File(HERE / 'words/one.txt')\nexcept OSError: pass", "words/one.txt"),
        ("tf.train.list_variables(str(HERE / 'small'))", "small.index"),
        (_RESTORE, "small.index"),
        (_GET_TENSOR, "small.index"),
        (_LOAD_VARIABLE, "small.index"),
        ("tf.saved_model.load(str(HERE / 'saved'))", "saved/saved_model.pb"),
        (_COPY, "words/one.txt"),
        (_HDF5, "words/one.txt"),
    ],
)
def test_rebuild_after_a_change_of_what_tensorflow_reads_for_it_runs_the_builder(
    place: Place, read: str, new: str, demo_runs: Path, saved: Path
) -> None:
    place.write("counted.py", f"{place.builders.read_text()}\n{read}\n")
    (place.folder / "words").mkdir()
    place.write("words/one.txt", "one\n")
    for part in ("index", "data-00000-of-00001"):
        shutil.copy(demo_runs / "mlp" / f"ckpt-10.{part}", place.folder / f"small.{part}")
    shutil.copytree(saved, place.folder / "saved")
    place.rebuild()
    place.rebuild()
    assert place.count() == 1
    if new == "small.index":
        shutil.copy(demo_runs / "custom" / "ckpt-10.index", place.folder / new)
        shutil.copy(demo_runs / "custom" / "ckpt-10.data-00000-of-00001", place.folder / "small.data-00000-of-00001")
    elif new == "saved/saved_model.pb":
        shutil.copy(saved.parent / "other" / "saved_model.pb", place.folder / new)
    else:
        place.write(new, "two\n")
    place.rebuild()
    assert place.count() == 2


def test_rebuild_after_an_edit_of_a_library_that_is_not_installed_runs_the_builder_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gast = pytest.importorskip("gast")  # TensorFlow imports it
    library = place.folder / "library" / "gast"
    shutil.copytree(Path(gast.__file__).parent, library)
    monkeypatch.setenv("PYTHONPATH", str(library.parent))
    text = place.builders.read_text().replace("words[0]", "gast.COUNTED")
    place.write("counted.py", f"import gast\n{text}")
    original = (library / "gast.py").read_text()
    (library / "__init__.py").write_text((library / "__init__.py").read_text() + "from .gast import COUNTED\n")
    for count, name in enumerate(("first", "other"), 1):
        (library / "gast.py").write_text(f"{original}\nCOUNTED = '{name}'\n")
        for _ in range(2):
            assert f"/{name}/" in str(place.rebuild().variables)
            assert place.count() == count


@pytest.mark.slow
def test_rebuild_in_another_environment_runs_the_builder_if_it_reads_what_has_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.rebuild()
    monkeypatch.setenv("COUNTED_OTHER", "x")
    monkeypatch.setenv("COUNTED_OWN", "x")
    place.rebuild()
    assert place.count() == 1
    monkeypatch.setenv("COUNTED_NAME", "other")
    place.rebuild()
    assert place.count() == 2
    content = b"".join(path.read_bytes() for path in place.cache.iterdir())
    assert b"COUNTED_NAME" in content
    assert b"COUNTED_OWN" not in content


@pytest.mark.parametrize(("read", "count"), [("Path('words.txt').read_text()", 2), ("os.getcwd()", 2), ("1", 1)])
def test_rebuild_elsewhere_runs_the_builder_if_it_asks_where_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, read: str, count: int
) -> None:
    place.write("counted.py", place.builders.read_text() + f"\nHERE_AND_NOW = {read}\n")
    (place.folder / "elsewhere").mkdir()
    shutil.copy(place.folder / "words.txt", place.folder / "elsewhere")
    monkeypatch.chdir(place.folder)
    place.rebuild()
    place.rebuild()
    monkeypatch.chdir(place.folder / "elsewhere")
    place.rebuild()
    assert place.count() == count


def test_rebuild_with_other_arguments_is_another_one(place: Place) -> None:
    assert place.rebuild(units=16) != place.rebuild(units=32)
    place.rebuild(units=16)
    assert place.count() == 2


def test_rebuild_with_other_settings_of_keras_runs_the_builder_in_a_process_that_has_read_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(place.folder / "keras"))
    (place.folder / "keras").mkdir()
    for count, dtype in enumerate(("float32", "float64"), 1):
        place.write("keras/keras.json", json.dumps({"floatx": dtype}))
        assert {v.dtype for v in place.rebuild().variables} == {dtype}
        assert place.count() == count


def test_rebuild_of_a_file_that_changes_while_it_is_read_is_kept_by_nobody(place: Place) -> None:
    text = place.builders.read_text()
    more = "settings = HERE / 'settings.json'\nsettings.write_text(settings.read_text() + ' ')"
    place.write("counted.py", f"{text}\n{more}\n")
    place.rebuild()
    place.rebuild()
    assert place.count() == 2


def test_rebuild_is_not_kept_where_it_fails(place: Place) -> None:
    place.write("settings.json", "{")
    for _ in range(2):
        with pytest.raises(Exception, match="JSONDecodeError"):
            place.rebuild()
    place.write("settings.json", '{"activation": "relu"}')
    assert len(place.rebuild().variables) == 4


def test_builders_of_what_has_not_changed_are_listed_without_importing_it(place: Place) -> None:
    assert place.list_builders() == {"counted"}
    assert place.list_builders() == {"counted"}
    assert place.count("modules") == 1
    rewrite_in_the_same_size_and_time(place.builders, '@builder("counted"', '@builder("recount"')
    assert place.list_builders() == {"recount"}


def test_builders_are_listed_again_after_an_edit_of_what_their_module_reads_through_tensorflow(place: Place) -> None:
    place.write("counted.py", f"{place.builders.read_text()}\ntf.io.gfile.GFile(str(HERE / 'words.txt')).read()\n")
    place.list_builders()
    place.list_builders()
    assert place.count("modules") == 1
    place.write("words.txt", "result\n")
    place.list_builders()
    assert place.count("modules") == 2


def test_second_command_starts_no_worker(place: Place, demo_runs: Path, cli: Callable[..., Any]) -> None:
    environment = {"TB_CKPTMETA_CACHE": str(place.cache)}
    arguments = ("verify", demo_runs / "mlp" / "ckpt-10", "--builders", place.builders, "--json")
    first = cli(*arguments, environment=environment)
    assert first.status == 0, first.stderr
    counted = place.count(), place.count("modules")
    second = cli(*arguments, environment=environment)
    assert (second.status, second.document) == (0, first.document)
    others = [demo_runs / "mlp" / name for name in ("ckpt-20", "ckpt-30")]
    other = cli("verify", *others, *arguments[2:], environment=environment)
    assert [v["status"] for v in other.document["verdicts"]] == ["match", "match"]
    assert (place.count(), place.count("modules")) == counted


def _ask(board: TensorBoard, checkpoint: str, conceptual: bool, **headers: str) -> bytes:
    query = {"run": f"• mlp • {checkpoint} • counted", "tag": "forward", "conceptual": str(conceptual).lower()}
    answer = board.ask("GET", "data/plugin/graphs/graph", query=query, headers=headers)
    assert answer.status == 200
    body: bytes = answer.body
    return body


def test_graphs_of_a_run_are_one_build_and_one_drawing_also_after_a_restart(place: Place, demo_runs: Path) -> None:
    environment = {"TB_CKPTMETA_CACHE": str(place.cache)}
    options = ("--logdir", demo_runs, "--ckptmeta_builders", place.builders)
    looks = []
    for number in range(2):
        folder = place.folder / f"board{number}"
        folder.mkdir()
        with serve(folder, *options, environment=environment) as board:
            board.wait_for_builders()
            for name in ("ckpt-10", "ckpt-20", "ckpt-30"):
                board.post("open", {"checkpoint": board.checkpoint(f"mlp/{name}")["id"], "builder": "counted"})
            looks.append([_ask(board, name, c) for name in ("ckpt-10", "ckpt-30") for c in (False, True)])
            packed = _ask(board, "ckpt-10", False, **{"Accept-Encoding": "gzip"})
            assert gzip.decompress(packed) == looks[-1][0]
            counted = place.count(), place.count("modules"), len(list(place.cache.iterdir()))
    assert looks[0] == looks[1]
    # A listing and a rebuild; an op graph and a conceptual one.
    assert counted[0] == 1
    assert counted[2] == 4
    first, _, last, _ = (look.decode() for look in looks[0])
    assert first != last
    assert first.replace("ckpt-10", "ckpt-30") == last


def test_entry_that_is_read_is_the_last_to_be_evicted(place: Place) -> None:
    place.rebuild(units=1)
    (old,) = place.cache.iterdir()
    os.utime(old, (1, 1))
    place.rebuild(units=1)
    assert time.time() - old.stat().st_mtime < 600
