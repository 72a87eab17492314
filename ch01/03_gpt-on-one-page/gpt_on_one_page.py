# fmt: off
# ruff: noqa: B905, E401, E731, I001
"""A GPT on one page: from text to text, with nothing but Python.

    python gpt_on_one_page.py                    # learns for two minutes
    python gpt_on_one_page.py --text book.txt    # learns a text of your own

Read it from top to bottom; each part is a chapter of the course made small.
"""
import argparse, math, random, re, time
from collections import Counter
from itertools import count, cycle, repeat
from operator import add, mul

# ---- 1. Text: the stories of a very small town (chapter 2) -----------------
# A slot {tool:hammer saw rake} chooses a word, and {tool} tells it again. The
# model sees nothing but stories. That a saw stays a saw, that Tom is "him" and
# that Tuesday comes after Monday is what it has to find out by itself.
TALE = """One day, {hero:Nora Clara Tom Oscar} went to the {place:market mill
harbour}. It was a {sky:sunny clear warm} {day:Monday Tuesday} {time:morning
afternoon evening}. {friend:others} lent {him} a {colour:red blue green}
{tool:hammer saw rake}. {friend} needed it back on {next}. A {animal:cat dog
goat} ran off with the {tool}, but {hero} ran faster. So {friend} had the
{colour} {tool} back on {next}. "You may have it again," said {friend}
{how:quietly slowly kindly}. {hero} was {mood:glad happy proud} all week."""
HER = {"him": "her", "others": "Tom Oscar"}     # what follows from a name,
HIM = {"him": "him", "others": "Nora Clara"}    # and what from a day
FACTS = {"Nora": HER, "Clara": HER, "Tom": HIM, "Oscar": HIM,
         "Monday": {"next": "Tuesday"}, "Tuesday": {"next": "Wednesday"}}

def tell(choose):               # choose(words, n): the word that stands at n
    text, told, tale = "", {}, TALE.replace("\n", " ")
    for before, name, words in re.findall(r"([^{]*){(\w+):?(.*?)}", tale):
        text += before
        if words:
            told[name] = choose(told.get(words, words).split(), len(text))
            told = FACTS.get(told[name], {}) | told
        text += told[name]
    return text + tale.rpartition("}")[2]
def story(rng):                 # a random generator makes every choice
    return tell(lambda words, n: rng.choice(words))
def holds(text):                # is it a story? choose what the text has there
    there = lambda words, n: max(words, key=lambda w: text.startswith(w, n))
    return text == tell(there)

# ---- 2. Tokens: byte-pair encoding, here from letters (chapter 2) ----------
# Inside, each token is one letter, and a merge makes up a new one. Token 0 has
# no text: it stands before and after each story.
class Tokenizer:
    def __init__(self, text, n_merges=250):
        spelled = {a: a for a in ["", *sorted(set(text))]}
        if not text.strip():
            raise ValueError("there is no text in it")
        words = Counter(re.findall(r" ?\w+| ?[^\w\s]+|\s+", text))
        self.merges = {}        # two letters, and the one for both
        while len(self.merges) < n_merges and max(map(len, words)) > 1:
            pairs = Counter()
            for word, n in words.items():
                for i in range(len(word) - 1):
                    pairs[word[i:i + 2]] += n
            pair = max(pairs, key=pairs.get)               # the most frequent
            letter = self.merges[pair] = chr(0x100000 + len(self.merges))
            spelled[letter] = spelled[pair[0]] + spelled[pair[1]]
            words = {w.replace(pair, letter): n for w, n in words.items()}
        self.letters, self.tokens = list(spelled), list(spelled.values())
    def encode(self, text):
        for pair, letter in self.merges.items():
            text = text.replace(pair, letter)
        return [self.letters.index(letter) for letter in text]

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

def softmax(row, scale=1.0, seen=None):     # positive numbers with the sum 1
    top = max(row[:seen])                   # and 0 for all that is not seen
    powers = [math.exp(scale * (x - top)) for x in row[:seen]]
    total = sum(powers)
    p = [x / total for x in powers] + [0.0] * (len(row) - len(powers))
    def back(g):
        mean = dot(g, p)
        return [scale * a * (x - mean) for a, x in zip(p, g)]
    return p, back

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
        for b in (f"trf_blocks.{i}" for i in range(self.L)):
            y = self.norm(x, f"{b}.norm1")
            qkv = w(f"{b}.att.qkv.weight", 3 * C, C)
            out = w(f"{b}.att.out_proj.weight", C, C).turn()
            for i in range(0, C, D):        # each head: token t reads t tokens
                q, k, v = (y @ qkv.pick(range(j, j + D))              # (T, D)
                           for j in range(i, 3 * C, C))
                weights = (q @ k).by_row(softmax, repeat(D**-0.5), count(1))
                x = x + weights @ v.turn() @ out.pick(range(i, i + D)).turn()
            x = x + w(f"{b}.att.out_proj.bias", 1, C)
            y = self.norm(x, f"{b}.norm2")
            y = y @ w(f"{b}.ff.layers.0.weight", 4 * C, C)            # (T, 4C)
            y = (y + w(f"{b}.ff.layers.0.bias", 1, 4 * C)).by_row(gelu)
            y = y @ w(f"{b}.ff.layers.2.weight", C, 4 * C)
            x = x + y + w(f"{b}.ff.layers.2.bias", 1, C)
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
    parser.add_argument("--text", metavar="FILE", help="learn a UTF-8 text")
    parser.add_argument("--minutes", type=float, default=2, help="how long")
    args, rng, T = parser.parse_args(argv), random.Random(0), 96
    texts = [story(rng) for _ in range(2000)]
    try:
        if args.text:
            texts = open(args.text, encoding="utf-8").read().split("\n\n")
        tokenizer = Tokenizer("\n".join(texts))
    except (OSError, ValueError) as error:
        parser.error(f"{args.text}: {getattr(error, 'strerror', '') or error}")
    ids = [[0, *tokenizer.encode(text), 0] for text in texts if text.strip()]
    rows = [t[i:i + T + 1] for t in ids for i in range(0, len(t) - 1, T)]
    gpt, good = GPT(len(tokenizer.tokens), T), 0
    try:
        for step, past, loss in learn(gpt, rows, rng, args.minutes):
            if step % 50 == 1:
                print(f"{past:4.1f} minutes, {step} texts, loss {loss:.2f}")
    except KeyboardInterrupt:
        print("Stopped. So far it writes:")
    for _ in range(10):
        text = "".join(tokenizer.tokens[i] for i in write(gpt, [0], rng))
        good += holds(text) and text not in texts
        print("*" if holds(text) else " ", text)
    if not args.text:
        print(f"{good} of 10 are new stories of the town (*)")

if __name__ == "__main__":
    main()
