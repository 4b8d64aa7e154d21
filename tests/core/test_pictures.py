"""The comparison of drawn pictures finds what a reader would notice, and nothing else."""

import pytest

from tests.pictures import assert_same_picture

PICTURE = '<dc:title>Matplotlib v3.11.2, </dc:title><path id="ma6f4f05706" d="M 1.5 2.25"/><text>83.50</text>'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("1.5", "1.500001"), None),  # a last digit, and with it the name of the shape
        (("ma6f4f05706", "m0f4f05706a"), None),
        (("3.11.2", "3.12.0"), None),  # another version may draw otherwise
        (("1.5", "1.6"), "at other places"),
        (("83.50", "83.75"), "at other places"),
        (("M 1.5", "L 1.5"), "draws other shapes"),
        (('<path id="ma6f4f05706" d="M 1.5 2.25"/>', ""), "draws other shapes"),
    ],
)
def test_pictures_differ_where_a_reader_would_notice(change, message, tmp_path):
    drawn, kept = tmp_path / "drawn.svg", tmp_path / "kept.svg"
    drawn.write_text(PICTURE.replace(*change))
    kept.write_text(PICTURE)
    if message is None:
        assert_same_picture(drawn, kept)
    else:
        with pytest.raises(AssertionError, match=message):
            assert_same_picture(drawn, kept)
