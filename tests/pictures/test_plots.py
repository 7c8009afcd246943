import numpy as np
import pytest

from ifvit.pictures import captions, plots


def pair(right, confidence):
    grey = np.full((32, 32), 1.0)
    count = len(right)
    points = np.stack([np.full(count, 4.0), 4 + 8.0 * np.arange(count)], -1)
    return plots.MatchedPair(grey, grey, points, points, np.array(confidence), np.array(right), "title")


def pixels_near(picture, colour):
    return (np.abs(picture.astype(int) - colour).sum(-1) < 60).sum()


def test_right_and_wrong_have_colours_of_their_own():
    right = plots.draw_pair(pair([True], [1.0]), 400)
    wrong = plots.draw_pair(pair([False], [1.0]), 400)
    assert pixels_near(right, plots.RIGHT) > 20 and pixels_near(right, plots.WRONG) == 0
    assert pixels_near(wrong, plots.WRONG) > 20 and pixels_near(wrong, plots.RIGHT) == 0


# Linear RGB as it is without the cones for green and without those for red (Machado, Oliveira and Fernandes, 2009).
BLINDNESS = (
    [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
)


@pytest.mark.parametrize("seen", BLINDNESS)
def test_the_colour_blind_tell_right_from_wrong(seen):
    colours = np.clip((np.array(COLOURS) / 255) ** 2.2 @ np.array(seen).T, 0, 1) ** (1 / 2.2)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert apart[np.triu_indices(4, 1)].min() > 0.3


def test_unsure_matches_are_fainter():
    sure = plots.draw_pair(pair([True], [1.0]), 400)
    unsure = plots.draw_pair(pair([True], [0.2]), 400)
    assert pixels_near(sure, plots.RIGHT) > pixels_near(unsure, plots.RIGHT)


def test_a_sheet_holds_pairs_of_other_sizes_and_none_matched():
    wide = plots.MatchedPair(
        np.zeros((16, 48)),
        np.zeros((32, 16)),
        np.zeros((0, 2)),
        np.zeros((0, 2)),
        np.zeros(0),
        np.zeros(0, bool),
        "t",
    )
    sheet = plots.match_sheet([pair([True, False], [0.5, 0.4]), wide, pair([], [])], ["heading"])
    assert sheet.dtype == np.uint8 and sheet.shape[1:] == (captions.PAGE, 3)


def placed(*errors):
    """Matches of which each is so many px off to the right."""
    truth = np.stack([np.full(len(errors), 8.0), 4 + 8.0 * np.arange(len(errors))], -1)
    points = truth + np.stack([np.array(errors), np.zeros(len(errors))], -1)
    return truth, plots.StagePoints(points, np.array(errors))


def drawn(stage, error, stride=8):
    truth, matches = placed(error)
    return plots.draw_registration(
        plots.RegistrationPlot(np.ones((32, 32)), truth, {stage: matches}, stride), stage, 320
    )


COLOURS = (plots.RIGHT, plots.NEAR, plots.FAR, plots.WRONG)


@pytest.mark.parametrize(
    ("stage", "error", "colour"),
    [
        ("coarse", 3.9, plots.RIGHT),  # of 8 px a cell: no cell lies nearer
        ("coarse", 11.9, plots.NEAR),
        ("coarse", 12.1, plots.WRONG),
        ("fine", 0.9, plots.RIGHT),
        ("fine", 2.9, plots.NEAR),
        ("fine", 3.9, plots.FAR),
        ("fine", 5.1, plots.WRONG),
    ],
)
def test_a_placement_is_coloured_by_what_its_stage_can_reach(stage, error, colour):
    sheet = drawn(stage, error)
    assert pixels_near(sheet, colour) > 20
    assert not any(pixels_near(sheet, other) for other in COLOURS if other != colour)


def test_a_model_whose_cells_are_right_shows_none_as_wrong():
    truth, coarse = placed(0.0, 7.0, 11.0)
    sheet = plots.draw_registration(
        plots.RegistrationPlot(np.ones((32, 32)), truth, {"coarse": coarse}, 8), "coarse", 320
    )
    assert pixels_near(sheet, plots.RIGHT) and pixels_near(sheet, plots.NEAR) and not pixels_near(sheet, plots.WRONG)


def test_each_stage_has_a_row_and_its_legend():
    truth, coarse = placed(4.0, 3.0)
    _, fine = placed(0.1, 0.2)
    pair = plots.RegistrationPlot(np.ones((32, 32)), truth, {"coarse": coarse}, 8)
    both = pair._replace(stages={"coarse": coarse, "fine": fine})
    one_row, two_rows = (plots.registration_sheet([shown] * 3, ["heading"]) for shown in (pair, both))
    assert one_row.dtype == np.uint8 and one_row.shape[1] == two_rows.shape[1] == captions.PAGE
    assert two_rows.shape[0] > 1.8 * one_row.shape[0]
    assert plots.registration_sheet([], ["nothing was matched"]).shape[1:] == (captions.PAGE, 3)


def test_a_contact_sheet_has_rows_of_prints():
    grey = np.random.default_rng(0).integers(0, 255, (3, 60, 40)).astype(np.uint8)
    sheet = plots.contact_sheet({"three": grey, "one": grey[:1]}, "heading", zoom=0.5)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 3 * (20 + plots.MARGIN)
    assert sheet.shape[0] > 2 * (30 + plots.MARGIN)
    assert (sheet[..., 0] == sheet[..., 1]).all()
    right = sheet[-(30 + plots.MARGIN) :, 20 + plots.MARGIN :]
    assert (right == 255).all()  # nothing beside the one
