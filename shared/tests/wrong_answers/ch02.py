# ruff: noqa
# fmt: off
"""Wrong answers to chapter 2: ../test_exercises.py says more."""

# 2.1 drops the spaces: joined
return WORD.findall(text)

# 2.1 single characters: two parts
return list(text)

# 2.1 space behind the word: front
return regex.findall(r"\w+\s*|[^\w\s]\s*|\s+", text)

# 2.1 drops the space at the end: joined
return regex.findall(r"\s*\w+|\s*[^\w\s]", text)

# 2.1 splits at spaces: joined
return text.split(" ")

# 2.1 marks stay with the word: mark is a part of its own
return regex.findall(r"\s*\S+|\s+", text)

# 2.1 cuts at the apostrophe: apostrophe is inside a word
return regex.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)

# 2.1 returns nothing: TypeError: can only join
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

# 2.4 trusts the top entry: promised 9
return heappop(heap)[1] if heap else None

# 2.4 throws old entries away: corrected
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair

# 2.4 returns a pair that is gone: gone
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    heappush(heap, (-count[pair], pair))

# 2.4 corrects with the wrong sign: round and round
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    if count[pair] > 0:
        heappush(heap, (count[pair], pair))

# 2.4 looks and does not take: comes twice
while heap:
    n, pair = heap[0]
    if count[pair] == -n:
        return pair
    heappop(heap)
    if count[pair]:
        heappush(heap, (-count[pair], pair))

# 2.4 does not need the heap: comes twice
return max(count, key=count.get)

# 2.4 puts the old promise back: round and round
while heap:
    n, pair = heappop(heap)
    if count[pair] == -n:
        return pair
    heappush(heap, (n, pair))

# 2.4 gives up at an old entry: highest true count, not None
n, pair = heappop(heap)
if count[pair] == -n:
    return pair
heappush(heap, (-count[pair], pair))

# 2.5 from left to right: before 'ab'
parts = [piece[i : i + 1] for i in range(len(piece))]
i = 0
while i < len(parts) - 1:
    if parts[i] + parts[i + 1] in ranks:
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        i = 0
    else:
        i += 1
return [ranks[p] for p in parts]

# 2.5 longest match: longest match
ids = []
while piece:
    n = max(k for k in range(1, len(piece) + 1) if piece[:k] in ranks)
    ids.append(ranks[piece[:n]])
    piece = piece[n:]
return ids

# 2.5 one merge only: go on
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

# 2.5 whole piece looked up: longest match
if piece in ranks:
    return [ranks[piece]]
return merge_short(piece, ranks)

# 2.5 no merge at all: token 256
return list(piece)

# 2.5 the rightmost of equals: leftmost merges
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

# 2.5 bytes instead of ids: merge to the token 256
parts = [bytes([b]) for b in piece]
while True:
    found = [(ranks[a + b], i) for i, (a, b) in
             enumerate(zip(parts, parts[1:])) if a + b in ranks]
    if not found:
        return parts
    i = min(found)[1]
    parts[i : i + 2] = [parts[i] + parts[i + 1]]

# 2.5 runs over the end: IndexError
parts = [bytes([b]) for b in piece]
for i in range(len(parts)):
    if parts[i] + parts[i + 1] in ranks:
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
return [ranks[p] for p in parts]

# 2.6 leaves the tail: tail
return list(range(0, n - context_length, stride))

# 2.6 runs over the end: after the last
return list(range(0, n - 1, stride))

# 2.6 the last window twice: twice
last = n - context_length - 1
return [*range(0, last + 1, stride), last]

# 2.6 one step short: tail
last = n - context_length - 2
return sorted({*range(0, last + 1, stride), last})[:2]

# 2.6 forgets the target: after the last
starts = list(range(0, n - context_length, stride))
return sorted({*starts, n - context_length})

# 2.6 every token starts a window: every `stride` tokens
return list(range(n - context_length))

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
