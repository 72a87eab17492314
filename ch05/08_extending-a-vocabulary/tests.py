"""What must hold of a vocabulary that grows: all that was stays as it was."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from previous_chapters import GPTModel, from_pretrained, gpt2_encoding

HERE = Path(__file__).resolve().parent
WORDS = [" xylophone", " walrus", "turquoise", "qzq"]
SPECIAL = ["<|user|>", "<|end|>"]
few = settings(max_examples=200, deadline=None, derandomize=True)
syllables = st.sampled_from(
    " xylo phone wal rus walru us turquo ise qz q zq s S , . é \n".split(" ")
)
texts = st.lists(syllables | st.just(" "), max_size=30).map("".join)


@pytest.fixture(scope="module")
def names(notebook_names):
    return notebook_names(HERE / "extending-a-vocabulary.ipynb")


@pytest.fixture(scope="module", params=["storyteller", "gpt2"])
def both(request, names):
    """A tokenizer, and the same with more tokens."""
    if request.param == "gpt2":
        old = gpt2_encoding()
    else:
        old = from_pretrained("storyteller", device="cpu")[1]
    return old, names["extend"](old, WORDS, SPECIAL)


# ---- Ids -------------------------------------------------------------------


@few
@given(texts | st.text(max_size=40))
def test_a_text_without_new_words_keeps_its_ids(both, text):
    old, larger = both
    ids = larger.encode_ordinary(text)
    assert larger.decode(ids) == text
    if not any(word in text for word in WORDS):
        assert ids == old.encode_ordinary(text)
    if max(ids, default=0) < old.n_vocab:
        assert ids == old.encode_ordinary(text)
    assert len(ids) <= len(old.encode_ordinary(text))


def test_the_old_tokens_are_where_they_were(both):
    old, larger = both
    assert larger.n_vocab == old.n_vocab + len(WORDS) + len(SPECIAL)
    assert larger.eot_token == old.eot_token
    for i in range(old.n_vocab):
        assert larger.decode_single_token_bytes(
            i
        ) == old.decode_single_token_bytes(i)
    for i, token in enumerate([*WORDS, *SPECIAL], old.n_vocab):
        assert larger.encode_single_token(token) == i


def test_each_new_word_is_one_token(both):
    old, larger = both
    for i, word in enumerate(WORDS, old.n_vocab):
        assert larger.encode_ordinary(word) == [i]
        assert larger.encode_ordinary(f"So,{word}.")[-2] == i or word[0] != " "


def test_special_tokens_in_a_text_are_letters(both):
    old, larger = both
    text = "a<|user|>b"
    assert larger.encode_ordinary(text) == old.encode_ordinary(text)
    assert larger.encode(text, allowed_special="all")[1] == old.n_vocab + 4
    with pytest.raises(ValueError, match="disallowed special token"):
        larger.encode(text)


def test_it_grows_again(both, names):
    old, larger = both
    largest = names["extend"](larger, [" lagoon"], ["<|system|>"])
    assert largest.n_vocab == larger.n_vocab + 2
    text = " a walrus in a lagoon"
    assert max(largest.encode_ordinary(text)) == larger.n_vocab
    assert largest.encode_ordinary(text[:13]) == larger.encode_ordinary(
        text[:13]
    )


@pytest.mark.parametrize(
    "words, special, said",
    [
        ([" sea horse"], [], "' sea horse' is 2 pieces"),
        ([""], [], "'' is 0 pieces"),
        ([" the"], [], "' the' is a token already"),
        ([" walrus", " walrus"], [], "' walrus' is a token already"),
        ([], ["<|endoftext|>"], "'<|endoftext|>' is a token already"),
    ],
)
def test_what_cannot_be_added_is_named(names, words, special, said):
    with pytest.raises(ValueError, match=said.replace("|", r"\|")) as caught:
        names["extend"](gpt2_encoding(), words, special)
    assert "\n" not in str(caught.value)


def test_savings_are_what_is_saved(both, names):
    old, _ = both
    some = [" a walrus, a walrus and a xylophone", " walruses"]
    saved = names["savings"](some, old)
    larger = names["extend"](old, [" walrus"])
    fewer = sum(
        len(old.encode_ordinary(text)) - len(larger.encode_ordinary(text))
        for text in some
    )
    assert saved[" walrus"] == fewer > 0
    assert " a" not in saved


# ---- Rows ------------------------------------------------------------------


def fresh(tied: bool, V: int = 50) -> GPTModel:
    torch.manual_seed(0)
    shape = {"context_length": 12, "emb_dim": 16, "n_heads": 2, "n_layers": 1}
    rest = {"drop_rate": 0.0, "qkv_bias": False, "tie_weights": tied}
    model = GPTModel({"vocab_size": V, **shape, **rest}).eval()
    with torch.no_grad():
        model.tok_emb.weight.normal_()
        model.out_head.weight.mul_(3)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_old_tokens_have_their_old_logits(names, tied):
    model = fresh(tied)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grown = names["grow"](model, lambda table: 5 * torch.randn(3, 16))
    ids = torch.randint(50, (4, 12))
    with torch.no_grad():
        torch.testing.assert_close(grown(ids)[..., :50], model(ids))
        assert grown(torch.tensor([[50, 51, 52]])).shape == (1, 3, 53)
    assert (grown.out_head.weight is grown.tok_emb.weight) == tied
    assert grown.cfg["vocab_size"] == 53 and model.cfg["vocab_size"] == 50
    for name, old in model.state_dict().items():
        assert torch.equal(old, before[name])
    more = sum(p.numel() for p in grown.parameters())
    more -= sum(p.numel() for p in model.parameters())
    assert more == 3 * 16 * (1 if tied else 2)


def test_a_grown_model_learns_its_new_rows(names):
    grown = names["grow"](fresh(True), lambda table: torch.zeros(3, 16))
    grown(torch.tensor([[1, 51]])).logsumexp(-1).sum().backward()
    assert grown.tok_emb.weight.grad[50:].abs().sum(1).min() > 0


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_costs_at_most_what_jensen_says(names, seed):
    """Whatever the model, the sum below the softmax grows by n / V at most."""
    model, n = fresh(tied=False), 1 + seed
    grown = names["grow"](model, lambda table: table.mean(0).repeat(n, 1))
    ids = torch.randint(
        50, (4, 12), generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        rise = grown(ids).logsumexp(-1) - model(ids).logsumexp(-1)
    assert 0 <= rise.min() + 1e-6
    assert rise.max() <= math.log(1 + n / 50) + 1e-6


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
