"""Who may make TensorBoard run builders, and what they may ask."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import pytest
from boards import Marked
from werkzeug.datastructures import Headers

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.plugin.access import Access

FLAG = "--ckptmeta_allowed_hosts"


def make_access(host: str | None = None, *allowed: str) -> Access:
    return Access(host, allowed)


# --- Hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:6006",
        "LocalHost:6006",
        "localhost.",
        "localhost.:6006",
        "127.0.0.1",
        "127.0.0.1:6006",
        "10.1.2.3:80",
        "[::1]",
        "[::1]:6006",
        "[fe80::1%25eth0]:6006",
        "[2001:DB8::1]:6006",
    ],
)
def test_host_local_or_an_address_passes(host: str) -> None:
    make_access().check(Headers({"Host": host}))


def test_host_of_the_machine_passes() -> None:
    for name in {socket.gethostname(), socket.getfqdn(), socket.gethostname().upper(), socket.getfqdn() + "."}:
        make_access().check(Headers({"Host": f"{name}:6006"}))


def test_host_given_by_flags_passes() -> None:
    access = make_access("board.intern", "Proxy.Example:8080, second.example", "[::1]", "third.example.")
    for name in ("board.intern", "proxy.example", "PROXY.example:1", "second.example", "third.example", "localhost"):
        access.check(Headers({"Host": name}))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:6006",
        "localhost.evil.example",
        "evil.example.localhost.com",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1evil",
        "1.2.3",
        "[evil.example]",
        "[::1].evil.example",
        "xn--lclhost-fra",
        "",
        ".",
        ":6006",
    ],
)
def test_host_foreign_is_refused_by_a_text_that_names_the_flag(host: str) -> None:
    with pytest.raises(CkptMetaError) as refused:
        make_access("board.intern", "proxy.example").check(Headers({"Host": host}))
    assert refused.value.code is Code.FORBIDDEN_HOST
    assert FLAG in refused.value.message


def test_host_missing_is_refused() -> None:
    with pytest.raises(CkptMetaError) as refused:
        make_access().check(Headers())
    assert refused.value.code is Code.FORBIDDEN_HOST


def test_host_refused_is_told_how_it_would_be_allowed() -> None:
    with pytest.raises(CkptMetaError) as refused:
        make_access().check(Headers({"Host": "Board.Example:6006"}))
    assert f"{FLAG} board.example" in refused.value.message


# --- Pages


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:6006", "http://localhost:6006"),
        ("LOCALHOST:6006", "http://localhost:6006"),
        ("localhost", "http://localhost"),
        ("127.0.0.1:6006", "http://127.0.0.1:6006"),
        ("[::1]:6006", "http://[::1]:6006"),
        ("localhost:6006", "https://localhost:6006"),  # TLS ends at a proxy that leaves the host as it is
        ("127.0.0.1:6006", "https://proxy.example"),  # and at one that does not, and was allowed
        ("127.0.0.1:6006", "https://PROXY.example.:8443"),
    ],
)
def test_origin_own_or_of_an_allowed_proxy_passes(host: str, origin: str) -> None:
    make_access(None, "proxy.example").check(Headers({"Host": host, "Origin": origin}))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:7007",
        "http://localhost",
        "http://127.0.0.1:6006",
        "http://localhost:6006.evil.example",
        "http://localhost:6006@evil.example",
        "http://proxy.example.evil.example",
        "null",
        "",
        "localhost:6006",
        "file://",
        "http://[::1",
    ],
)
def test_origin_foreign_is_refused_by_a_text_that_names_the_flag(origin: str) -> None:
    with pytest.raises(CkptMetaError) as refused:
        make_access(None, "proxy.example").check(Headers({"Host": "localhost:6006", "Origin": origin}))
    assert refused.value.code is Code.FORBIDDEN_ORIGIN
    assert FLAG in refused.value.message


@pytest.mark.parametrize("site", ["same-origin", "none", "Same-Origin", " none "])
def test_site_own_passes(site: str) -> None:
    make_access().check(Headers({"Host": "localhost", "Sec-Fetch-Site": site}))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "what comes next"])
def test_site_foreign_is_refused_by_a_text_that_names_the_flag(site: str) -> None:
    with pytest.raises(CkptMetaError) as refused:
        make_access().check(Headers({"Host": "localhost", "Origin": "http://localhost", "Sec-Fetch-Site": site}))
    assert refused.value.code is Code.FORBIDDEN_ORIGIN
    assert FLAG in refused.value.message


# --- Over HTTP: none of this runs a builder

FOREIGN = {
    "rebound host": ({"Host": "evil.example"}, "forbidden_host"),
    "foreign page": ({"Origin": "http://evil.example"}, "forbidden_origin"),
    "sandboxed page": ({"Origin": "null"}, "forbidden_origin"),
    "other port": ({"Origin": "http://localhost:1"}, "forbidden_origin"),
    "plain link": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "forbidden_origin"),
    "sibling host": ({"Sec-Fetch-Site": "same-site"}, "forbidden_origin"),
}
ROUTES = ("verdict", "open", "export")


@pytest.fixture
def runs_nothing(marked: Marked) -> Iterator[Marked]:
    """The TensorBoard with marks; at the end no builder may have run."""
    before = marked.marks
    yield marked
    assert marked.marks == before


@pytest.fixture
def choice(marked: Marked) -> dict[str, object]:
    """A body that every one of the routes would take."""
    return {"checkpoint": marked.board.checkpoint("mlp/ckpt-30")["id"], "builder": "marks"}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("who", FOREIGN)
def test_post_of_a_stranger_is_refused(runs_nothing: Marked, choice: dict[str, object], who: str, route: str) -> None:
    headers, code = FOREIGN[who]
    answer = runs_nothing.board.post(route, choice, headers)
    assert answer.status == 403
    assert answer.error["code"] == code
    assert FLAG in answer.error["message"]


@pytest.mark.parametrize("who", FOREIGN)
def test_listing_for_a_stranger_is_refused(runs_nothing: Marked, who: str) -> None:
    headers, code = FOREIGN[who]
    for route in ("checkpoints", "builders", "jobs/any", "jobs/any/file"):
        answer = runs_nothing.board.get(route, **headers)
        assert (answer.status, answer.error["code"]) == (403, code)


@pytest.mark.parametrize("conceptual", ["false", "true"])
@pytest.mark.parametrize("who", FOREIGN)
def test_graph_for_a_stranger_is_not_built(runs_nothing: Marked, who: str, conceptual: str) -> None:
    headers, code = FOREIGN[who]
    run = "• mlp • ckpt-30 • marks"
    assert run in runs_nothing.board.graphs("info").document
    answer = runs_nothing.board.graphs("graph", headers, run=run, tag="forward", conceptual=conceptual)
    if code == "forbidden_host":
        # The dashboard of somebody behind a proxy shows no text of an error's answer, but this it does.
        (node,) = answer.graph.node
        assert (node.name, node.attr["00_code"].s) == ("ERROR", b"forbidden_host")
        assert FLAG in node.op
    else:
        assert answer.status == 403
        assert FLAG in answer.text


@pytest.mark.parametrize("who", FOREIGN)
def test_graphs_for_a_stranger_lists_nothing_of_ours(runs_nothing: Marked, choice: dict[str, object], who: str) -> None:
    # A page that links to /?ckpt=KEY#graphs reaches /info with that Referer.
    key = base64.urlsafe_b64encode(json.dumps([choice["checkpoint"], "waits", {}]).encode()).decode()
    headers = {**FOREIGN[who][0], "Referer": f"{runs_nothing.board.url}?ckpt={key}"}
    assert runs_nothing.board.graphs("info", headers).document == {}
    assert not [run for run in runs_nothing.board.graphs("info").document if "waits" in run]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain; charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", ""],
)
def test_post_that_a_page_may_send_unasked_is_refused(
    runs_nothing: Marked, choice: dict[str, object], content_type: str, route: str
) -> None:
    answer = runs_nothing.board.post(route, choice, {"Content-Type": content_type})
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_route_that_runs_builders_asked_otherwise_than_by_post_is_refused(
    runs_nothing: Marked, choice: dict[str, object], method: str, route: str
) -> None:
    query = {name: str(value) for name, value in choice.items()}
    answer = runs_nothing.board.ask(method, f"data/plugin/ckptmeta/{route}", query=query)
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"path": "/etc/passwd"}, "'path' is not known"),
        ({"module": "os"}, "'module' is not known"),
        ({"checkpoint": None}, "'checkpoint' is missing"),
        ({"checkpoint": 1}, "'checkpoint' must be a string"),
        ({"checkpoint": ["a"]}, "'checkpoint' must be a string"),
        ({"builder": {}}, "'builder' must be a string"),
        ({"arguments": "units=3"}, "'arguments' must be an object"),
        ({"arguments": [1]}, "'arguments' must be an object"),
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_post_with_a_field_that_does_not_fit_is_refused_by_its_name(
    runs_nothing: Marked, choice: dict[str, object], route: str, change: dict[str, object], named: str
) -> None:
    answer = runs_nothing.board.post(route, {**choice, **change})
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    assert named in answer.error["message"]


def test_post_with_several_fields_that_do_not_fit_names_them_all(runs_nothing: Marked) -> None:
    answer = runs_nothing.board.post("export", {"path": "x", "check": 1, "allow_partial": "yes", "format": 2})
    for named in ("'path' is not known", "'checkpoint' is missing", "'check' must", "'allow_partial' must", "'format'"):
        assert named in answer.error["message"]


@pytest.mark.parametrize(
    "body", ["", "{", "null", "[]", '"text"', "1", "[" * 30_000, '{"checkpoint": "\\ud800"}', b"\xff\xfe{"]
)
def test_post_of_what_is_no_json_object_is_refused(runs_nothing: Marked, body: str | bytes) -> None:
    answer = runs_nothing.board.ask(
        "POST", "data/plugin/ckptmeta/verdict", body=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status in (400, 404)
    assert answer.error["code"] in ("bad_request", "unknown_checkpoint")


def test_post_of_a_body_above_the_limit_is_refused_unread(runs_nothing: Marked, choice: dict[str, object]) -> None:
    answer = runs_nothing.board.post("verdict", {**choice, "builder": "x" * (64 << 10)})
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    # Of this one only the length comes: an answer means that nobody waited for the rest.
    headers = {"Content-Type": "application/json", "Content-Length": str(1 << 40)}
    answer = runs_nothing.board.ask("POST", "data/plugin/ckptmeta/verdict", headers=headers)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


OUTSIDE = ["../../etc/passwd", "/etc/passwd", "mlp/ckpt-30", "file:///etc/passwd", "..", "", "\x00", "é" * 100]


@pytest.mark.parametrize("checkpoint", OUTSIDE)
def test_checkpoint_given_as_a_path_is_unknown(runs_nothing: Marked, checkpoint: str) -> None:
    for route in ROUTES:
        answer = runs_nothing.board.post(route, {"checkpoint": checkpoint, "builder": "marks"})
        assert (answer.status, answer.error["code"]) == (404, "unknown_checkpoint")


@pytest.mark.parametrize(
    "builder", ["os:system", "os.system", "leaves_marks", "leaves_marks.py", "../x.py", "", "\x00"]
)
def test_builder_given_as_code_is_unknown(runs_nothing: Marked, choice: dict[str, object], builder: str) -> None:
    for route in ROUTES:
        answer = runs_nothing.board.post(route, {**choice, "builder": builder})
        assert (answer.status, answer.error["code"]) == (404, "unknown_builder")


@pytest.mark.parametrize(
    "arguments", [{"units": "64"}, {"units": [64]}, {"units": {}}, {"units": 1.5}, {"__class__": 1}, {"unit": 64}]
)
def test_arguments_that_do_not_fit_the_signature_are_refused(
    runs_nothing: Marked, choice: dict[str, object], arguments: dict[str, object]
) -> None:
    for route in ROUTES:
        answer = runs_nothing.board.post(route, {**choice, "arguments": arguments})
        assert (answer.status, answer.error["code"]) == (400, "invalid_arguments")
        assert "units: int = 128" in answer.error["message"]


def test_request_through_an_allowed_proxy_is_answered(runs_nothing: Marked) -> None:
    for headers in (
        {"Host": "proxy.example", "Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://proxy.example:8443"},
    ):
        assert runs_nothing.board.get("checkpoints", **headers).status == 200


def test_request_of_its_own_page_runs_the_builder_once(marked: Marked, choice: dict[str, object]) -> None:
    before = len(marked.marks)
    headers = {"Origin": marked.board.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    answer = marked.board.post("verdict", choice, headers)
    assert (answer.status, answer.document["status"]) == (200, "match")
    assert len(marked.marks) == before + 1
