# ruff: noqa
# fmt: off
"""Wrong answers to chapter 4: ../test_exercises.py says more."""

# 4.1 no biases: too few
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * 4 * C * C

# 4.1 one spare in all: one spare per block
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + 4 * C * C + C + 3 * C * b

# 4.1 no output projection: qkv and out_proj
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * (3 * C * C + 3 * C * b)

# 4.1 bias whatever the config says: qkv_bias=False
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return parameter_formula(cfg) + L * (4 * C * C + 4 * C)

# 4.1 the spares alone: add the model itself
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
return L * (4 * C * C + C + 3 * C * b)

# 4.1 a spare for each head: too many
C, L, b = cfg["emb_dim"], cfg["n_layers"], cfg["qkv_bias"]
spare = 4 * C * C + C + 3 * C * b
return parameter_formula(cfg) + L * cfg["n_heads"] * spare

# 4.1 a key that is not there: KeyError
C = cfg["d_model"]
return parameter_formula(cfg) + cfg["n_layers"] * (4 * C * C + C)

# 4.2 LayerNorm: the mean must stay
return F.layer_norm(x, x.shape[-1:]) * self.scale

# 4.2 sum for mean: neither a sum
return x * x.pow(2).sum(-1, keepdim=True).rsqrt() * self.scale

# 4.2 no eps: divided by zero: eps
return x * x.pow(2).mean(-1, keepdim=True).rsqrt() * self.scale

# 4.2 no scale: scale is learned
return F.rms_norm(x, x.shape[-1:], eps=self.eps)

# 4.2 over the tokens: each row
return (
    x
    * (x.pow(2).mean(-2, keepdim=True) + self.eps).rsqrt()
    * self.scale
)

# 4.2 no root: divide by the root
return x / (x.pow(2).mean(-1, keepdim=True) + self.eps) * self.scale

# 4.2 standard deviation: nor a deviation
return x / (x.std(-1, keepdim=True) + self.eps) * self.scale

# 4.2 eps outside the root: under the root
root = x.pow(2).mean(-1, keepdim=True).sqrt()
return x / (root + self.eps) * self.scale

# 4.2 without keepdim: RuntimeError
return x * (x.pow(2).mean(-1) + self.eps).rsqrt() * self.scale

# 4.3 four times as wide: cost more
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 4 * emb_dim
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.3 needlessly narrow: would fit
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 2 * emb_dim
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.3 no gate: up multiplies
return self.down(F.silu(self.gate(x)))

# 4.3 sigmoid gate: silu
return self.down(self.gate(x).sigmoid() * self.up(x))

# 4.3 curve on the wrong branch: up multiplies
return self.down(self.gate(x) + F.silu(self.up(x)))

# 4.3 the branches swapped: over gate, not over up
return self.down(self.gate(x) * F.silu(self.up(x)))

# 4.3 added: it is not added
return self.down(F.silu(self.gate(x)) + self.up(x))

# 4.3 with biases: without biases
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 8 * emb_dim // 3 // 8 * 8
        self.gate = nn.Linear(emb_dim, width)
        self.up = nn.Linear(emb_dim, width)
        self.down = nn.Linear(width, emb_dim)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.3 any width: no multiple of 8
class SwiGLU(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        width = 8 * emb_dim // 3
        self.gate = nn.Linear(emb_dim, width, bias=False)
        self.up = nn.Linear(emb_dim, width, bias=False)
        self.down = nn.Linear(width, emb_dim, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

# 4.4 pre-norm: norm2 comes last
a = x + block.att(block.norm1(x))
return a + block.ff(block.norm2(a))

# 4.4 norm before adding: norm2 comes last
a = x + block.norm1(block.att(x))
return a + block.norm2(block.ff(a))

# 4.4 no shortcut: sum of x and attention
a = block.norm1(block.att(x))
return block.norm2(block.ff(a))

# 4.4 shortcut from x: not at x
a = block.norm1(x + block.att(x))
return block.norm2(x + block.ff(a))

# 4.4 no feed-forward: not used: ff
x = block.norm1(x + block.att(x))
return block.norm2(x)

# 4.4 one norm twice: not used: norm2
x = block.norm1(x + block.att(x))
return block.norm1(x + block.ff(x))

# 4.5 multiplications only: addition
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 12 * C * C * L + V * C + 2 * T * C * L

# 4.5 the look-up too: look-up
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + 2 * V * C) + 4 * T * C * L

# 4.5 only half of attention: two products
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + V * C) + 2 * T * C * L

# 4.5 the whole text: linear in T
V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
return 2 * (12 * C * C * L + V * C) + 4 * T * T * C * L

# 4.5 without the output head: output head is a matrix
C, L = cfg["emb_dim"], cfg["n_layers"]
return 2 * 12 * C * C * L + 4 * T * C * L

# 4.5 one block: of all blocks
V, C = cfg["vocab_size"], cfg["emb_dim"]
return 2 * (12 * C * C + V * C) + 4 * T * C

# 4.6 an absolute bar: 0.5 times the best
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p, 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.6 not shared out: sum to 1
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * best, 0)
return kept

# 4.6 one best for all rows: its own best
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * probs.max(), 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.6 the best itself dropped: keeps the best itself
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs <= min_p * best, 0)
return kept / kept.sum(dim=-1, keepdim=True)

# 4.6 softmax for sharing: proportions
best = probs.max(dim=-1, keepdim=True).values
kept = probs.masked_fill(probs < min_p * best, 0)
return kept.masked_fill(kept == 0, -torch.inf).softmax(-1)

# 4.6 in place: must not be changed
best = probs.max(-1, keepdim=True).values
probs[probs < min_p * best] = 0
return probs / probs.sum(-1, keepdim=True)

# 4.6 shared out over the batch: sum to 1 again
kept = probs * (probs >= min_p * probs.max(-1, keepdim=True).values)
return kept / kept.sum()

# 4.7 always divided: multiply
s = logits.gather(1, ids) / penalty
return logits.scatter(1, ids, s)
return logits

# 4.7 counted twice: counts once
logits = logits.clone()
for row, past in zip(logits, ids):
    for i in past.tolist():
        row[i] *= penalty if row[i] < 0 else 1 / penalty
return logits

# 4.7 one past for all: own past
s = logits[:, ids.unique()]
logits = logits.clone()
logits[:, ids.unique()] = torch.where(s > 0, s / penalty, s * penalty)
return logits

# 4.7 in place: must not be changed
s = logits.gather(1, ids)
logits.scatter_(1, ids, torch.where(s > 0, s / penalty, s * penalty))
return logits

# 4.7 subtracted: 2 divided by 4
return logits.scatter(1, ids, logits.gather(1, ids) - penalty)

# 4.7 always multiplied: 2 divided by 4
return logits.scatter(1, ids, logits.gather(1, ids) * penalty)

# 4.8 within one piece only: several pieces
for p in pieces:
    yield p.split(stop)[0]
    if stop in p:
        return

# 4.8 stop shown: nothing after stop
text = ""
for p in pieces:
    text += p
    yield p
    if stop in text:
        return

# 4.8 the tail lost: what was held back is due
held = ""
for p in pieces:
    held += p
    if stop in held:
        yield held.split(stop)[0]
        return
    n = max(len(held) - len(stop) + 1, 0)
    yield held[:n]
    held = held[n:]

# 4.8 held back too much: no more
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

# 4.8 all at once: pass on each piece
yield "".join(pieces).split(stop)[0]

# 4.8 forgets what it held: EN begins twice
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
