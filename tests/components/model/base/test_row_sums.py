import torch

from components.model.base.row_sums import add_rows


def test_rows_are_added_to_their_owners_and_a_row_that_is_not_finite_stays_with_its_own():
    rows = torch.arange(8.0).view(4, 2)
    rows[1, 0] = float("nan")
    sums = add_rows(torch.ones(3, 2), torch.tensor([2, 1, 2, 2]), rows)
    assert sums[0].tolist() == [1.0, 1.0]
    assert sums[1].isnan().tolist() == [True, False]
    assert sums[2].tolist() == [1.0 + 0 + 4 + 6, 1.0 + 1 + 5 + 7]
