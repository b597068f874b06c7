"""What is committed of the executor is what its source compiles to."""

from __future__ import annotations

from scripts.build_executor import ARTIFACT, built


def test_a_rebuild_equals_the_committed_artifact() -> None:
    assert built() == ARTIFACT.read_text(), "run `make executor` and commit the result"
