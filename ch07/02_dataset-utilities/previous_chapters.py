# GENERATED from ch07/01_main-chapter-code/ch07.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import json
from pathlib import Path
from typing import Any

from scratch_llm.instructions import Entry

# ---- ch07: instruction ----


def load_entries(path: str | Path) -> list[Entry]:
    """Entries from a JSON file in Alpaca's form: a list of objects.

    instruction and output are texts that are not empty; input may lack.
    ValueError names what is wrong, and where.
    """
    try:
        items = json.loads(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: byte {error.start} is "
                         f"{error.object[error.start]:#x}; save it as UTF-8"
                         ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: line {error.lineno}, column "
                         f"{error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path} is not a list of entries: too deep"
                         ) from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is not a list of entries [{{...}}, ...]")
    return [check_entry(item, f"{path}, entry {number}")
            for number, item in enumerate(items, 1)]


def check_entry(item: Any, where: str = "entry") -> Entry:
    """An Entry from a dict; ValueError says which field is wrong."""
    if not isinstance(item, dict):
        raise ValueError(f"{where}: {str(item)[:40]!r} is no object with "
                         "instruction, input and output")
    for name in "instruction", "output":
        if name not in item:
            raise ValueError(f"{where} has no {name!r}, only "
                             f"{', '.join(map(repr, sorted(item)))}")
    for name in "instruction", "input", "output":
        if not isinstance(item.get(name) or "", str):
            raise ValueError(f"{where}: {name} is {item[name]!r}, no text")
        if name != "input" and not (item[name] or "").strip():
            raise ValueError(f"{where}: {name} is empty")
    phrasing = item.get("phrasing")
    return Entry(item["instruction"], item.get("input") or "",
                 item["output"], str(item.get("family") or ""),
                 phrasing if isinstance(phrasing, int) else 0,
                 item.get("held_out") is True)
