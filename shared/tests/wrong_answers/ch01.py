# ruff: noqa
# fmt: off
"""Wrong answers to PyTorch in an hour: ../test_exercises.py says more."""

# 1.1 the other axis: dim=1 is the axis that must disappear
return sold / sold.sum(dim=0)

# 1.1 totals as a row: keepdim=True
return sold / sold.sum(dim=1)

# 1.1 one total for all: take a total for each row
return sold / sold.sum()

# 1.1 nothing returned: returns nothing
parts = sold / sold.sum(dim=1, keepdim=True)

# 1.1 only the totals: not that of the table
return sold.sum(dim=1)

# 1.1 three days only: RuntimeError
return sold / sold.sum(dim=1).view(3, 1)

# 1.2 blocks: only cut the deck into blocks
return deck.view(players, -1)

# 1.2 not turned: not (players, cards each)
return deck.view(-1, players)

# 1.2 reshaped, not turned: turn the table with .T
return deck.view(-1, players).reshape(players, -1)

# 1.2 blocks turned: player 0 has
return deck.view(players, -1).T.reshape(players, -1)

# 1.2 last card first: player 0 has
return deck.flip(0).view(-1, players).T

# 1.3 no new axis: RuntimeError
return (ids == torch.arange(V + 1)).float()

# 1.3 ids stretched over columns: your new axis is not the last one
return (ids[:, None] == torch.arange(V)[:, None]).float()

# 1.3 new axis in front: not (B, T, V)
return (ids[None] == torch.arange(V)).float()

# 1.3 true and false: make it float
return ids[..., None] == torch.arange(V)

# 1.3 counted from 1: ids start at 0
return (ids[..., None] == torch.arange(1, V + 1)).float()

# 1.3 from behind: not at the place of its id
return (ids[..., None] == torch.arange(V).flip(0)).float()

# 1.3 as many as there are: V may be larger
return (ids[..., None] == torch.arange(4)).float()

# 1.4 stripes: divide i and j by size before you add them
return (i + j) // size % 2 == 0

# 1.4 dark corner: it should be light
return (i // size + j // size) % 2 == 1

# 1.4 size ignored: divide i and j by size before you add them
return (i + j) % 2 == 0

# 1.4 numbers: say which points are light
return (i // size + j // size) % 2

# 1.4 only one axis: compare i with j
return j // size % 2 == 0

# 1.4 a quarter: half of the points must be light
return (i // size % 2 == 0) & (j // size % 2 == 0)

# 1.4 thirds: half of the points must be light
return (i // size + j // size) % 3 == 0

# 1.5 not divided: that is the change
return f(w + nudge) - f(w - nudge)

# 1.5 divided by one nudge: the way from one side to the other
return (f(w + nudge) - f(w - nudge)) / nudge

# 1.5 left minus right: the sign is wrong
return (f(w - nudge) - f(w + nudge)) / (2 * nudge)

# 1.5 one side: both sides are nearer
return (f(w + nudge) - f(w)) / nudge

# 1.5 one side, two nudges: half of it
return (f(w + nudge) - f(w)) / (2 * nudge)

# 1.5 nothing moves: but it is 97
return f(w) / w

# 1.6 the two is missing: the 2 of the square
e = w * x + b - y
return (e * x).mean(), e.mean()

# 1.6 sign: the error is what the line says minus y
e = y - w * x - b
return (2 * e * x).mean(), (2 * e).mean()

# 1.6 sums: you added up the examples
e = w * x + b - y
return (2 * e * x).sum(), (2 * e).sum()

# 1.6 x forgotten: lacks a factor
e = w * x + b - y
return (2 * e).mean(), (2 * e).mean()

# 1.6 not averaged: take the mean
e = w * x + b - y
return 2 * e * x, 2 * e

# 1.6 mean of the factors: the one for w is not
e = w * x + b - y
return (2 * e).mean() * x.mean(), (2 * e).mean()

# 1.6 swapped: the slope for b is wrong
e = w * x + b - y
return (2 * e).mean(), (2 * e * x).mean()

# 1.6 one number: return two numbers
e = w * x + b - y
return (2 * e * x).mean()

# 1.7 gradients add up: zero_grad in each step
losses = []
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
return losses

# 1.7 no step: stays as it is
losses = []
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    losses.append(loss.item())
return losses

# 1.7 forgotten too early: no zero_grad between the two
losses = []
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    losses.append(loss.item())
return losses

# 1.7 tensors kept: hang on their notes
losses = []
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss)
return losses

# 1.7 measured afterwards: measure it before the step
losses = []
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(((model(x) - y) ** 2).mean().item())
return losses

# 1.7 only the last: 1 losses, but there are 40
for _ in range(steps):
    loss = ((model(x) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
return [loss.item()]

# 1.7 under no_grad: RuntimeError
losses = []
with torch.no_grad():
    for _ in range(steps):
        loss = ((model(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
return losses

# 1.8 layers in a list: layers in a Python list are not found
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)]

    def forward(self, x):
        return self.layers[1](F.relu(self.layers[0](x)))

# 1.8 no bend: a straight line
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.second(self.first(x))

# 1.8 bend at the end: belongs between the layers
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x):
        return F.relu(self.second(self.first(x)))

# 1.8 second layer forgotten: not (N, outputs)
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x):
        return F.relu(self.first(x))

# 1.8 without super: AttributeError
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))

# 1.8 no biases: two layers with their biases
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.second = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))

# 1.8 another bend: not second(relu(first(x)))
class Bend(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))

# 1.9 columns divided: your columns add up to 1
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise("." + name.lower() + "."):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=0, keepdim=True)

# 1.9 no dot before: begin each name with a dot
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise(name.lower() + "."):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.9 no dot after: end each name with a dot
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise("." + name.lower()):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.9 capitals kept: KeyError
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise("." + name + "."):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.9 extra forgotten: extra changes nothing
counts = torch.full((len(id_of), len(id_of)), 1e-9)
for name in names:
    for a, b in pairwise("." + name.lower() + "."):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.9 added after dividing: after adding extra
counts = torch.zeros(len(id_of), len(id_of))
for name in names:
    for a, b in pairwise("." + name.lower() + "."):
        counts[id_of[a], id_of[b]] += 1
return counts / counts.sum(dim=1, keepdim=True) + extra

# 1.9 pairs turned round: your table is turned
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise("." + name.lower() + "."):
        counts[id_of[b], id_of[a]] += 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.9 only whether, not how often: row a is what stands first
counts = torch.full((len(id_of), len(id_of)), extra)
for name in names:
    for a, b in pairwise("." + name.lower() + "."):
        counts[id_of[a], id_of[b]] = extra + 1
return counts / counts.sum(dim=1, keepdim=True)

# 1.10 minus forgotten: minus the logarithm
rows = torch.arange(len(targets))
return logits.softmax(dim=-1)[rows, targets].log().mean()

# 1.10 summed: you added up the losses
rows = torch.arange(len(targets))
return -logits.softmax(dim=-1)[rows, targets].log().sum()

# 1.10 no softmax: softmax is missing
rows = torch.arange(len(targets))
return -logits[rows, targets].mean()

# 1.10 logarithm of logits: logarithm of a negative number
rows = torch.arange(len(targets))
return -logits[rows, targets].log().mean()

# 1.10 softmax down the columns: softmax goes along the tokens
rows = torch.arange(len(targets))
return -logits.softmax(dim=0)[rows, targets].log().mean()

# 1.10 all targets of each row: go in pairs
return -logits.softmax(dim=-1)[:, targets].log().mean()

# 1.10 all tokens: only the target counts
return -logits.log_softmax(dim=-1).mean()

# 1.10 one minus p: is not minus the logarithm
rows = torch.arange(len(targets))
return (1 - logits.softmax(dim=-1)[rows, targets]).mean()

# 1.10 not averaged: a loss is one number
rows = torch.arange(len(targets))
return -logits.softmax(dim=-1)[rows, targets].log()

# 1.11 always the best: draw by lot
name, here = "", 0
while len(name) < longest:
    here = P[here].argmax().item()
    if here == 0:
        break
    name += tokens[here]
return name

# 1.11 the dot is written: the dots are no part of the name
name, here = "", 0
while len(name) < longest:
    here = torch.multinomial(P[here], 1, generator=dice).item()
    name += tokens[here]
    if here == 0:
        break
return name

# 1.11 always from the dot's row: draw from the row of the last token
name = ""
while len(name) < longest:
    here = torch.multinomial(P[0], 1, generator=dice).item()
    if here == 0:
        break
    name += tokens[here]
return name

# 1.11 down the column: draw from the row of the last token
name, here = "", 0
while len(name) < longest:
    here = torch.multinomial(P[:, here], 1, generator=dice).item()
    if here == 0:
        break
    name += tokens[here]
return name

# 1.11 without the generator: use the generator dice
name, here = "", 0
while len(name) < longest:
    here = torch.multinomial(P[here], 1).item()
    if here == 0:
        break
    name += tokens[here]
return name

# 1.11 one too many: stop after longest letters
name, here = "", 0
while len(name) <= longest:
    here = torch.multinomial(P[here], 1, generator=dice).item()
    if here == 0:
        break
    name += tokens[here]
return name

# 1.11 a list: return the name, a string
name, here = [], 0
while len(name) < longest:
    here = torch.multinomial(P[here], 1, generator=dice).item()
    if here == 0:
        break
    name.append(tokens[here])
return name
