"""A real TensorBoard, started as a user starts it, and what asks it over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tensorboard.compat.proto import graph_pb2
from waiting import wait_until

START_SECONDS = 120.0
ANSWER_SECONDS = 180.0

_ADDRESS = re.compile(r"TensorBoard \S+ at (http://\S+) \(Press CTRL\+C to quit\)")

# TensorBoard with fewer plugins than it would load: without the dynamic ones (ours), or without the Graphs dashboard.
WITHOUT_DYNAMIC_PLUGINS = "default.get_dynamic_plugins = lambda: []"
WITHOUT_GRAPHS = (
    "static = [p for p in default.get_static_plugins() if getattr(p, 'plugin_name', '') != 'graphs']; "
    "default.get_static_plugins = lambda: static"
)


@dataclass(frozen=True)
class Answer:
    """What an HTTP request was answered with."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        assert self.headers.get_content_type() == "application/json", (self.status, self.headers, self.body[:500])
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error of the contract's one shape, known to be in that shape."""
        document = self.document
        assert set(document) == {"error"}, document
        assert set(document["error"]) == {"code", "message", "details"}
        assert all(isinstance(v, str) for v in document["error"].values())
        return document["error"]

    @property
    def graph(self) -> graph_pb2.GraphDef:
        """The graph that the dashboard would draw."""
        from google.protobuf import text_format

        assert self.status == 200, (self.status, self.body[:500])
        assert self.headers.get_content_type() == "text/x-protobuf"
        return text_format.Parse(self.text, graph_pb2.GraphDef())


@dataclass(frozen=True)
class TensorBoard:
    """A TensorBoard that runs. `url` ends with a slash; `temporary` is its `TMPDIR`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    temporary: Path

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request, with these headers and no more than HTTP itself needs (`Host` among them)."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
        try:
            target = address.path + path + ("?" + urlencode(query) if query else "")
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, route: str, **headers: str) -> Answer:
        """GET one of our routes."""
        return self.ask("GET", f"data/plugin/ckptmeta/{route}", headers=headers)

    def post(self, route: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """POST a JSON value to one of our routes."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.ask("POST", f"data/plugin/ckptmeta/{route}", body=json.dumps(value), headers=sent)

    def graphs(self, route: str, headers: Mapping[str, str] | None = None, **query: str) -> Answer:
        """GET one of the stock Graphs plugin's routes."""
        return self.ask("GET", f"data/plugin/graphs/{route}", query=query, headers=headers)

    def graph(self, run: str, *, conceptual: bool = False) -> graph_pb2.GraphDef:
        """Return a graph of ours as the dashboard asks for it."""
        return self.graphs("graph", run=run, tag="forward", conceptual=str(conceptual).lower()).graph

    def checkpoint(self, path: str) -> dict[str, Any]:
        """Return a checkpoint as it is listed, by `run/name`."""
        listed = {f"{c['run']}/{c['name']}": c for c in self.get("checkpoints").document["checkpoints"]}
        assert path in listed, sorted(listed)
        return listed[path]

    def wait_for_builders(self) -> None:
        """Wait until the builders have been read: until then nothing is paired."""
        wait_until(lambda: self.get("builders").document["state"] != "loading", "the builders are read")


@contextmanager
def serve(
    folder: Path,
    *arguments: object,
    adapt: str = "",
    environment: Mapping[str, str] | None = None,
    dies: bool = False,
    module: str = "tensorboard.main",
) -> Iterator[TensorBoard]:
    """Run TensorBoard on loopback and a free port until the block ends; its files lie in `folder`.

    `module` is what `python -m` runs. `adapt` is Python that changes `tensorboard.default` before TensorBoard starts.
    Unless it `dies`, TensorBoard must live until the end, and leave neither a temporary file of ours nor a traceback in
    its log.
    """
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    log = folder / "tensorboard.log"
    start = ["-m", module]
    if adapt:
        start = ["-c", f"from tensorboard import default, main; {adapt}; main.run_main()"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *start, *map(str, arguments), "--port", "0"],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temporary), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield TensorBoard(_await_address(process, log), process, log, temporary)
        assert dies or process.poll() is None, f"TensorBoard has ended by itself:\n{log.read_text()}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if dies:
        return
    left_behind = [p.name for p in temporary.iterdir() if p.name != ".tensorboard-info"]
    assert left_behind == [], f"TensorBoard has left temporary files: {left_behind}"
    assert "Traceback" not in log.read_text(), log.read_text()


def hide_tensorflow(folder: Path) -> dict[str, str]:
    """Return an environment in which TensorFlow is not installed, for TensorBoard and all that it starts."""
    folder.mkdir(parents=True)
    # What Python imports at every start: with None there, TensorFlow is neither found nor imported.
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    return {"PYTHONPATH": str(folder)}


def write_stock_run(folder: Path) -> None:
    """Write event files as TensorFlow's users do: a run's graph, the profile of a step, a traced function."""
    program = """
import sys
import tensorflow as tf

v1 = tf.compat.v1
with tf.Graph().as_default() as graph, v1.Session() as session:
    x = v1.placeholder(tf.float32, [None, 3], name="stock_input")
    y = tf.nn.relu(x, name="stock_scope/stock_relu")
    with v1.summary.FileWriter(sys.argv[1], graph) as writer:
        profile = v1.RunMetadata()
        options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
        session.run(y, {x: [[1, 2, 3]]}, options, profile)
        writer.add_run_metadata(profile, "stock_step")

@tf.function
def stock_function(x):
    return tf.tanh(x, name="stock_tanh")

with tf.summary.create_file_writer(sys.argv[1], filename_suffix=".v2").as_default():
    tf.summary.trace_on(graph=True)
    stock_function(tf.zeros([2]))
    tf.summary.trace_export("stock_trace", step=0)
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", program, str(folder)], env=environment, check=True, capture_output=True)


def _await_address(process: subprocess.Popen[bytes], log: Path) -> str:
    def find() -> str:
        assert process.poll() is None, f"TensorBoard did not start:\n{log.read_text()}"
        found = _ADDRESS.search(log.read_text())
        return found[1] if found else ""

    return wait_until(find, "TensorBoard prints its address", START_SECONDS)
