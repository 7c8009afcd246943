import csv
import io

import pytest

from ifvit import table_text

ROWS = [["run", "EER %"], ["a", "12.5"], ["longer", "-"]]


def test_a_console_table_stands_in_columns():
    assert table_text.aligned(ROWS, right={1}) == ["run     EER %", "a        12.5", "longer      -"]


def test_markdown_has_a_ruler_and_as_many_cells_in_every_row():
    lines = table_text.markdown(ROWS).splitlines()
    assert lines == ["| run    | EER % |", "| ------ | ----: |", "| a      |  12.5 |", "| longer |     - |"]


@pytest.mark.parametrize(
    ("name", "markdown", "latex"),
    [
        ("a|b", r"a\|b", r"a\textbar{}b"),
        ("<img src=x>", "&lt;img src=x&gt;", r"\textless{}img src=x\textgreater{}"),
        ("[x](y) `z`", r"\[x\](y) \`z\`", "{[}x{]}(y) `z`"),
        (r"\input{x}%", r"\\input{x}%", r"\textbackslash{}input\{x\}\%"),
        ("a\nb\x1b\udcff", "a?b??", "a?b??"),
        ("weight_decay _x_", r"weight_decay \_x\_", r"weight\_decay \_x\_"),
        ("*[2pt]", r"\*\[2pt\]", "{*}{[}2pt{]}"),
    ],
)
def test_what_a_cell_holds_is_no_markup(name, markdown, latex):
    assert table_text.markdown([["run"], [name]]).splitlines()[2] == f"| {markdown} |"
    assert rf"{latex} \\" in table_text.latex([["run"], [name]]).splitlines()


def test_csv_keeps_numbers_and_makes_no_formula():
    text = table_text.csv_text([["run", "a", "b"], ["=1+1", 0.25, None], ["a,b", "-", -1.5]])
    assert list(csv.reader(io.StringIO(text)))[1:] == [["'=1+1", "0.25", ""], ["a,b", "-", "-1.5"]]
