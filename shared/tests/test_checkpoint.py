"""The models that ship, measured again on texts that are new to them."""

import json
import re
import shutil
from pathlib import Path

import publish
import pytest
from scratch_llm import storyworld as world

SHARED = Path(__file__).resolve().parents[1]
FOLDER = SHARED / "checkpoints"
CODE = SHARED.parent / "ch05" / "01_main-chapter-code"
LIBRARIAN = SHARED.parent / "ch05" / "07_librarian"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pt(load_module):
    return load_module(CODE, "pretraining")


@pytest.fixture(scope="module")
def teller(pt):
    """The model and its tokenizer."""
    return pt.from_pretrained("storyteller", "cpu")


def card(name: str) -> float:
    """A number of the card's table."""
    row = re.search(rf"^\| {name} \| ([\d.,]+)", CARD, re.M)
    return float(row[1].replace(",", ""))


def test_it_is_small_and_complete(pt, teller):
    model, tokenizer = teller
    path = FOLDER / "storyteller.safetensors"
    assert path.stat().st_size <= 12e6
    assert pt.read_header(path)["prefix"] == " "
    assert tokenizer.add_prefix_space
    assert tokenizer.n_vocab == model.cfg["vocab_size"] == card("vocabulary")
    assert pt.count_parameters(model) == card("parameters")
    metrics = json.loads((FOLDER / "metrics.json").read_text("utf-8"))
    assert metrics["config"] == model.cfg
    for name in ("val_loss", "floor"):
        assert abs(metrics[name] - card(name.replace("_", " "))) < 1e-4


def test_its_loss_is_close_to_the_floor(pt, teller):
    model, tokenizer = teller
    stories = world.corpus(1000, "validation", seed=2024)
    batches = pt.bucket_batches(
        pt.story_rows([s.text for s in stories], tokenizer), 50
    )
    floor = sum(s.nll for s in stories) / pt.count_targets(batches)
    loss = pt.evaluate(model, batches)
    assert 0.998 < loss / floor <= 1.02


def test_its_stories_are_valid(pt, teller):
    texts = [
        text
        for seed in range(5)
        for text in pt.sample_texts(*teller, 100, seed)
    ]
    valid, reasons = pt.judge_texts(texts, world.parse)
    assert valid >= 0.95, reasons
    assert len(set(texts)) > 495  # and they are different


def test_temperature_one_is_its_best(pt, teller):
    model = pt.load_model(FOLDER / "storyteller.safetensors")
    rows = pt.story_rows(
        [s.text for s in world.corpus(300, "validation", 7)], teller[1]
    )
    losses = pt.calibrate(model, pt.bucket_batches(rows, 50), [0.9, 1, 1.1])
    assert min(losses, key=losses.get) == 1


@pytest.fixture(scope="module")
def librarian(load_module):
    """The script that trains the librarian, the model, and its tokenizer."""
    script = load_module(LIBRARIAN, "train_librarian")
    return script, *script.pc.from_pretrained("librarian", "cpu")


def test_the_librarian_is_what_its_card_says(librarian):
    script, model, tokenizer = librarian
    assert (FOLDER / "librarian.safetensors").stat().st_size <= 12e6
    about = json.loads((FOLDER / "librarian.json").read_text("utf-8"))
    card = publish.librarian_card(about)
    assert (FOLDER / "librarian.md").read_text("utf-8") == card
    assert about["config"] == model.cfg
    assert about["parameters"] == script.pc.count_parameters(model)
    told = script.judge(model, tokenizer, 200, 7)
    assert abs(told["ratio"] - about["ratio"]) < 0.01
    assert abs(told["marks_right"] - about["marks_right"]) < 0.01
    assert told["valid_stories"] > about["valid_stories"] - 0.06


def test_a_librarian_that_should_not_ship_is_refused(tmp_path):
    about = json.loads((FOLDER / "librarian.json").read_text("utf-8"))
    with pytest.raises(ValueError, match="are promised"):
        publish.publish_librarian(tmp_path, about | {"ratio": 1.5}, tmp_path)


@pytest.fixture
def shipped():
    """What the pipeline has recorded of the model that ships."""
    return publish.read_metrics(FOLDER)


def a_run(folder: Path, metrics: dict) -> Path:
    """A finished run, as far as publish.py looks at it."""
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer.tiktoken"):
        (folder / name).write_bytes(b"as it is")
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    return folder


def test_the_card_is_written_from_the_runs(shipped, tmp_path):
    assert CARD == publish.card(shipped)
    last = {k: v for k, v in shipped.items() if k != "before"}
    a_run(tmp_path / last["options"]["init_from"], shipped["before"][0])
    publish.publish(a_run(tmp_path / "runs/two", last), tmp_path / "goal")
    assert publish.read_metrics(tmp_path / "goal") == shipped


def test_a_phase_after_the_shipped_one_ships(shipped, tmp_path):
    last = {k: v for k, v in shipped.items() if k != "before"}
    options = last["options"] | {"init_from": "storyteller", "out": "x"}
    third = last | {"options": options, "history": {}}
    run = a_run(tmp_path / "runs/three", third)
    (tmp_path / "goal").mkdir()
    shutil.copy(FOLDER / "metrics.json", tmp_path / "goal")
    for _ in range(2):  # the second changes nothing
        publish.publish(run, tmp_path / "goal")
        now = publish.read_metrics(tmp_path / "goal")
        assert [one["tokens_seen"] for one in now["before"]] == [
            shipped["before"][0]["tokens_seen"],
            shipped["tokens_seen"],
        ]
    assert "--init-from runs/phase-2" in publish.card(now)
    assert "out" not in now["options"]


def test_a_run_that_should_not_ship_is_refused(shipped, tmp_path, capsys):
    shipped["valid_stories"] = 0.9
    run = a_run(tmp_path / "runs/two", shipped)
    for folder, message in (
        (run, "90.0% valid stories"),
        (tmp_path / "none", "not a finished run"),
    ):
        with pytest.raises(SystemExit, match="2"):
            publish.main([str(folder)])
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1


def test_the_cards_commands_are_those_of_its_runs(shipped):
    """test_readme.py sees to it that train_gpt.py knows these options."""
    runs = [*shipped["before"], shipped]
    text = CARD.replace("\\\n", " ")
    commands = re.findall(r"^python \S+train_gpt.py (.+)$", text, re.M)
    for n, (command, run) in enumerate(zip(commands, runs, strict=True)):
        phases = {"out": f"runs/phase-{n + 1}", "init_from": f"runs/phase-{n}"}
        assert bool(n) == ("--init-from" in command)
        words = command.split()
        for name, value in zip(words[::2], words[1::2], strict=True):
            option = name.removeprefix("--").replace("-", "_")
            assert value == str((run["options"] | phases)[option])
