from components.evaluation.suites import SUITE_METRIC_LABELS, SUITES, find_suite


def test_every_metric_has_a_label_and_a_variant():
    for suite in SUITES.values():
        assert set(suite.variants) <= set(SUITE_METRIC_LABELS)
        assert suite.java_metrics | suite.point_metrics <= set(suite.variants)
        assert all(suite.variants.values())


def test_values_have_the_digits_of_the_published_tables():
    assert find_suite("e2e").format_value("bleu", 65.9312) == "65.93"
    assert find_suite("e2e").format_value("meteor", 0.44826) == "0.4483"
