# ruff: noqa
# fmt: off
"""Wrong answers to chapter 5: ../test_exercises.py says more."""

# 5.1 no smoothing: not 3/4: add 1
def unigram_loss(train, test, V):
    counts = Counter(train)
    return sum(
        -math.log(counts[t] / len(train)) if counts[t] else math.inf
        for t in test
    ) / len(test)

# 5.1 does not add up to one: V ones
def unigram_loss(train, test, V):
    counts = Counter(train)
    return sum(
        -math.log((counts[t] + 1) / (len(train) + 1)) for t in test
    ) / len(test)

# 5.1 a sum, no mean: mean over test
def unigram_loss(train, test, V):
    counts = Counter(train)
    return sum(-math.log((counts[t] + 1) / (len(train) + V)) for t in test)

# 5.1 no minus: -ln p
def unigram_loss(train, test, V):
    counts = Counter(train)
    total = len(train) + V
    return sum(math.log((counts[t] + 1) / total) for t in test) / len(test)

# 5.1 bits: not bits
def unigram_loss(train, test, V):
    counts = Counter(train)
    total = len(train) + V
    return sum(-math.log2((counts[t] + 1) / total) for t in test) / len(test)

# 5.1 unseen tokens left out: p(0) is not 3/4
def unigram_loss(train, test, V):
    counts = Counter(train)
    known = [t for t in test if counts[t]]
    return -sum(math.log(counts[t] / len(train)) for t in known) / len(known)

# 5.1 counts kept in a list of what occurs: KeyError
def unigram_loss(train, test, V):
    counts = {t: train.count(t) + 1 for t in train}
    total = len(train) + V
    return sum(-math.log(counts[t] / total) for t in test) / len(test)

# 5.2 nats: divide by ln 2
def bits_per_character(loss, n_tokens, text):
    return loss * n_tokens / len(text)

# 5.2 per token: not per token
def bits_per_character(loss, n_tokens, text):
    return loss / math.log(2)

# 5.2 bytes: not bytes
def bits_per_character(loss, n_tokens, text):
    return loss * n_tokens / math.log(2) / len(text.encode())

# 5.2 upside down: less surprise
def bits_per_character(loss, n_tokens, text):
    return loss * len(text) / n_tokens / math.log(2)

# 5.2 times ln 2: divide by ln 2
def bits_per_character(loss, n_tokens, text):
    return loss * n_tokens * math.log(2) / len(text)

# 5.2 the sum: not in total
def bits_per_character(loss, n_tokens, text):
    return loss * n_tokens / math.log(2)

# 5.3 starts at zero: 1/10 of the peak
def trapezoid(step, steps, peak, warmup, cooldown):
    up = step / warmup if warmup else 1.0
    return peak * min(1.0, up, (steps - step) / cooldown)

# 5.3 ends at zero: not 0
def trapezoid(step, steps, peak, warmup, cooldown):
    up = (step + 1) / warmup if warmup else 1.0
    return peak * min(1.0, up, (steps - 1 - step) / cooldown)

# 5.3 no cooldown: there is no cooldown
def trapezoid(step, steps, peak, warmup, cooldown):
    return peak * min(1.0, (step + 1) / warmup if warmup else 1.0)

# 5.3 divides by zero: warmup=0
def trapezoid(step, steps, peak, warmup, cooldown):
    return peak * min(1.0, (step + 1) / warmup, (steps - step) / cooldown)

# 5.3 a cosine: straight line
def trapezoid(step, steps, peak, warmup, cooldown):
    if step < warmup:
        return peak * (step + 1) / warmup
    left = steps - step
    if left >= cooldown:
        return peak
    return peak * (1 - math.cos(math.pi * left / cooldown)) / 2

# 5.3 down from the warm-up on: from the end of the warm-up on
def trapezoid(step, steps, peak, warmup, cooldown):
    up = (step + 1) / warmup if warmup else 1.0
    return peak * min(up, (steps - step) / (steps - warmup))

# 5.3 cools a step too early: 100 - 20 is full
def trapezoid(step, steps, peak, warmup, cooldown):
    up = (step + 1) / warmup if warmup else 1.0
    down = (steps - step) / (cooldown + 1) if cooldown else 1.0
    return peak * min(1.0, up, down)

# 5.3 no cooldown cannot be: cooldown=0
def trapezoid(step, steps, peak, warmup, cooldown):
    up = (step + 1) / warmup if warmup else 1.0
    return peak * min(1.0, up, (steps - step) / cooldown)

# 5.4 averages perplexities: not perplexities
def joint_perplexity(parts):
    total = sum(math.exp(loss) * n for loss, n in parts)
    return total / sum(n for _, n in parts)

# 5.4 does not weigh: weigh each loss
def joint_perplexity(parts):
    return math.exp(sum(loss for loss, _ in parts) / len(parts))

# 5.4 forgets the exponential: e to its loss
def joint_perplexity(parts):
    total = sum(loss * n for loss, n in parts)
    return total / sum(n for _, n in parts)

# 5.4 averages everything: not perplexities
def joint_perplexity(parts):
    return sum(math.exp(loss) for loss, _ in parts) / len(parts)

# 5.4 two to the loss: e to its loss
def joint_perplexity(parts):
    total = sum(n for _, n in parts)
    return 2 ** (sum(loss * n for loss, n in parts) / total)

# 5.5 changes what it was given: must not change
def grade_from(targets, first):
    before = torch.arange(targets.shape[1]) < first[:, None]
    return targets.masked_fill_(before, IGNORE)

# 5.5 one too many: answer's first
def grade_from(targets, first):
    before = torch.arange(targets.shape[1]) <= first[:, None]
    return targets.masked_fill(before, IGNORE)

# 5.5 grades the instruction: the other way round
def grade_from(targets, first):
    after = torch.arange(targets.shape[1]) >= first[:, None]
    return targets.masked_fill(after, IGNORE)

# 5.5 one start for all: its own start
def grade_from(targets, first):
    before = torch.arange(targets.shape[1]) < first[0]
    return targets.masked_fill(before, IGNORE)

# 5.5 starts not in a column: RuntimeError
def grade_from(targets, first):
    return targets.masked_fill(torch.arange(targets.shape[1]) < first, IGNORE)

# 5.5 marked with zero: becomes IGNORE
def grade_from(targets, first):
    before = torch.arange(targets.shape[1]) < first[:, None]
    return targets * ~before

# 5.5 cuts a piece off: AttributeError: 'list' object
def grade_from(targets, first):
    return [row[start:] for row, start in zip(targets, first)]

# 5.6 shares swapped: share of the old average
def update_average(average, model, keep):
    with torch.no_grad():
        for a, b in zip(average.parameters(), model.parameters()):
            a.mul_(1 - keep).add_(b, alpha=keep)

# 5.6 changes the model: model itself
def update_average(average, model, keep):
    with torch.no_grad():
        for a, b in zip(model.parameters(), average.parameters()):
            a.mul_(1 - keep).add_(b, alpha=keep)

# 5.6 weights only: biases are parameters
def update_average(average, model, keep):
    with torch.no_grad():
        average.weight.lerp_(model.weight, 1 - keep)

# 5.6 records gradients: torch.no_grad()
def update_average(average, model, keep):
    for a, b in zip(average.parameters(), model.parameters()):
        a.mul_(keep).add_(b, alpha=1 - keep)

# 5.6 a new name for the result: in place
def update_average(average, model, keep):
    with torch.no_grad():
        for old, new in zip(average.parameters(), model.parameters()):
            old = keep * old + (1 - keep) * new

# 5.6 buffers, too: leave it alone
def update_average(average, model, keep):
    new = model.state_dict()
    for name, old in average.state_dict().items():
        old.mul_(keep).add_(new[name], alpha=1 - keep)

# 5.6 a sum: keep * old
def update_average(average, model, keep):
    with torch.no_grad():
        for old, new in zip(average.parameters(), model.parameters()):
            old.mul_(keep).add_(new)

# 5.7 the best first: least surprising
def worst_targets(logits, targets, k):
    costs = F.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORE
    )
    return (-costs).topk(min(k, 3)).indices.tolist()

# 5.7 grades padding: not graded
def worst_targets(logits, targets, k):
    costs = F.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORE
    )
    return costs.topk(min(k, len(costs))).indices.tolist()

# 5.7 least sure instead of most surprised: least sure
def worst_targets(logits, targets, k):
    order = logits.max(-1).values.sort().indices.tolist()
    return [i for i in order if targets[i] != IGNORE][:k]

# 5.7 in the order of the text: order of the text
def worst_targets(logits, targets, k):
    costs = F.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORE
    )
    k = min(k, int((targets != IGNORE).sum()))
    return sorted(costs.topk(k).indices.tolist())

# 5.7 losses instead of positions: not [2.3
def worst_targets(logits, targets, k):
    costs = F.cross_entropy(logits, targets, reduction="none")
    return costs.topk(k).values.tolist()

# 5.7 more than there are: k is 9, but 3 are graded
def worst_targets(logits, targets, k):
    costs = F.cross_entropy(logits, targets, reduction="none")
    return costs.topk(k).indices.tolist()

# 5.8 all matrices decay: spare the embeddings
def spare_embeddings(model, weight_decay):
    ps = list(model.parameters())
    return [
        {
            "params": [p for p in ps if p.dim() > 1],
            "weight_decay": weight_decay,
        },
        {"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
    ]

# 5.8 forgets positions: positions are embeddings
def spare_embeddings(model, weight_decay):
    d, s = [], []
    for n, p in model.named_parameters():
        (s if p.dim() < 2 or "tok_emb" in n else d).append(p)
    return [
        {"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0},
    ]

# 5.8 spares the untied head: untied head
def spare_embeddings(model, weight_decay):
    d, s = [], []
    for n, p in model.named_parameters():
        (d if "trf" in n and p.dim() > 1 else s).append(p)
    return [
        {"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0},
    ]

# 5.8 loses the vectors: in no group
def spare_embeddings(model, weight_decay):
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
def spare_embeddings(model, weight_decay):
    ps = list(model.parameters())
    return [{"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
            {"params": [p for p in ps if p.dim() > 1],
             "weight_decay": weight_decay}]

# 5.8 the tied head twice: exactly once
def spare_embeddings(model, weight_decay):
    d, s = [], []
    for name, p in model.named_parameters(remove_duplicate=False):
        (s if p.dim() < 2 or "emb" in name else d).append(p)
    return [{"params": d, "weight_decay": weight_decay},
            {"params": s, "weight_decay": 0.0}]

# 5.8 biases decay: vectors never decay
def spare_embeddings(model, weight_decay):
    d, s = [], []
    for name, p in model.named_parameters():
        (s if "emb" in name or "norm" in name else d).append(p)
    return [{"params": d, "weight_decay": weight_decay},
            {"params": s, "weight_decay": 0.0}]

# 5.9 the last one: only passes on
def first_not_finite(model, inputs):
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
def first_not_finite(model, inputs):
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
def first_not_finite(model, inputs):
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
def first_not_finite(model, inputs):
    for name, p in model.named_parameters():
        if not p.isfinite().all():
            return name
    return None

# 5.9 looks at inputs: Look at outputs
def first_not_finite(model, inputs):
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
def first_not_finite(model, inputs):
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
def first_not_finite(model, inputs):
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
