"""A writer of exercises that is no language model, for the lesson and tests.

Served by `scratch_llm.stub_chat`, it stands where a model behind Ollama would
stand. It takes exercises of the town's question book, which a program has
made, and spoils some of them in the ways in which models spoil theirs. So we
know how many of them are bad, and in which way.
"""

import json
import random

from scratch_llm.instructions import FAMILIES, Entry, entries

SHORT = "polite negate opposite tense question join who when odd order series"
BOOK = entries(
    330, "train", seed=9, families=[f for f in FAMILIES if f in SHORT.split()]
)
TRUTH = {(one.instruction, one.input): one.output for one in BOOK}
FORMS = (
    "{lines}",
    "Sure! Here are some new exercises:\n\n{lines}\n\nI hope that they help!",
    "```json\n[{commas}]\n```",
    "1. {lines}",
)


def as_dict(entry: Entry) -> dict:
    return {
        "instruction": entry.instruction,
        "input": entry.input,
        "output": entry.output,
    }


def spoil(entry: dict, how: int, rng: random.Random) -> dict:
    """An entry as models write them when they are not careful."""
    if how == 0:
        return entry | {"output": rng.choice(BOOK).output}  # wrong
    if how == 1:
        return entry | {"input": "..."}
    if how == 2:
        return {name: entry[name] for name in ("instruction", "input")}
    if how == 3:
        return entry | {"output": "I'm sorry, I cannot help with that."}
    if how == 4:
        return entry | {"instruction": "Say what you see in the picture."}
    return entry


def write(messages: list[dict]) -> str:
    """Five exercises, with the usual words around them."""
    prompt = messages[0]["content"]
    rng = random.Random(prompt)
    some = [as_dict(one) for one in rng.sample(BOOK, 5)]
    some = [spoil(one, rng.randrange(16), rng) for one in some]
    if rng.random() < 0.5:  # it copies one of the examples, nearly
        shown = [line for line in prompt.splitlines() if line[:1] == "{"]
        copy = json.loads(rng.choice(shown))
        copy["instruction"] = f"Please {copy['instruction'].lower()}"
        some[rng.randrange(5)] = copy
    lines = list(map(json.dumps, some))
    if rng.random() < 0.2:
        lines[-1] = lines[-1][: len(lines[-1]) // 2]  # it ran out of tokens
    form = rng.choice(FORMS)
    return form.replace("{lines}", "\n".join(lines)).replace(
        "{commas}", ",\n".join(lines)
    )
