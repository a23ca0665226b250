"""Changed answers are told apart from near ties that rounding decides."""

import torch

from metrics.batch_dependence import Changes, changed_answers
from models.padding import PADDING


def test_a_changed_answer_counts_unless_the_logits_moved_by_rounding_only():
    one = torch.tensor([[10.0, 0, 5], [10, 9.999, 0], [10, 9, 0], [10, 0, 5]])
    other = torch.tensor([[8.0, 1, 7], [9.999, 10, 0], [9, 10, 0], [1, 2, 3]])
    # The same answer with other logits; moved apart by 0.002 of a range of 10; by 2 of 10; by 7 of 10.
    assert changed_answers(one, other) == Changes(4, 3, 2)
    assert changed_answers(one, other, rounding=0.3) == Changes(4, 3, 1)
    assert changed_answers(one, one) == Changes(4, 0, 0)


def test_padding_is_not_part_of_the_range():
    one = torch.tensor([[10.0, 9.99, 9, PADDING]])
    other = torch.tensor([[9.99, 10.0, 9, PADDING]])
    assert changed_answers(one, other) == Changes(1, 1, 1)


def test_counts_add_up():
    assert Changes(3, 2, 1) + Changes(10, 0, 0) == Changes(13, 2, 1)
