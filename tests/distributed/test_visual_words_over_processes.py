"""The words that the first process fits are those of all processes, and so is its error."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.hooks import VisualWordsHook
from tests.distributed.processes import run_processes
from tests.methods.test_visual_words import runner_of, tokenizer

pytestmark = pytest.mark.slow


def fit_on(rank, world, out):
    made = tokenizer(fitted=False)
    runner = runner_of(made)
    if rank:
        runner.train_dataloader.dataset = None  # Only the first process reads images.
    VisualWordsHook(num_images=20).before_train(runner)
    torch.save(made.state_dict(), out / f"{rank}.pth")

    runner = runner_of(tokenizer(fitted=False), images=1)
    with pytest.raises(InputError, match=r"7 visual words need .* have 4: raise num_images"):
        VisualWordsHook().before_train(runner)


def test_one_and_two_processes(tmp_path):
    run_processes(fit_on, 2, tmp_path)
    alone = tokenizer(fitted=False)
    VisualWordsHook(num_images=20).before_train(runner_of(alone))
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert state["fitted"] and torch.equal(state["words"], alone.words)
