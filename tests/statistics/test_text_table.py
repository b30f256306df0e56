"""Tables of results: every cell is there, whole and aligned."""

from pandas import DataFrame

from lvkam_pyro.statistics.text_table import text_table


def test_words_stand_left_and_numbers_right() -> None:
    frame = DataFrame({"name": ["a", "bbbbbb"], "p": ["0.5", "0.25"], "verdict": ["bad", "good"]})
    assert text_table(frame, left=["name", "verdict"]).splitlines() == [
        "name       p  verdict",
        "a        0.5  bad",
        "bbbbbb  0.25  good",
    ]
    assert text_table(frame, left=["name"], gap=1).splitlines()[0] == "name      p verdict"


def test_nothing_is_cut() -> None:
    frame = DataFrame(
        {"name": ["x" * 200] * 300, **{f"column {i}": ["1"] * 300 for i in range(40)}}
    )
    lines = text_table(frame, left=["name"]).splitlines()
    assert len(lines) == 301
    assert {len(line) for line in lines} == {len(lines[0])}
    assert "column 39" in lines[0]
    assert lines[-1].count("1") == 40


def test_names_may_occur_twice_and_rows_may_lack() -> None:
    frame = DataFrame([["1", "22"]], columns=["least", "least"])
    assert text_table(frame, left=[]).splitlines() == ["least  least", "    1     22"]
    assert text_table(frame[:0], left=[]) == "least  least"
