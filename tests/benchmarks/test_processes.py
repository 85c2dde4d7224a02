"""What a server is said to have spent, read from a process that tells it."""

import subprocess
import sys

import pytest

from benchmarks.processes import ServerProcess

BUSY = """
import time
while time.process_time() < 0.2:
    pass
print(time.process_time(), flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell hundredths of a second")
def test_a_servers_cpu_is_told_finer_than_in_hundredths_of_a_second() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        spent_s = float(busy.stdout.readline())
        told_s = [ServerProcess("", busy).cpu_s() for _ in range(3)]
        busy.terminate()
    assert told_s == sorted(told_s)
    assert told_s[-1] == pytest.approx(spent_s, abs=0.1)
    assert any(round(s, 2) != s for s in told_s)
