"""What one writes in an afternoon: FastAPI around a faiss index, JSON in and out.

Served by uvicorn in an environment of its own; the index is at the path in ``NAIVE_INDEX``.
"""

import os
from typing import Any

import faiss
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
index = faiss.read_index(os.environ["NAIVE_INDEX"])
faiss.omp_set_num_threads(1)


class Search(BaseModel):
    """What is asked: vectors, how many neighbors of each, how hard to look."""

    vectors: list[list[float]]
    k: int = 10
    effort: int = 64


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it is there."""
    return {"status": "ok"}


@app.post("/search")
async def search(body: Search) -> list[dict[str, Any]]:
    """Return ids and scores for each vector."""
    import numpy as np

    parameters = faiss.SearchParametersHNSW(efSearch=body.effort)
    scores, ids = index.search(np.array(body.vectors, dtype=np.float32), body.k, params=parameters)
    return [
        {"ids": found, "scores": their}
        for found, their in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
