"""How programs end, and what they do without standard streams."""

import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

import ilk
from ilk.program import exits


def test_what_the_system_refuses_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()

    @app.default
    def write() -> None:
        raise OSError(28, "No space left on device")

    assert exits.run(app, []) == exits.FAILURE == 3
    assert capsys.readouterr().err == "the system refuses: [Errno 28] No space left on device\n"


def test_a_lack_of_memory_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()

    @app.default
    def grow() -> None:
        raise MemoryError("8 TiB are wanted")

    assert exits.run(app, []) == exits.FAILURE
    assert capsys.readouterr().err == "there is not enough memory: 8 TiB are wanted\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells what is open here")
def test_no_file_takes_the_place_of_a_stream_that_is_closed(tmp_path: Path) -> None:
    # What a library writes to stderr would else end in the file that was opened first.
    code = (
        "import os, sys; from cyclopts import App; from ilk.program import exits; app = App()\n"
        "@app.default\n"
        "def write() -> None:\n"
        f"    with open({str(tmp_path / 'kept')!r}, 'wb') as file:\n"
        "        file.write(b'kept')\n"
        "        file.flush()\n"
        "        os.write(2, b'a warning of a library')\n"
        "        print('for nobody', file=sys.stderr)\n"
        "sys.exit(exits.run(app, []))"
    )
    command = 'exec "$0" -c "$1" <&- >&- 2>&-'
    root = Path(ilk.__file__).parents[1]
    ran = subprocess.run(["sh", "-c", command, sys.executable, code], cwd=root, timeout=60)
    assert ran.returncode == 0
    assert (tmp_path / "kept").read_bytes() == b"kept"
