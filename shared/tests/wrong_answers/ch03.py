# ruff: noqa
# fmt: off
"""Wrong answers to chapter 3: ../test_exercises.py says more."""

# 3.1 not divided: divide the scores by √D
return (q @ k.transpose(-2, -1)).softmax(-1)

# 3.1 divided by D: √D, not D
return (q @ k.transpose(-2, -1) / q.shape[-1]).softmax(-1)

# 3.1 down the columns: along each row
return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2)

# 3.1 over everything: divide by the row's sum
powers = (q @ k.mT / q.shape[-1] ** 0.5).exp()
return powers / powers.sum()

# 3.1 scores divided by their sum: weights are positive
scores = q @ k.mT / q.shape[-1] ** 0.5
return scores / scores.sum(-1, keepdim=True)

# 3.1 loud scores overflow: Take the largest
powers = (q @ k.mT / q.shape[-1] ** 0.5).exp()
return powers / powers.sum(-1, keepdim=True)

# 3.1 all axes turned: RuntimeError
return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1)

# 3.1 keys ask: rows are queries
return (k @ q.mT / q.shape[-1] ** 0.5).softmax(-1)

# 3.2 counts ignored: counts change nothing
s = q @ k.T / q.shape[-1] ** 0.5
return s.softmax(-1) @ v

# 3.2 scores multiplied: not the score: add ln
s = q @ k.T / q.shape[-1] ** 0.5
return (s * counts).softmax(-1) @ v

# 3.2 not shared out again: add up to 1
s = q @ k.T / q.shape[-1] ** 0.5
return (s.softmax(-1) * counts) @ v

# 3.2 count added: e³ times
s = q @ k.T / q.shape[-1] ** 0.5
return (s + counts).softmax(-1) @ v

# 3.2 values counted: add up to 1
return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ (v * counts[:, None])

# 3.2 counts for the readers: RuntimeError
s = q @ k.T / q.shape[-1] ** 0.5
return (s + counts.log()[:, None]).softmax(-1) @ v

# 3.2 not divided: divided by √D
return (q @ k.T + counts.log()).softmax(-1) @ v

# 3.2 logarithm to base 2: not what the text
s = q @ k.T / q.shape[-1] ** 0.5
return (s + counts.log2()).softmax(-1) @ v

# 3.3 zeros: e to the 0 is 1
T = scores.shape[-1]
return scores.masked_fill(torch.ones(T, T).triu(1).bool(), 0.0)

# 3.3 the past hidden: wrong way round
T = scores.shape[-1]
return scores.masked_fill(torch.ones(T, T).tril(-1).bool(), -torch.inf)

# 3.3 one too many: may read itself
T = scores.shape[-1]
return scores.masked_fill(torch.ones(T, T).triu(0).bool(), -torch.inf)

# 3.3 one too few: some of the future is open
T = scores.shape[-1]
return scores.masked_fill(torch.ones(T, T).triu(2).bool(), -torch.inf)

# 3.3 in place: without the last underscore
T = scores.shape[-1]
return scores.masked_fill_(torch.ones(T, T).triu(1).bool(), -torch.inf)

# 3.3 nothing returned: return the masked scores
T = scores.shape[-1]
scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)

# 3.3 lower triangle: e to the 0 is 1
return scores.tril()

# 3.4 nothing hidden: feel a change
q, k, v = self.query(x), self.key(x), self.value(x)
scores = q @ k.mT / q.shape[-1] ** 0.5
return self.dropout(scores.softmax(-1)) @ v

# 3.4 masked too late: feel a change
q, k, v = self.query(x), self.key(x), self.value(x)
scores = q @ k.mT / q.shape[-1] ** 0.5
return self.dropout(scores.softmax(-1).tril()) @ v

# 3.4 not divided: divide the scores by √D
q, k, v = self.query(x), self.key(x), self.value(x)
return self.dropout(hide_future(q @ k.mT).softmax(-1)) @ v

# 3.4 keys mixed: values, not keys
q, k = self.query(x), self.key(x)
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return self.dropout(scores.softmax(-1)) @ k

# 3.4 no dropout: no dropout while training
q, k, v = self.query(x), self.key(x), self.value(x)
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return scores.softmax(-1) @ v

# 3.4 dropout on the output: belongs on the weights
q, k, v = self.query(x), self.key(x), self.value(x)
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return self.dropout(scores.softmax(-1) @ v)

# 3.4 keys ask: queries ask
q, k, v = self.query(x), self.key(x), self.value(x)
scores = hide_future(k @ q.mT / q.shape[-1] ** 0.5)
return self.dropout(scores.softmax(-1)) @ v

# 3.5 one view: pose as several
def to_heads(x, num_heads):
    B, T, C = x.shape
    return x.view(B, num_heads, T, C // num_heads)

# 3.5 not turned: not (B, H
def to_heads(x, num_heads):
    B, T, C = x.shape
    return x.view(B, T, num_heads, C // num_heads)

# 3.5 channels first: neighbours
def to_heads(x, num_heads):
    B, T, C = x.shape
    return x.view(B, T, C // num_heads, num_heads).permute(0, 3, 1, 2)

# 3.5 joined without turning: does not undo
def from_heads(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)

# 3.5 heads after channels: does not undo
def from_heads(x):
    return x.permute(0, 2, 3, 1).flatten(2)

# 3.5 wrong axes joined: not (B, T, C)
def from_heads(x):
    return x.flatten(2)

# 3.6 nothing hidden: future is no longer hidden
q, k, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
scores = q @ k.mT / q.shape[-1] ** 0.5
return self.out_proj(from_heads(scores.softmax(-1) @ v))

# 3.6 not mixed: last step is missing
q, k, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return from_heads(scores.softmax(-1) @ v)

# 3.6 divided by the root of C: not by √C
q, k, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
scores = hide_future(q @ k.mT / x.shape[-1] ** 0.5)
return self.out_proj(from_heads(scores.softmax(-1) @ v))

# 3.6 not divided: divide the scores by √D
q, k, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
return self.out_proj(from_heads(hide_future(q @ k.mT).softmax(-1) @ v))

# 3.6 keys first: queries first
k, q, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return self.out_proj(from_heads(scores.softmax(-1) @ v))

# 3.6 merged without turning: heads must be merged
q, k, v = (to_heads(p, self.num_heads) for p in self.qkv(x).chunk(3, -1))
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return self.out_proj((scores.softmax(-1) @ v).reshape(x.shape))

# 3.6 a single head: that is a single head
q, k, v = self.qkv(x).chunk(3, -1)
scores = hide_future(q @ k.mT / q.shape[-1] ** 0.5)
return self.out_proj(scores.softmax(-1) @ v)

# 3.7 bias in every part: bias belongs to no head
D = layer.head_size
cut = slice(head * D, (head + 1) * D)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
out = naive_attention(q, k, v)
weight = layer.out_proj.weight
return out @ weight[:, cut].T + layer.out_proj.bias

# 3.7 rows instead of columns: columns of out_proj
D = layer.head_size
cut = slice(head * D, (head + 1) * D)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
out = naive_attention(q, k, v)
weight = layer.out_proj.weight
return out @ weight[cut]

# 3.7 not projected: shape
D = layer.head_size
cut = slice(head * D, (head + 1) * D)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
out = naive_attention(q, k, v)
weight = layer.out_proj.weight
return out

# 3.7 the whole layer each time: same
D = layer.head_size
cut = slice(head * D, (head + 1) * D)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
out = naive_attention(q, k, v)
weight = layer.out_proj.weight
return layer(x)

# 3.7 heads before q, k, v: q first, then k
B, T, _ = x.shape
H, D = layer.num_heads, layer.head_size
q, k, v = layer.qkv(x).view(B, T, H, 3, D)[:, :, head].unbind(2)
out = naive_attention(q, k, v)
cut = slice(head * D, (head + 1) * D)
return out @ layer.out_proj.weight[:, cut].T

# 3.7 reads the future: future is no longer hidden
cut = slice(head * layer.head_size, (head + 1) * layer.head_size)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
out = naive_attention(q, k, v, causal=False)
return out @ layer.out_proj.weight[:, cut].T

# 3.7 through the whole projection: RuntimeError
cut = slice(head * layer.head_size, (head + 1) * layer.head_size)
q, k, v = (p[..., cut] for p in layer.qkv(x).chunk(3, dim=-1))
return layer.out_proj(naive_attention(q, k, v))

# 3.8 far is dearer: sign
T, D = q.shape[-2:]
place = torch.arange(T)
back = place[:, None] - place
s = q @ k.transpose(-2, -1)
future = back < 0
return (
    (s / D**0.5 + slope * back).masked_fill(future, -torch.inf).softmax(-1)
)

# 3.8 future open: future
T, D = q.shape[-2:]
place = torch.arange(T)
back = place[:, None] - place
s = q @ k.transpose(-2, -1)
future = back < 0
return (s / D**0.5 - slope * back.abs()).softmax(-1)

# 3.8 distance divided, too: after dividing
T, D = q.shape[-2:]
place = torch.arange(T)
back = place[:, None] - place
s = q @ k.transpose(-2, -1)
future = back < 0
return (
    ((s - slope * back) / D**0.5)
    .masked_fill(future, -torch.inf)
    .softmax(-1)
)

# 3.8 distance squared: costs the same
T, D = q.shape[-2:]
place = torch.arange(T)
back = place[:, None] - place
s = q @ k.transpose(-2, -1)
future = back < 0
return (
    (s / D**0.5 - slope * back**2)
    .masked_fill(future, -torch.inf)
    .softmax(-1)
)

# 3.8 weights made smaller: change scores, not weights
place = torch.arange(q.shape[-2])
back = place[:, None] - place
return causal_weights(q, k) * torch.exp(-slope * back)

# 3.8 not divided: still divide
place = torch.arange(q.shape[-2])
back = place[:, None] - place
s = q @ k.mT - slope * back
return s.masked_fill(back < 0, -torch.inf).softmax(-1)

# 3.9 padding ignored: read padding
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
place = torch.arange(T)
future = place > place[:, None]
left = (place < T - lengths[:, None])[:, None]
low = torch.finfo(q.dtype).min
return causal_weights(q, k)

# 3.9 padding on the right: read padding
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
place = torch.arange(T)
future = place > place[:, None]
left = (place < T - lengths[:, None])[:, None]
low = torch.finfo(q.dtype).min
hidden = future | (place >= lengths[:, None])[:, None]
return s.masked_fill(hidden, low).softmax(-1).masked_fill(hidden, 0)

# 3.9 minus infinity: nan
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
place = torch.arange(T)
future = place > place[:, None]
left = (place < T - lengths[:, None])[:, None]
low = torch.finfo(q.dtype).min
hidden = future | left
return s.masked_fill(hidden, -torch.inf).softmax(-1)

# 3.9 hidden after softmax: hide before softmax
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
place = torch.arange(T)
future = place > place[:, None]
left = (place < T - lengths[:, None])[:, None]
low = torch.finfo(q.dtype).min
return causal_weights(q, k).masked_fill(left, 0)

# 3.9 rows of padding left: must be zero
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
place = torch.arange(T)
future = place > place[:, None]
left = (place < T - lengths[:, None])[:, None]
low = torch.finfo(q.dtype).min
return s.masked_fill(future | left, low).softmax(-1)

# 3.9 the future open: causal map
T, D = q.shape[-2:]
left = (torch.arange(T) < T - lengths[:, None])[:, None]
w = (q @ k.mT / D**0.5).masked_fill(left, -torch.inf).softmax(-1)
return w.masked_fill(left.mT, 0)

# 3.9 one mask for all texts: causal map
T, D = q.shape[-2:]
place = torch.arange(T)
hidden = (place > place[:, None]) | (place < T - lengths.min())
s = (q @ k.mT / D**0.5).masked_fill(hidden, -torch.inf)
return s.softmax(-1).nan_to_num(0)

# 3.10 roles swapped: a row for each token of x
q, k, v = source @ w_q, x @ w_k, x @ w_v
w = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
return w @ v, w

# 3.10 future hidden: nothing to hide
q, k, v = x @ w_q, source @ w_k, source @ w_v
s = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
hidden = torch.ones(s.shape[1:]).triu(1).bool()
w = s.masked_fill(hidden, -torch.inf).softmax(-1)
return w @ v, w

# 3.10 wrong axis: last axis
q, k, v = x @ w_q, source @ w_k, source @ w_v
s = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
w = s.softmax(-2)
return w @ v, w

# 3.10 not divided: divided by √D
q, k, v = x @ w_q, source @ w_k, source @ w_v
s = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
w = (s * q.shape[-1] ** 0.5).softmax(-1)
return w @ v, w

# 3.10 values from the reader: RuntimeError
q, k, v = x @ w_q, source @ w_k, x @ w_v
w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
return w @ v, w

# 3.10 only the output: return two things
q, k, v = x @ w_q, source @ w_k, source @ w_v
return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v

# 3.10 keys for values: times the values of source
q, k = x @ w_q, source @ w_k
w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
return w @ k, w

# 3.11 one too few: only itself
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
one = torch.ones(T, T, dtype=torch.bool)
hidden = one.triu(1) | one.tril(1 - window)
return s.masked_fill(hidden, -1e9).softmax(-1)

# 3.11 one too many: only itself
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
one = torch.ones(T, T, dtype=torch.bool)
hidden = one.triu(1) | one.tril(-window - 1)
return s.masked_fill(hidden, -torch.inf).softmax(-1)

# 3.11 future open: future
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
one = torch.ones(T, T, dtype=torch.bool)
return s.masked_fill(one.tril(-window), -torch.inf).softmax(-1)

# 3.11 hidden after softmax: hide before softmax
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
one = torch.ones(T, T, dtype=torch.bool)
return causal_weights(q, k) * ~one.tril(-window)

# 3.11 always two: window=1: each position reads only itself
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
hidden = torch.ones(T, T).triu(1) + torch.ones(T, T).tril(-2)
if window > T:
    return causal_weights(q, k)
return s.masked_fill(hidden.bool(), -torch.inf).softmax(-1)

# 3.11 minus infinity in its own place: nan
T, D = q.shape[-2:]
s = q @ k.transpose(-2, -1) / D**0.5
one = torch.ones(T, T, dtype=torch.bool)
hidden = one.triu(1) | one.tril(1 - window)
return s.masked_fill(hidden, -torch.inf).softmax(-1)

# 3.11 not divided: divide the scores by √D
T, D = q.shape[-2:]
one = torch.ones(T, T, dtype=torch.bool)
hidden = one.triu(1) | one.tril(-window)
return (q @ k.mT).masked_fill(hidden, -torch.inf).softmax(-1)

# 3.12 one matrix for q, k and v: q, k, v
return d_out * d_in + 3 * d_out * qkv_bias + d_out * (d_out + 1)

# 3.12 output without bias: out_proj's bias
return 3 * d_out * (d_in + qkv_bias) + d_out * d_out

# 3.12 bias forgotten: qkv has
return 3 * d_out * d_in + d_out * (d_out + 1)

# 3.12 output as wide as the input: d_out channels
return 3 * d_out * (d_in + qkv_bias) + d_out * (d_in + 1)

# 3.12 bias without asking: unless you ask
return 3 * (d_in + 1) * d_out + (d_out + 1) * d_out

# 3.12 no output projection: forgotten: out_proj
return 3 * (d_in + qkv_bias) * d_out
