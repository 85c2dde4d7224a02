"""The README's Python does what is said beside it."""

from pathlib import Path

import pytest

from loadtest.own_server import served
from tests.docs.conftest import blocks


def test_what_the_readme_asks_is_answered(
    sample_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(sample_store) as target:
        for page, code in blocks("python"):
            if page == "README.md":
                exec(compile(code.replace("127.0.0.1:50051", target), page, "exec"), {})
    told = capsys.readouterr().out
    assert "toy-story-3-2010 0." in told
    assert "refused: unknown item 'no-such-film'" in told
    assert "Explanation(items=(" in told
