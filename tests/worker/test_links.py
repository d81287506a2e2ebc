"""Which symbolic links a path leads through."""

from __future__ import annotations

from pathlib import Path

from tb_ckptmeta.worker.links import find_links


def test_links_are_found_in_a_path_and_in_what_its_links_lead_to(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    (here / "releases" / "1" / "model").mkdir(parents=True)
    (here / "releases" / "latest").symlink_to("1")
    (here / "current").symlink_to("releases/latest")
    (here / "model").symlink_to(here / "current" / "model")
    (here / "aside").symlink_to("releases/latest/..")
    model, current, latest = (str(here / name) for name in ("model", "current", "releases/latest"))
    assert find_links(f"{here}/releases/1/model") == []
    assert find_links(f"{here}/model") == [model, current, latest]
    assert find_links(f"{here}//./current/model/nothing") == [current, latest]
    # What is above a link's end is not what is above the link.
    assert find_links(f"{here}/current/../latest/model") == [current, latest, latest]
    assert find_links(f"{here}/aside/latest") == [str(here / "aside"), latest, latest]


def test_links_to_themselves_end(tmp_path: Path) -> None:
    loop = tmp_path.resolve() / "loop"
    loop.symlink_to("loop")
    assert set(find_links(str(loop))) == {str(loop)}
