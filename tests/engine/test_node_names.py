"""Names that TensorBoard's parser would not take, or not twice."""

from __future__ import annotations

from drawings import assert_parsable, attributes, drawn
from keras_configs import dense, sequential

from tb_ckptmeta.engine.conceptual_keras import graph_from_keras_config


def test_keras_config_odd_names_give_legal_unique_names_that_keep_the_original() -> None:
    names = ["a b", "a_b", "caf\u00e9", "\ud800", 'q"}{\n', "enc/dense", "x" * 1000, "a:0", "^a"]
    graph = graph_from_keras_config(sequential("__root__", *(dense(name) for name in names)))
    assert [node.name for node in graph.node][:6] == [
        "root__/a_b",
        "root__/a_b_1",
        "root__/caf_",
        "root__/_",
        "root__/q____",
        "root__/enc/dense",
    ]
    assert attributes(graph, "root__/caf_")["keras_name"] == "caf\\xe9"
    assert_parsable(graph)


def test_keras_config_names_of_javascript_members_are_renamed() -> None:
    layer = {"class_name": "__proto__", "config": {"name": "a"}}
    graph = graph_from_keras_config(sequential("constructor", layer))
    assert drawn(graph) == {"constructor_/a": ("__proto___",)}
