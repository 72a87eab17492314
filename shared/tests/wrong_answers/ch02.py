# ruff: noqa
# fmt: off
"""Wrong answers to chapter 2: ../test_exercises.py says more."""

# 2.1 drops the spaces: joined
return WORD.findall(text)

# 2.1 single characters: two parts
return list(text)

# 2.1 space behind the word: front
return regex.findall(r"\w+\s*|[^\w\s]\s*|\s+", text)

# 2.1 groups that are found: (?:
return regex.findall(r"\s*(\w+('\w+)*)|\s*[^\w\s]|\s+", text)

# 2.1 drops the space at the end: the very end
return regex.findall(r"\s*\w+|\s*[^\w\s]", text)

# 2.1 splits at spaces: joined
return text.split(" ")

# 2.1 marks stay with the word: mark is a part of its own
return regex.findall(r"\s*\S+|\s+", text)

# 2.1 cuts at the apostrophe: apostrophe is inside a word
return regex.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)

# 2.1 returns nothing: is there a return
parts = regex.findall(r"\s*\w+(?:'\w+)*|\s*[^\w\s]|\s+", text)

# 2.2 share of known words: known words
v = set(WORD.findall(known))
w = WORD.findall(text)
return sum(x in v for x in w) / len(w)

# 2.2 letters instead of words: compare words
w = WORD.findall(text)
return sum(x not in known for x in w) / len(w)

# 2.2 different words: repetitions
w = set(WORD.findall(text))
return len(w - set(WORD.findall(known))) / len(w)

# 2.2 case folded: two words
v = set(WORD.findall(known.lower()))
w = WORD.findall(text.lower())
return sum(x not in v for x in w) / len(w)

# 2.2 splits at spaces: not at spaces
words = text.split()
return sum(w not in set(known.split()) for w in words) / len(words)

# 2.2 different words over all words: repetitions count
new = set(WORD.findall(text)) - set(WORD.findall(known))
return len(new) / len(WORD.findall(text))

# 2.2 in percent: 0.375, not 37.5
v, w = set(WORD.findall(known)), WORD.findall(text)
return 100 * sum(x not in v for x in w) / len(w)

# 2.2 pieces with their spaces: leaves spaces out
v, w = set(split_text(known)), split_text(text)
return sum(x not in v for x in w) / len(w)

# 2.3 latin-1: needs two
return [code_point]

# 2.3 no mark on later bytes: bits 10
if code_point < 128:
    return [code_point]
return [192 | code_point >> 6, code_point & 63]

# 2.3 two bytes at most: 2048
if code_point < 128:
    return [code_point]
return [192 | code_point >> 6, 128 | code_point & 63]

# 2.3 lowest bits first: highest bits come first
return list(chr(code_point).encode())[::-1]

# 2.3 borders one too early: mind the borders
if code_point < 127:
    return [code_point]
if code_point < 2048:
    return [0b11000000 | code_point >> 6, 128 | code_point & 63]
if code_point < 65536:
    return [0b11100000 | code_point >> 12, 128 | code_point >> 6 & 63,
            128 | code_point & 63]
return [0b11110000 | code_point >> 18, 128 | code_point >> 12 & 63,
        128 | code_point >> 6 & 63, 128 | code_point & 63]

# 2.3 keeps seven bits: [195, 169]
if code_point < 128:
    return [code_point]
return [192 | code_point >> 7, 128 | code_point & 63]

# 2.4 counts words, not occurrences: as often as its word
count = Counter(p for w in parts for p in pairwise(parts[w]))
a, b = min(count, key=lambda pair: (-count[pair], pair))
return (a, b), {w: " ".join(t).replace(f"{a} {b}", a + b).split(" ")
                for w, t in parts.items()}

# 2.4 first met of equals: of equals the first in the alphabet
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = max(count, key=count.get)
return (a, b), {w: " ".join(t).replace(f"{a} {b}", a + b).split(" ")
                for w, t in parts.items()}

# 2.4 changes the lists it was given: must stay
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
for t in parts.values():
    for i in range(len(t) - 1, 0, -1):
        if t[i - 1:i + 1] == [a, b]:
            t[i - 1:i + 1] = [a + b]
return (a, b), parts

# 2.4 the joined token instead of the pair: two tokens, ('h', 'a')
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
return a + b, {w: " ".join(t).replace(f"{a} {b}", a + b).split(" ")
               for w, t in parts.items()}

# 2.4 joins letters instead of tokens: whole tokens, not letters
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
return (a, b), {w: "|".join(t).replace(f"{a}|{b}", a + b).split("|")
                for w, t in parts.items()}

# 2.4 counts the letters of the word: count in the lists
count = Counter()
for word, n in times.items():
    for pair in pairwise(word):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
new = {}
for word, tokens in parts.items():
    joined = new[word] = []
    for token in tokens:
        if joined and joined[-1] == a and token == b:
            joined[-1] = a + b
        else:
            joined.append(token)
return (a, b), new

# 2.4 returns only the lists: two things
return {w: list(t) for w, t in parts.items()}

# 2.4 finds the pair and joins nothing: two tokens make one
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
return min(count, key=lambda pair: (-count[pair], pair)), dict(parts)

# 2.4 from right to left: left to right
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
new = {}
for word, t in parts.items():
    t = list(t)
    for i in range(len(t) - 1, 0, -1):
        if t[i - 1:i + 1] == [a, b]:
            t[i - 1:i + 1] = [a + b]
    new[word] = t
return (a, b), new

# 2.4 forgets the words without the pair: stays in the dict
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=lambda pair: (-count[pair], pair))
return (a, b), {w: " ".join(t).replace(f"{a} {b}", a + b).split(" ")
                for w, t in parts.items() if a + b in w}

# 2.4 the rarest pair: is the most frequent
count = Counter()
for word, n in times.items():
    for pair in pairwise(parts[word]):
        count[pair] += n
a, b = min(count, key=count.get)
return (a, b), {w: list(t) for w, t in parts.items()}

# 2.5 cuts at spaces: its space included
times = Counter(text.split())
parts = {piece: list(piece) for piece in times}
learned = []
while len(learned) < n_merges and any(len(p) > 1 for p in parts.values()):
    (a, b), parts = merge_step(parts, times)
    learned.append(a + b)
return learned

# 2.5 always merges the first lists: go on with
times = Counter(split_text(text))
parts = {piece: list(piece) for piece in times}
learned = []
for _ in range(n_merges):
    (a, b), _ = merge_step(parts, times)
    learned.append(a + b)
return learned

# 2.5 does not stop: ValueError
times = Counter(split_text(text))
parts = {piece: list(piece) for piece in times}
learned = []
for _ in range(n_merges):
    (a, b), parts = merge_step(parts, times)
    learned.append(a + b)
return learned

# 2.5 returns pairs: return the joined token
times = Counter(split_text(text))
parts = {piece: list(piece) for piece in times}
learned = []
while len(learned) < n_merges and any(len(p) > 1 for p in parts.values()):
    pair, parts = merge_step(parts, times)
    learned.append(pair)
return learned

# 2.5 each different piece once: as often as it occurs
times = dict.fromkeys(split_text(text), 1)
parts = {piece: list(piece) for piece in times}
learned = []
while len(learned) < n_merges and any(len(p) > 1 for p in parts.values()):
    (a, b), parts = merge_step(parts, times)
    learned.append(a + b)
return learned

# 2.5 the text as one piece: a mark is a piece of its own
parts, learned = {text: list(text)}, []
while len(learned) < n_merges and len(parts[text]) > 1:
    (a, b), parts = merge_step(parts, {text: 1})
    learned.append(a + b)
return learned

# 2.6 from left to right: before 'ab'
parts = [piece[i : i + 1] for i in range(len(piece))]
i = 0
while i < len(parts) - 1:
    if parts[i] + parts[i + 1] in ranks:
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        i = 0
    else:
        i += 1
return [ranks[p] for p in parts]

# 2.6 longest match: longest match
ids = []
while piece:
    n = max(k for k in range(1, len(piece) + 1) if piece[:k] in ranks)
    ids.append(ranks[piece[:n]])
    piece = piece[n:]
return ids

# 2.6 one merge only: go on
parts = [piece[i : i + 1] for i in range(len(piece))]
found = [
    (ranks[a + b], i)
    for i, (a, b) in enumerate(zip(parts, parts[1:]))
    if a + b in ranks
]
if found:
    i = min(found)[1]
    parts[i : i + 2] = [parts[i] + parts[i + 1]]
return [ranks[p] for p in parts]

# 2.6 whole piece looked up: longest match
if piece in ranks:
    return [ranks[piece]]
return merge_short(piece, ranks)

# 2.6 no merge at all: token 256
return list(piece)

# 2.6 the rightmost of equals: leftmost merges
parts = [bytes([b]) for b in piece]
while True:
    best = None
    for i in range(len(parts) - 1):
        rank = ranks.get(parts[i] + parts[i + 1])
        if rank is not None and (best is None or rank <= best[0]):
            best = rank, i
    if best is None:
        return [ranks[p] for p in parts]
    i = best[1]
    parts[i : i + 2] = [parts[i] + parts[i + 1]]

# 2.6 bytes instead of ids: merge to the token 256
parts = [bytes([b]) for b in piece]
while True:
    found = [(ranks[a + b], i) for i, (a, b) in
             enumerate(zip(parts, parts[1:])) if a + b in ranks]
    if not found:
        return parts
    i = min(found)[1]
    parts[i : i + 2] = [parts[i] + parts[i + 1]]

# 2.6 runs over the end: IndexError
parts = [bytes([b]) for b in piece]
for i in range(len(parts)):
    if parts[i] + parts[i + 1] in ranks:
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
return [ranks[p] for p in parts]

# 2.7 tokens per character: other way round
t = train_bpe(train_text, size)
return len(t.encode_ordinary(text)) / len(text)

# 2.7 bytes per token: not its 4 bytes
t = train_bpe(train_text, size)
return len(text.encode()) / len(t.encode_ordinary(text))

# 2.7 trained on the wrong text: not on text
t = train_bpe(text, size)
return len(text) / len(t.encode_ordinary(text))

# 2.7 without the size: room for a merge
t = train_bpe(train_text, 600)
return len(text) / len(t.encode_ordinary(text))

# 2.7 rounds down: not 0
t = train_bpe(train_text, size)
return len(text) // len(t.encode_ordinary(text))

# 2.8 targets are the input: not the input
starts = range(0, len(ids) - T, stride)
return [(ids[s:s + T], ids[s:s + T]) for s in starts]

# 2.8 only the last token is a target: T of them
starts = range(0, len(ids) - T, stride)
return [(ids[s:s + T], [ids[s + T]]) for s in starts]

# 2.8 keeps what does not fit: left out
return [(ids[s:s + T], ids[s + 1:s + T + 1])
        for s in range(0, len(ids) - 1, stride)]

# 2.8 one window too few: hold one window
return [(ids[s:s + T], ids[s + 1:s + T + 1])
        for s in range(0, len(ids) - T - 1, stride)]

# 2.8 ignores the stride: windows start at 0, 2, 4
return [(ids[s:s + T], ids[s + 1:s + T + 1])
        for s in range(0, len(ids) - T, T)]

# 2.8 targets one place earlier: [3, 9, 4]
return [(ids[s:s + T], [0, *ids[s:s + T - 1]])
        for s in range(0, len(ids) - T, stride)]

# 2.8 the next window as targets: T of them
return [(ids[s:s + T], ids[s + T:s + 2 * T])
        for s in range(0, len(ids) - T, stride)]

# 2.9 leaves the tail: tail
return list(range(0, n - context_length, stride))

# 2.9 runs over the end: after the last
return list(range(0, n - 1, stride))

# 2.9 the last window twice: twice
last = n - context_length - 1
return [*range(0, last + 1, stride), last]

# 2.9 one step short: tail
last = n - context_length - 2
return sorted({*range(0, last + 1, stride), last})[:2]

# 2.9 forgets the target: after the last
starts = list(range(0, n - context_length, stride))
return sorted({*starts, n - context_length})

# 2.9 every token starts a window: every `stride` tokens
return list(range(n - context_length))

# 2.10 no positions: must be added
return tokens[ids]

# 2.10 ids as positions: [11, 12]
return tokens[ids] + positions[ids.clamp(max=2)]

# 2.10 one position for all: for each place
return tokens[ids] + positions[0]

# 2.10 counts on through the batch: every text
n = torch.arange(ids.numel()).reshape(ids.shape) % 3
return tokens[ids] + positions[n]

# 2.10 the ids themselves as numbers: (B, T, C)
return ids + 0.0

# 2.10 all positions, however long the text: RuntimeError
return tokens[ids] + positions

# 2.10 multiplies: [11, 12]
return tokens[ids] * positions[:ids.shape[1]]

# 2.10 glues side by side: (3, 2, 2)
p = positions[:ids.shape[1]].expand(len(ids), -1, -1)
return torch.cat([tokens[ids], p], -1)

# 2.10 cuts the tables off: could not learn
return (tokens[ids] + positions[:ids.shape[1]]).detach()

# 2.11 trusts the top entry: promised 9
return heappop(heap)[1] if heap else None

# 2.11 throws old entries away: corrected
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair

# 2.11 returns a pair that is gone: gone
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    heappush(heap, (-count[pair], pair))

# 2.11 corrects with the wrong sign: round and round
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    if count[pair] > 0:
        heappush(heap, (count[pair], pair))

# 2.11 looks and does not take: comes twice
while heap:
    n, pair = heap[0]
    if count[pair] == -n:
        return pair
    heappop(heap)
    if count[pair]:
        heappush(heap, (-count[pair], pair))

# 2.11 does not need the heap: comes twice
return max(count, key=count.get)

# 2.11 puts the old promise back: round and round
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    heappush(heap, (n, pair))

# 2.11 gives up at an old entry: highest true count, not None
n, pair = heappop(heap)
if count[pair] == -n:
    return pair
heappush(heap, (-count[pair], pair))
