"""What faiss's linear algebra is told of the processor."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from ilk.ann import blas

TOLD = "import ilk.ann, threadpoolctl as t; print({i.get('architecture') for i in t.threadpool_info()})"


def test_faiss_takes_the_processor_for_what_numpy_takes_it() -> None:
    assert threadpool_info()
    named = blas.processor()
    if named is None:
        pytest.skip("numpy's library calls this processor by a name that faiss's does not know")
    ran = subprocess.run([sys.executable, "-c", TOLD], check=True, capture_output=True, text=True)
    assert "Prescott" not in ran.stdout
    assert named in ran.stdout


@pytest.mark.parametrize("given", [None, "Haswell"])
def test_the_environment_is_left_as_it_was(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "processor", lambda: "Zen")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if given:
        monkeypatch.setenv("OPENBLAS_CORETYPE", given)
    with blas.processor_named():
        assert os.environ["OPENBLAS_CORETYPE"] == (given or "Zen")
    assert os.environ.get("OPENBLAS_CORETYPE") == given


def test_a_processor_that_nobody_knows_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "threadpool_info", lambda: [{"architecture": "neoversen1"}, {}])
    assert blas.processor() is None
    monkeypatch.setattr(blas, "threadpool_info", lambda: [{"architecture": "SapphireRapids"}])
    assert blas.processor() == "SkylakeX"
