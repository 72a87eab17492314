"""What must hold of the measures, and of the judges that they measure."""

from pathlib import Path

import judges
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scratch_llm.chat import Chat
from scratch_llm.judging import judge, judge_prompt
from scratch_llm.stub_chat import StubServer
from sklearn.metrics import cohen_kappa_score

HERE = Path(__file__).resolve().parent
few = settings(max_examples=60, deadline=None, derandomize=True)
ENTRY = {"instruction": "Who?", "input": "", "output": "Nora and Tom."}
WAFFLE = "Well, let me see what I can find for you in this very text. " * 3


@pytest.fixture(scope="module")
def names(notebook_names):
    return notebook_names(HERE / "model-evaluation.ipynb")


pairs = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30
)


@few
@given(pairs)
def test_correlations_are_scipy_s(names, some):
    x, y = np.array(some).T.astype(float)
    if len(set(x)) == 1 or len(set(y)) == 1:
        for name in ("pearson", "spearman", "kendall"):
            assert np.isnan(names[name](x, y))
        return
    for name, theirs in (
        ("pearson", stats.pearsonr),
        ("spearman", stats.spearmanr),
        ("kendall", stats.kendalltau),
    ):
        assert names[name](x, y) == pytest.approx(theirs(x, y).statistic)
    assert (names["ranks"](x) == stats.rankdata(x)).all()


@few
@given(pairs)
def test_only_the_order_counts_for_two_of_them(names, some):
    x, y = np.array(some).T.astype(float)
    for name in ("spearman", "kendall"):
        same = names[name](x, np.exp(y))
        assert same == pytest.approx(names[name](x, y), nan_ok=True)


@few
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2))
def test_kappa_is_scikit_learn_s(names, some):
    a, b = np.array(some).T
    if len({*a, *b}) == 1:
        assert names["kappa"](a, b) == 0
    else:
        wanted = cohen_kappa_score(a, b)
        assert names["kappa"](a, b) == pytest.approx(wanted)


def points(answer: str) -> dict[str, float]:
    with StubServer(judges.JUDGES) as server:
        return {
            name: judge(Chat(name, server.url), ENTRY, answer)["score"]
            for name in judges.JUDGES
        }


def test_each_judge_has_its_weakness_and_no_other():
    right, wrong = points("Nora and Tom."), points("Ada.")
    assert right["careful"] > 90 and wrong["careful"] < 10
    assert wrong["generous"] >= 70
    long_right, long_wrong = (
        points(WAFFLE + answer) for answer in ("Nora and Tom.", "Ada.")
    )
    assert long_right["careful"] > 90 and long_wrong["careful"] < 10
    assert long_wrong["talkative"] > wrong["talkative"] + 30
    assert long_right["hasty"] < 10 < 90 < right["hasty"]


def test_a_judge_can_be_wrong_or_silent():
    """Else there would be nothing to measure."""
    said = [
        judges.reply("hasty", [{"content": judge_prompt(ENTRY, str(n))}])
        for n in range(60)
    ]
    assert "That looks fine to me." in said
    assert 5 < sum("understood" in one for one in said) < 30
    nods = [judges.careful("Nora", f"Nora {n}") < 10 for n in range(240)]
    assert 5 < sum(nods) < 50


def test_pairs_are_asked_in_both_orders(names):
    entry = ENTRY | {"input": "A story."}
    with StubServer(judges.JUDGES) as server:
        for name in judges.JUDGES:
            chat = Chat(name, server.url)
            found = [
                names["prefers"](chat, entry, *two)
                for two in (("Nora and Tom.", "Ada."), ("Ada.", "Nora, Tom."))
            ]
            assert found[0] == "A" and found[1] in "AB"
    with StubServer({"x": lambda messages: "A or B, who knows?"}) as server:
        assert names["prefers"](Chat("x", server.url), entry, "a", "b") == ""
