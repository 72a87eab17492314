"""Small notebooks for tests of the tools."""

import json
from pathlib import Path


def code(source: str, *tags: str, **more) -> dict:
    """A code cell. A + before its source exports it."""
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source.replace("+", "#| export\n", source[:1] == "+"),
        "execution_count": None,
        "outputs": [],
    } | more


def save(path: Path, *cells: dict | str) -> Path:
    """Write a notebook; a string is a code cell."""
    cells = [code(c) if isinstance(c, str) else c for c in cells]
    cells = [{"id": f"cell-{i}"} | cell for i, cell in enumerate(cells)]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(book), encoding="utf-8")
    return path
