"""Colours of the explorer's looks: what they follow from, and what they do not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.explorer.cache import Cache
from app.explorer.colour_bar import bar_of, colour_bar
from app.explorer.document import Named
from app.explorer.frames import frame
from app.explorer.looks import Look, cache_of, colours, depth_limits, heat, is_prepared, prepare, splats
from app.explorer.pca_focus import (
    SCENE,
    Scope,
    Spread,
    focus,
    focus_both,
    resembling,
    scope_of_selection,
    scope_of_view,
    turned,
)
from app.explorer.session import Session
from app.pictures import pca_colours
from render.errors import InputError
from render.scene import Scene
from tests.explored import FIELD, OTHER, camera, folder, of, select, session
from uplift.field import FeatureField
from uplift.pca import PCAColours
from uplift.selection import Selection

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
    basis = focus(shown, OTHER, scope_of_selection(shown))
    after = colours(shown, Look("pca", field=OTHER, basis=basis, overlay=False))
    assert after[inside].std(0).mean() > 2 * before[inside].std(0).mean()
    again = colours(
        shown, Look("pca", field=OTHER, basis=focus(shown, OTHER, scope_of_selection(shown)), overlay=False)
    )
    assert torch.equal(after, again)


def test_focus_on_a_view_follows_what_it_shows() -> None:
    shown = session()
    close = camera()
    close = replace(close, K=close.K * close.K.new_tensor([[6.0, 1, 1], [1, 6.0, 1], [1, 1, 1]]))
    look = Look("pca", field=OTHER, basis=focus(shown, OTHER, scope_of_view(shown, close)))
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
    basis = focus(shown, OTHER, SCENE, Spread(components, 10))
    assert basis.components.shape[0] == components
    drawn = colours(shown, Look("pca", field=OTHER, basis=basis))
    assert drawn.shape == (shown.n, 3)
    # A tenth of what is seen is black, a tenth is full, in every direction.
    assert 0.05 < (drawn[:, 0] == 0).float().mean() < 0.2
    whole = focus(shown, OTHER, SCENE, Spread(3, before=basis))
    assert whole.components.shape[0] == 3


def test_focus_needs_something_to_look_at() -> None:
    shown = session()
    with pytest.raises(InputError, match="select something first"):
        focus(shown, FIELD, scope_of_selection(shown))
    away = camera()
    behind = away.world_to_camera.clone()
    behind[2, 3] -= 100
    with pytest.raises(InputError, match="turn the camera"):
        focus(shown, FIELD, scope_of_view(shown, replace(away, world_to_camera=behind)))
    with pytest.raises(InputError, match="1 to 3 components"):
        focus(shown, FIELD, scope_of_view(shown, away), Spread(components=4))


@pytest.fixture
def compared(tmp_path: Path) -> Session:
    """The corner with the same features tuned a little, and with others that tell the same things apart."""
    path = tmp_path / "corner"
    shutil.copytree(folder(), path)
    scene = Scene.open(path)
    random = torch.Generator().manual_seed(8)
    values = FeatureField.load(scene.fields[FIELD]).values
    n, c = values.shape
    turn = torch.linalg.qr(torch.randn(c, c, generator=random)).Q
    tuned = values + 0.1 * torch.randn(n, c, generator=random)
    fewer = (values @ turn)[:, : c // 2] * 4 + 1
    for name, features in (("tuned", tuned), ("turned", values @ turn), ("fewer", fewer)):
        FeatureField(features, torch.ones(n), "planted").save(scene.field_path(name))
    return Session(Scene.open(path), device="cpu", autosave=False)


def alikeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """The mean correlation of the channels of two sets of colours."""
    return float(np.mean([np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(one.shape[1])]))


def halves(shown: Session, look: Look) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = (colours(shown, part) for part in look.parts)
    return left, right


def test_features_before_and_after_tuning_are_shown_in_one_basis(compared: Session) -> None:
    basis = focus(compared, FIELD)
    for own in (None, basis):
        look = Look("pca", field=FIELD, basis=own, second=Look("pca", field="tuned"), layout="wipe")
        left, right = halves(compared, look)
        used = own or compared.field(FIELD).pca or PCAColours.fit(compared.field(FIELD).values)
        assert torch.equal(right, used.colours(compared.field("tuned").values))
        assert alikeness(left, right) > 0.8
    joint, same = focus_both(compared, FIELD, "tuned")
    assert joint is same
    assert focus_both(compared, FIELD, FIELD)[0] is not joint


def test_one_basis_for_two_fields_is_fitted_to_their_heaviest_rows_alone(
    compared: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = compared.field(FIELD), compared.field("tuned")
    weights = torch.rand(compared.n, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr("uplift.pca.MAX_ROWS", 100)
    whole = PCAColours.fit(torch.cat([one.values, other.values]), torch.cat([weights, weights]))
    monkeypatch.setattr("app.explorer.pca_focus.ROWS", 100)
    fitted: list[int] = []
    fit = PCAColours.fit

    def counted(values: torch.Tensor, *rest: Any, **options: Any) -> PCAColours:
        fitted.append(len(values))
        return fit(values, *rest, **options)

    monkeypatch.setattr(PCAColours, "fit", staticmethod(counted))
    joint, _ = focus_both(compared, FIELD, "tuned", Scope(weights))
    assert fitted[-1] == 200 < compared.n
    torch.testing.assert_close(joint.mean, whole.mean)
    torch.testing.assert_close(joint.components.abs().sum(0), whole.components.abs().sum(0))


@pytest.mark.parametrize("other", ["turned", "fewer"])
def test_features_of_another_kind_give_things_the_colours_that_they_have_in_the_first(
    compared: Session, other: str
) -> None:
    look = Look("pca", field=FIELD, second=Look("pca", field=other), layout="side")
    left, right = halves(compared, look)
    apart, alone = halves(compared, replace(look, same=False))
    assert torch.equal(left, apart)
    assert torch.equal(alone, colours(compared, Look("pca", field=other)))
    assert alikeness(left, right) > alikeness(left, alone) + 0.2
    if other == "turned":  # the same features but for a rotation can have the very same colours
        assert alikeness(left, right) > 0.95
        assert float((left - right).abs().mean()) < 0.05


@pytest.mark.parametrize("other", ["tuned", "turned", "fewer"])
def test_colours_of_both_halves_are_focused_together(compared: Session, other: str) -> None:
    select(compared, ("rug", RED), ("chair", BLUE))
    compared.show(replace(compared.document, active="rug"))
    scope = scope_of_selection(compared)
    first, second = focus_both(compared, FIELD, other, scope, Spread(2, 5))
    assert (len(first.components), len(second.components)) == (2, 2)
    inside = of("rug")
    for name, basis in ((FIELD, first), (other, second)):
        drawn = colours(compared, Look("pca", field=name, basis=basis, overlay=False))[inside, :2]
        whole = colours(compared, Look("pca", field=name, overlay=False))[inside, :2]
        assert drawn.std(0).mean() > 1.2 * whole.std(0).mean()
    both = replace(Look("pca", field=FIELD, basis=first), second=Look("pca", field=other, basis=second), layout="wipe")
    assert both.parts[1].basis is second


def test_turned_directions_stay_orthonormal_and_in_their_plane() -> None:
    random = torch.Generator().manual_seed(1)
    rows, model_rows = torch.randn(500, 9, generator=random), torch.randn(500, 5, generator=random)
    basis, model = PCAColours.fit(rows), PCAColours.fit(model_rows)
    found = turned(basis, rows, model, model_rows)
    torch.testing.assert_close(found.components @ found.components.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found.components.T @ found.components, basis.components.T @ basis.components, atol=1e-5, rtol=0
    )
    assert (found.low < found.high).all()
    assert turned(basis, rows[:1], model, model_rows[:1]) is basis


def test_fields_that_share_no_seen_gaussian_keep_their_own_colours(compared: Session) -> None:
    scene = compared.scene
    field = FeatureField.load(scene.fields["fewer"])
    half = (torch.arange(len(field)) % 2).float()
    for name, weights in (("even", 1 - half), ("odd", half)):
        FeatureField(field.values, weights, "planted").save(scene.field_path(name))
    shown = Session(Scene.open(scene.path), device="cpu", autosave=False)
    alone = colours(shown, Look("pca", field="odd"))
    look = Look("pca", field="even", second=Look("pca", field="odd"), layout="wipe")
    assert torch.equal(halves(shown, look)[1], alone)
    only_odd = Named(Selection.from_mask(half.bool()), RED)
    shown.show(shown.document.with_named(shown.document.active, only_odd))
    with pytest.raises(InputError, match="Nothing with features of 'even'"):
        focus_both(shown, "even", "odd", scope_of_selection(shown))


def test_bars_of_two_halves_say_which_is_which() -> None:
    shown = session()
    text, depth = Look("relevancy", text="chair"), Look("depth")
    warm, deep = bar_of(shown, text), bar_of(shown, depth)
    both, right = (
        bar_of(shown, replace(text, second=depth, layout="side")),
        bar_of(shown, Look(second=text, layout="wipe")),
    )
    assert warm is not None
    assert deep is not None
    assert both is not None
    assert right is not None
    assert both.shape == (warm.shape[0] + deep.shape[0], warm.shape[1], 3)
    assert right.shape == warm.shape
    assert not np.array_equal(right, warm)  # its title says that it is the right half's
    assert bar_of(shown, Look(second=Look("opacity"), layout="wipe")) is None


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
