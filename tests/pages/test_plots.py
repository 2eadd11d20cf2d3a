"""Figures by themselves, without a page."""

from __future__ import annotations

import pytest

from pages import _first_picture, _plots


@pytest.mark.parametrize(("most", "step"), [(1, 1), (5, 1), (200, None)])
def test_an_axis_of_few_rows_has_no_halves_of_rows(most, step):
    assert _plots.histogram([(0.0, 1.0, most), (1.0, 2.0, 0)], "score").layout.yaxis.dtick == step


def test_the_module_that_draws_figures_is_found_in_this_streamlit():
    assert _first_picture.plotly_module().startswith("static/js/PlotlyChart.")
