"""What a server is said to have spent, read from this process instead."""

import sys
import time
from typing import Any

import psutil
import pytest

from benchmarks.processes import ServerProcess


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell hundredths of a second")
def test_a_servers_cpu_is_told_finer_than_in_hundredths_of_a_second() -> None:
    own: Any = psutil.Process()
    told_s = [ServerProcess("", own).cpu_s() for _ in range(3)]
    assert told_s == sorted(told_s)
    assert told_s[-1] == pytest.approx(time.process_time(), abs=1)
    assert any(round(s, 2) != s for s in told_s)
