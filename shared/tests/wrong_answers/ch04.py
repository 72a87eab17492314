# ruff: noqa
# fmt: off
"""Wrong answers to chapter 4: ../test_exercises.py says more."""

# 4.1 over the tokens: last axis only
centred = x - x.mean(dim=1, keepdim=True)
var = centred.pow(2).mean(dim=1, keepdim=True)
return self.scale * centred / torch.sqrt(var + self.eps) + self.shift

# 4.1 over everything: last axis only
return self.scale * (x - x.mean()) / x.std() + self.shift

# 4.1 mean stays: mean of each row must be 0
var = x.var(dim=-1, keepdim=True, correction=0)
return self.scale * x / torch.sqrt(var + self.eps) + self.shift

# 4.1 no root: the root of it
centred = x - x.mean(dim=-1, keepdim=True)
var = centred.pow(2).mean(dim=-1, keepdim=True)
return self.scale * centred / (var + self.eps) + self.shift

# 4.1 one less: not by one less
centred = x - x.mean(dim=-1, keepdim=True)
var = x.var(dim=-1, keepdim=True)
return self.scale * centred / torch.sqrt(var + self.eps) + self.shift

# 4.1 no eps: where is eps
centred = x - x.mean(dim=-1, keepdim=True)
var = centred.pow(2).mean(dim=-1, keepdim=True)
return self.scale * centred / torch.sqrt(var) + self.shift

# 4.1 eps outside the root: under the root
centred = x - x.mean(dim=-1, keepdim=True)
var = centred.pow(2).mean(dim=-1, keepdim=True)
return self.scale * centred / (torch.sqrt(var) + self.eps) + self.shift

# 4.1 no scale: scale multiplies
centred = x - x.mean(dim=-1, keepdim=True)
var = centred.pow(2).mean(dim=-1, keepdim=True)
return centred / torch.sqrt(var + self.eps)

# 4.1 shift first: then shift is added
centred = x - x.mean(dim=-1, keepdim=True)
var = centred.pow(2).mean(dim=-1, keepdim=True)
return self.scale * (centred / torch.sqrt(var + self.eps) + self.shift)

# 4.1 without keepdim: RuntimeError
return self.scale * (x - x.mean(dim=-1)) + self.shift

# 4.2 ReLU: this is ReLU
class MyGELU(nn.Module):
    def forward(self, x):
        return x.clamp(min=0)

# 4.2 the half forgotten: must be 0.8412
class MyGELU(nn.Module):
    def forward(self, x):
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x * (1 + torch.tanh(inner))

# 4.2 the exact curve: must be 0.8412
class MyGELU(nn.Module):
    def forward(self, x):
        return F.gelu(x)

# 4.2 no curve: two matrices are only one
class MyFeedForward(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim), nn.Identity(),
            nn.Linear(4 * emb_dim, emb_dim))

    def forward(self, x):
        return self.layers(x)

# 4.2 not widened: C -> 4C -> C
class MyFeedForward(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, emb_dim), MyGELU(), nn.Linear(emb_dim, emb_dim))

    def forward(self, x):
        return self.layers(x)

# 4.2 with a shortcut inside: C -> 4C, then the curve
class MyFeedForward(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim), MyGELU(),
            nn.Linear(4 * emb_dim, emb_dim))

    def forward(self, x):
        return x + self.layers(x)

# 4.2 other names: called layers.0 and layers.2
class MyFeedForward(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.wide = nn.Linear(emb_dim, 4 * emb_dim)
        self.back = nn.Linear(4 * emb_dim, emb_dim)

    def forward(self, x):
        return self.back(MyGELU()(self.wide(x)))

# 4.3 no mask: hide it before the softmax
B, T, C = x.shape
q, k, v = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, C))

# 4.3 mask after the softmax: hide it before the softmax
B, T, C = x.shape
q, k, v = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1).tril()


return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, C))

# 4.3 root of C: of D (not C)
B, T, C = x.shape
q, k, v = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
scores = q @ k.mT / C ** 0.5
future = torch.ones(T, T).triu(1).bool()
weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, C))

# 4.3 one head only: view(B, T, H, D) before
B, T, C = x.shape
q, k, v = self.qkv(x).chunk(3, dim=-1)
scores = q @ k.mT / (C // self.n_heads) ** 0.5
future = torch.ones(T, T).triu(1).bool()
weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
return self.out_proj(weights @ v)

# 4.3 heads not put back: transpose before reshape
B, T, C = x.shape
q, k, v = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
scores = q @ k.mT / q.shape[-1] ** 0.5
future = torch.ones(T, T).triu(1).bool()
weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
return self.out_proj((weights @ v).reshape(B, T, C))

# 4.3 no out_proj: goes through
B, T, C = x.shape
q, k, v = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
scores = q @ k.mT / q.shape[-1] ** 0.5
future = torch.ones(T, T).triu(1).bool()
weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
return (weights @ v).transpose(1, 2).reshape(B, T, C)

# 4.3 value first: the order query, key, value
B, T, C = x.shape
v, q, k = (part.view(B, T, self.n_heads, -1).transpose(1, 2)
           for part in self.qkv(x).chunk(3, dim=-1))
scores = q @ k.mT / q.shape[-1] ** 0.5
future = torch.ones(T, T).triu(1).bool()
weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, C))

# 4.4 post-norm: this is post-norm
x = self.norm1(x + self.att(x))
return self.norm2(x + self.ff(x))

# 4.4 no feed-forward: network is missing
return x + self.att(self.norm1(x))

# 4.4 shortcut from the beginning: not at x
read = x + self.att(self.norm1(x))
return x + self.ff(self.norm2(read))

# 4.4 one norm for both: norm2
x = x + self.att(self.norm1(x))
return x + self.ff(self.norm1(x))

# 4.4 no second shortcut: instead of replacing it
x = x + self.att(self.norm1(x))
return self.ff(self.norm2(x))

# 4.4 no norms: x + att(norm1(x))
x = x + self.att(x)
return x + self.ff(x)

# 4.5 no positions: add its position
x = self.tok_emb(ids)
for block in self.trf_blocks:
    x = block(x)
return self.final_norm(x) @ self.tok_emb.weight.T

# 4.5 no last norm: last norm is missing
x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
for block in self.trf_blocks:
    x = block(x)
return x @ self.tok_emb.weight.T

# 4.5 rows for logits: a logit for each of the 100
x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
for block in self.trf_blocks:
    x = block(x)
return self.final_norm(x)

# 4.5 probabilities: without a softmax
x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
for block in self.trf_blocks:
    x = block(x)
return (self.final_norm(x) @ self.tok_emb.weight.T).softmax(-1)

# 4.5 the first block only: blocks in the order
x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
x = self.trf_blocks[0](x)
return self.final_norm(x) @ self.tok_emb.weight.T

# 4.5 backwards: blocks in the order
x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
for block in reversed(self.trf_blocks):
    x = block(x)
return self.final_norm(x) @ self.tok_emb.weight.T

# 4.5 blocks side by side: one after the other
start = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
x = start
for block in self.trf_blocks:
    x = x + block(start)
return self.final_norm(x) @ self.tok_emb.weight.T

# 4.6 first position: of the last position
for _ in range(n):
    logits = model(ids[:, -most:])[:, 0]
    probs = (logits / temperature).softmax(dim=-1)
    ids = torch.cat([ids, probs.multinomial(1)], dim=1)
return ids

# 4.6 window not moved: but most is 4
for _ in range(n):
    logits = model(ids)[:, -1]
    probs = (logits / temperature).softmax(dim=-1)
    ids = torch.cat([ids, probs.multinomial(1)], dim=1)
return ids

# 4.6 greedy: draw by lot
for _ in range(n):
    logits = model(ids[:, -most:])[:, -1]
    ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
return ids

# 4.6 multiplied: divide the logits
for _ in range(n):
    logits = model(ids[:, -most:])[:, -1]
    probs = (logits * temperature).softmax(dim=-1)
    ids = torch.cat([ids, probs.multinomial(1)], dim=1)
return ids

# 4.6 the new tokens only: not (1, 2 + 5)
new = []
for _ in range(n):
    logits = model(ids[:, -most:])[:, -1]
    probs = (logits / temperature).softmax(dim=-1)
    new.append(probs.multinomial(1))
    ids = torch.cat([ids, new[-1]], dim=1)
return torch.cat(new, dim=1)

# 4.6 the oldest tokens: of the last position
for _ in range(n):
    logits = model(ids[:, :most])[:, -1]
    probs = (logits / temperature).softmax(dim=-1)
    ids = torch.cat([ids, probs.multinomial(1)], dim=1)
return ids

# 4.7 no biases: too few
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * 4 * C * C

# 4.7 one spare in all: one spare per block
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + 4 * C * C + C + 3 * C * b

# 4.7 no output projection: qkv and out_proj
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * (3 * C * C + 3 * C * b)

# 4.7 bias whatever the config says: qkv_bias=False
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * (4 * C * C + 4 * C)

# 4.7 the spares alone: add the model itself
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return L * (4 * C * C + C + 3 * C * b)

# 4.7 a spare for each head: too many
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
spare = 4 * C * C + C + 3 * C * b
return parameter_formula(cfg) + L * cfg["n_heads"] * spare

# 4.7 a key that is not there: KeyError
C = cfg["d_model"]
return parameter_formula(cfg) + cfg["n_layers"] * (4 * C * C + C)

# 4.8 LayerNorm: the mean must stay
return F.layer_norm(x, x.shape[-1:]) * self.scale

# 4.8 sum for mean: neither a sum
return x * x.pow(2).sum(-1, keepdim=True).rsqrt() * self.scale

# 4.8 no eps: divided by zero: eps
return x * x.pow(2).mean(-1, keepdim=True).rsqrt() * self.scale

# 4.8 no scale: scale is learned
return F.rms_norm(x, x.shape[-1:], eps=self.eps)

# 4.8 over the tokens: each row
return (
    x
    * (x.pow(2).mean(-2, keepdim=True) + self.eps).rsqrt()
    * self.scale
)

# 4.8 no root: divide by the root
return x / (x.pow(2).mean(-1, keepdim=True) + self.eps) * self.scale

# 4.8 standard deviation: nor a deviation
return x / (x.std(-1, keepdim=True) + self.eps) * self.scale

# 4.8 eps outside the root: under the root
root = x.pow(2).mean(-1, keepdim=True).sqrt()
return x / (root + self.eps) * self.scale

# 4.8 without keepdim: RuntimeError
return x * (x.pow(2).mean(-1) + self.eps).rsqrt() * self.scale

# 4.9 four times as wide: cost more
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 4 * emb_dim
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.9 needlessly narrow: would fit
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 2 * emb_dim
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.9 no gate: up multiplies
return self.down(F.silu(self.gate(x)))

# 4.9 sigmoid gate: silu
return self.down(self.gate(x).sigmoid() * self.up(x))

# 4.9 curve on the wrong branch: up multiplies
return self.down(self.gate(x) + F.silu(self.up(x)))

# 4.9 the branches swapped: over gate, not over up
return self.down(self.gate(x) * F.silu(self.up(x)))

# 4.9 added: it is not added
return self.down(F.silu(self.gate(x)) + self.up(x))

# 4.9 with biases: without biases
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 8 * emb_dim // 3 // 8 * 8
        self.gate = nn.Linear(emb_dim, width)
        self.up = nn.Linear(emb_dim, width)
        self.down = nn.Linear(width, emb_dim)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.9 any width: no multiple of 8
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 8 * emb_dim // 3
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.10 pre-norm: norm2 comes last
a = x + block.att(block.norm1(x))
return a + block.ff(block.norm2(a))

# 4.10 norm before adding: norm2 comes last
a = x + block.norm1(block.att(x))
return a + block.norm2(block.ff(a))

# 4.10 no shortcut: sum of x and attention
a = block.norm1(block.att(x))
return block.norm2(block.ff(a))

# 4.10 shortcut from x: not at x
a = block.norm1(x + block.att(x))
return block.norm2(x + block.ff(a))

# 4.10 no feed-forward: not used: ff
x = block.norm1(x + block.att(x))
return block.norm2(x)

# 4.10 one norm twice: not used: norm2
x = block.norm1(x + block.att(x))
return block.norm1(x + block.ff(x))

# 4.11 multiplications only: addition
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 12 * C * C * L + V * C + 2 * T * C * L

# 4.11 the look-up too: look-up
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + 2 * V * C) + 4 * T * C * L

# 4.11 only half of attention: two products
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + V * C) + 2 * T * C * L

# 4.11 the whole text: linear in T
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + V * C) + 4 * T * T * C * L

# 4.11 without the output head: output head is a matrix
C, L = cfg["emb_dim"], cfg["n_layers"]
return 2 * 12 * C * C * L + 4 * T * C * L

# 4.11 one block: of all blocks
V, C = cfg["vocab_size"], cfg["emb_dim"]
return 2 * (12 * C * C + V * C) + 4 * T * C

# 4.12 an absolute bar: 0.5 times the best
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p, 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.12 not shared out: sum to 1
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * best, 0)
return kept

# 4.12 one best for all rows: its own best
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * probs.max(), 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.12 the best itself dropped: keeps the best itself
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs <= min_p * best, 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.12 softmax for sharing: proportions
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * best, 0)
return kept.masked_fill(kept == 0, -torch.inf).softmax(-1)

# 4.12 in place: must not be changed
best = probs.max(-1, keepdim=True).values
probs[probs < min_p * best] = 0
return probs / probs.sum(-1, keepdim=True)

# 4.12 shared out over the batch: sum to 1 again
kept = probs * (probs >= min_p * probs.max(-1, keepdim=True).values)
return kept / kept.sum()

# 4.13 always divided: multiply
s = logits.gather(1, ids) / penalty
return logits.scatter(1, ids, s)
return logits

# 4.13 counted twice: counts once
logits = logits.clone()
for row, past in zip(logits, ids):
    for i in past.tolist():
        row[i] *= penalty if row[i] < 0 else 1 / penalty
return logits

# 4.13 one past for all: own past
s = logits[:, ids.unique()]
logits = logits.clone()
logits[:, ids.unique()] = torch.where(s > 0, s / penalty, s * penalty)
return logits

# 4.13 in place: must not be changed
s = logits.gather(1, ids)
logits.scatter_(1, ids, torch.where(s > 0, s / penalty, s * penalty))
return logits

# 4.13 subtracted: 2 divided by 4
return logits.scatter(1, ids, logits.gather(1, ids) - penalty)

# 4.13 always multiplied: 2 divided by 4
return logits.scatter(1, ids, logits.gather(1, ids) * penalty)

# 4.14 within one piece only: several pieces
for p in pieces:
    yield p.split(stop)[0]
    if stop in p:
        return

# 4.14 stop shown: nothing after stop
text = ""
for p in pieces:
    text += p
    yield p
    if stop in text:
        return

# 4.14 the tail lost: what was held back is due
held = ""
for p in pieces:
    held += p
    if stop in held:
        yield held.split(stop)[0]
        return
    n = max(len(held) - len(stop) + 1, 0)
    yield held[:n]
    held = held[n:]

# 4.14 held back too much: no more
held = ""
for p in pieces:
    held += p
    if stop in held:
        yield held.split(stop)[0]
        return
    n = max(len(held) - 99, 0)
    yield held[:n]
    held = held[n:]
yield held

# 4.14 all at once: pass on each piece
yield "".join(pieces).split(stop)[0]

# 4.14 forgets what it held: EN begins twice
held = ""
for piece in pieces:
    held += piece
    if stop in held:
        yield held.split(stop)[0]
        return
    if not any(held.endswith(stop[:n]) for n in range(1, len(stop))):
        yield held
        held = ""
    elif len(held) > 4:
        held = held[-2:]
yield held
