"""Shapes of prefixes: their sites and their texts."""

from components.model.base.shapes import CROSS, DECODER, ENCODER, PrefixShape, SiteShape


def test_a_decoder_only_base_has_one_site() -> None:
    shape = PrefixShape(2, 4, 8)
    assert shape.sites == {DECODER: SiteShape(2, 4, 8)}
    assert str(shape) == "2 layers x 4 key/value heads x 8"


def test_an_encoder_decoder_base_has_three_sites_in_order_of_computation() -> None:
    shape = PrefixShape(2, 4, 8, encoder=SiteShape(3, 2, 8), cross=SiteShape(2, 4, 16))
    assert list(shape.sites) == [ENCODER, DECODER, CROSS]
    assert str(shape).startswith("encoder.self 3 layers x 2 key/value heads x 8, decoder.self 2 layers")
