"""The README's Python does what is said beside it."""

from pathlib import Path

import pytest

from loadtest.own_server import served
from tests.docs.conftest import blocks


def test_what_the_readme_asks_is_answered(
    sample_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (body for page, body in blocks("python") if page == "README.md")
    with served(sample_store) as target:
        exec(compile(code.replace("127.0.0.1:50051", target), "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "Toy Story" in told
    assert "refused: unknown item 'no-such-film'" in told
    assert "Explanation(items=(" in told
