# ruff: noqa
# fmt: off
"""Wrong answers to chapter 6: ../test_exercises.py says more."""

# 6.1 filled in front: has another position
T = max(map(len, rows))
ids = torch.tensor([[pad] * (T - len(row)) + row for row in rows])
return ids, torch.tensor([len(row) for row in rows])

# 6.1 cut to the shortest: the longer row is cut
T = min(map(len, rows))
return (torch.tensor([row[:T] for row in rows]),
        torch.tensor([T] * len(rows)))

# 6.1 filled to the context: and no further
ids = torch.full((len(rows), 256), pad)
for i, row in enumerate(rows):
    ids[i, :len(row)] = torch.tensor(row)
return ids, torch.tensor([len(row) for row in rows])

# 6.1 lengths after filling: row 1 has 2 real tokens
T = max(map(len, rows))
full = [row + [pad] * (T - len(row)) for row in rows]
return torch.tensor(full), torch.tensor([len(row) for row in full])

# 6.1 lengths by looking for the filling: a real token that looks like filling
T = max(map(len, rows))
ids = torch.tensor([row + [pad] * (T - len(row)) for row in rows])
return ids, (ids != pad).sum(1)

# 6.1 sorted by length: go to other texts
rows = sorted(rows, key=len)
T = max(map(len, rows))
ids = torch.tensor([row + [pad] * (T - len(row)) for row in rows])
return ids, torch.tensor([len(row) for row in rows])

# 6.1 numbers of the last tokens: one more
T = max(map(len, rows))
ids = torch.tensor([row + [pad] * (T - len(row)) for row in rows])
return ids, torch.tensor([len(row) - 1 for row in rows])

# 6.1 always zeros: not always 0
ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
for i, row in enumerate(rows):
    ids[i, :len(row)] = torch.tensor(row)
return ids, torch.tensor([len(row) for row in rows])

# 6.1 floats: both are int64
ids = torch.ones(len(rows), max(map(len, rows))) * pad
for i, row in enumerate(rows):
    ids[i, :len(row)] = torch.tensor(row)
return ids, torch.tensor([len(row) for row in rows])

# 6.1 lists: return two tensors
T = max(map(len, rows))
return ([row + [pad] * (T - len(row)) for row in rows],
        [len(row) for row in rows])

# 6.2 the last column: there it is filling
if how == "last":
    return states[:, -1]
real = torch.arange(states.shape[1]) < lengths[:, None]
return (states * real[..., None]).sum(1) / lengths[:, None]

# 6.2 one too far: IndexError
if how == "last":
    return states[torch.arange(len(states)), lengths]
real = torch.arange(states.shape[1]) < lengths[:, None]
return (states * real[..., None]).sum(1) / lengths[:, None]

# 6.2 one too early: one place too early
if how == "last":
    return states[torch.arange(len(states)), lengths - 2]
return states.mean(1)

# 6.2 places of all rows: Number the rows, too
if how == "last":
    return states[:, lengths - 1]
return states.mean(1)

# 6.2 the first: nothing but itself
if how == "last":
    return states[:, 0]
return states.mean(1)

# 6.2 a mean over all columns: 900 is not
if how == "last":
    return states[torch.arange(len(states)), lengths - 1]
return states.mean(1)

# 6.2 divides by T: not out of the count
if how == "last":
    return states[torch.arange(len(states)), lengths - 1]
real = torch.arange(states.shape[1]) < lengths[:, None]
return (states * real[..., None]).mean(1)

# 6.2 divides the whole sum: only the count leaves it out
if how == "last":
    return states[torch.arange(len(states)), lengths - 1]
return states.sum(1) / lengths[:, None]

# 6.2 a sum: this is the sum
if how == "last":
    return states[torch.arange(len(states)), lengths - 1]
real = torch.arange(states.shape[1]) < lengths[:, None]
return (states * real[..., None]).sum(1)

# 6.2 last in both ways: and this is the last token
return states[torch.arange(len(states)), lengths - 1]

# 6.2 mean in both ways: and this is the mean
real = torch.arange(states.shape[1]) < lengths[:, None]
return (states * real[..., None]).sum(1) / lengths[:, None]

# 6.3 the head for tokens: the head for the next token
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how, self.head = gpt, how, gpt.out_head

    def forward(self, ids, lengths):
        states = read_states(self.gpt, ids)
        return self.head(pool(states, lengths, self.how))

# 6.3 an answer for each token: pool the states first
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        return self.head(read_states(self.gpt, ids))

# 6.3 a new head each time: made anew
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how, self.K = gpt, how, K

    def forward(self, ids, lengths):
        head = nn.Linear(self.gpt.cfg["emb_dim"], self.K)
        return head(pool(read_states(self.gpt, ids), lengths, self.how))

# 6.3 probabilities: leave softmax to the loss
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        states = read_states(self.gpt, ids)
        return self.head(pool(states, lengths, self.how)).softmax(-1)

# 6.3 logarithms: return plain logits
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        states = read_states(self.gpt, ids)
        return self.head(pool(states, lengths, self.how)).log_softmax(-1)

# 6.3 a head in a list: not an item of a plain list
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.heads = [nn.Linear(gpt.cfg["emb_dim"], K)]

    def forward(self, ids, lengths):
        states = read_states(self.gpt, ids)
        return self.heads[0](pool(states, lengths, self.how))

# 6.3 no bias: the head has no bias
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K, bias=False)

    def forward(self, ids, lengths):
        states = read_states(self.gpt, ids)
        return self.head(pool(states, lengths, self.how))

# 6.3 always the mean: hand on `how`
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt = gpt
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        return self.head(pool(read_states(self.gpt, ids), lengths))

# 6.3 no gradient: no gradient reaches the GPT
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        with torch.no_grad():
            states = read_states(self.gpt, ids)
        return self.head(pool(states, lengths, self.how))

# 6.3 pools the logits of tokens: RuntimeError
class NoteClassifier(nn.Module):
    def __init__(self, gpt, K=2, how="mean"):
        super().__init__()
        self.gpt, self.how = gpt, how
        self.head = nn.Linear(gpt.cfg["emb_dim"], K)

    def forward(self, ids, lengths):
        return self.head(pool(self.gpt(ids), lengths, self.how))

# 6.4 no minus: minus ln p
return logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()

# 6.4 a sum: this is the sum
losses = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
return losses.sum() if weights is None else (losses * weights[labels]).sum()

# 6.4 divides by all logits: all B x K logits
right = F.one_hot(labels, logits.shape[1])
return -(right * logits.log_softmax(-1)).mean()

# 6.4 ignores the weights: have no effect
return -logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()

# 6.4 divides by the texts: not by the number of texts
losses = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
if weights is not None:
    losses = losses * weights[labels]
return losses.mean()

# 6.4 divides by the sum of the classes' weights: counts with the weight of its class
losses = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
if weights is None:
    return losses.mean()
return (losses * weights[labels]).sum() / weights.sum()

# 6.4 weights by place: Use weights[labels]
losses = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
if weights is None:
    return losses.mean()
return (losses * weights).sum() / weights.sum()

# 6.4 weighs the logits: you weigh the logits
if weights is not None:
    logits = logits * weights
return -logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()

# 6.4 divides by the weights: a larger weight must count more
losses = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
if weights is None:
    return losses.mean()
return (losses / weights[labels]).sum() / (1 / weights[labels]).sum()

# 6.4 softmax, then log: exp overflows
p = logits.exp() / logits.exp().sum(-1, keepdim=True)
losses = -p[torch.arange(len(labels)), labels].log()
if weights is None:
    return losses.mean()
return (losses * weights[labels]).sum() / weights[labels].sum()

# 6.4 a number: return a tensor
return F.cross_entropy(logits, labels, weights).item()

# 6.5 both random: B does not start at zero
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.randn(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 both zero: can never learn
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.zeros(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 not frozen: freeze its weight
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scaling = linear, alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 the bias is not frozen: freeze its weight and its bias
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scaling = linear, alpha / rank
        self.linear.weight.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 plain tensors: are weights
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = torch.randn(rank, linear.in_features, requires_grad=True)
        self.B = torch.zeros(linear.out_features, rank, requires_grad=True)

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 shapes turned: yours are (4, 2) and (2, 6)
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.randn(linear.in_features, rank))
        self.B = nn.Parameter(torch.zeros(rank, linear.out_features))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A @ self.B)

# 6.5 not scaled: the detour is not scaled
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + x @ self.A.T @ self.B.T

# 6.5 not divided by the rank: not divided by the rank
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 no way through the frozen layer: frozen weights are not no_grad
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        with torch.no_grad():
            old = self.linear(x)
        return old + self.scaling * (x @ self.A.T @ self.B.T)

# 6.5 only the detour: must say exactly what linear says
class LoRALayer(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scaling = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.scaling * (x @ self.A.T @ self.B.T)

# 6.6 scaling forgotten: alpha / rank is missing
merged = copy.deepcopy(layer.linear)
with torch.no_grad():
    merged.weight += layer.B @ layer.A
return merged

# 6.6 into the given layer: adds it a second time
with torch.no_grad():
    layer.linear.weight += layer.scaling * (layer.B @ layer.A)
return layer.linear

# 6.6 B emptied: the given layer has changed
merged = copy.deepcopy(layer.linear)
with torch.no_grad():
    merged.weight += layer.scaling * (layer.B @ layer.A)
    layer.B.zero_()
return merged

# 6.6 transposed: this is the transpose
merged = copy.deepcopy(layer.linear)
with torch.no_grad():
    merged.weight += layer.scaling * (layer.A.T @ layer.B.T)
return merged

# 6.6 only the detour: only the detour is left
merged = copy.deepcopy(layer.linear)
with torch.no_grad():
    merged.weight.copy_(layer.scaling * (layer.B @ layer.A))
return merged

# 6.6 the bias is lost: the bias is lost
merged = nn.Linear(layer.linear.in_features, layer.linear.out_features,
                   bias=False)
with torch.no_grad():
    merged.weight.copy_(layer.linear.weight
                        + layer.scaling * (layer.B @ layer.A))
return merged

# 6.6 another bias: the bias is lost, or another one
merged = nn.Linear(layer.linear.in_features, layer.linear.out_features)
with torch.no_grad():
    merged.weight.copy_(layer.linear.weight
                        + layer.scaling * (layer.B @ layer.A))
return merged

# 6.6 only the old layer: without the detour
return copy.deepcopy(layer.linear)

# 6.6 the layer itself: a plain nn.Linear, not LoRALayer
return layer

# 6.6 no parameter: TypeError
merged = copy.deepcopy(layer.linear)
merged.weight = layer.linear.weight + layer.scaling * (layer.B @ layer.A)
return merged

# 6.7 repetitions lost: the repetitions are lost
def confusion(labels, said, K):
    matrix = torch.zeros(K, K, dtype=torch.long)
    matrix[labels, said] += 1
    return matrix

# 6.7 transposed: rows and columns are swapped
def confusion(labels, said, K):
    matrix = torch.zeros(K, K, dtype=torch.long)
    for i, j in zip(labels.tolist(), said.tolist()):
        matrix[j, i] += 1
    return matrix

# 6.7 only the classes that occur: K is 3
def confusion(labels, said, K):
    K = int(labels.max()) + 1
    return torch.bincount(labels * K + said, minlength=K * K).view(K, K)

# 6.7 shares: counts, please
def confusion(labels, said, K):
    matrix = torch.bincount(labels * K + said, minlength=K * K).view(K, K)
    return matrix / len(labels)

# 6.7 precision and recall swapped: are swapped. Precision asks
def class_scores(matrix):
    right = matrix.diagonal().float()
    recall = right / matrix.sum(0).clamp(min=1)
    precision = right / matrix.sum(1).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    return torch.stack([precision, recall, f1], dim=1)

# 6.7 zero by zero: 0/0 is NaN
def class_scores(matrix):
    right = matrix.diagonal().float()
    precision, recall = right / matrix.sum(0), right / matrix.sum(1)
    f1 = 2 * precision * recall / (precision + recall)
    return torch.stack([precision, recall, f1], dim=1)

# 6.7 the ordinary mean: the ordinary mean
def class_scores(matrix):
    right = matrix.diagonal().float()
    precision = right / matrix.sum(0).clamp(min=1)
    recall = right / matrix.sum(1).clamp(min=1)
    return torch.stack([precision, recall, (precision + recall) / 2], dim=1)

# 6.7 F1 without the 2: the 2 is missing
def class_scores(matrix):
    right = matrix.diagonal().float()
    precision = right / matrix.sum(0).clamp(min=1)
    recall = right / matrix.sum(1).clamp(min=1)
    f1 = precision * recall / (precision + recall).clamp(min=1e-9)
    return torch.stack([precision, recall, f1], dim=1)

# 6.7 accuracy as precision: this is the accuracy
def class_scores(matrix):
    right = matrix.diagonal().float()
    precision = (right.sum() / matrix.sum()).expand(len(matrix))
    recall = right / matrix.sum(1).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    return torch.stack([precision, recall, f1], dim=1)

# 6.7 a row for each number: for each of 3 classes
def class_scores(matrix):
    right = matrix.diagonal().float()
    precision = right / matrix.sum(0).clamp(min=1)
    recall = right / matrix.sum(1).clamp(min=1)
    return torch.stack([precision, recall], dim=1)

# 6.8 no zero_grad: gradients pile up
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / len(batches))
return losses

# 6.8 stays in evaluation mode: call model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / len(batches))
return losses

# 6.8 always the same order: draw a new one for each
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for ids, lengths, labels in batches:
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total / sum(len(b[2]) for b in batches))
return losses

# 6.8 an order that is drawn once: draw a new one for each
model.train()
losses, order = [], torch.randperm(len(batches)).tolist()
for _ in range(epochs):
    total = 0.0
    for i in order:
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total / sum(len(b[2]) for b in batches))
return losses

# 6.8 drawn with repetition: leave some out
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randint(len(batches), (len(batches),)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / len(batches))
return losses

# 6.8 one step an epoch: one step for each batch
model.train()
losses = []
for _ in range(epochs):
    optimizer.zero_grad()
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        total += loss.item()
    optimizer.step()
    losses.append(total / len(batches))
return losses

# 6.8 a mean of means: a mean of means is not the mean
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / len(batches))
return losses

# 6.8 a sum: divide by their number
model.train()
losses = []
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total)
return losses

# 6.8 a loss for each step: one each
model.train()
losses = []
for _ in range(epochs):
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
return losses

# 6.8 tensors: keep the work of each step
model.train()
losses, count = [], sum(len(labels) for _, _, labels in batches)
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.step()
        total = total + loss * len(labels)
    losses.append(total / count)
return losses

# 6.8 the weights stay behind: do not reach class_loss
model.train()
losses, count = [], sum(len(labels) for _, _, labels in batches)
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        optimizer.zero_grad()
        loss = class_loss(model(ids, lengths), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total / count)
return losses

# 6.8 texts shuffled without their labels: belong together
model.train()
losses, count = [], sum(len(labels) for _, _, labels in batches)
for _ in range(epochs):
    total = 0.0
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        places = torch.arange(len(ids)).roll(1)
        optimizer.zero_grad()
        loss = class_loss(model(ids[places], lengths[places]), labels, weights)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    losses.append(total / count)
return losses

# 6.8 clears before the step: empty gradients
model.train()
losses = []
for _ in range(epochs):
    for i in torch.randperm(len(batches)).tolist():
        ids, lengths, labels = batches[i]
        loss = class_loss(model(ids, lengths), labels, weights)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
    losses.append(loss.item())
return losses

# 6.9 compares the classes: compare logits, not classes
def largest_gap(model, rows):
    model.eval()
    alone = torch.cat([model([row]) for row in rows]).argmax(1)
    return float((alone != model(rows).argmax(1)).float().max())

# 6.9 a difference with its sign: in one direction
def largest_gap(model, rows):
    model.eval()
    alone = torch.cat([model([row]) for row in rows])
    return (alone - model(rows)).max().item()

# 6.9 a mean difference: this is the mean
def largest_gap(model, rows):
    model.eval()
    alone = torch.cat([model([row]) for row in rows])
    return (alone - model(rows)).abs().mean().item()

# 6.9 only the first text: look at all texts
def largest_gap(model, rows):
    model.eval()
    return (model(rows[:1])[0] - model(rows)[0]).abs().max().item()

# 6.9 beside itself: beside longer ones
def largest_gap(model, rows):
    model.eval()
    return max((model([row])[0] - model([row, row])[0]).abs().max().item()
               for row in rows)

# 6.9 with dropout: Call model.eval()
def largest_gap(model, rows):
    alone = torch.cat([model([row]) for row in rows])
    return (alone - model(rows)).abs().max().item()

# 6.9 a tensor: return a number
def largest_gap(model, rows):
    model.eval()
    alone = torch.cat([model([row]) for row in rows])
    return (alone - model(rows)).abs().max()

# 6.9 one text at a time: read them in one go
class Mended(Hasty):
    def forward(self, rows):
        return torch.cat([super(Mended, self).forward([row]) for row in rows])

# 6.9 sorted by length: in the wrong order
class Mended(Hasty):
    def forward(self, rows):
        rows = sorted(rows, key=len)
        states = read_states(self.gpt, self.fill(rows))
        last = torch.tensor([len(row) - 1 for row in rows])
        return self.head(states[torch.arange(len(rows)), last])

# 6.9 a mean with the filling: still finds a gap
class Mended(Hasty):
    def forward(self, rows):
        states = read_states(self.gpt, self.fill(rows))
        return self.head(self.drop(states.mean(1)))

# 6.9 cut to the shortest: still finds a gap
class Mended(Hasty):
    def forward(self, rows):
        T = min(map(len, rows))
        states = read_states(self.gpt, self.fill([row[:T] for row in rows]))
        return self.head(self.drop(states[:, -1]))

# 6.9 filled in front: shift a text's positions
class Mended(Hasty):
    def forward(self, rows):
        T = max(map(len, rows))
        states = read_states(self.gpt, torch.tensor(
            [[0] * (T - len(row)) + row for row in rows]))
        return self.head(self.drop(states[:, -1]))

# 6.9 looks for zeros: but the answer is not that of
class Mended(Hasty):
    def forward(self, rows):
        ids = self.fill(rows)
        last = (ids != 0).sum(1) - 1
        states = read_states(self.gpt, ids)
        return self.head(self.drop(states[torch.arange(len(rows)), last]))

# 6.9 another filling: still finds a gap
class Mended(Hasty):
    def forward(self, rows):
        T = max(map(len, rows))
        ids = torch.tensor([row + [49] * (T - len(row)) for row in rows])
        return self.head(self.drop(read_states(self.gpt, ids)[:, -1]))

# 6.9 the first token: but the answer is not that of
class Mended(Hasty):
    def forward(self, rows):
        states = read_states(self.gpt, self.fill(rows))
        return self.head(self.drop(states[:, 0]))

# 6.9 nothing mended: still finds a gap
class Mended(Hasty):
    pass

# 6.10 signed gaps: nearly cancel
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
error = 0.0
for b in which.unique().tolist():
    mine = which == b
    gap = confidence[mine].mean() - right[mine].mean()
    error += float(gap) * int(mine.sum()) / len(labels)
return abs(error)

# 6.10 without bins: nearly cancel
confidence, said = probs.max(1)
return float((confidence.mean() - (said == labels).float().mean()).abs())

# 6.10 empty bins: the mean of an empty bin
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
gaps = [(confidence[which == b].mean() - right[which == b].mean()).abs()
        * (which == b).float().mean() for b in range(n_bins)]
return float(sum(gaps))

# 6.10 divided by all bins: 8 of them are empty
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
gaps = [float((confidence[which == b].mean() - right[which == b].mean()).abs())
        for b in which.unique().tolist()]
return sum(gaps) / n_bins

# 6.10 each bin counts the same: weigh them by their texts
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
gaps = [float((confidence[which == b].mean() - right[which == b].mean()).abs())
        for b in which.unique().tolist()]
return sum(gaps) / len(gaps)

# 6.10 gaps added up: take their mean
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
return sum(float((confidence[which == b].mean()
                  - right[which == b].mean()).abs())
           for b in which.unique().tolist())

# 6.10 squares: not the square
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
return sum(float((confidence[which == b].mean()
                  - right[which == b].mean())**2
                 * (which == b).float().mean())
           for b in which.unique().tolist())

# 6.10 always the probability of class 1: the class that is said
confidence, right = probs[:, 1], (labels == 1).float()
which = (confidence * n_bins).long().clamp(max=n_bins - 1)
return sum(float((confidence[which == b].mean()
                  - right[which == b].mean()).abs()
                 * (which == b).float().mean())
           for b in which.unique().tolist())

# 6.10 the bin after the last: it belongs to the last one
confidence, said = probs.max(1)
which = (confidence * n_bins).long()
sums = [[0, 0.0] for _ in range(n_bins)]
for b, c, ok in zip(which.tolist(), confidence.tolist(), said == labels):
    sums[b][0] += 1
    sums[b][1] += c - float(ok)
return sum(abs(gap) for _, gap in sums) / len(labels)

# 6.10 a confidence of 1 is lost: Where does a confidence of exactly 1 go
confidence, said = probs.max(1)
right = (said == labels).float()
which = (confidence * n_bins).long()
return sum(float((confidence[which == b].mean()
                  - right[which == b].mean()).abs()
                 * (which == b).float().mean())
           for b in range(n_bins) if (which == b).any())

# 6.11 turned sign: the sign is turned
whole = predict(text)
name, words = max(whole, key=whole.get), text.split()
return [(word, predict(" ".join(words[:i] + words[i + 1:]))[name]
         - whole[name]) for i, word in enumerate(words)]

# 6.11 every word that looks the same: leave out one place
whole = predict(text)
name = max(whole, key=whole.get)
return [(word, whole[name] - predict(text.replace(word, ""))[name])
        for word in text.split()]

# 6.11 a dict: would take the place of the first
whole = predict(text)
name, words = max(whole, key=whole.get), text.split()
return {word: whole[name] - predict(" ".join(words[:i] + words[i + 1:]))[name]
        for i, word in enumerate(words)}

# 6.11 each word alone: leave it out of the whole text instead
whole = predict(text)
name = max(whole, key=whole.get)
return [(word, whole[name] - predict(word)[name]) for word in text.split()]

# 6.11 words stay out: put each one back
whole = predict(text)
name, words, found = max(whole, key=whole.get), text.split(), []
for i, word in enumerate(words):
    rest = " ".join(words[i + 1:]) or "and"
    found.append((word, whole[name] - predict(rest)[name]))
return found

# 6.11 always positive: not always on positive
whole, words = predict(text)["positive"], text.split()
return [(word, whole - predict(" ".join(words[:i] + words[i + 1:]))["positive"])
        for i, word in enumerate(words)]

# 6.11 another class: stay with the class of the whole text
whole, words = max(predict(text).values()), text.split()
return [(word, whole - max(predict(" ".join(words[:i] + words[i + 1:])
                                   ).values()))
        for i, word in enumerate(words)]

# 6.11 nothing is left: predict refuses an empty text
whole = predict(text)
name, words = max(whole, key=whole.get), text.split()
return [(word, whole[name] - predict(" ".join(words[:i] + words[i + 1:]))[name])
        for i, word in enumerate(words)]

# 6.11 the largest first: in the order of the text
whole = predict(text)
name, words = max(whole, key=whole.get), text.split()
found = [(word, whole[name]
          - predict(" ".join(words[:i] + words[i + 1:]))[name])
         for i, word in enumerate(words)]
return sorted(found, key=lambda pair: -pair[1])

# 6.12 by frequency: it should be the rare one
counts = torch.bincount(labels, minlength=K)
return counts * K / len(labels)

# 6.12 one by the count: it should be 1
return 1 / torch.bincount(labels, minlength=K)

# 6.12 adds up to one: it should be 1
inverse = 1 / torch.bincount(labels, minlength=K)
return inverse / inverse.sum()

# 6.12 for each text: not for each text
counts = torch.bincount(labels, minlength=K)
return (len(labels) / (K * counts))[labels]

# 6.12 one minus the share: it should be 1
return 1 - torch.bincount(labels, minlength=K) / len(labels)

# 6.12 a root: three times the weight
return (len(labels) / (K * torch.bincount(labels, minlength=K))).sqrt()

# 6.12 divides by zero: you divide by 0
return len(labels) / (K * torch.bincount(labels, minlength=K))

# 6.12 only the classes that occur: K is 4
counts = torch.bincount(labels)
return len(labels) / (len(counts) * counts)

# 6.12 an empty class weighs: has the weight 0
counts = torch.bincount(labels, minlength=K)
return len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1))

# 6.12 a share for empty classes: shared by those that do
counts = torch.bincount(labels, minlength=K)
weights = len(labels) / (K * counts.clamp(min=1))
return weights.masked_fill(counts == 0, 0.0)

# 6.12 equal: the weights are equal
return torch.ones(K)
