import numpy as np

from glmctl.core.objective.mask import blank_infilling_mask


def test_part_a_sees_itself_and_part_b_sees_part_a_and_its_own_past():
    first, second = blank_infilling_mask(np.array([2, 4]), 4).astype(int).tolist()
    assert first == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert second == [[1, 1, 1, 1]] * 4
