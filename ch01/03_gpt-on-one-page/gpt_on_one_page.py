# fmt: off
# ruff: noqa: B905, E401, E701, E731, I001
"""A GPT on one page: from text to text, with nothing but Python.

    python gpt_on_one_page.py                    # learns for two minutes
    python gpt_on_one_page.py --text book.txt    # learns a text of your own

Read it from top to bottom; each part is a chapter of the course made small.
"""
import argparse, math, random, re, time
from collections import Counter
from itertools import count, cycle, repeat
from operator import add, mul

# ---- 1. Text: stories of a very small town (chapter 2) ---------------------
# A slot {colour:red blue} chooses a word, and {colour} tells it again. The
# model never sees this, only the stories. That the spade stays red, that Tom
# is "him" and that Tuesday comes after Monday it has to find out by itself.
TALE = """One day, {hero} went to the {place:market mill harbour}. It was a
{sky:sunny clear warm} {day} {time:morning afternoon evening}. {friend} lent
{him} a {colour:red blue green} {tool:hammer saw spade}. "I need it back on
{tomorrow}," said {friend} {how:quietly slowly kindly}. / A {animal:cat dog
goat} ran off with the {tool}, but {hero} ran faster. So {friend} had the
{colour} {tool} back on {tomorrow}. "You may have it again," said {friend}
{how}. {hero} was {mood:glad happy proud} all week. / Then {hero} dropped the
{tool}, and it broke. So {friend} got a new {colour} {tool} on {tomorrow}. "I
liked the old one," said {friend} {how}. {hero} was {mood:sorry grumpy glum}
all week.""".replace("\n", " ")

def story(rng):                 # the random generator makes every choice
    girl, boy = rng.choice(["Nora", "Clara"]), rng.choice(["Tom", "Oscar"])
    hero, him, friend = rng.choice([(girl, "her", boy), (boy, "him", girl)])
    day, tomorrow = rng.choice(["Monday Tuesday", "Friday Saturday"]).split()
    told = dict(hero=hero, him=him, friend=friend, day=day, tomorrow=tomorrow)
    def word(slot):
        name, _, words = slot[1].partition(":")
        return told.setdefault(name, rng.choice(words.split() or [""]))
    beginning, *endings = TALE.split(" / ")
    return re.sub("{(.*?)}", word, f"{beginning} {rng.choice(endings)}")

# ---- 2. Tokens: byte-pair encoding, here from letters (chapter 2) ----------
class Tokenizer:                # id 0 is no text: it stands at both ends
    def __init__(self, text, n_merges=250):
        spelled = {sign: sign for sign in ["", *sorted(set(text))]}
        if not text.strip():
            raise ValueError("there is no text to learn from")
        words = Counter(re.findall(r" ?\w+| ?[^\w\s]+|\s+", text))
        self.merges = {}        # two signs, and the new sign written for them
        while len(self.merges) < n_merges and max(map(len, words)) > 1:
            pairs = Counter()
            for word, n in words.items():
                for pair in zip(word, word[1:]):
                    pairs["".join(pair)] += n
            pair = max(pairs, key=pairs.get)               # the most frequent
            sign = self.merges[pair] = chr(0x100000 + len(self.merges))
            spelled[sign] = spelled[pair[0]] + spelled[pair[1]]
            words = {w.replace(pair, sign): n for w, n in words.items()}
        self.signs, self.tokens = list(spelled), list(spelled.values())

    def encode(self, text):
        for pair, sign in self.merges.items():
            text = text.replace(pair, sign)
        return [self.signs.index(sign) for sign in text]

# ---- 3. Gradients: matrices that know how they were made (PyTorch) ---------
# A matrix is a list of rows. Whoever makes one also says how to go back: from
# g, the gradient of the loss for each of its numbers, to the gradients for its
# parts, the matrices that it was made of. This is the chain rule.
dot = getattr(math, "sumprod", lambda a, b: sum(map(mul, a, b)))
def dots(a, b): return [[dot(r, s) for s in b] for r in a]
def each(f, a, b): return [list(map(f, r, s)) for r, s in zip(a, b)]
def turned(a): return list(zip(*a))                     # columns become rows
def added_up(a): return [list(map(sum, zip(*a)))]       # all rows in one

class Matrix:
    made = count()
    def __init__(self, rows, parts=(), back=None):
        self.rows, self.parts, self.back = rows, parts, back
        self.grad, self.number = None, next(Matrix.made)

    def backward(self):         # from our mean to all that we were made of
        self.grad, waiting = [[1 / len(self.rows)]] * len(self.rows), {self}
        while waiting:          # the last one made goes first: it is complete
            node = max(waiting, key=lambda matrix: matrix.number)
            waiting.remove(node)
            for part, g in zip(node.parts, node.back(node.grad)):
                part.grad = each(add, part.grad, g) if part.grad else g
                if part.back:
                    waiting.add(part)

    def __add__(self, other):   # an other of one row is added to each of ours
        rows = each(add, self.rows, cycle(other.rows))
        back = lambda g: (g, g if len(other.rows) == len(g) else added_up(g))
        return Matrix(rows, (self, other), back)

    def __mul__(self, other):   # each of our rows times the other's one row
        a, b = self.rows, cycle(other.rows)
        back = lambda g: (each(mul, g, b), added_up(each(mul, g, a)))
        return Matrix(each(mul, a, b), (self, other), back)

    def __matmul__(self, other):   # rows times rows: (T, C) @ (N, C) is (T, N)
        a, b = self.rows, other.rows
        back = lambda g: (dots(g, turned(b)), dots(turned(g), turned(a)))
        return Matrix(dots(a, b), (self, other), back)

    def turn(self):
        return Matrix(turned(self.rows), (self,), lambda g: (turned(g),))

    def pick(self, numbers):    # the rows with these numbers
        def back(g):
            grad = [[0.0] * len(g[0])] * len(self.rows)
            for i, row in zip(numbers, g):
                grad[i] = list(map(add, grad[i], row))
            return (grad,)
        return Matrix([self.rows[i] for i in numbers], (self,), back)

    def by_row(self, f, *more):  # f changes a row and says how to go back
        rows, ways = zip(*map(f, self.rows, *more))
        back = lambda g: ([way(row) for way, row in zip(ways, g)],)
        return Matrix(rows, (self,), back)

def softmax(row, scale=1.0, seen=None):     # shares, only for what is seen
    top = max(row[:seen])
    powers = [math.exp(scale * (x - top)) for x in row[:seen]]
    total = sum(powers)
    shares = [p / total for p in powers] + [0.0] * (len(row) - len(powers))
    def back(g):
        mean = dot(g, shares)
        return [scale * p * (x - mean) for p, x in zip(shares, g)]
    return shares, back

def normal(row):                # the row with mean 0 and variance 1
    n, mean = len(row), sum(row) / len(row)
    width = math.sqrt(sum((x - mean)**2 for x in row) / n + 1e-5)
    new = [(x - mean) / width for x in row]
    def back(g):
        mean, tilt = sum(g) / n, dot(g, new) / n
        return [(x - mean - tilt * y) / width for x, y in zip(g, new)]
    return new, back

def gelu(row):                  # a soft gate: only large numbers pass
    k = math.sqrt(2 / math.pi)
    gate = [0.5 + 0.5 * math.tanh(k * (x + 0.044715 * x**3)) for x in row]
    slope = [s * (1 + 2 * x * (1 - s) * k * (1 + 0.134145 * x * x))
             for x, s in zip(row, gate)]
    return list(map(mul, row, gate)), lambda g: list(map(mul, g, slope))

def surprise(logits, target):   # -ln p(target), the loss of one token
    p, _ = softmax(logits)
    back = lambda g: [g[0] * (x - (i == target)) for i, x in enumerate(p)]
    return [-math.log(p[target])], back

# ---- 4. The model: attention (chapter 3) and what is around it (chapter 4) -
# T tokens, C channels for each; V tokens known; L layers; H heads of size D.
class GPT:                      # from ids (T) to logits (T, V)
    def __init__(self, V, T, C=32, H=4, L=1, seed=0):
        self.V, self.T, self.C, self.H, self.L = V, T, C, H, L
        self.weights, self.rng = {}, random.Random(seed)

    def weight(self, name, n, m, mean=0.0):     # made when first asked for
        if name not in self.weights:
            draw = lambda: self.rng.gauss(mean, m**-0.5 if n > 1 else 0.0)
            w = Matrix([[draw() for _ in range(m)] for _ in range(n)])
            w.mean = w.square = [[0.0] * m] * n
            self.weights[name] = w
        return self.weights[name]

    def norm(self, x, name):
        return (x.by_row(normal) * self.weight(f"{name}.scale", 1, self.C, 1.0)
                + self.weight(f"{name}.shift", 1, self.C))

    def __call__(self, ids):
        w, C, D = self.weight, self.C, self.C // self.H
        x = w("tok_emb.weight", self.V, C).pick(ids)                  # (T, C)
        x = x + w("pos_emb.weight", self.T, C).pick(range(len(ids)))
        for block in (f"trf_blocks.{i}" for i in range(self.L)):
            y = self.norm(x, f"{block}.norm1")
            qkv = (y @ w(f"{block}.att.qkv.weight", 3 * C, C)).turn()
            out = w(f"{block}.att.out_proj.weight", C, C).turn()
            x = x + w(f"{block}.att.out_proj.bias", 1, C)
            for i in range(0, C, D):        # each head adds what it has read
                q, k, v = (qkv.pick(range(j, j + D)) for j in range(i, 3*C, C))
                scores = q.turn() @ k.turn()                          # (T, T)
                shares = scores.by_row(softmax, repeat(D**-0.5), count(1))
                x = x + shares @ v @ out.pick(range(i, i + D)).turn()
            y = self.norm(x, f"{block}.norm2")
            y = y @ w(f"{block}.ff.layers.0.weight", 4 * C, C)
            y = (y + w(f"{block}.ff.layers.0.bias", 1, 4 * C)).by_row(gelu)
            y = y @ w(f"{block}.ff.layers.2.weight", C, 4 * C)
            x = x + y + w(f"{block}.ff.layers.2.bias", 1, C)
        return self.norm(x, "final_norm") @ w("out_head.weight", self.V, C)

# ---- 5. Learning and writing (chapter 5) -----------------------------------
def adamw(p, step, lr, decay=0.01, b1=0.9, b2=0.98):
    p.mean = each(lambda m, g: b1 * m + (1 - b1) * g, p.mean, p.grad)
    p.square = each(lambda s, g: b2 * s + (1 - b2) * g * g, p.square, p.grad)
    fix, fix2 = 1 - b1**step, math.sqrt(1 - b2**step)
    pace = lambda m, s: m / fix / (math.sqrt(s) / fix2 + 1e-8)
    move = lambda w, x: w - lr * (x + decay * w)
    p.rows, p.grad = each(move, p.rows, each(pace, p.mean, p.square)), None

def learn(gpt, rows, rng, minutes, peak=0.007):
    began, past, step = time.perf_counter(), 0.0, 0
    while past < minutes:       # read a text, then change the weights
        ids, step = rng.choice(rows), step + 1
        losses = gpt(ids[:-1]).by_row(surprise, ids[1:])
        losses.backward()
        for p in gpt.weights.values():
            adamw(p, step, peak * min(1, step / 20, 2 - 2 * past / minutes))
        past = (time.perf_counter() - began) / 60
        yield step, past, sum(map(sum, losses.rows)) / len(losses.rows)

def write(gpt, ids, rng, temperature=0.7):
    while len(ids) < gpt.T and ids[1:][-1:] != [0]:
        p, _ = softmax(gpt(ids).rows[-1], 1 / temperature)
        ids = ids + rng.choices(range(gpt.V), p)
    return ids

def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.error = lambda text: parser.exit(2, f"error: {text}\n")
    option = parser.add_argument
    option("--text", metavar="FILE", help="a UTF-8 text to learn from instead")
    option("--minutes", type=float, default=2.0, help="how long to learn")
    option("--seed", type=int, default=0, help="another one, another run")
    option("--prompt", default="", help="how its texts begin")
    args = parser.parse_args(argv)
    rng, T = random.Random(args.seed), 96
    try:
        texts = [story(rng) for _ in range(2000)]
        if args.text:
            texts = open(args.text, encoding="utf-8").read().split("\n\n")
        tokenizer = Tokenizer("\n".join(texts))
        start = [0, *tokenizer.encode(args.prompt)]
    except (OSError, ValueError) as error:
        parser.error(error)
    texts = [[0, *tokenizer.encode(text), 0] for text in texts]
    rows = [t[i:i + T + 1] for t in texts for i in range(0, len(t) - 1, T)]
    gpt = GPT(len(tokenizer.tokens), T, seed=args.seed)
    try:
        for step, past, loss in learn(gpt, rows, rng, args.minutes):
            if step % 50 == 1:
                print(f"{past:4.1f} minutes, {step} texts, loss {loss:.2f}")
    except KeyboardInterrupt:
        print("Stopped. So far it writes:")
    for _ in range(3):
        print("".join(tokenizer.tokens[i] for i in write(gpt, start, rng)))

if __name__ == "__main__":
    main()
