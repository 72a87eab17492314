# GENERATED from ch07/01_main-chapter-code/ch07.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import itertools
import json
import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tiktoken
import torch
import torch.nn.functional as F
from previous_chapters import (
    IGNORE,
    LORA_LAYERS,
    GPTModel,
    LengthBatches,
    LoRALinear,
    Schedule,
    Tokenizer,
    autocast,
    eval_mode,
    generate,
    generate_tokens,
    gpt2_encoding,
    gpt2_model,
    load_classifier,
    load_model,
    load_tokenizer,
    make_optimizer,
    pick_device,
    pick_precision,
    read_header,
    read_states,
    save_model,
    save_tokenizer,
    split_texts,
    train,
)
from scratch_llm import instructions
from scratch_llm.files import write_text
from scratch_llm.gpt2_files import GPT2, find_gpt2, gpt2_name
from scratch_llm.instructions import Entry, exact_match, token_f1
from scratch_llm.runs import find_model
from scratch_llm.text import text_pieces
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


def format_prompt(entry: Entry) -> str:
    """An instruction in Alpaca's form, up to where the answer begins.

    Source: Taori et al. 2023; without its first sentence.
    """
    text = f"### Instruction:\n{entry.instruction}\n\n"
    if entry.input:
        text += f"### Input:\n{entry.input}\n\n"
    return text + "### Response:\n"


def format_example(entry: Entry) -> tuple[str, str]:
    """The prompt of an entry, and the response that is to follow it."""
    return format_prompt(entry), entry.output


ROLES = ("system", "user", "assistant")
CHAT_TOKENS = (*(f"<|{role}|>" for role in ROLES), "<|end|>")


def has_chat(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has the special tokens of a chat."""
    return set(CHAT_TOKENS) <= tokenizer.special_tokens_set


def chat_tokenizer(tokenizer: tiktoken.Encoding) -> tiktoken.Encoding:
    """The same tokenizer with CHAT_TOKENS behind its last token."""
    if has_chat(tokenizer):
        return tokenizer
    new = {name: tokenizer.n_vocab + i for i, name in enumerate(CHAT_TOKENS)}
    larger = tiktoken.Encoding(
        f"{tokenizer.name}-chat", pat_str=tokenizer._pat_str,
        mergeable_ranks=tokenizer._mergeable_ranks,
        special_tokens=tokenizer._special_tokens | new)
    # Our own note: does a text begin with a space?
    larger.add_prefix_space = getattr(tokenizer, "add_prefix_space", False)
    return larger


Message = dict[str, str]  # {"role": one of ROLES, "content": a text}


def check_messages(messages: Sequence[Message]) -> None:
    """ValueError unless they are a chat: system or not, user, assistant ..."""
    if not messages:
        raise ValueError("a chat needs at least one message")
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise ValueError(f"message {number}: role {role!r} is none of "
                             f"{', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"message {number} ({role}): content is no text")
    said = [message["role"] for message in messages]
    if said[0] == "system":
        said = said[1:]
    if not said or said != [ROLES[1 + i % 2] for i in range(len(said))]:
        raise ValueError("a chat is one system text at most, then user and "
                         "assistant in turn, not "
                         f"{', '.join(m['role'] for m in messages)}")


def encode_content(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text as ids; what looks like a special token in it stays text.

    Where texts began with a space in pretraining, so does this one.
    """
    space = " " if getattr(tokenizer, "add_prefix_space", False) else ""
    return tokenizer.encode_ordinary(space + text.strip())


def encode_chat(tokenizer: Tokenizer, messages: Sequence[Message]
                ) -> list[int]:
    """A chat as ids, up to where the assistant begins to speak.

    <|endoftext|>, and for each message the token of its role, its text and
    <|end|>; last <|assistant|>, unless the assistant has spoken last.
    """
    check_messages(messages)
    special = tokenizer.encode_single_token
    ids = [tokenizer.eot_token]
    for message in messages:
        words = encode_content(tokenizer, message["content"])
        ids += [special(f"<|{message['role']}|>"), *words, special("<|end|>")]
    if messages[-1]["role"] != "assistant":
        ids.append(special("<|assistant|>"))
    return ids


def to_messages(entry: Entry, system: str = "", answer: bool = True
                ) -> list[Message]:
    """An entry as a chat: the user gives the input, then the instruction."""
    asked = "\n".join(filter(None, (entry.input, entry.instruction)))
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asked})
    if answer:
        messages.append({"role": "assistant", "content": entry.output})
    return messages


def stop_token(tokenizer: Tokenizer) -> int:
    """What ends an answer: <|end|> in a chat, else <|endoftext|>."""
    return (tokenizer.encode_single_token("<|end|>") if has_chat(tokenizer)
            else tokenizer.eot_token)


def encode_prompt_of(tokenizer: Tokenizer, entry: Entry, system: str = ""
                     ) -> list[int]:
    """What the model reads before it answers: a chat, else Alpaca's form."""
    if has_chat(tokenizer):
        return encode_chat(tokenizer, to_messages(entry, system, False))
    return [tokenizer.eot_token,
            *encode_content(tokenizer, format_prompt(entry)),
            *tokenizer.encode_ordinary("\n")]


LIKE = {"<|system|>": "\n", "<|user|>": "\n", "<|assistant|>": ":",
        "<|end|>": "\n"}  # what has done a similar job


@torch.no_grad()
def grow_vocabulary(model: GPTModel, like: Sequence[int], seed: int = 0
                    ) -> None:
    """Give a model more tokens, in place: each starts like an old one.

    like: the ids of those. The new rows differ a little from them.
    """
    generator = torch.Generator().manual_seed(seed)

    def longer(table: Tensor) -> nn.Parameter:    # (V, C) -> (V + n, C)
        noise = torch.randn(len(like), table.shape[1], generator=generator)
        rows = table[list(like)] + 0.1 * table.std() * noise.to(table)
        return nn.Parameter(torch.cat([table, rows]))

    model.tok_emb.weight = longer(model.tok_emb.weight)
    model.out_head.weight = (model.tok_emb.weight
                             if model.cfg.get("tie_weights")
                             else longer(model.out_head.weight))
    V = len(model.tok_emb.weight)
    # What the layers and the config say of their size must stay true.
    model.tok_emb.num_embeddings = model.out_head.out_features = V
    model.cfg["vocab_size"] = V


def add_special_tokens(tokenizer: tiktoken.Encoding, model: GPTModel,
                       seed: int = 0) -> tiktoken.Encoding:
    """A tokenizer with CHAT_TOKENS; the model gets rows for them, in place.

    What has them already stays as it is. ValueError if the two do not fit.
    """
    larger = chat_tokenizer(tokenizer)
    V = model.cfg["vocab_size"]
    if V not in (tokenizer.n_vocab, larger.n_vocab):
        raise ValueError(f"the model has {V} tokens, the tokenizer "
                         f"{tokenizer.n_vocab}: they are not of one run")
    if V < larger.n_vocab:
        grow_vocabulary(model, [tokenizer.encode_ordinary(LIKE[name])[-1]
                                for name in CHAT_TOKENS], seed)
    return larger


class Row(NamedTuple):
    """Ids of an example, and for each whether it is to be learned."""

    ids: list[int]
    graded: list[bool]


def entry_row(tokenizer: Tokenizer, entry: Entry, system: str = "") -> Row:
    """An entry as ids; the answer and the stop token are to be learned.

    Prompt and answer are encoded apart: no token spans the two.
    """
    prompt = encode_prompt_of(tokenizer, entry, system)
    words = encode_content(tokenizer, entry.output)
    return Row([*prompt, *words, stop_token(tokenizer)],
               [False] * len(prompt) + [True] * (len(words) + 1))


class InstructionDataset(Dataset):
    """Entries (or whole chats) as rows: item i is a Row.

    too_long: what happens to a row of more than context_length tokens:
    "error", "skip" (with a warning), or "cut" (its end is lost).
    """

    def __init__(self, entries: Sequence[Entry | list[Message]],
                 tokenizer: Tokenizer, context_length: int = 256,
                 system: str = "", too_long: str = "error"):
        if too_long not in ("error", "skip", "cut"):
            raise ValueError(f"too_long={too_long!r}: not error, skip or cut")
        self.entries, self.rows, skipped = [], [], 0
        for number, entry in enumerate(entries, 1):
            row = (entry_row(tokenizer, entry, system)
                   if isinstance(entry, Entry) else chat_row(tokenizer, entry))
            size = len(row.ids)
            if size > context_length and too_long == "error":
                raise ValueError(
                    f"entry {number} has {size} tokens, {sum(row.graded)} of "
                    f"them its answer; there is room for {context_length}")
            row = Row(*(part[:context_length] for part in row))
            if size > context_length and too_long == "skip" or not any(
                    row.graded):
                skipped += 1
            else:
                self.entries.append(entry)
                self.rows.append(row)
        if skipped:
            warnings.warn(f"{skipped} of {len(entries)} entries are left out:"
                          f" they do not fit into {context_length} tokens",
                          stacklevel=2)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Row:
        return self.rows[i]


def collate(rows: Sequence[Row], pad_id: int = 0, ignore_index: int = IGNORE,
            max_length: int | None = None, mask_prompt: bool = True
            ) -> tuple[Tensor, Tensor]:
    """Rows as a batch: inputs and targets (B, T), T = longest row - 1.

    The targets are the inputs one place on; padding, and what is not to be
    learned, is ignore_index. mask_prompt=False: the prompt is learned, too.
    max_length: the most T; of longer rows the end is lost.
    """
    if not rows:
        raise ValueError("no rows: a batch needs at least one")
    T = max(len(row.ids) for row in rows) - 1
    T = T if max_length is None else min(T, max_length)
    inputs = torch.full((len(rows), T), pad_id)
    targets = torch.full((len(rows), T), ignore_index)
    for i, row in enumerate(rows):
        ids, graded = torch.tensor(row.ids), torch.tensor(row.graded)
        n = min(T, len(ids) - 1)
        inputs[i, :n] = ids[:n]
        targets[i, :n] = ids[1:n + 1]
        if mask_prompt:
            targets[i, :n][~graded[1:n + 1]] = ignore_index
    return inputs, targets


def answer_weights(targets: Tensor, power: float = 0.5) -> Tensor:
    """How much each target counts: n^-power in an answer of n tokens.

    targets (B, T) -> (B, T). An answer is a run of graded targets. power 0:
    all tokens count alike; 1: all answers do. The rest weighs 0.
    """
    graded = targets != IGNORE                                     # (B, T)
    before = F.pad(graded, (1, 0))[:, :-1]
    # Where an answer begins; the sum so far is its number, from 1.
    number = (graded & ~before).flatten().cumsum(0)                # (B T,)
    # How many tokens the answer of that number has.
    n = torch.bincount(number[graded.flatten()], minlength=1)[number]
    weights = n.clamp(min=1).float().pow(-power).view_as(targets)
    return weights * graded


def masked_loss(logits: Tensor, targets: Tensor, power: float = 0.5
                ) -> Tensor:
    """Mean surprise in nats, each target weighted by answer_weights.

    logits (B, T, V), targets (B, T) -> scalar; ValueError if no target is
    graded.
    """
    weights = answer_weights(targets, power).flatten()
    if not weights.any():
        raise ValueError("no target is graded: the loss would be 0 / 0")
    nll = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(),
                          ignore_index=IGNORE, reduction="none")
    return (weights * nll).sum() / weights.sum()


def answer_loss(model: GPTModel, inputs: Tensor, targets: Tensor,
                power: float = 0.5) -> Tensor:
    """masked_loss, with logits only where a target is graded: the same."""
    graded = targets != IGNORE                                     # (B, T)
    if not graded.any():
        raise ValueError("no target is graded: the loss would be 0 / 0")
    logits = model.out_head(read_states(model, inputs)[graded])    # (N, V)
    nll = F.cross_entropy(logits.float(), targets[graded], reduction="none")
    weights = answer_weights(targets, power)[graded]
    return (weights * nll).sum() / weights.sum()


def instruction_batches(dataset: InstructionDataset, batch_size: int = 32,
                        seed: int | None = None, **how: Any) -> DataLoader:
    """Batches of rows of similar length; how: as for collate.

    With a seed each epoch has other batches, in another order.
    """
    lengths = [len(row.ids) for row in dataset.rows]
    return DataLoader(dataset, collate_fn=lambda rows: collate(rows, **how),
                      batch_sampler=LengthBatches(lengths, batch_size, seed))


def to_chat(entries: Sequence[Entry], system: str = "") -> list[Message]:
    """Several entries as one chat; an input that is repeated is left out."""
    messages, last = [], None
    for entry in entries:
        if entry.input == last:
            entry = Entry(entry.instruction, "", entry.output, entry.family)
        else:
            last = entry.input
        messages += to_messages(entry)
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    return messages


def chat_row(tokenizer: Tokenizer, messages: Sequence[Message]) -> Row:
    """A chat as ids; the assistant's words and <|end|> are to be learned."""
    check_messages(messages)
    special = tokenizer.encode_single_token
    ids, graded = [tokenizer.eot_token], [False]
    for message in messages:
        role = message["role"]
        words = encode_content(tokenizer, message["content"])
        ids += [special(f"<|{role}|>"), *words, special("<|end|>")]
        graded += [False, *[role == "assistant"] * (len(words) + 1)]
    return Row(ids, graded)


TURNS = (dict.fromkeys("after before mention series who".split(), 4)
         | dict.fromkeys("first last names odd order quote rename".split(), 2)
         )  # families that a small model finds hard come up more often
SYSTEM_TEXTS = ("You answer questions about the town.", "Be brief.",
                "You are the librarian of the town. Answer what is asked.",
                "Answer with what stands in the text.")


def conversations(n: int, split: str = "train", seed: int = 0,
                  most: int = 6) -> list[list[Message]]:
    """n chats about the town: questions about one text, or exercises.

    most: how many questions at most. The families come up about equally
    often, but for TURNS; held-out phrasings never come. split: as for
    entries.
    """
    rng = random.Random(f"{split} chats {seed}")
    about, small = list(instructions.ASK), list(instructions.MAKE)
    count, made = dict.fromkeys(about + small, 0), []
    while len(made) < n:
        some, size = [], rng.randint(1, most)
        if rng.random() < 0.55:
            text = instructions.write_text(rng, split)
            if instructions.home(text.text) == split:
                order = sorted(about, key=lambda f: count[f] + rng.random())
                asked = (instructions.ask(f, text, rng) for f in order)
                some = [*itertools.islice(filter(None, asked), size)]
                rng.shuffle(some)
        else:
            order = sorted(small, key=lambda f: count[f] + rng.random())
            tries = (instructions.write(f, split, rng)
                     for f in order for _ in range(8))
            some = [*itertools.islice(filter(None, tries), (size + 1) // 2)]
        for entry in some:
            count[entry.family] += 1 / TURNS.get(entry.family, 1)
        if some:
            system = rng.choice(SYSTEM_TEXTS) if rng.random() < 0.25 else ""
            made.append(to_chat(some, system))
    return made


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


def split_entries(entries: Sequence[Entry],
                  shares: Sequence[float] = (0.85, 0.05, 0.1), seed: int = 0
                  ) -> list[list[Entry]]:
    """Entries in parts, at random; near duplicates stay together."""
    texts = [f"{one.instruction}\n{one.input}\n{one.output}"
             for one in entries]
    parts = split_texts(texts, range(len(texts)), shares, seed)
    return [[entries[i] for i in numbers] for _, numbers in parts]


@torch.no_grad()
def evaluate_answers(model: GPTModel, dataset: InstructionDataset,
                     precision: str = "fp32", batch_size: int = 64) -> float:
    """Nats per token of the answers, without dropout."""
    device, total, n = next(model.parameters()).device, 0.0, 0
    with eval_mode(model), autocast(device, precision):
        for inputs, targets in instruction_batches(dataset, batch_size):
            here = int((targets != IGNORE).sum())
            loss = answer_loss(model, inputs.to(device), targets.to(device),
                               power=0.0)
            total, n = total + loss.item() * here, n + here
    return total / n


def finetune_instructions(
        model: GPTModel, dataset: InstructionDataset, num_epochs: float = 1,
        lr: float = 1e-3, batch_size: int = 32,
        validation: InstructionDataset | None = None, power: float = 0.5,
        weight_decay: float = 0.0, warmup: int = 30, clip: float = 1.0,
        precision: str = "auto", seed: int = 0, progress: bool = True,
        every: int | None = None, watch: Callable[[dict], None] | None = None,
        **how: Any) -> list[dict]:
    """Train what may change to answer; a record every so many steps.

    epoch, step, train (mean loss since the last record), validation (nats
    per answer token, None without a set), tokens read, seconds. watch: is
    called with each record. how: as for collate. FloatingPointError if the
    loss is not finite.
    """
    if not len(dataset):
        raise ValueError("nothing to learn from: the dataset is empty")
    device = next(model.parameters()).device
    precision = pick_precision(device, precision)
    loader = instruction_batches(dataset, batch_size, seed, **how)
    schedule = Schedule(max(1, round(num_epochs * len(loader))), lr, warmup)
    tokens = 0

    def backward(model: GPTModel, batches: list, precision: str
                 ) -> tuple[float, int]:
        nonlocal tokens
        (inputs, targets), = batches
        with autocast(device, precision):
            loss = answer_loss(model, inputs.to(device), targets.to(device),
                               power)
        loss.backward()
        tokens += inputs.numel()
        return loss.item(), int((targets != IGNORE).sum())

    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    every = every or len(loader)
    history, losses, began = [], [], time.perf_counter()
    bar = tqdm(total=schedule.steps, unit="step",
               disable=None if progress else True)
    for r in train(model, make_optimizer(model, weight_decay), batches,
                   schedule, clip=clip, precision=precision,
                   backward=backward):
        losses.append(r["train"])
        bar.update()
        if r["step"] % every == 0 or r["step"] == schedule.steps:
            history.append({
                "epoch": r["step"] / len(loader), "step": r["step"],
                "train": sum(losses) / len(losses), "tokens": tokens,
                "seconds": time.perf_counter() - began,
                "validation": None if validation is None else
                evaluate_answers(model, validation, precision)})
            losses = []
            if watch:
                watch(history[-1])
    bar.close()
    model.eval()
    return history


def room_for(model: GPTModel, prompt: Sequence[int], wanted: int) -> int:
    """How many tokens an answer may have; ValueError if there is no room."""
    most = model.cfg["context_length"]
    if len(prompt) >= most:
        raise ValueError(f"a prompt of {len(prompt)} tokens leaves no room "
                         f"for an answer: the context has {most}")
    return min(wanted, most - len(prompt))


def stream_answer(model: GPTModel, tokenizer: Tokenizer,
                  prompt: Sequence[int], max_new_tokens: int = 100,
                  **how: Any) -> Iterator[str]:
    """What follows the ids of a prompt, piece by piece, to the stop token."""
    device, stop = next(model.parameters()).device, stop_token(tokenizer)
    ids = torch.tensor([list(prompt)], device=device)              # (1, T)
    room = room_for(model, prompt, max_new_tokens)
    new = (step.item() for step in generate_tokens(model, ids, room,
                                                   stop_id=stop, **how))

    def pieces() -> Iterator[str]:
        words = itertools.takewhile(
            lambda i: i not in (stop, tokenizer.eot_token), new)
        some = text_pieces(words, tokenizer.decode_single_token_bytes)
        yield next(some, "").lstrip(" ")
        yield from some

    return pieces()


def answer(model: GPTModel, tokenizer: Tokenizer, instruction: str,
           input: str = "", max_new_tokens: int = 100, system: str = "",
           **how: Any) -> str:
    """The answer to one instruction: greedy, unless how says otherwise."""
    prompt = encode_prompt_of(tokenizer, Entry(instruction, input, "", ""),
                              system)
    return "".join(stream_answer(model, tokenizer, prompt, max_new_tokens,
                                 **how)).strip()


def answers(model: GPTModel, tokenizer: Tokenizer, entries: Sequence[Entry],
            batch_size: int = 64, max_new_tokens: int = 100,
            progress: bool = False, system: str = "",
            encode: Callable[[Tokenizer, Entry], list[int]] | None = None,
            stop: int | None = None) -> list[str]:
    """The greedy answers to many entries, in their order.

    Prompts of equal length are answered together. A prompt that leaves no
    room for an answer is answered by "". encode: how a prompt is made, if
    not by encode_prompt_of; stop: which token ends an answer.
    """
    device, most = next(model.parameters()).device, model.cfg["context_length"]
    stop = stop_token(tokenizer) if stop is None else stop
    prompts = [encode(tokenizer, one) if encode else
               encode_prompt_of(tokenizer, one, system) for one in entries]
    groups = defaultdict(list)
    for i, prompt in enumerate(prompts):
        if len(prompt) < most:
            groups[len(prompt)].append(i)
    said = [""] * len(entries)
    bar = tqdm(total=len(entries), unit="entry",
               disable=None if progress else True)
    for length in sorted(groups):
        for start in range(0, len(groups[length]), batch_size):
            some = groups[length][start:start + batch_size]
            ids = torch.tensor([prompts[i] for i in some], device=device)
            new = generate(model, ids, min(max_new_tokens, most - length),
                           stop_id=stop)[:, length:]
            for i, row in zip(some, new.tolist(), strict=True):
                row = itertools.takewhile(
                    lambda t: t not in (stop, tokenizer.eot_token), row)
                said[i] = tokenizer.decode([*row]).strip()
            bar.update(len(some))
    bar.close()
    return said


def score(entries: Sequence[Entry], answers: Sequence[str]
          ) -> dict[str, dict[str, float]]:
    """n, exact_match and token_f1 of each family, and of "all" entries."""
    verdicts = defaultdict(list)
    for entry, said in zip(entries, answers, strict=True):
        verdict = (float(exact_match(said, entry.output)),
                   token_f1(said, entry.output))
        # Each entry counts twice: for its family, and for all.
        for name in {entry.family or "other", "all"}:
            verdicts[name].append(verdict)
    return {name: {"n": len(some),
                   "exact_match": sum(exact for exact, _ in some) / len(some),
                   "token_f1": sum(f1 for _, f1 in some) / len(some)}
            for name, some in sorted(verdicts.items(), key=lambda pair: (
                pair[0] == "all", pair[0]))}


def page_prompt(tokenizer: Tokenizer, entry: Entry) -> list[int]:
    """An entry as a page of a question book, for a model without finetuning.
    """
    asked = f"Question: {entry.instruction}\nAnswer:"
    text = f"{entry.input}\n{asked}" if entry.input else asked
    return [tokenizer.eot_token, *encode_content(tokenizer, text)]


def base_answers(model: GPTModel, tokenizer: Tokenizer,
                 entries: Sequence[Entry], max_new_tokens: int = 40
                 ) -> list[str]:
    """What a model without finetuning writes behind "Answer:", to the line's
    end.
    """
    said = answers(model, tokenizer, entries, 64, max_new_tokens,
                   encode=page_prompt,
                   stop=tokenizer.encode_ordinary("\n")[0])
    return [one.split("\n")[0] for one in said]


def stream_chat(model: GPTModel, tokenizer: Tokenizer,
                messages: Sequence[Message], max_new_tokens: int = 100,
                **how: Any) -> Iterator[str]:
    """The assistant's next words, piece by piece, up to <|end|>.

    how: temperature (0 if not given), top_k, top_p, generator. ValueError if
    the messages are no chat, or leave no room for an answer.
    """
    return stream_answer(model, tokenizer, encode_chat(tokenizer, messages),
                         max_new_tokens, **how)


def fit_messages(tokenizer: Tokenizer, messages: Sequence[Message],
                 room: int) -> list[Message]:
    """The newest turns that fit into room tokens, and the system text.

    ValueError if not even the last question fits.
    """
    check_messages(messages)
    start = 1 if messages[0]["role"] == "system" else 0
    system, turns = list(messages[:start]), list(messages[start:])
    while len(encode_chat(tokenizer, system + turns)) > room:
        if len(turns) < 3:
            raise ValueError("the last question does not fit into "
                             f"{room} tokens")
        turns = turns[2:]                        # a question and its answer
    return system + turns


def save_instruct(folder: str | Path, model: GPTModel,
                  tokenizer: tiktoken.Encoding) -> None:
    """All that from_pretrained needs, into a folder; LoRA is merged before.

    The file of the tokenizer holds no special tokens: the size of the
    model's vocabulary says whether they belong to it.
    """
    if any(isinstance(layer, LoRALinear) for layer in model.modules()):
        raise ValueError("merge LoRA before saving: merge_lora(model)")
    Path(folder).mkdir(parents=True, exist_ok=True)
    prefix = " " if getattr(tokenizer, "add_prefix_space", False) else ""
    save_model(Path(folder, "model.safetensors"), model, prefix)
    save_tokenizer(Path(folder, "tokenizer.tiktoken"), tokenizer)


def from_pretrained(name: str | Path, device: str | None = None,
                    weights: str | Path = "gpt2", download: bool = False,
                    architecture: type = GPTModel
                    ) -> tuple[nn.Module, tiktoken.Encoding]:
    """A model and its tokenizer, by name: what chapter 6's opens, and more.

    name: a model of the course, "gpt2-small (124M)" and its sisters, or the
    folder of a run: of a GPT, of a finetuned Classifier, or of a model that
    follows instructions, whose tokenizer then has CHAT_TOKENS. weights:
    where GPT-2's files lie; download: fetch what is not there. ValueError
    says what is missing, OSError why it cannot be had.
    """
    place, short = pick_device(device), gpt2_name(str(name))
    if short in GPT2:
        path = find_gpt2(short, weights)
        if path is None and download:
            from scratch_llm.download import fetch_gpt2
            path = fetch_gpt2(short, weights)
        if path is None:
            raise ValueError(f"{short} is not in {weights}: fetch it with "
                             f"python gpt_download.py {short}, or by "
                             "download=True")
        return gpt2_model(GPT2[short][0], path).to(place), gpt2_encoding()
    path, vocabulary = find_model(name)
    about = read_header(path)
    if about["architecture"] == "Classifier":
        model = load_classifier(path, place)
    else:
        model = load_model(path, place, architecture)
    V = model.cfg["vocab_size"]
    try:
        return model, load_tokenizer(vocabulary, V, about["prefix"])
    except ValueError as error:                                # new
        try:
            plain = load_tokenizer(vocabulary, V - len(CHAT_TOKENS),
                                   about["prefix"])
        except ValueError:
            raise error from None
        return model, chat_tokenizer(plain)


def save_responses(path: str | Path, entries: Sequence[Entry],
                   answers: Sequence[str]) -> None:
    """Entries with a model's answers, in Alpaca's form, as a JSON file."""
    items = [{"instruction": one.instruction, "input": one.input,
              "output": one.output, "model_response": said,
              "family": one.family, "held_out": one.held_out}
             for one, said in zip(entries, answers, strict=True)]
    write_text(Path(path), json.dumps(items, indent=1, ensure_ascii=False)
               + "\n")


def add_lora(model: nn.Module, rank: int = 16, alpha: float = 32.0,
             where: Sequence[str] = LORA_LAYERS) -> nn.Module:
    """Give these layers of every block a detour, in place; freeze the rest.

    model: a GPT, or what holds one as .gpt. The token table of a GPT is
    trained as well: the special tokens are new in it. ValueError for a layer
    that a block does not have, or has already.
    """
    gpt = getattr(model, "gpt", model)
    model.requires_grad_(False)
    for block in gpt.trf_blocks:
        for path in where:
            layer = dict(block.named_modules()).get(path)
            if not isinstance(layer, nn.Linear):
                raise ValueError(f"where: {path!r} is no linear layer of a "
                                 f"block: {', '.join(LORA_LAYERS)}")
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
    (gpt.tok_emb if gpt is model else model.head).requires_grad_(True)
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Add every detour to its matrix, in place: nothing is left of LoRA."""
    for block in getattr(model, "gpt", model).trf_blocks:
        for path, layer in list(block.named_modules()):
            if isinstance(layer, LoRALinear):
                parent, _, name = path.rpartition(".")
                setattr(block.get_submodule(parent), name, layer.merged())
    return model
