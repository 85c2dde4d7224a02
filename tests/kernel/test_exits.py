"""Every program ends with a word and a code, whatever ended it."""

import pytest
from cyclopts import App

from ilk.errors import BundleMissing, SettingsError
from ilk.program import exits


@pytest.mark.parametrize(
    ("raised", "code", "word"),
    [
        (None, exits.DONE, ""),
        (SettingsError("--rate is odd"), exits.USAGE, "--rate is odd\n"),
        (BundleMissing("no bundle"), exits.FAILURE, "no bundle\n"),
        (KeyboardInterrupt(), exits.FAILURE, "interrupted\n"),
    ],
)
def test_what_ends_a_program_is_told(
    raised: BaseException | None, code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(version_flags=[])

    @app.default
    def work() -> None:
        if raised is not None:
            raise raised

    assert exits.run(app, []) == code
    assert capsys.readouterr().err == word


def test_an_unknown_flag_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.run(App(version_flags=[]), ["--nonsense"]) == exits.USAGE
    assert "--nonsense" in "".join(capsys.readouterr())
