import numpy as np

from ifvit import plots


def pair(right, confidence):
    grey = np.full((32, 32), 1.0)
    count = len(right)
    points = np.stack([np.full(count, 4.0), 4 + 8.0 * np.arange(count)], -1)
    return plots.MatchedPair(grey, grey, points, points, np.array(confidence), np.array(right), "title")


def pixels_near(picture, colour):
    return (np.abs(picture.astype(int) - colour).sum(-1) < 60).sum()


def test_right_is_green_wrong_is_red():
    right = plots.draw_pair(pair([True], [1.0]), 3)
    wrong = plots.draw_pair(pair([False], [1.0]), 3)
    assert pixels_near(right, plots.RIGHT) > 20 and pixels_near(right, plots.WRONG) == 0
    assert pixels_near(wrong, plots.WRONG) > 20 and pixels_near(wrong, plots.RIGHT) == 0


def test_unsure_matches_are_fainter():
    sure = plots.draw_pair(pair([True], [1.0]), 3)
    unsure = plots.draw_pair(pair([True], [0.2]), 3)
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
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3


def placed(*errors):
    truth = np.stack([np.full(len(errors), 8.0), 4 + 8.0 * np.arange(len(errors))], -1)
    points = truth + np.stack([np.array(errors), np.zeros(len(errors))], -1)
    return truth, plots.Placed(points, np.array(errors))


def test_a_placement_is_coloured_by_its_error():
    for error, colour in [(0.5, plots.RIGHT), (2.0, plots.ERROR_COLOURS[1][1]), (8.0, plots.WRONG)]:
        truth, stage = placed(error)
        sheet = plots.draw_placements(plots.PlacedPair(np.ones((32, 32)), truth, {"coarse": stage}), 8)
        others = [c for c in (plots.RIGHT, plots.WRONG) if c != colour]
        assert pixels_near(sheet, colour) > 20 and not any(pixels_near(sheet, c) for c in others)


def test_stages_stand_side_by_side():
    truth, coarse = placed(4.0, 3.0)
    _, fine = placed(0.1, 0.2)
    one = plots.PlacedPair(np.ones((32, 32)), truth, {"coarse": coarse})
    both = one._replace(stages={"coarse": coarse, "fine": fine})
    assert plots.draw_placements(both, 4).shape[1] == 2 * plots.draw_placements(one, 4).shape[1]
    sheet = plots.placement_sheet([both, one], ["heading"])
    assert sheet.dtype == np.uint8 and sheet.shape[1] == plots.draw_placements(both, 4).shape[1]
    assert plots.placement_sheet([], ["nothing was matched"]).shape[2] == 3


def test_a_contact_sheet_has_rows_of_prints():
    grey = np.random.default_rng(0).integers(0, 255, (3, 60, 40)).astype(np.uint8)
    sheet = plots.contact_sheet({"three": grey, "one": grey[:1]}, "heading", zoom=0.5)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 3 * (20 + plots.MARGIN)
    assert sheet.shape[0] > 2 * (30 + plots.MARGIN)
    assert (sheet[..., 0] == sheet[..., 1]).all()
    right = sheet[-(30 + plots.MARGIN) :, 20 + plots.MARGIN :]
    assert (right == 255).all()  # nothing beside the one
