"""Colours of the explorer's looks: what they follow from, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.explorer.cache import Cache
from app.explorer.colour_bar import bar_of, colour_bar
from app.explorer.frames import frame
from app.explorer.looks import Look, cache_of, colours, depth_limits, heat, is_prepared, prepare, splats
from app.explorer.pca_focus import focus_on_selection, focus_on_view, resembling, whole_scene
from app.pictures import pca_colours
from render.errors import InputError
from tests.explored import FIELD, OTHER, camera, folder, of, select, session
from uplift.pca import PCAColours

RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_pca_colours_are_those_of_the_field() -> None:
    shown = session()
    assert torch.equal(colours(shown, Look("pca", field=FIELD)), pca_colours(shown.field(FIELD)))


def test_shown_selections_tint_their_gaussians_and_no_others() -> None:
    shown = session()
    plain = colours(shown, Look("pca", field=FIELD))
    select(shown, ("chair", RED), ("vase", BLUE))
    tinted = colours(shown, Look("pca", field=FIELD))
    chair, vase = of("chair"), of("vase")
    assert torch.equal(tinted[~(chair | vase)], plain[~(chair | vase)])
    assert (tinted[chair, 0] > plain[chair, 0] - 1e-6).all()
    assert (tinted[chair, 2] < plain[chair, 2] + 1e-6).all()
    assert (tinted[vase, 2] > plain[vase, 2] - 1e-6).all()
    assert torch.equal(colours(shown, Look("pca", field=FIELD, overlay=False)), plain)
    document = shown.document
    hidden = replace(document.selections["chair"], shown=False)
    shown.show(document.with_named("chair", hidden))
    assert torch.equal(colours(shown, Look("pca", field=FIELD))[chair], plain[chair])


def test_colours_are_kept_until_something_changes() -> None:
    shown = session()
    select(shown, ("chair", RED))
    look = Look("pca", field=FIELD)
    first = colours(shown, look)
    assert colours(shown, Look("pca", field=FIELD)) is first
    select(shown, ("vase", BLUE))
    assert colours(shown, look) is not first


def test_splats_are_bytes_and_hide_what_is_hidden() -> None:
    shown = session()
    rgb, opacities = splats(shown, Look())
    assert (rgb.dtype, rgb.shape) == (np.uint8, (shown.n, 3))
    assert np.array_equal(opacities, shown.gaussians.opacities.numpy())
    shown.show(replace(shown.document, hidden=of("chair"), removed=of("vase")))
    _, opacities = splats(shown, Look("pca", field=FIELD))
    gone = (of("chair") | of("vase")).numpy()
    assert (opacities[gone] == 0).all()
    assert (opacities[~gone] > 0).all()
    with pytest.raises(InputError, match="matter of the camera"):
        splats(shown, Look("depth"))


def test_relevancy_is_hot_on_what_the_text_names() -> None:
    shown = session()
    look = Look("relevancy", text="chair")
    warm = heat(shown, look)
    chair = of("chair")
    assert warm.levels[chair].median() > 0.9
    assert warm.levels[~chair].median() < 0.1
    assert warm.low < warm.high
    # Turbo: hot is red.
    coloured = colours(shown, look)
    assert (coloured[chair, 0] > coloured[chair, 2] + 0.2).float().mean() > 0.9
    assert (coloured[~chair].amax(1) - coloured[~chair].amin(1) < 0.1).float().mean() > 0.5


def test_negatives_cool_down_what_they_name() -> None:
    shown = session()
    plain = heat(shown, Look("relevancy", text="chair")).scores
    against = heat(shown, Look("relevancy", text="chair", negatives=("chair",))).scores
    assert against[of("chair")].max() <= 0.5 + 1e-6
    assert plain[of("chair")].median() > 0.9


def test_without_a_text_relevancy_shows_the_scores_of_the_active_selection() -> None:
    shown = session()
    shown.show(shown.document.with_selection(shown.document.selection.from_mask(of("chair"))))
    warm = heat(shown, Look("relevancy"))
    assert torch.equal(warm.levels > 0.5, of("chair"))
    assert (warm.low, warm.high) == (0.0, 1.0)


def test_preparing_makes_frames_quick_to_draw() -> None:
    shown = session()
    look = Look("relevancy", text="chair", second=Look("depth"), layout="wipe")
    assert not is_prepared(shown, look)
    prepare(shown, look)
    assert is_prepared(shown, look)
    assert not is_prepared(shown, Look("pca", field=FIELD))


def test_looks_that_make_no_sense_are_refused() -> None:
    shown = session()
    for wrong, said in (
        ({"what": "x-ray"}, "found 'x-ray'"),
        ({"layout": "wipe"}, "choose the second"),
        ({"split": 1.5}, "from 0 to 1, found 1.5"),
        ({"second": Look(second=Look()), "layout": "side"}, "second look of its own"),
    ):
        with pytest.raises(InputError, match=said):
            Look(**wrong)
    with pytest.raises(InputError, match="no field 'nothing'"):
        colours(shown, Look("pca", field="nothing"))
    with pytest.raises(InputError, match="cannot read texts"):
        colours(shown, Look("relevancy", field=OTHER, text="chair"))


def test_depth_limits_do_not_depend_on_who_asks() -> None:
    near, far = depth_limits(session())
    assert 0.3 < near < far < 6


def test_the_cache_forgets_the_longest_unused_and_stays_within_its_limit() -> None:
    cache = Cache(limit=100)
    for name in "abc":
        cache.get(name, lambda: torch.zeros(10, dtype=torch.float32))
    assert "a" not in cache
    assert {"b", "c"} == {name for name in "abc" if name in cache}
    assert cache.nbytes <= 100
    cache.get("b", lambda: torch.ones(1))
    cache.get("d", lambda: torch.zeros(10, dtype=torch.float32))
    assert "b" in cache
    assert "c" not in cache


def test_what_cannot_be_made_is_tried_again() -> None:
    cache = Cache()

    def fail() -> torch.Tensor:
        raise InputError("not yet")

    with pytest.raises(InputError, match="not yet"):
        cache.get("a", fail)
    assert torch.equal(cache.get("a", lambda: torch.ones(1)), torch.ones(1))


def test_a_session_that_is_gone_leaves_nothing_in_the_cache() -> None:
    import gc
    import weakref

    shown = session()
    colours(shown, Look("pca", field=FIELD))
    kept, gone = weakref.ref(cache_of(shown)), weakref.ref(shown)
    shown.close()
    del shown
    gc.collect()
    assert gone() is None
    assert kept() is None


def test_focus_on_the_selection_spends_the_colours_on_it() -> None:
    shown = session()
    select(shown, ("rug", RED))
    shown.show(replace(shown.document, active="rug"))
    inside = of("rug")
    before = colours(shown, Look("pca", field=OTHER, overlay=False))
    basis = focus_on_selection(shown, OTHER)
    after = colours(shown, Look("pca", field=OTHER, basis=basis, overlay=False))
    assert after[inside].std(0).mean() > 2 * before[inside].std(0).mean()
    again = colours(shown, Look("pca", field=OTHER, basis=focus_on_selection(shown, OTHER), overlay=False))
    assert torch.equal(after, again)


def test_focus_on_a_view_follows_what_it_shows() -> None:
    shown = session()
    close = camera()
    close = replace(close, K=close.K * close.K.new_tensor([[6.0, 1, 1], [1, 6.0, 1], [1, 1, 1]]))
    look = Look("pca", field=OTHER, basis=focus_on_view(shown, OTHER, close))
    plain = frame(shown, Look("pca", field=OTHER), close).reshape(-1, 3)
    focused = frame(shown, look, close).reshape(-1, 3)
    assert focused.std(0).mean() > 1.5 * plain.std(0).mean()


def test_colours_do_not_change_while_the_camera_moves_unless_focus_is_asked_for() -> None:
    shown = session()
    look = Look("pca", field=FIELD)
    before = colours(shown, look)
    for view in range(3):
        frame(shown, look, camera(view=view))
    assert colours(shown, look) is before


def test_new_colours_keep_signs_and_order_of_the_old() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(3000, 6, generator=random) * torch.tensor([5.0, 4.0, 3.0, 0.1, 0.1, 0.1])
    before = PCAColours.fit(rows)
    # Variances change their order, and the old basis shows the negative of one direction.
    other = rows * torch.tensor([1.0, 1.5, 4.0, 1, 1, 1])
    flipped = PCAColours(
        before.mean,
        before.components * torch.tensor([[1.0], [-1.0], [1.0]]),
        torch.stack([before.low[0], -before.high[1], before.low[2]]),
        torch.stack([before.high[0], -before.low[1], before.high[2]]),
    )
    fitted = PCAColours.fit(other)
    assert fitted.components[0].abs().argmax() == 2
    kept = resembling(fitted, flipped, other)
    for channel in range(3):
        assert float(kept.components[channel] @ flipped.components[channel]) > 0.9
    assert (kept.low < kept.high).all()
    old, new = flipped.colours(rows), kept.colours(rows)
    correlation = torch.stack([torch.corrcoef(torch.stack([old[:, c], new[:, c]]))[0, 1] for c in range(3)])
    assert (correlation > 0.8).all()


@pytest.mark.parametrize("components", [1, 2, 3])
def test_fewer_components_keep_resembling(components: int) -> None:
    shown = session()
    basis = whole_scene(shown, OTHER, components=components, percentile=10)
    assert basis.components.shape[0] == components
    drawn = colours(shown, Look("pca", field=OTHER, basis=basis))
    assert drawn.shape == (shown.n, 3)
    # A tenth of what is seen is black, a tenth is full, in every direction.
    assert 0.05 < (drawn[:, 0] == 0).float().mean() < 0.2
    whole = whole_scene(shown, OTHER, components=3, before=basis)
    assert whole.components.shape[0] == 3


def test_focus_needs_something_to_look_at() -> None:
    shown = session()
    with pytest.raises(InputError, match="select something first"):
        focus_on_selection(shown, FIELD)
    away = camera()
    behind = away.world_to_camera.clone()
    behind[2, 3] -= 100
    with pytest.raises(InputError, match="turn the camera"):
        focus_on_view(shown, FIELD, replace(away, world_to_camera=behind))
    with pytest.raises(InputError, match="1 to 3 components"):
        focus_on_view(shown, FIELD, away, components=4)


def test_a_colour_bar_runs_from_cold_to_warm() -> None:
    bar = colour_bar(0.2, 0.8, title="relevancy")
    row = bar[bar.shape[0] // 2].astype(int)
    coloured = row[(row.max(1) - row.min(1)) > 60]
    assert coloured[5, 2] > coloured[5, 0]
    assert coloured[-5, 0] > coloured[-5, 2]
    shown = session()
    assert bar_of(shown, Look()) is None
    for look in (Look("relevancy", text="chair"), Look("depth")):
        drawn = bar_of(shown, look)
        assert drawn is not None
        assert drawn.ndim == 3


def test_the_corner_with_fields_is_not_changed_by_looking() -> None:
    assert sorted(path.name for path in (folder() / "fields").iterdir()) == [
        f"{OTHER}.safetensors",
        f"{FIELD}.safetensors",
    ]
