# ruff: noqa
# fmt: off
"""Wrong answers to chapter 7: ../test_exercises.py says more."""

# 7.1 no line break at the end: the first thing that the model has to say
text = f"### Instruction:\n{instruction}\n\n"
if input:
    text += f"### Input:\n{input}\n\n"
return text + "### Response:"

# 7.1 an empty section: heading stands there with nothing under it
return (f"### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n"
        "### Response:\n")

# 7.1 a space at the end: taken away from the answer
text = f"### Instruction:\n{instruction}\n\n"
if input:
    text += f"### Input:\n{input}\n\n"
return text + "### Response:\n "

# 7.1 no blank lines: a blank line separates the sections
text = f"### Instruction:\n{instruction}\n"
if input:
    text += f"### Input:\n{input}\n"
return text + "### Response:\n"

# 7.1 the input first: the input stands before the instruction
text = f"### Input:\n{input}\n\n" if input else ""
return text + f"### Instruction:\n{instruction}\n\n### Response:\n"

# 7.1 filled in one after the other: fill in both texts at once
text = "### Instruction:\n{instruction}\n\n"
if input:
    text += "### Input:\n{input}\n\n"
text += "### Response:\n"
return text.replace("{instruction}", instruction).replace("{input}", input)

# 7.1 no heading for the response: the heading '### Response:' is missing
return f"### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n"

# 7.1 too wide without an input: more than a blank line
text = f"### Instruction:\n{instruction}\n\n"
if input:
    text += f"### Input:\n{input}"
return text + "\n\n### Response:\n"

# 7.2 special tokens of the user: has become a special token
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode(" " + message["content"].strip(),
                            allowed_special="all")
    ids.append(special("<|end|>"))
if messages[-1]["role"] != "assistant":
    ids.append(special("<|assistant|>"))
return ids

# 7.2 one long text: has become a special token
text = "<|endoftext|>"
for message in messages:
    text += f"<|{message['role']}|> {message['content'].strip()}<|end|>"
if messages[-1]["role"] != "assistant":
    text += "<|assistant|>"
return tokenizer.encode(text, allowed_special="all")

# 7.2 refuses the user: stops your program
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode(" " + message["content"].strip())
    ids.append(special("<|end|>"))
if messages[-1]["role"] != "assistant":
    ids.append(special("<|assistant|>"))
return ids

# 7.2 cuts the user's letters out: should stay text
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    words = re.sub(r"<\|\w+\|>", "", message["content"])
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + words.strip())
    ids.append(special("<|end|>"))
if messages[-1]["role"] != "assistant":
    ids.append(special("<|assistant|>"))
return ids

# 7.2 roles in letters: written out, letter by letter
ids = [tokenizer.eot_token]
for message in messages:
    ids += tokenizer.encode_ordinary(f"<|{message['role']}|> ")
    ids += tokenizer.encode_ordinary(" " + message["content"].strip())
return ids

# 7.2 no end: <|end|> is missing
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + message["content"].strip())
return ids + [special("<|assistant|>")]

# 7.2 nobody's turn: whose turn is it
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + message["content"].strip())
    ids.append(special("<|end|>"))
return ids

# 7.2 always the assistant's turn: asks it to speak again
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + message["content"].strip())
    ids.append(special("<|end|>"))
return ids + [special("<|assistant|>")]

# 7.2 no space in front: has no space in front
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(message["content"].strip())
    ids.append(special("<|end|>"))
if messages[-1]["role"] != "assistant":
    ids.append(special("<|assistant|>"))
return ids

# 7.2 not stripped: spaces and line breaks around
special = tokenizer.encode_single_token
ids = [tokenizer.eot_token]
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + message["content"])
    ids.append(special("<|end|>"))
if messages[-1]["role"] != "assistant":
    ids.append(special("<|assistant|>"))
return ids

# 7.2 no beginning: begins with <|endoftext|>
special, ids = tokenizer.encode_single_token, []
for message in messages:
    ids.append(special(f"<|{message['role']}|>"))
    ids += tokenizer.encode_ordinary(" " + message["content"].strip())
    ids.append(special("<|end|>"))
return ids + [special("<|assistant|>")]

# 7.3 the assistant's token: We put this token there
speaking, mask = False, []
for i in ids:
    speaking = speaking or i == assistant
    mask.append(speaking)
    speaking = speaking and i != end
return mask

# 7.3 no end: never learn to stop
speaking, mask = False, []
for i in ids:
    if i == end:
        speaking = False
    mask.append(speaking)
    if i == assistant:
        speaking = True
return mask

# 7.3 everything after the first answer began: second question is marked
start = ids.index(assistant) if assistant in ids else len(ids)
return [t > start for t in range(len(ids))]

# 7.3 only the last answer: only the last answer is marked
start = max(t for t, i in enumerate(ids) if i == assistant)
return [t > start for t in range(len(ids))]

# 7.3 only the first answer: the second answer is not marked
start = ids.index(assistant)
stop = ids.index(end, start) if end in ids[start:] else len(ids)
return [start < t <= stop for t in range(len(ids))]

# 7.3 turned round: the mask is turned round
speaking, mask = False, []
for i in ids:
    mask.append(not speaking)
    speaking = i == assistant or speaking and i != end
return mask

# 7.3 every end: the user's <|end|> is marked
speaking, mask = False, []
for i in ids:
    mask.append(speaking or i == end)
    speaking = i == assistant or speaking and i != end
return mask

# 7.3 the first token lost: first token of the answer is left out
speaking, mask = False, []
for before, i in zip([0, *ids], ids):
    mask.append(speaking and before != assistant)
    speaking = i == assistant or speaking and i != end
return mask

# 7.3 waits for an end: a row that was cut
mask = [False] * len(ids)
for t, i in enumerate(ids):
    if i == assistant and end in ids[t:]:
        stop = ids.index(end, t)
        mask[t + 1:stop + 1] = [True] * (stop - t)
return mask

# 7.4 not shifted: targets are not shifted
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(len(ids) - 1):
        if mask[t]:
            targets[b, t] = ids[t]
return inputs, targets

# 7.4 the mask stays behind: mask has not moved with the targets
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        if mask[t - 1]:
            targets[b, t - 1] = ids[t]
return inputs, targets

# 7.4 looks for the filling: real token that looks like filling
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        if mask[t]:
            targets[b, t - 1] = ids[t]
targets[targets == pad] = IGNORE
return inputs, targets

# 7.4 the filling is learned: the filling of row 1 is learned
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), pad)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        targets[b, t - 1] = ids[t] if mask[t] else IGNORE
return inputs, targets

# 7.4 the prompt is learned: the prompt is learned, too
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    targets[b, :len(ids) - 1] = torch.tensor(ids[1:])
return inputs, targets

# 7.4 one too long: the longest row has 5 ids
T = max(len(ids) for ids, _ in rows)
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids)] = torch.tensor(ids)
    for t in range(1, len(ids)):
        if mask[t]:
            targets[b, t - 1] = ids[t]
return inputs, targets

# 7.4 filled in front: the filling stands in front
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    gap = T - len(ids) + 1
    inputs[b, gap:] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        if mask[t]:
            targets[b, gap + t - 1] = ids[t]
return inputs, targets

# 7.4 zero for what is not learned: write -100
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.full((len(rows), T), pad)
targets = torch.zeros(len(rows), T, dtype=torch.long)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        if mask[t]:
            targets[b, t - 1] = ids[t]
return inputs, targets

# 7.4 always zeros: the filling is pad, here 1
T = max(len(ids) for ids, _ in rows) - 1
inputs = torch.zeros(len(rows), T, dtype=torch.long)
targets = torch.full((len(rows), T), IGNORE)
for b, (ids, mask) in enumerate(rows):
    inputs[b, :len(ids) - 1] = torch.tensor(ids[:-1])
    for t in range(1, len(ids)):
        if mask[t]:
            targets[b, t - 1] = ids[t]
return inputs, targets

# 7.5 over all tokens: the mean over all 5 tokens
return F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                       ignore_index=IGNORE)

# 7.5 NaN: One such row makes the whole loss NaN
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
return (nll.view_as(targets).sum(1) / (targets != IGNORE).sum(1)).mean()

# 7.5 an empty row counts as perfect: counts as one with no surprise
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
n = (targets != IGNORE).sum(1).clamp(min=1)
return (nll.view_as(targets).sum(1) / n).mean()

# 7.5 over all places: by all B x T places
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
return nll.view_as(targets).mean(1).mean()

# 7.5 sums of answers: divide by its number of tokens
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
return nll.view_as(targets).sum(1).mean()

# 7.5 everything added up: the sum over all tokens
return F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                       ignore_index=IGNORE, reduction="sum")

# 7.5 means added up: these are two means, added up
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
n = (targets != IGNORE).sum(1)
return (nll.view_as(targets).sum(1)[n > 0] / n[n > 0]).sum()

# 7.5 silent where nothing is learned: nobody will notice
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
n = (targets != IGNORE).sum(1)
means = nll.view_as(targets).sum(1)[n > 0] / n[n > 0]
return means.mean() if len(means) else logits.sum() * 0

# 7.5 a number: return one number, as a tensor
nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                      ignore_index=IGNORE, reduction="none")
n = (targets != IGNORE).sum(1)
return (nll.view_as(targets).sum(1)[n > 0] / n[n > 0]).mean().item()

# 7.6 with the prompt: without the prompt
model.eval()
ids = list(prompt)
for _ in range(max_new_tokens):
    new = int(model(torch.tensor([ids]))[0, -1].argmax())
    if new == stop:
        break
    ids.append(new)
return ids

# 7.6 with the stop token: leave the stop token out
model.eval()
ids = list(prompt)
for _ in range(max_new_tokens):
    ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    if ids[-1] == stop:
        break
return ids[len(prompt):]

# 7.6 never stops: goes on behind the stop token
model.eval()
ids = list(prompt)
for _ in range(min(max_new_tokens, 12 - len(prompt))):
    ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
return [i for i in ids[len(prompt):] if i != stop]

# 7.6 stops in the prompt: end the answer
model.eval()
ids = list(prompt)
while stop not in ids and len(ids) < len(prompt) + max_new_tokens:
    ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
return ids[len(prompt):]

# 7.6 the first place: the last of the T rows
model.eval()
ids = list(prompt)
for _ in range(min(max_new_tokens, 12 - len(prompt))):
    new = int(model(torch.tensor([ids]))[0, 0].argmax())
    if new == stop:
        break
    ids.append(new)
return ids[len(prompt):]

# 7.6 by chance: let nothing to chance
model.eval()
ids, draw = list(prompt), torch.Generator().manual_seed(3)
for _ in range(min(max_new_tokens, 12 - len(prompt))):
    p = model(torch.tensor([ids]))[0, -1].softmax(-1)
    new = int(p.multinomial(1, generator=draw))
    if new == stop:
        break
    ids.append(new)
return ids[len(prompt):][:8] or [1]

# 7.6 with dropout: call model.eval()
ids = list(prompt)
most = min(len(ids) + max_new_tokens, model.cfg["context_length"])
while len(ids) < most:
    new = int(model(torch.tensor([ids]))[0, -1].argmax())
    if new == stop:
        break
    ids.append(new)
return ids[len(prompt):]

# 7.6 no end in sight: at most 5 new tokens
model.eval()
ids = list(prompt)
while len(ids) < model.cfg["context_length"]:
    new = int(model(torch.tensor([ids]))[0, -1].argmax())
    if new == stop:
        break
    ids.append(new)
return ids[len(prompt):]

# 7.6 beyond the context: stop when it is full
model.eval()
ids = list(prompt)
for _ in range(max_new_tokens):
    new = int(model(torch.tensor([ids]))[0, -1].argmax())
    if new == stop:
        break
    ids.append(new)
return ids[len(prompt):]

# 7.6 changes the prompt: that you were given has changed
model.eval()
start = len(prompt)
while len(prompt) < min(start + max_new_tokens, model.cfg["context_length"]):
    new = int(model(torch.tensor([prompt]))[0, -1].argmax())
    if new == stop:
        break
    prompt.append(new)
return prompt[start:]

# 7.7 articles as letters: take away whole words
def plain(text):
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    for article in ("the", "an ", "a "):
        kept = kept.replace(article, "")
    return " ".join(kept.split())

# 7.7 capitals: small letters, please
def plain(text):
    kept = "".join(c for c in text if c not in string.punctuation)
    return " ".join(w for w in kept.split() if w not in ("a", "an", "the"))

# 7.7 holes where articles were: one space between words
def plain(text):
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", "", kept)

# 7.7 letters must agree: are the same answer
def exact(said, right):
    return said.strip() == right.strip()

# 7.7 contains: merely contains the right one
def exact(said, right):
    return plain(right) in plain(said)

# 7.7 in any order: the order counts, too
def exact(said, right):
    return sorted(plain(said).split()) == sorted(plain(right).split())

# 7.7 sets: sets forget how often
mine, wanted = set(plain(said).split()), set(plain(right).split())
if not mine or not wanted:
    return float(mine == wanted)
return 2 * len(mine & wanted) / (len(mine) + len(wanted))

# 7.7 counts what is said: F1 is above 1
mine, wanted = plain(said).split(), plain(right).split()
if not mine or not wanted:
    return float(mine == wanted)
both = sum(word in wanted for word in mine)
return 2 * both / (len(mine) + len(wanted))

# 7.7 recall: F1 lies between them
mine, wanted = plain(said).split(), plain(right).split()
if not mine or not wanted:
    return float(mine == wanted)
return sum((Counter(mine) & Counter(wanted)).values()) / len(wanted)

# 7.7 without the 2: the 2 is missing
mine, wanted = plain(said).split(), plain(right).split()
if not mine or not wanted:
    return float(mine == wanted)
both = sum((Counter(mine) & Counter(wanted)).values())
return both / (len(mine) + len(wanted))

# 7.7 nothing was said: an empty answer stops your program
mine, wanted = plain(said).split(), plain(right).split()
both = sum((Counter(mine) & Counter(wanted)).values())
precision, recall = both / len(mine), both / len(wanted)
return 2 * precision * recall / (precision + recall)

# 7.7 empty is wrong: 1 if both are
mine, wanted = plain(said).split(), plain(right).split()
both = sum((Counter(mine) & Counter(wanted)).values())
return 2 * both / max(1, len(mine) + len(wanted))

# 7.8 frozen afterwards: the detours are frozen
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
model.requires_grad_(False)
model.tok_emb.requires_grad_(True)
return model

# 7.8 nothing frozen: the rest of the model is still trained
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
return model

# 7.8 the table is frozen: would stay as random as they are
model.requires_grad_(False)
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
return model

# 7.8 only the attention: only the attention has detours
model.requires_grad_(False)
for block in model.trf_blocks:
    for name, layer in list(block.att.named_children()):
        if isinstance(layer, nn.Linear):
            setattr(block.att, name, LoRALinear(layer, rank, alpha))
model.tok_emb.requires_grad_(True)
return model

# 7.8 only the last block: go through all blocks
model.requires_grad_(False)
block = model.trf_blocks[-1]
for path, layer in list(block.named_modules()):
    if isinstance(layer, nn.Linear):
        parent, _, name = path.rpartition(".")
        setattr(block.get_submodule(parent), name,
                LoRALinear(layer, rank, alpha))
model.tok_emb.requires_grad_(True)
return model

# 7.8 the head as well: the head has a detour
model.requires_grad_(False)
for path, layer in list(model.named_modules()):
    if isinstance(layer, nn.Linear):
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name,
                LoRALinear(layer, rank, alpha))
model.tok_emb.requires_grad_(True)
return model

# 7.8 rank and alpha swapped: in this order
model.requires_grad_(False)
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, int(alpha), rank))
model.tok_emb.requires_grad_(True)
return model

# 7.8 put where nobody looks: there is no LoRALinear in the model
model.requires_grad_(False)
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            layer = LoRALinear(layer, rank, alpha)
model.tok_emb.requires_grad_(True)
return model

# 7.8 positions as well: the positions are trained
model.requires_grad_(False)
for block in model.trf_blocks:
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
model.tok_emb.requires_grad_(True)
model.pos_emb.requires_grad_(True)
return model

# 7.9 the mode it came in: call model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 the last rows left out: the last two were left out
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows) - batch_size + 1, batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 one order for ever: draw a new one for each
model.train()
losses, order = [], torch.randperm(len(rows)).tolist()
for _ in range(epochs):
    total = 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 drawn with repetition: leave some out
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randint(len(rows), (len(rows),)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 not clipped: clip it to length 1
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 clipped before there is a gradient: clip it to length 1
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 gradients pile up: gradients pile up
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 cleared too late: with empty gradients
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 a mean of means: a mean of means is not the mean
model.train()
losses = []
for _ in range(epochs):
    order, found = torch.randperm(len(rows)).tolist(), []
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    losses.append(sum(found) / len(found))
return losses

# 7.9 over all tokens: Is it your answer_loss
model.train()
losses = []
for _ in range(epochs):
    order, total = torch.randperm(len(rows)).tolist(), 0.0
    for i in range(0, len(rows), batch_size):
        batch = [rows[j] for j in order[i:i + batch_size]]
        inputs, targets = make_batch(batch)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    losses.append(total / len(rows))
return losses

# 7.9 one row at a time: a batch is read in one go
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(rows)).tolist():
        inputs, targets = make_batch([rows[i]])
        optimizer.zero_grad()
        loss = answer_loss(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
    losses.append(total / len(rows))
return losses

# 7.10 a mean over the tokens: their logarithms are added up
def log_prob(logits, targets):
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                          ignore_index=IGNORE, reduction="none")
    return -nll.view_as(targets).sum(1) / (targets != IGNORE).sum(1)

# 7.10 surprise: ln p is negative
def log_prob(logits, targets):
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                          ignore_index=IGNORE, reduction="none")
    return nll.view_as(targets).sum(1)

# 7.10 one number for all: one number for each
def log_prob(logits, targets):
    return -F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                            ignore_index=IGNORE, reduction="sum")

# 7.10 masked by a product: minus infinity times 0
def log_prob(logits, targets):
    real = targets != IGNORE
    log_p = logits.log_softmax(-1).gather(
        -1, targets.clamp(min=1)[..., None])[..., 0]
    log_p0 = logits.log_softmax(-1)[..., 0]
    return (torch.where(targets == 0, log_p0, log_p) * real).sum(1)

# 7.10 turned round: the sign of the margin is turned
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -F.logsigmoid(-beta * margin).mean()

# 7.10 no minus: the loss is minus the logarithm
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return F.logsigmoid(beta * margin).mean()

# 7.10 no reference: the reference is missing
return -F.logsigmoid(beta * (chosen - rejected)).mean()

# 7.10 the reference added: the reference has the wrong sign
margin = (chosen - rejected) + (ref_chosen - ref_rejected)
return -F.logsigmoid(beta * margin).mean()

# 7.10 no beta: beta is missing
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -F.logsigmoid(margin).mean()

# 7.10 divided by beta: you divide by it
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -F.logsigmoid(margin / beta).mean()

# 7.10 a sum: this is the sum over the pairs
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -F.logsigmoid(beta * margin).sum()

# 7.10 the loss of the mean: not the loss of the mean
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -F.logsigmoid(beta * margin.mean())

# 7.10 rounds to 0: sigmoid rounds to 0
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return -torch.sigmoid(beta * margin).log().mean()

# 7.10 no logarithm: the logarithm is missing
margin = (chosen - ref_chosen) - (rejected - ref_rejected)
return (1 - torch.sigmoid(beta * margin)).mean()

# 7.11 one direction: count both ends
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, min(only_one, only_two)
return min(1.0, sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

# 7.11 all questions: Only 8 + 2 count
n, k = len(one), min(sum(a and not b for a, b in zip(one, two)),
                     sum(b and not a for a, b in zip(one, two)))
k += sum(a == b for a, b in zip(one, two)) // 2
return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

# 7.11 exactly so: exactly 2 of 10 is one case
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, min(only_one, only_two)
return min(1.0, 2 * math.comb(n, k) / 2**n)

# 7.11 one case lost: includes k
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, min(only_one, only_two)
return min(1.0, 2 * sum(math.comb(n, i) for i in range(k)) / 2**n)

# 7.11 the first one's count: k is the smaller of the two
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, only_two
return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

# 7.11 above one: take at most 1
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, min(only_one, only_two)
if n == 0:
    return 1.0
return 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n

# 7.11 a confidence: this is 1 - p
only_one = sum(a and not b for a, b in zip(one, two))
only_two = sum(b and not a for a, b in zip(one, two))
n, k = only_one + only_two, min(only_one, only_two)
return 1 - min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

# 7.12 int of it all: stops your program
return int(reply)

# 7.12 nothing but a number: with words around it
return int(reply) if reply.isdigit() else None

# 7.12 the first number: no way to choose
found = re.findall(r"\d+", reply)
return int(found[0]) if found else None

# 7.12 the last number: /100 is the scale
found = re.findall(r"\d+", reply)
return int(found[-1]) if found else None

# 7.12 zero is nothing: 0 is a score
text = re.sub(r"(/|out of)\s*100\b", " ", reply)
found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
score = int(found.pop()) if len(found) == 1 else 0
return score or None

# 7.12 beyond the scale: beyond the scale
text = re.sub(r"(/|out of)\s*100\b", " ", reply)
found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
number = found.pop() if len(found) == 1 else ""
return int(number) if number.isdigit() else None

# 7.12 cut to the scale: beyond the scale
text = re.sub(r"(/|out of)\s*100\b", " ", reply)
found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
number = found.pop() if len(found) == 1 else ""
return min(100, int(number)) if number.isdigit() else None

# 7.12 every 100 is a scale: the score is 100
text = reply.replace("100", "")
found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
number = found.pop() if len(found) == 1 else ""
return int(number) if number.isdigit() and int(number) <= 100 else None

# 7.12 only once: the same number twice
text = re.sub(r"(/|out of)\s*100\b", " ", reply)
found = re.findall(r"-?\d+(?:\.\d+)?", text)
number = found[0] if len(found) == 1 else ""
return int(number) if number.isdigit() and int(number) <= 100 else None

# 7.12 no sign: below the scale
text = re.sub(r"(/|out of)\s*100\b", " ", reply)
found = set(re.findall(r"\d+(?:\.\d+)?", text))
number = found.pop() if len(found) == 1 else ""
return int(number) if number.isdigit() and int(number) <= 100 else None

# 7.14 the whole batch: one text for each row
def learned_text(tokenizer, targets):
    return tokenizer.decode(targets[targets != IGNORE].tolist())

# 7.14 decodes -100: is no token
def learned_text(tokenizer, targets):
    return [tokenizer.decode(row) for row in targets.tolist()]

# 7.14 zeros left out: token 0 is a token like others
def learned_text(tokenizer, targets):
    return [tokenizer.decode(row[row > 0].tolist()) for row in targets]

# 7.14 a sign for each -100: leave it out
def learned_text(tokenizer, targets):
    return [tokenizer.decode(row.clamp(min=0).tolist()) for row in targets]

# 7.14 nothing mended: still reads the question
return tidy_collate(rows, pad)

# 7.14 the padding is learned: now the padding is learned
T = max(len(row.ids) for row in rows)
ids = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), pad)
for b, row in enumerate(rows):
    n = len(row.ids)
    ids[b, :n] = torch.tensor(row.ids)
    targets[b, :n] = torch.tensor(row.ids)
    targets[b, :n][~torch.tensor(row.graded)] = IGNORE
return ids[:, :-1], targets[:, 1:]

# 7.14 the mask one too late: the first token of each answer is lost
T = max(len(row.ids) for row in rows)
ids = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, row in enumerate(rows):
    ids[b, :len(row.ids)] = torch.tensor(row.ids)
    for t in range(1, len(row.ids)):
        if row.graded[t - 1]:
            targets[b, t] = row.ids[t]
return ids[:, :-1], targets[:, 1:]

# 7.14 not shifted: do not stand where the inputs ask for them
T = max(len(row.ids) for row in rows) - 1
ids = torch.full((len(rows), T + 1), pad)
targets = torch.full((len(rows), T + 1), IGNORE)
for b, row in enumerate(rows):
    n = len(row.ids)
    ids[b, :n] = torch.tensor(row.ids)
    targets[b, :n] = torch.tensor(row.ids)
    targets[b, :n][~torch.tensor(row.graded)] = IGNORE
return ids[:, :-1], targets

# 7.14 looks for the padding: do not look for the padding
T = max(len(row.ids) for row in rows)
ids = torch.full((len(rows), T), pad)
targets = torch.full((len(rows), T), IGNORE)
for b, row in enumerate(rows):
    n = len(row.ids)
    ids[b, :n] = torch.tensor(row.ids)
    targets[b, :n] = torch.tensor(row.ids)
    targets[b, :n][~torch.tensor(row.graded)] = IGNORE
targets[ids == pad] = IGNORE
return ids[:, :-1], targets[:, 1:]

# 7.15 all: any, not all
def nothing_to_learn(rows):
    return [i for i, row in enumerate(rows) if not all(row.graded)]

# 7.15 the first id counts: This id is nobody's target
def nothing_to_learn(rows):
    return [i for i, row in enumerate(rows) if not any(row.graded)]

# 7.15 a yes or no for each: return the numbers
def nothing_to_learn(rows):
    return [not any(row.graded[1:]) for row in rows]

# 7.15 turned round: turned round
def nothing_to_learn(rows):
    return [i for i, row in enumerate(rows) if any(row.graded[1:])]

# 7.15 how many: return a list
def nothing_to_learn(rows):
    return sum(not any(row.graded[1:]) for row in rows)

# 7.15 one too strict: exactly 4 ids fits
return [row for row in rows if len(row.ids) < most]

# 7.15 still cut: a row was cut
return cut(rows, most)

# 7.15 cut in front: a row was cut
return [Row(row.ids[-most:], row.graded[-most:]) for row in rows]

# 7.15 nothing left out: does not fit into 4
return list(rows)

# 7.15 the longest come last: in their old order
return sorted((row for row in rows if len(row.ids) <= most),
              key=lambda row: len(row.ids))

# 7.16 a mean of each answer: the means of the answers
def surprise_by_place(surprises):
    return [sum(one) / len(one) for one in surprises]

# 7.16 divides by all answers: only 2 of them have
def surprise_by_place(surprises):
    size = max(map(len, surprises))
    full = [one + [0.0] * (size - len(one)) for one in surprises]
    return [sum(one[k] for one in full) / len(full) for k in range(size)]

# 7.16 sums: these are sums
def surprise_by_place(surprises):
    return [sum(one[k] for one in surprises if len(one) > k)
            for k in range(max(map(len, surprises)))]

# 7.16 to the shortest: go on to the longest
def surprise_by_place(surprises):
    return [sum(column) / len(column) for column in zip(*surprises)]

# 7.16 a tensor: return a list
def surprise_by_place(surprises):
    size = max(map(len, surprises))
    full = torch.tensor([one + [math.nan] * (size - len(one))
                         for one in surprises])
    return full.nanmean(0)

# 7.16 nothing mended: is still not learned
return make_targets(prompt, answer)

# 7.16 one too many: the last token of the prompt
ids = prompt + answer
inputs, targets = ids[:-1], ids[1:]
targets[:len(prompt) - 2] = [IGNORE] * (len(prompt) - 2)
return inputs, targets

# 7.16 no mask: the whole prompt is learned
ids = prompt + answer
return ids[:-1], ids[1:]

# 7.16 masked before the shift, without a shift: where 9 and 4 are read
ids = prompt + answer
return ids[:-1], ([IGNORE] * len(prompt) + answer)[:-1]

# 7.17 texts: compare ids
def broken_pairs(tokenizer, pairs):
    return [i for i, (prompt, answer) in enumerate(pairs)
            if not (prompt + answer).startswith(prompt)]

# 7.17 numbers of tokens: Compare the ids, not their number
def broken_pairs(tokenizer, pairs):
    def n(text):
        return len(tokenizer.encode_ordinary(text))
    return [i for i, (prompt, answer) in enumerate(pairs)
            if n(prompt) + n(answer) != n(prompt + answer)]

# 7.17 turned round: turned round
def broken_pairs(tokenizer, pairs):
    found = []
    for i, (prompt, answer) in enumerate(pairs):
        alone = tokenizer.encode_ordinary(prompt)
        together = tokenizer.encode_ordinary(prompt + answer)
        if together[:len(alone)] == alone:
            found.append(i)
    return found

# 7.17 how many: return a list
def broken_pairs(tokenizer, pairs):
    found = 0
    for prompt, answer in pairs:
        alone = tokenizer.encode_ordinary(prompt)
        together = tokenizer.encode_ordinary(prompt + answer)
        found += together[:len(alone)] != alone
    return found

# 7.17 nothing mended: other ids in company
return encode_pair(tokenizer, prompt, answer)

# 7.17 only the space moved: other ids in company
return encode_pair(tokenizer, prompt.rstrip(), answer)

# 7.17 a space in between: the ids of the answer are wrong
ids = tokenizer.encode_ordinary(prompt)
words = tokenizer.encode_ordinary(" " + answer)
return Row(ids + words, [False] * len(ids) + [True] * len(words))

# 7.17 all learned: the others are learned
ids = tokenizer.encode_ordinary(prompt)
words = tokenizer.encode_ordinary(answer)
return Row(ids + words, [True] * len(ids + words))

# 7.17 a pair: return a Row
ids = tokenizer.encode_ordinary(prompt)
words = tokenizer.encode_ordinary(answer)
return ids + words, [False] * len(ids) + [True] * len(words)

# 7.18 anywhere: has a stop token in the middle
def stop_share(targets, stop):
    return (targets == stop).any(1).float().mean().item()

# 7.18 the last column: you look at the last column
def stop_share(targets, stop):
    return (targets[:, -1] == stop).float().mean().item()

# 7.18 of the targets: not of the targets
def stop_share(targets, stop):
    return (targets == stop).sum().item() / (targets != IGNORE).sum().item()

# 7.18 without the empty rows: so it counts
def stop_share(targets, stop):
    last = [row[row != IGNORE].tolist()[-1:] for row in targets]
    return sum(one == [stop] for one in last) / sum(map(len, last))

# 7.18 an empty row: IndexError
def stop_share(targets, stop):
    last = [row[row != IGNORE][-1].item() for row in targets]
    return sum(one == stop for one in last) / len(last)

# 7.18 a number of rows: a share, please
def stop_share(targets, stop):
    last = [row[row != IGNORE].tolist()[-1:] for row in targets]
    return sum(one == [stop] for one in last)

# 7.18 nothing mended: is still not learned
return collate_stop(rows, stop)

# 7.18 every stop token: in the prompt is learned
inputs, targets = collate_stop(rows, stop)
for b, row in enumerate(rows):
    for t, i in enumerate(row.ids[1:]):
        if i == stop:
            targets[b, t] = stop
return inputs, targets

# 7.18 all padding: now the padding is learned
inputs, targets = collate_stop(rows, stop)
for b, row in enumerate(rows):
    targets[b, len(row.ids) - 2:] = stop
return inputs, targets

# 7.18 another padding: the inputs are
return collate(rows, 0)

# 7.19 no step: the step is missing
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 64), torch.randn(200, 64)
    layer = make(linear, rank)
    return (layer(x) - linear(x)).abs().mean().item()

# 7.19 other numbers: on different x
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    layer = make(nn.Linear(64, 64), rank)
    x, y = torch.randn(2, 200, 64)
    before = layer(x).detach()
    trained = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001)
    layer(x).pow(2).mean().backward()
    optimizer.step()
    return (layer(y) - before).abs().mean().item()

# 7.19 signed: Take absolute differences
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    layer, x = make(nn.Linear(64, 64), rank), torch.randn(200, 64)
    before = layer(x).detach()
    trained = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001)
    layer(x).pow(2).mean().backward()
    optimizer.step()
    return (layer(x) - before).mean().item()

# 7.19 a larger rate: one step of Adam at rate 0.001
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    layer, x = make(nn.Linear(64, 64), rank), torch.randn(200, 64)
    before = layer(x).detach()
    trained = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    layer(x).pow(2).mean().backward()
    optimizer.step()
    return (layer(x) - before).abs().mean().item()

# 7.19 squares: take the absolute
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    layer, x = make(nn.Linear(64, 64), rank), torch.randn(200, 64)
    before = layer(x).detach()
    trained = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001)
    layer(x).pow(2).mean().backward()
    optimizer.step()
    return (layer(x) - before).pow(2).mean().item()

# 7.19 always one rank: hand on the rank
def change_by_a_step(make, rank):
    torch.manual_seed(0)
    layer, x = make(nn.Linear(64, 64), 8), torch.randn(200, 64)
    before = layer(x).detach()
    trained = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001)
    layer(x).pow(2).mean().backward()
    optimizer.step()
    return (layer(x) - before).abs().mean().item()

# 7.19 nothing mended: still multiplied by alpha
return self.linear(x) + self.alpha * (x @ self.A.T @ self.B.T)

# 7.19 alpha is lost: alpha is lost
return self.linear(x) + x @ self.A.T @ self.B.T

# 7.19 divided by the rank alone: that is 2
return self.linear(x) + x @ self.A.T @ self.B.T / self.rank

# 7.19 only the detour: the old layer is lost
return self.alpha / self.rank * (x @ self.A.T @ self.B.T)
