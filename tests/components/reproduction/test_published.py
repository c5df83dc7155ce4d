import pytest

from components.reproduction.published import PUBLISHED, find_published, find_unit_scale


def test_published_figures_are_found_by_table_row_metric_and_slice() -> None:
    assert find_published("table1 e2e", "prefix", "bleu") == 69.7
    assert find_published("table2 webnlg", "prefix", "bleu", "unseen") == 45.6
    assert find_published("table3 summarisation", "full", "rouge1") == 45.14
    assert find_published("infix e2e", "infix 10", "bleu") == 67.2
    assert find_published("table1 e2e", "base", "bleu") is None


def test_only_e2es_meteor_and_rouge_are_scaled() -> None:
    assert find_unit_scale("e2e", "meteor") == find_unit_scale("e2e", "rougeL") == 100
    assert find_unit_scale("e2e", "bleu") == find_unit_scale("webnlg", "meteor") == 1


@pytest.mark.parametrize("metric", ["bleu", "rouge1", "rouge2", "rougeL"])
def test_scores_in_points_are_at_most_100(metric: str) -> None:
    assert all(0 < value < 100 for (_, _, own, _), value in PUBLISHED.items() if own == metric)
