# ruff: noqa
# fmt: off
"""Wrong answers to chapter 5: ../test_exercises.py says more."""

# 5.1 no smoothing: not 3/4: add 1
counts = Counter(train)
return sum(
    -math.log(counts[t] / len(train)) if counts[t] else math.inf
    for t in test
) / len(test)

# 5.1 does not add up to one: V ones
counts = Counter(train)
return sum(
    -math.log((counts[t] + 1) / (len(train) + 1)) for t in test
) / len(test)

# 5.1 a sum, no mean: mean over test
counts = Counter(train)
return sum(-math.log((counts[t] + 1) / (len(train) + V)) for t in test)

# 5.1 no minus: -ln p
counts = Counter(train)
total = len(train) + V
return sum(math.log((counts[t] + 1) / total) for t in test) / len(test)

# 5.1 bits: not bits
counts = Counter(train)
total = len(train) + V
return sum(-math.log2((counts[t] + 1) / total) for t in test) / len(test)

# 5.1 unseen tokens left out: p(0) is not 3/4
counts = Counter(train)
known = [t for t in test if counts[t]]
return -sum(math.log(counts[t] / len(train)) for t in known) / len(known)

# 5.1 counts kept in a list of what occurs: KeyError
counts = {t: train.count(t) + 1 for t in train}
total = len(train) + V
return sum(-math.log(counts[t] / total) for t in test) / len(test)

# 5.2 nats: divide by ln 2
return loss * n_tokens / len(text)

# 5.2 per token: not per token
return loss / math.log(2)

# 5.2 bytes: not bytes
return loss * n_tokens / math.log(2) / len(text.encode())

# 5.2 upside down: less surprise
return loss * len(text) / n_tokens / math.log(2)

# 5.2 times ln 2: divide by ln 2
return loss * n_tokens * math.log(2) / len(text)

# 5.2 the sum: not in total
return loss * n_tokens / math.log(2)

# 5.3 starts at zero: 1/10 of the peak
up = step / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - step) / cooldown)

# 5.3 ends at zero: not 0
up = (step + 1) / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - 1 - step) / cooldown)

# 5.3 no cooldown: there is no cooldown
return peak * min(1.0, (step + 1) / warmup if warmup else 1.0)

# 5.3 divides by zero: warmup=0
return peak * min(1.0, (step + 1) / warmup, (steps - step) / cooldown)

# 5.3 a cosine: straight line
if step < warmup:
    return peak * (step + 1) / warmup
left = steps - step
if left >= cooldown:
    return peak
return peak * (1 - math.cos(math.pi * left / cooldown)) / 2

# 5.3 down from the warm-up on: from the end of the warm-up on
up = (step + 1) / warmup if warmup else 1.0
return peak * min(up, (steps - step) / (steps - warmup))

# 5.3 cools a step too early: 100 - 20 is full
up = (step + 1) / warmup if warmup else 1.0
down = (steps - step) / (cooldown + 1) if cooldown else 1.0
return peak * min(1.0, up, down)

# 5.3 no cooldown cannot be: cooldown=0
up = (step + 1) / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - step) / cooldown)

# 5.4 averages perplexities: not perplexities
total = sum(math.exp(loss) * n for loss, n in parts)
return total / sum(n for _, n in parts)

# 5.4 does not weigh: weigh each loss
return math.exp(sum(loss for loss, _ in parts) / len(parts))

# 5.4 forgets the exponential: e to its loss
total = sum(loss * n for loss, n in parts)
return total / sum(n for _, n in parts)

# 5.4 averages everything: not perplexities
return sum(math.exp(loss) for loss, _ in parts) / len(parts)

# 5.4 two to the loss: e to its loss
total = sum(n for _, n in parts)
return 2 ** (sum(loss * n for loss, n in parts) / total)

# 5.5 changes what it was given: must not change
before = torch.arange(targets.shape[1]) < first[:, None]
return targets.masked_fill_(before, IGNORE)

# 5.5 one too many: answer's first
before = torch.arange(targets.shape[1]) <= first[:, None]
return targets.masked_fill(before, IGNORE)

# 5.5 grades the instruction: the other way round
after = torch.arange(targets.shape[1]) >= first[:, None]
return targets.masked_fill(after, IGNORE)

# 5.5 one start for all: its own start
before = torch.arange(targets.shape[1]) < first[0]
return targets.masked_fill(before, IGNORE)

# 5.5 starts not in a column: RuntimeError
return targets.masked_fill(torch.arange(targets.shape[1]) < first, IGNORE)

# 5.5 marked with zero: becomes IGNORE
before = torch.arange(targets.shape[1]) < first[:, None]
return targets * ~before

# 5.5 cuts a piece off: AttributeError: 'list' object
return [row[start:] for row, start in zip(targets, first)]

# 5.6 shares swapped: share of the old average
with torch.no_grad():
    for a, b in zip(average.parameters(), model.parameters()):
        a.mul_(1 - keep).add_(b, alpha=keep)

# 5.6 changes the model: model itself
with torch.no_grad():
    for a, b in zip(model.parameters(), average.parameters()):
        a.mul_(1 - keep).add_(b, alpha=keep)

# 5.6 weights only: biases are parameters
with torch.no_grad():
    average.weight.lerp_(model.weight, 1 - keep)

# 5.6 records gradients: torch.no_grad()
for a, b in zip(average.parameters(), model.parameters()):
    a.mul_(keep).add_(b, alpha=1 - keep)

# 5.6 a new name for the result: in place
with torch.no_grad():
    for old, new in zip(average.parameters(), model.parameters()):
        old = keep * old + (1 - keep) * new

# 5.6 buffers, too: leave it alone
new = model.state_dict()
for name, old in average.state_dict().items():
    old.mul_(keep).add_(new[name], alpha=1 - keep)

# 5.6 a sum: keep * old
with torch.no_grad():
    for old, new in zip(average.parameters(), model.parameters()):
        old.mul_(keep).add_(new)

# 5.7 the best first: least surprising
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
return (-costs).topk(min(k, 3)).indices.tolist()

# 5.7 grades padding: not graded
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
return costs.topk(min(k, len(costs))).indices.tolist()

# 5.7 least sure instead of most surprised: least sure
order = logits.max(-1).values.sort().indices.tolist()
return [i for i in order if targets[i] != IGNORE][:k]

# 5.7 in the order of the text: order of the text
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
k = min(k, int((targets != IGNORE).sum()))
return sorted(costs.topk(k).indices.tolist())

# 5.7 losses instead of positions: not [2.3
costs = F.cross_entropy(logits, targets, reduction="none")
return costs.topk(k).values.tolist()

# 5.7 more than there are: k is 9, but 3 are graded
costs = F.cross_entropy(logits, targets, reduction="none")
return costs.topk(k).indices.tolist()

# 5.8 all matrices decay: spare the embeddings
ps = list(model.parameters())
return [
    {
        "params": [p for p in ps if p.dim() > 1],
        "weight_decay": weight_decay,
    },
    {"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
]

# 5.8 forgets positions: positions are embeddings
d, s = [], []
for n, p in model.named_parameters():
    (s if p.dim() < 2 or "tok_emb" in n else d).append(p)
return [
    {"params": d, "weight_decay": weight_decay},
    {"params": s, "weight_decay": 0.0},
]

# 5.8 spares the untied head: untied head
d, s = [], []
for n, p in model.named_parameters():
    (d if "trf" in n and p.dim() > 1 else s).append(p)
return [
    {"params": d, "weight_decay": weight_decay},
    {"params": s, "weight_decay": 0.0},
]

# 5.8 loses the vectors: in no group
d, s = [], []
for n, p in model.named_parameters():
    if "emb" in n:
        s.append(p)
    elif p.dim() > 1:
        d.append(p)
return [
    {"params": d, "weight_decay": weight_decay},
    {"params": s, "weight_decay": 0.0},
]

# 5.8 the groups the other way round: the first decays
ps = list(model.parameters())
return [{"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
        {"params": [p for p in ps if p.dim() > 1],
         "weight_decay": weight_decay}]

# 5.8 the tied head twice: exactly once
d, s = [], []
for name, p in model.named_parameters(remove_duplicate=False):
    (s if p.dim() < 2 or "emb" in name else d).append(p)
return [{"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0}]

# 5.8 biases decay: vectors never decay
d, s = [], []
for name, p in model.named_parameters():
    (s if "emb" in name or "norm" in name else d).append(p)
return [{"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0}]

# 5.9 the last one: only passes on
found, hooks = [], []
for n, m in model.named_modules():
    hooks.append(
        m.register_forward_hook(
            lambda m, a, o, n=n: (
                None if o.isfinite().all() else found.append(n)
            )
        )
    )
with torch.no_grad():
    model(inputs)
[hook.remove() for hook in hooks]
return found[-1] if found else None

# 5.9 leaves its hooks: hooks are still there
found, hooks = [], []
for n, m in model.named_modules():
    hooks.append(
        m.register_forward_hook(
            lambda m, a, o, n=n: (
                None if o.isfinite().all() else found.append(n)
            )
        )
    )
with torch.no_grad():
    model(inputs)

return found[0] if found else None

# 5.9 looks for NaN only: infinity
found, hooks = [], []
for n, m in model.named_modules():
    hooks.append(
        m.register_forward_hook(
            lambda m, a, o, n=n: (
                None if not o.isnan().any() else found.append(n)
            )
        )
    )
with torch.no_grad():
    model(inputs)
[hook.remove() for hook in hooks]
return found[0] if found else None

# 5.9 looks at weights: no module
for name, p in model.named_parameters():
    if not p.isfinite().all():
        return name
return None

# 5.9 looks at inputs: Look at outputs
found, hooks = [], []
for name, module in model.named_modules():
    hooks.append(module.register_forward_hook(
        lambda m, args, out, name=name: None
        if not args[0].is_floating_point() or args[0].isfinite().all()
        else found.append(name)))
with torch.no_grad():
    model(inputs)
for hook in hooks:
    hook.remove()
return found[0] if found else None

# 5.9 in the order of names: only passes on
bad, hooks = set(), []
for name, module in model.named_modules():
    hooks.append(module.register_forward_hook(
        lambda m, args, out, name=name: None
        if out.isfinite().all() else bad.add(name)))
with torch.no_grad():
    model(inputs)
for hook in hooks:
    hook.remove()
return next((n for n, _ in model.named_modules() if n in bad), None)

# 5.9 the name bound too late: not the first
found, hooks = [], []
for name, module in model.named_modules():
    hooks.append(module.register_forward_hook(
        lambda m, args, out: None
        if out.isfinite().all() else found.append(name)))
with torch.no_grad():
    model(inputs)
for hook in hooks:
    hook.remove()
return found[0] if found else None
