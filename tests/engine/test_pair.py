"""Pairing by records and patterns: what claims a checkpoint, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tb_ckptmeta.core.arguments import Parameter
from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.job import BuilderDescription, Spec
from tb_ckptmeta.core.record import RecordedPairing
from tb_ckptmeta.engine.listing import ScanReport
from tb_ckptmeta.engine.pair import Pairer, pair, pair_bare
from tb_ckptmeta.engine.records import BROKEN
from tb_ckptmeta.engine.registry import Builders, RegisteredBuilder

SPEC = Spec("my_builders.py", "/home/me/my_builders.py", None, "/home/me")


def registered(**patterns: str | tuple[str, ...]) -> Builders:
    by_name = {}
    for name, globs in patterns.items():
        checkpoints = (globs,) if isinstance(globs, str) else globs
        units = (Parameter("units", "int", False, 128),)
        description = BuilderDescription(name, checkpoints, None, None, f"my_builders.py:1 {name}", units, "")
        by_name[name] = RegisteredBuilder(SPEC, description)
    return Builders(by_name)


def checkpoint(path: str) -> Checkpoint:
    run, _, name = path.rpartition("/")
    return Checkpoint("id", run or ".", name, "/logs/" + path, None, 0, 0.0, None, "listed", "", path, "/logs")


def recorded(builder: str, glob: str = "*", arguments: Mapping[str, Any] | None = None) -> RecordedPairing:
    return RecordedPairing(glob, builder, arguments or {})


# --- patterns


@pytest.mark.parametrize(
    ("path", "builder"),
    [
        ("mlp/ckpt-1", "mlp"),
        ("mlp/deeper/ckpt-1", None),
        ("custom/ckpt-1", "custom"),
        ("custom/a/b/ckpt-1", "custom"),
        ("MLP/ckpt-1", None),
        ("ckpt-1", "root"),
        ("ckptx", None),
    ],
)
def test_pair_by_pattern_takes_the_builder_whose_pattern_matches(path: str, builder: str | None) -> None:
    found = pair(checkpoint(path), registered(mlp="mlp/*", custom="custom/**", root="ckpt-*"))
    assert found.builder == builder
    assert found.claims == ((builder,) if builder else ())
    assert found.reason


def test_pair_by_pattern_says_which_pattern() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(mlp=("other/*", "mlp/*")))
    assert found == Pairing("mlp", {}, "pattern mlp/*", ("mlp",))


def test_pair_by_several_patterns_of_one_builder_is_one_claim() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(mlp=("mlp/*", "**", "*/ckpt-1")))
    assert (found.builder, found.claims) == ("mlp", ("mlp",))


def test_pair_that_two_builders_claim_has_none_and_names_both() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(a="mlp/*", b="**", c="other/*"))
    assert (found.builder, found.claims) == (None, ("a", "b"))
    assert found.reason == "2 builders claim it: a (mlp/*), b (**)"


def test_pair_without_any_claim_says_so() -> None:
    assert pair(checkpoint("x/ckpt-1"), registered(mlp="mlp/*")) == Pairing(
        None, {}, "no builder's pattern matches", ()
    )


def test_pair_where_no_builder_was_given_says_that() -> None:
    assert pair(checkpoint("x/ckpt-1"), registered()).reason == "there are no builders"


def test_pair_of_a_builder_without_patterns_claims_nothing() -> None:
    assert pair(checkpoint("mlp/ckpt-1"), registered(mlp=())).claims == ()


def test_pair_in_a_named_logdir_matches_with_the_name_first() -> None:
    builders = registered(mlp="mlp/*", first="first/mlp/*")
    assert pair(checkpoint("first/mlp/ckpt-1"), builders).builder == "first"


def test_pair_while_builders_are_being_read_says_that_alone() -> None:
    found = pair(checkpoint("x/ckpt-1"), replace(registered(), complete=False))
    assert (found.builder, found.reason) == (None, "the builders are still being read")


# --- records


def test_pair_by_record_wins_over_patterns() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(mlp="mlp/*", cnn=()), [recorded("cnn", arguments={"units": 3})])
    assert found == Pairing("cnn", {"units": 3}, "recorded in ckptmeta.json", ("cnn",))


def test_pair_by_record_settles_what_two_patterns_claim() -> None:
    assert pair(checkpoint("mlp/ckpt-1"), registered(a="mlp/*", b="**"), [recorded("b")]).builder == "b"


@pytest.mark.parametrize(("glob", "taken"), [("*", True), ("ckpt-?", True), ("ckpt-2", False), ("mlp/*", False)])
def test_pair_by_record_matches_its_glob_with_the_name_alone(glob: str, taken: bool) -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(mlp="mlp/*", cnn=()), [recorded("cnn", glob)])
    assert found.builder == ("cnn" if taken else "mlp")


def test_pair_by_a_record_that_names_several_has_none() -> None:
    records = [recorded("a", "ckpt-*"), recorded("b", "*-1")]
    found = pair(checkpoint("mlp/ckpt-1"), registered(a=(), b=()), records)
    assert (found.builder, found.claims) == (None, ("a", "b"))
    assert "a, b" in found.reason


def test_pair_by_a_record_that_names_one_builder_with_two_arguments_has_none() -> None:
    records = [recorded("a", "ckpt-*", {"units": 1}), recorded("a", "*-1", {"units": 2})]
    found = pair(checkpoint("ckpt-1"), registered(a=()), records)
    assert (found.builder, found.claims) == (None, ("a",))


def test_pair_by_a_record_that_says_the_same_twice_takes_it() -> None:
    records = [recorded("a", "ckpt-*"), recorded("a", "*-1")]
    assert pair(checkpoint("ckpt-1"), registered(a=()), records).builder == "a"


def test_pair_by_a_record_of_an_unregistered_builder_is_shown_and_not_skipped() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), registered(mlp="mlp/*"), [recorded("gone", arguments={"units": 3})])
    assert (found.builder, found.claims, found.arguments) == (None, ("gone",), {"units": 3})
    assert "'gone'" in found.reason
    assert "not registered" in found.reason


def test_pair_by_a_record_while_builders_are_being_read_calls_none_missing() -> None:
    found = pair(checkpoint("mlp/ckpt-1"), replace(registered(), complete=False), [recorded("later")])
    assert (found.builder, found.reason) == ("later", "recorded in ckptmeta.json")


# --- from a run's own folder


def inside(path: str, logdir: str = "/home/me/runs/mlp") -> Checkpoint:
    return replace(checkpoint(path), prefix=f"{logdir}/{path}")


@pytest.mark.parametrize(
    ("pattern", "path", "logdir", "told"),
    [
        ("mlp/*", "ckpt-1", "/runs/mlp", "below /runs it is mlp/ckpt-1, as in mlp/* (a)"),
        ("m?p/**", "deep/ckpt-1", "/runs/mlp", "below /runs it is mlp/deep/ckpt-1, as in m?p/** (a)"),
        ("x/**", "ckpt-1", "/runs/x/y", "below /runs it is x/y/ckpt-1, as in x/** (a)"),
        ("x/y/*", "ckpt-1", "/runs/x/y", "below /runs it is x/y/ckpt-1, as in x/y/* (a)"),
        ("x/**/z/*", "z/ckpt-1", "/x/y", "below / it is x/y/z/ckpt-1, as in x/**/z/* (a)"),
    ],
)
def test_pair_below_a_runs_own_folder_names_the_folder_above_that_would_match(
    pattern: str, path: str, logdir: str, told: str
) -> None:
    found = pair(inside(path, logdir), registered(a=pattern))
    assert (found.builder, found.claims) == (None, ())
    assert found.reason == (
        f"no builder's pattern matches the path below the logdir, {path}; {told}: make that folder the logdir"
    )


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("cnn/*", inside("ckpt-1")),
        ("mlp/*", inside("deep/ckpt-1")),  # from no folder above
        ("mlp/*", replace(checkpoint("named/ckpt-1"), prefix="/runs/mlp/ckpt-1")),  # of --logdir_spec named:/runs/mlp
    ],
)
def test_pair_where_no_folder_above_would_match_says_no_more(pattern: str, found: Checkpoint) -> None:
    assert pair(found, registered(a=pattern)).reason == "no builder's pattern matches"


def test_pairer_says_it_of_each_checkpoint_of_a_runs_own_folder_and_still_pairs_the_others() -> None:
    report = ScanReport([inside("ckpt-1"), inside("mlp/ckpt-2"), inside("ckpt-3")])
    reasons = [c.pairing.reason for c in Pairer().pair(report, registered(a="mlp/*"))]
    assert reasons[1] == "pattern mlp/*"
    assert ["it is mlp/ckpt-1, as" in reasons[0], "it is mlp/ckpt-3, as" in reasons[2]] == [True, True]


# --- by path


def bare(path: str) -> Checkpoint:
    return replace(checkpoint("x"), name=path.rpartition("/")[2], pattern_path=path)


@pytest.mark.parametrize(
    ("path", "builder"),
    [("/home/me/runs/mlp/ckpt-1", "mlp"), ("/mlp/ckpt-1", "mlp"), ("/xmlp/ckpt-1", None), ("/mlp/a/ckpt-1", None)],
)
def test_pair_bare_by_pattern_matches_the_tail_of_the_path(path: str, builder: str | None) -> None:
    found = pair_bare(bare(path), registered(mlp="mlp/*", other="other/*"), [], ["mlp", "other"])
    assert found.builder == builder


def test_pair_bare_with_the_only_builder_given_needs_no_pattern() -> None:
    found = pair_bare(bare("/tmp/ckpt-1"), registered(mlp="mlp/*"), [], ["mlp"])
    assert found == Pairing("mlp", {}, "the only builder given", ("mlp",))


def test_pair_bare_with_an_entry_points_builder_beside_the_only_one_given_takes_that() -> None:
    assert pair_bare(bare("/tmp/ckpt-1"), registered(mlp=(), installed=()), [], ["mlp"]).builder == "mlp"


def test_pair_bare_without_a_builder_given_takes_no_installed_one() -> None:
    assert pair_bare(bare("/tmp/ckpt-1"), registered(installed=()), [], []).builder is None


def test_pair_bare_with_two_builders_given_needs_a_pattern() -> None:
    assert pair_bare(bare("/tmp/ckpt-1"), registered(a=(), b=()), [], ["a", "b"]).builder is None


def test_pair_bare_whose_pattern_is_anothers_takes_that_one() -> None:
    # An installed package claims it, and the one given does not: a claim says more than being the only one.
    found = pair_bare(bare("/runs/mlp/ckpt-1"), registered(given="x/*", installed="mlp/*"), [], ["given"])
    assert found.builder == "installed"


def test_pair_bare_by_record_wins_over_the_only_builder_given() -> None:
    found = pair_bare(bare("/runs/ckpt-1"), registered(mlp=(), cnn=()), [recorded("cnn")], ["mlp"])
    assert found.builder == "cnn"


def test_pair_bare_by_a_record_of_an_unregistered_builder_is_shown() -> None:
    found = pair_bare(bare("/runs/ckpt-1"), registered(mlp=()), [recorded("gone")], ["mlp"])
    assert (found.builder, found.claims) == (None, ("gone",))


# --- all that a scan has listed


def report_of(*paths: str, **records: RecordedPairing) -> ScanReport:
    found = [replace(checkpoint(path), id=path) for path in paths]
    return ScanReport(found, {f"/logs/{run}": (record,) for run, record in records.items()})


def paired(checkpoints: list[Checkpoint]) -> dict[str, str | None]:
    return {c.id: c.pairing.builder for c in checkpoints}


def test_pairer_gives_what_pair_gives_and_the_same_again() -> None:
    report = report_of("mlp/ckpt-1", "cnn/ckpt-1", "other/ckpt-1", cnn=recorded("cnn"))
    builders = registered(mlp="mlp/*", cnn="none")
    pairer = Pairer()
    first = pairer.pair(report, builders)
    assert paired(first) == {"mlp/ckpt-1": "mlp", "cnn/ckpt-1": "cnn", "other/ckpt-1": None}
    assert [c.pairing for c in first] == [pair(c, builders, report.find_records(c)) for c in report.checkpoints]
    # A registry gives new objects whenever it is read.
    again = pairer.pair(report, registered(mlp="mlp/*", cnn="none"))
    assert all(a is b for a, b in zip(first, again, strict=True))


def test_pairer_matches_every_run_anew_in_whatever_order_they_come() -> None:
    builders = registered(root="ckpt-*", mlp="mlp/*", deep=("mlp/**/best", "**/x/ckpt-[12]"), all="cnn/**")
    paths = ["ckpt-1", "mlp/ckpt-1", "ckpt-2", "mlp/x/ckpt-1", "mlp/x/ckpt-3", "mlp/ckpt-2", "cnn/a/best", "mlp/best"]
    pairings = [c.pairing for c in Pairer().pair(report_of(*paths), builders)]
    claims = [("root",), ("mlp",), ("root",), ("deep",), (), ("mlp",), ("all",), ("mlp", "deep")]
    assert [p.claims for p in pairings] == claims
    assert pairings[7].reason == "2 builders claim it: mlp (mlp/*), deep (mlp/**/best)"


def test_pairer_sees_other_builders_and_those_that_are_read_at_last() -> None:
    report = report_of("mlp/ckpt-1")
    pairer = Pairer()
    assert "still being read" in pairer.pair(report, replace(registered(), complete=False))[0].pairing.reason
    assert "still being read" not in pairer.pair(report, registered())[0].pairing.reason
    assert paired(pairer.pair(report, registered(a="mlp/*"))) == {"mlp/ckpt-1": "a"}
    assert paired(pairer.pair(report, registered(b="mlp/*"))) == {"mlp/ckpt-1": "b"}


def test_pairer_sees_other_records_and_checkpoints_made_anew() -> None:
    builders = registered(mlp="mlp/*", cnn="none")
    report = report_of("mlp/ckpt-1")
    pairer = Pairer()
    assert paired(pairer.pair(report, builders)) == {"mlp/ckpt-1": "mlp"}
    report.records["/logs/mlp"] = (recorded("cnn"),)
    assert paired(pairer.pair(report, builders)) == {"mlp/ckpt-1": "cnn"}
    grown = ScanReport([replace(c, bytes=99) for c in report.checkpoints], report.records)
    (found,) = pairer.pair(grown, builders)
    assert (found.bytes, found.pairing.builder) == (99, "cnn")


def test_pairings_of_another_thread_with_other_builders_are_not_taken_for_these() -> None:
    report = report_of("mlp/ckpt-1")
    pairer = Pairer()

    class Slow(dict[str, RegisteredBuilder]):
        """While these builders are compared, somebody pairs who has read them as they were still being read."""

        compared = False

        def __eq__(self, other: object) -> bool:
            if not self.compared:
                self.compared = True
                pairer.pair(report, replace(registered(), complete=False))
            return dict.__eq__(self, other)

        __ne__ = object.__ne__
        __hash__ = None  # type: ignore[assignment]

    builders = registered(mlp="mlp/*")
    pairer.pair(report, builders)
    slow = replace(builders, by_name=Slow(builders.by_name))
    assert paired(pairer.pair(report, slow)) == {"mlp/ckpt-1": "mlp"}
    assert paired(pairer.pair(report, builders)) == {"mlp/ckpt-1": "mlp"}


def test_checkpoint_whose_record_is_broken_is_not_paired_by_a_pattern() -> None:
    # The record may have said otherwise, and what it said nobody can tell.
    report = report_of("mlp/ckpt-1")
    pairer, builders = Pairer(), registered(mlp="mlp/*")
    report.records["/logs/mlp"] = BROKEN
    (found,) = pairer.pair(report, builders)
    assert (found.pairing.builder, found.pairing.claims, found.pairing.reason) == (None, (), BROKEN)
    report.records["/logs/mlp"] = ()
    assert paired(pairer.pair(report, builders)) == {"mlp/ckpt-1": "mlp"}
