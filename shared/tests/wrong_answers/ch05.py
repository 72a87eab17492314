# ruff: noqa
# fmt: off
"""Wrong answers to chapter 5: ../test_exercises.py says more."""

# 5.1 not shifted: Shift the targets by one
T = max(map(len, rows))
inputs = torch.zeros(len(rows), T, dtype=torch.long)
targets = torch.full((len(rows), T), IGNORE)
for i, row in enumerate(rows):
    inputs[i, :len(row)] = targets[i, :len(row)] = torch.tensor(row)
return inputs, targets

# 5.1 shifted backwards: the token before
T = max(map(len, rows)) - 1
inputs = torch.zeros(len(rows), T, dtype=torch.long)
targets = torch.full((len(rows), T), IGNORE)
for i, row in enumerate(rows):
    inputs[i, :len(row) - 1] = torch.tensor(row[1:])
    targets[i, :len(row) - 1] = torch.tensor(row[:-1])
return inputs, targets

# 5.1 filling is graded: the filling is graded
T = max(map(len, rows)) - 1
inputs = torch.zeros(len(rows), T, dtype=torch.long)
targets = torch.zeros(len(rows), T, dtype=torch.long)
for i, row in enumerate(rows):
    inputs[i, :len(row) - 1] = torch.tensor(row[:-1])
    targets[i, :len(row) - 1] = torch.tensor(row[1:])
return inputs, targets

# 5.1 fills inputs with IGNORE: IGNORE is for targets
T = max(map(len, rows)) - 1
inputs = torch.full((len(rows), T), IGNORE)
targets = torch.full((len(rows), T), IGNORE)
for i, row in enumerate(rows):
    inputs[i, :len(row) - 1] = torch.tensor(row[:-1])
    targets[i, :len(row) - 1] = torch.tensor(row[1:])
return inputs, targets

# 5.1 cuts to the shortest: the longer row is cut
T = min(map(len, rows)) - 1
x = torch.tensor([row[:T + 1] for row in rows])
return x[:, :-1], x[:, 1:]

# 5.1 the last token stays in: T = longest row - 1
T = max(map(len, rows))
inputs = torch.zeros(len(rows), T, dtype=torch.long)
targets = torch.full((len(rows), T), IGNORE)
for i, row in enumerate(rows):
    inputs[i, :len(row)] = torch.tensor(row)
    targets[i, :len(row) - 1] = torch.tensor(row[1:])
return inputs, targets

# 5.1 rows of unequal length: ValueError
return (torch.tensor([row[:-1] for row in rows]),
        torch.tensor([row[1:] for row in rows]))

# 5.2 a sum: this is the sum
graded = targets != IGNORE
log_p = logits[graded].log_softmax(-1)
return -log_p.gather(-1, targets[graded][:, None]).sum()

# 5.2 no minus: the loss is negative
graded = targets != IGNORE
log_p = logits[graded].log_softmax(-1)
return log_p.gather(-1, targets[graded][:, None]).mean()

# 5.2 divides by all positions: divide by the graded targets
log_p = logits.log_softmax(-1)
costs = -log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
return costs.masked_fill(targets == IGNORE, 0.0).mean()

# 5.2 -100 used as an index: RuntimeError
log_p = logits.log_softmax(-1)
return -log_p.gather(-1, targets[..., None]).mean()

# 5.2 grades the filling as token 0: What does IGNORE
log_p = logits.log_softmax(-1)
return -log_p.gather(-1, targets.clamp(min=0)[..., None]).mean()

# 5.2 softmax, then log: exp overflows
graded = targets != IGNORE
e = logits[graded].exp()
p = e / e.sum(-1, keepdim=True)
return -p.gather(-1, targets[graded][:, None]).log().mean()

# 5.2 logits taken for log p: logits are not logarithms
graded = targets != IGNORE
return -logits[graded].gather(-1, targets[graded][:, None]).mean()

# 5.2 one minus p: is not surprise
graded = targets != IGNORE
p = logits[graded].softmax(-1)
return (1 - p.gather(-1, targets[graded][:, None])).mean()

# 5.2 bits: not bits
graded = targets != IGNORE
log_p = logits[graded].log_softmax(-1)
return -log_p.gather(-1, targets[graded][:, None]).mean() / math.log(2)

# 5.2 a number without gradient: needs a gradient
graded = targets != IGNORE
log_p = logits[graded].log_softmax(-1)
return -log_p.gather(-1, targets[graded][:, None]).mean().detach()

# 5.3 no zero_grad: zero_grad before backward
loss = token_loss(model(inputs), targets)
loss.backward()
optimizer.step()
return loss.item()

# 5.3 clears between backward and step: no weight has moved
loss = token_loss(model(inputs), targets)
loss.backward()
optimizer.zero_grad()
optimizer.step()
return loss.item()

# 5.3 steps before backward: no weight has moved
optimizer.zero_grad()
loss = token_loss(model(inputs), targets)
optimizer.step()
loss.backward()
return loss.item()

# 5.3 never steps: no weight has moved
optimizer.zero_grad()
loss = token_loss(model(inputs), targets)
loss.backward()
return loss.item()

# 5.3 a tensor: not a tensor
optimizer.zero_grad()
loss = token_loss(model(inputs), targets)
loss.backward()
optimizer.step()
return loss

# 5.3 the loss after the step: the loss before
optimizer.zero_grad()
token_loss(model(inputs), targets).backward()
optimizer.step()
return token_loss(model(inputs), targets).item()

# 5.4 no correction of the start: must be divided by 1 - beta^t
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    w -= lr * decay * w + lr * state["m"] / (state["v"].sqrt() + eps)

# 5.4 does not count: t is still 0
b1, b2 = betas
with torch.no_grad():
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean, square = state["m"] / (1 - b1), state["v"] / (1 - b2)
    w -= lr * decay * w + lr * mean / (square.sqrt() + eps)

# 5.4 the correction of the first step at each: t the number of this step
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean, square = state["m"] / (1 - b1), state["v"] / (1 - b2)
    w -= lr * decay * w + lr * mean / (square.sqrt() + eps)

# 5.4 betas swapped: beta_1 for m
b2, b1 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w -= lr * decay * w + lr * mean / (square.sqrt() + eps)

# 5.4 uphill: goes uphill
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w += lr * mean / (square.sqrt() + eps) - lr * decay * w

# 5.4 records gradients: no_grad
state["t"] += 1
w -= lr * grad

# 5.4 a new name: in place
b1, b2 = betas
state["t"] += 1
state["m"] = b1 * state["m"] + (1 - b1) * grad
state["v"] = b2 * state["v"] + (1 - b2) * grad**2
mean = state["m"] / (1 - b1 ** state["t"])
square = state["v"] / (1 - b2 ** state["t"])
w = w - lr * decay * w - lr * mean / (square.sqrt() + eps)

# 5.4 no root: has the length lr
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w -= lr * decay * w + lr * mean / (square + eps)

# 5.4 epsilon under the root: added to the root
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w -= lr * decay * w + lr * mean / (square + eps).sqrt()

# 5.4 decay in the gradient: does not go into the gradient
b1, b2 = betas
with torch.no_grad():
    grad = grad + decay * w
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w -= lr * mean / (square.sqrt() + eps)

# 5.4 no decay: w shrinks by
b1, b2 = betas
with torch.no_grad():
    state["t"] += 1
    state["m"].mul_(b1).add_(grad, alpha=1 - b1)
    state["v"].mul_(b2).add_(grad**2, alpha=1 - b2)
    mean = state["m"] / (1 - b1 ** state["t"])
    square = state["v"] / (1 - b2 ** state["t"])
    w -= lr * mean / (square.sqrt() + eps)

# 5.5 starts at zero: 1/10 of the peak
up = step / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - step) / cooldown)

# 5.5 ends at zero: not 0
up = (step + 1) / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - 1 - step) / cooldown)

# 5.5 no cooldown: there is no cooldown
return peak * min(1.0, (step + 1) / warmup if warmup else 1.0)

# 5.5 divides by zero: warmup=0
return peak * min(1.0, (step + 1) / warmup, (steps - step) / cooldown)

# 5.5 a cosine: straight line
if step < warmup:
    return peak * (step + 1) / warmup
left = steps - step
if left >= cooldown:
    return peak
return peak * (1 - math.cos(math.pi * left / cooldown)) / 2

# 5.5 down from the warm-up on: from the end of the warm-up on
up = (step + 1) / warmup if warmup else 1.0
return peak * min(up, (steps - step) / (steps - warmup))

# 5.5 cools a step too early: 100 - 20 is full
up = (step + 1) / warmup if warmup else 1.0
down = (steps - step) / (cooldown + 1) if cooldown else 1.0
return peak * min(1.0, up, down)

# 5.5 no cooldown cannot be: cooldown=0
up = (step + 1) / warmup if warmup else 1.0
return peak * min(1.0, up, (steps - step) / cooldown)

# 5.6 each tensor by itself: one limit for the whole vector
total = 0.0
for p in model.parameters():
    if p.grad is not None:
        norm = p.grad.norm().item()
        total += norm**2
        if norm > most:
            p.grad.mul_(most / norm)
return math.sqrt(total)

# 5.6 each number by itself: one limit for the whole vector
grads = [p.grad for p in model.parameters() if p.grad is not None]
norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
for g in grads:
    g.clamp_(-most, most)
return norm

# 5.6 stretches short ones: left alone, not stretched
grads = [p.grad for p in model.parameters() if p.grad is not None]
norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
for g in grads:
    g.mul_(most / norm)
return norm

# 5.6 no root: the root is missing
grads = [p.grad for p in model.parameters() if p.grad is not None]
norm = sum(float((g**2).sum()) for g in grads)
for g in grads:
    g.mul_(min(1.0, most / norm))
return norm

# 5.6 the norm after: before clipping
grads = [p.grad for p in model.parameters() if p.grad is not None]
norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
for g in grads:
    g.mul_(min(1.0, most / norm))
return min(norm, most)

# 5.6 trips over None: TypeError
norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
for p in model.parameters():
    p.grad.mul_(min(1.0, most / norm))
return norm

# 5.6 a new name: no gradient has changed
grads = [p.grad for p in model.parameters() if p.grad is not None]
norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
for g in grads:
    g = g * min(1.0, most / norm)
return norm

# 5.7 the usual recipe: weigh by graded targets
total = 0.0
for inputs, targets in parts:
    loss = token_loss(model(inputs), targets) / len(parts)
    loss.backward()
    total += loss.item()
return total

# 5.7 not weighed: not weighed
total = 0.0
for inputs, targets in parts:
    loss = token_loss(model(inputs), targets)
    loss.backward()
    total += loss.item()
return total / len(parts)

# 5.7 counts the filling: the filling was counted
size = sum(targets.numel() for _, targets in parts)
total = 0.0
for inputs, targets in parts:
    n = int((targets != IGNORE).sum())
    loss = token_loss(model(inputs), targets) * n / size
    loss.backward()
    total += loss.item()
return total

# 5.7 clears between parts: only the last part
n_all = sum(int((targets != IGNORE).sum()) for _, targets in parts)
total = 0.0
for inputs, targets in parts:
    model.zero_grad()
    n = int((targets != IGNORE).sum())
    loss = token_loss(model(inputs), targets) * n / n_all
    loss.backward()
    total += loss.item()
return total

# 5.7 backward after the loop: only the last part
n_all = sum(int((targets != IGNORE).sum()) for _, targets in parts)
total = 0.0
for inputs, targets in parts:
    n = int((targets != IGNORE).sum())
    loss = token_loss(model(inputs), targets) * n / n_all
    total += loss.item()
loss.backward()
return total

# 5.7 a sum: divide by all 10
total, n_all = 0.0, 0
for inputs, targets in parts:
    n = int((targets != IGNORE).sum())
    loss = token_loss(model(inputs), targets) * n
    loss.backward()
    total += loss.item()
    n_all += n
return total / n_all

# 5.7 never backward: call backward
n_all = sum(int((targets != IGNORE).sum()) for _, targets in parts)
return sum(token_loss(model(x), y).item() * int((y != IGNORE).sum())
           for x, y in parts) / n_all

# 5.7 the mean of the parts' losses: the mean over all graded targets
n_all = sum(int((targets != IGNORE).sum()) for _, targets in parts)
told = []
for inputs, targets in parts:
    n = int((targets != IGNORE).sum())
    loss = token_loss(model(inputs), targets)
    (loss * n / n_all).backward()
    told.append(loss.item())
return sum(told) / len(told)

# 5.8 no eval: call model.eval()
total, count = 0.0, 0
with torch.no_grad():
    for inputs, targets in batches:
        n = int((targets != IGNORE).sum())
        total += token_loss(model(inputs), targets).item() * n
        count += n
return total / count

# 5.8 stays in eval: Restore the mode
model.eval()
total, count = 0.0, 0
with torch.no_grad():
    for inputs, targets in batches:
        n = int((targets != IGNORE).sum())
        total += token_loss(model(inputs), targets).item() * n
        count += n
return total / count

# 5.8 always back to training: Restore the mode that you found
model.eval()
total, count = 0.0, 0
with torch.no_grad():
    for inputs, targets in batches:
        n = int((targets != IGNORE).sum())
        total += token_loss(model(inputs), targets).item() * n
        count += n
model.train()
return total / count

# 5.8 a mean of means: a mean of means
mode = model.training
model.eval()
with torch.no_grad():
    losses = [token_loss(model(x), y).item() for x, y in batches]
model.train(mode)
return sum(losses) / len(losses)

# 5.8 records gradients: torch.no_grad()
mode, total, count = model.training, 0.0, 0
model.eval()
for inputs, targets in batches:
    n = int((targets != IGNORE).sum())
    total += token_loss(model(inputs), targets).item() * n
    count += n
model.train(mode)
return total / count

# 5.8 perplexity: this is the perplexity
mode, total, count = model.training, 0.0, 0
model.eval()
with torch.no_grad():
    for inputs, targets in batches:
        n = int((targets != IGNORE).sum())
        total += token_loss(model(inputs), targets).item() * n
        count += n
model.train(mode)
return math.exp(total / count)

# 5.9 no zero_grad: Clear them at each step
model.train()
optimizer.zero_grad()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 zero_grad too late: empty gradients
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.zero_grad()
    optimizer.step()
return losses

# 5.9 no rate: the optimizer's own
model.train()
losses = []
for step in range(steps):
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 the rate of the first step for all: never changes
model.train()
for group in optimizer.param_groups:
    group["lr"] = rate(0)
losses = []
for step in range(steps):
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 the rate after the step: set it first
model.train()
losses = []
for step in range(steps):
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
return losses

# 5.9 steps counted from one: steps count from 0
model.train()
losses = []
for step in range(1, steps + 1):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 no clipping: longer than clip
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    optimizer.step()
return losses

# 5.9 clips after the step: longer than clip
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    optimizer.step()
    clip_gradients(model, clip)
return losses

# 5.9 no train: call model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 does not accumulate: you took 3
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    losses.append(add_gradients(model, [next(batches)]))
    clip_gradients(model, clip)
    optimizer.step()
return losses

# 5.9 a step after each part: It steps once
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    for _ in range(accumulate):
        optimizer.zero_grad()
        losses.append(add_gradients(model, [next(batches)]))
        clip_gradients(model, clip)
        optimizer.step()
return losses

# 5.9 forgets the step: never steps
model.train()
losses = []
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    losses.append(add_gradients(model, parts))
    clip_gradients(model, clip)
return losses

# 5.9 returns the last loss: TypeError
model.train()
for step in range(steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    optimizer.zero_grad()
    parts = [next(batches) for _ in range(accumulate)]
    loss = add_gradients(model, parts)
    clip_gradients(model, clip)
    optimizer.step()
return loss

# 5.10 no smoothing: not 3/4: add 1
counts = Counter(train)
return sum(
    -math.log(counts[t] / len(train)) if counts[t] else math.inf
    for t in test
) / len(test)

# 5.10 does not add up to one: V ones
counts = Counter(train)
return sum(
    -math.log((counts[t] + 1) / (len(train) + 1)) for t in test
) / len(test)

# 5.10 a sum, no mean: mean over test
counts = Counter(train)
return sum(-math.log((counts[t] + 1) / (len(train) + V)) for t in test)

# 5.10 no minus: -ln p
counts = Counter(train)
total = len(train) + V
return sum(math.log((counts[t] + 1) / total) for t in test) / len(test)

# 5.10 bits: not bits
counts = Counter(train)
total = len(train) + V
return sum(-math.log2((counts[t] + 1) / total) for t in test) / len(test)

# 5.10 unseen tokens left out: p(0) is not 3/4
counts = Counter(train)
known = [t for t in test if counts[t]]
return -sum(math.log(counts[t] / len(train)) for t in known) / len(known)

# 5.10 counts kept in a list of what occurs: KeyError
counts = {t: train.count(t) + 1 for t in train}
total = len(train) + V
return sum(-math.log(counts[t] / total) for t in test) / len(test)

# 5.11 nats: divide by ln 2
return loss * n_tokens / len(text)

# 5.11 per token: not per token
return loss / math.log(2)

# 5.11 bytes: not bytes
return loss * n_tokens / math.log(2) / len(text.encode())

# 5.11 upside down: less surprise
return loss * len(text) / n_tokens / math.log(2)

# 5.11 times ln 2: divide by ln 2
return loss * n_tokens * math.log(2) / len(text)

# 5.11 the sum: not in total
return loss * n_tokens / math.log(2)

# 5.12 changes what it was given: must not change
before = torch.arange(targets.shape[1]) < first[:, None]
return targets.masked_fill_(before, IGNORE)

# 5.12 one too many: answer's first
before = torch.arange(targets.shape[1]) <= first[:, None]
return targets.masked_fill(before, IGNORE)

# 5.12 grades the instruction: the other way round
after = torch.arange(targets.shape[1]) >= first[:, None]
return targets.masked_fill(after, IGNORE)

# 5.12 one start for all: its own start
before = torch.arange(targets.shape[1]) < first[0]
return targets.masked_fill(before, IGNORE)

# 5.12 starts not in a column: RuntimeError
return targets.masked_fill(torch.arange(targets.shape[1]) < first, IGNORE)

# 5.12 marked with zero: becomes IGNORE
before = torch.arange(targets.shape[1]) < first[:, None]
return targets * ~before

# 5.12 cuts a piece off: AttributeError: 'list' object
return [row[start:] for row, start in zip(targets, first)]

# 5.13 shares swapped: share of the old average
with torch.no_grad():
    for a, b in zip(average.parameters(), model.parameters()):
        a.mul_(1 - keep).add_(b, alpha=keep)

# 5.13 changes the model: model itself
with torch.no_grad():
    for a, b in zip(model.parameters(), average.parameters()):
        a.mul_(1 - keep).add_(b, alpha=keep)

# 5.13 weights only: biases are parameters
with torch.no_grad():
    average.weight.lerp_(model.weight, 1 - keep)

# 5.13 records gradients: torch.no_grad()
for a, b in zip(average.parameters(), model.parameters()):
    a.mul_(keep).add_(b, alpha=1 - keep)

# 5.13 a new name for the result: in place
with torch.no_grad():
    for old, new in zip(average.parameters(), model.parameters()):
        old = keep * old + (1 - keep) * new

# 5.13 buffers, too: leave it alone
new = model.state_dict()
for name, old in average.state_dict().items():
    old.mul_(keep).add_(new[name], alpha=1 - keep)

# 5.13 a sum: keep * old
with torch.no_grad():
    for old, new in zip(average.parameters(), model.parameters()):
        old.mul_(keep).add_(new)

# 5.14 the best first: least surprising
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
return (-costs).topk(min(k, 3)).indices.tolist()

# 5.14 grades padding: not graded
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
return costs.topk(min(k, len(costs))).indices.tolist()

# 5.14 least sure instead of most surprised: least sure
order = logits.max(-1).values.sort().indices.tolist()
return [i for i in order if targets[i] != IGNORE][:k]

# 5.14 in the order of the text: order of the text
costs = F.cross_entropy(
    logits, targets, reduction="none", ignore_index=IGNORE
)
k = min(k, int((targets != IGNORE).sum()))
return sorted(costs.topk(k).indices.tolist())

# 5.14 losses instead of positions: not [2.3
costs = F.cross_entropy(logits, targets, reduction="none")
return costs.topk(k).values.tolist()

# 5.14 more than there are: k is 9, but 3 are graded
costs = F.cross_entropy(logits, targets, reduction="none")
return costs.topk(k).indices.tolist()

# 5.15 all matrices decay: spare the embeddings
ps = list(model.parameters())
return [
    {
        "params": [p for p in ps if p.dim() > 1],
        "weight_decay": weight_decay,
    },
    {"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
]

# 5.15 forgets positions: positions are embeddings
d, s = [], []
for n, p in model.named_parameters():
    (s if p.dim() < 2 or "tok_emb" in n else d).append(p)
return [
    {"params": d, "weight_decay": weight_decay},
    {"params": s, "weight_decay": 0.0},
]

# 5.15 spares the untied head: untied head
d, s = [], []
for n, p in model.named_parameters():
    (d if "trf" in n and p.dim() > 1 else s).append(p)
return [
    {"params": d, "weight_decay": weight_decay},
    {"params": s, "weight_decay": 0.0},
]

# 5.15 loses the vectors: in no group
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

# 5.15 the groups the other way round: the first decays
ps = list(model.parameters())
return [{"params": [p for p in ps if p.dim() < 2], "weight_decay": 0.0},
        {"params": [p for p in ps if p.dim() > 1],
         "weight_decay": weight_decay}]

# 5.15 the tied head twice: exactly once
d, s = [], []
for name, p in model.named_parameters(remove_duplicate=False):
    (s if p.dim() < 2 or "emb" in name else d).append(p)
return [{"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0}]

# 5.15 biases decay: vectors never decay
d, s = [], []
for name, p in model.named_parameters():
    (s if "emb" in name or "norm" in name else d).append(p)
return [{"params": d, "weight_decay": weight_decay},
        {"params": s, "weight_decay": 0.0}]

# 5.16 the last one: only passes on
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

# 5.16 leaves its hooks: hooks are still there
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

# 5.16 looks for NaN only: infinity
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

# 5.16 looks at weights: no module
for name, p in model.named_parameters():
    if not p.isfinite().all():
        return name
return None

# 5.16 looks at inputs: Look at outputs
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

# 5.16 in the order of names: only passes on
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

# 5.16 the name bound too late: not the first
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
