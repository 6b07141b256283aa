"""Kernels that project Gaussians to the image plane, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from render.rasterizer._kinds import Doubles, Floats, Ints
from render.rasterizer._simd import (
    LANES,
    both,
    fma,
    inlined,
    kernel,
    lane_array,
    load,
    root,
    splat,
    store,
    where,
)
from render.rasterizer._types import EPS2D, FAR, MAX_SIGMAS, MIN_ALPHA, NEAR

BLOCK = 4096  # Gaussians per partial sum of the pose gradient: fixed, so that its bits are too

_NEAR = np.float32(NEAR)
_FAR = np.float32(FAR)
_EPS = np.float32(EPS2D)
_MIN_ALPHA = np.float32(MIN_ALPHA)
_SIGMAS = np.float32(MAX_SIGMAS)
_LOG_MIN_ALPHA = np.float32(math.log2(MIN_ALPHA))
_LN2 = np.float32(math.log(2.0))
_ZERO = np.float32(0)
_ONE = np.float32(1)
_TWO = np.float32(2)
_HALF = np.float32(0.5)
_MARGIN = np.float32(0.15)


@inlined
def _rotate(quat: Floats, matrix: Floats) -> float:
    """Fill a rotation matrix from a wxyz quaternion of any length; returns 1 / length."""
    inverse = _ONE / max(math.sqrt(quat[0] ** 2 + quat[1] ** 2 + quat[2] ** 2 + quat[3] ** 2), np.float32(1e-12))
    w, x, y, z = quat[0] * inverse, quat[1] * inverse, quat[2] * inverse, quat[3] * inverse
    matrix[0, 0] = _ONE - _TWO * (y * y + z * z)
    matrix[0, 1] = _TWO * (x * y - w * z)
    matrix[0, 2] = _TWO * (x * z + w * y)
    matrix[1, 0] = _TWO * (x * y + w * z)
    matrix[1, 1] = _ONE - _TWO * (x * x + z * z)
    matrix[1, 2] = _TWO * (y * z - w * x)
    matrix[2, 0] = _TWO * (x * z - w * y)
    matrix[2, 1] = _TWO * (y * z + w * x)
    matrix[2, 2] = _ONE - _TWO * (x * x + y * y)
    return inverse


@inlined
def _clamped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@inlined
def _linearize(
    x: float, y: float, z: float, K: Floats, width: int, height: int, pose: Floats, screen: Floats
) -> tuple[float, float]:
    """Rows of J R, the projection linearized at the (clamped) centre; returns the clamped x and y."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = _MARGIN * width / fx, _MARGIN * height / fy
    jx = z * _clamped(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    jy = z * _clamped(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    for i in range(3):
        screen[0, i] = (fx * pose[0, i] - fx * jx / z * pose[2, i]) / z
        screen[1, i] = (fy * pose[1, i] - fy * jy / z * pose[2, i]) / z
    return jx, jy


@inlined
def _row_times(pose: Floats, row: int, x: Any, y: Any, z: Any) -> Any:
    """One row of the pose times sixteen points."""
    return fma(splat(pose[row, 0]), x, fma(splat(pose[row, 1]), y, splat(pose[row, 2]) * z))


@inlined
def _bounded(value: Any, low: float, high: float) -> Any:
    value = where(value > splat(low), value, splat(low))
    return where(value > splat(high), splat(high), value)


@inlined
def _screen_rows(x: Any, y: Any, inverse_z: Any, K: Floats, width: float, height: float, pose: Floats) -> Any:
    """Both rows of J R of sixteen Gaussians, J linearized at the centre clamped to 1.3 times the field of view."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = _MARGIN * width / fx, _MARGIN * height / fy
    along_x = _bounded(x * inverse_z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    along_y = _bounded(y * inverse_z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    scale_x, scale_y = splat(fx) * inverse_z, splat(fy) * inverse_z
    return (
        scale_x * (splat(pose[0, 0]) - along_x * splat(pose[2, 0])),
        scale_x * (splat(pose[0, 1]) - along_x * splat(pose[2, 1])),
        scale_x * (splat(pose[0, 2]) - along_x * splat(pose[2, 2])),
        scale_y * (splat(pose[1, 0]) - along_y * splat(pose[2, 0])),
        scale_y * (splat(pose[1, 1]) - along_y * splat(pose[2, 1])),
        scale_y * (splat(pose[1, 2]) - along_y * splat(pose[2, 2])),
    )


@inlined
def _rotations(w: Any, x: Any, y: Any, z: Any) -> Any:
    """Columns of sixteen rotation matrices from quaternions of any length."""
    tiny = splat(np.float32(1e-12))
    length = root(fma(w, w, fma(x, x, fma(y, y, z * z))))
    inverse = splat(_ONE) / where(length > tiny, length, tiny)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    one, two = splat(_ONE), splat(_TWO)
    return (
        (one - two * (y * y + z * z), two * (x * y + w * z), two * (x * z - w * y)),
        (two * (x * y - w * z), one - two * (x * x + z * z), two * (y * z + w * x)),
        (two * (x * z + w * y), two * (y * z - w * x), one - two * (x * x + y * y)),
    )


@inlined
def _gather(
    start: int, count: int, means: Floats, quats: Floats, scales: Floats, opacities: Floats, lanes: Floats
) -> None:
    """Sixteen Gaussians side by side: means, quats, scales, opacity."""
    for lane in range(count):
        i = start + lane
        for j in range(3):
            lanes[j * LANES + lane] = means[i, j]
            lanes[(7 + j) * LANES + lane] = scales[i, j]
        for j in range(4):
            lanes[(3 + j) * LANES + lane] = quats[i, j]
        lanes[10 * LANES + lane] = opacities[i]


@inlined
def _project_lanes(lanes: Floats, pose: Floats, K: Floats, width: float, height: float, out: Floats) -> None:
    """Project sixteen Gaussians: centre, conic, depth, variances, and whether they may be visible (1 or 0)."""
    px, py, pz = load(lanes, 0), load(lanes, LANES), load(lanes, 2 * LANES)
    x = _row_times(pose, 0, px, py, pz) + splat(pose[0, 3])
    y = _row_times(pose, 1, px, py, pz) + splat(pose[1, 3])
    z = _row_times(pose, 2, px, py, pz) + splat(pose[2, 3])
    inside = both(both(z > splat(_NEAR), splat(_FAR) > z), load(lanes, 10 * LANES) >= splat(_MIN_ALPHA))
    inverse_z = splat(_ONE) / where(inside, z, splat(_ONE))
    mean_x, mean_y = (
        fma(splat(K[0, 0]) * x, inverse_z, splat(K[0, 2])),
        fma(splat(K[1, 1]) * y, inverse_z, splat(K[1, 2])),
    )
    s00, s01, s02, s10, s11, s12 = _screen_rows(x, y, inverse_z, K, width, height, pose)
    columns = _rotations(load(lanes, 3 * LANES), load(lanes, 4 * LANES), load(lanes, 5 * LANES), load(lanes, 6 * LANES))
    size_0, size_1, size_2 = load(lanes, 7 * LANES), load(lanes, 8 * LANES), load(lanes, 9 * LANES)
    c0, c1, c2 = columns
    # M = J R Q S, two rows of three.
    m00 = fma(s00, c0[0], fma(s01, c0[1], s02 * c0[2])) * size_0
    m01 = fma(s00, c1[0], fma(s01, c1[1], s02 * c1[2])) * size_1
    m02 = fma(s00, c2[0], fma(s01, c2[1], s02 * c2[2])) * size_2
    m10 = fma(s10, c0[0], fma(s11, c0[1], s12 * c0[2])) * size_0
    m11 = fma(s10, c1[0], fma(s11, c1[1], s12 * c1[2])) * size_1
    m12 = fma(s10, c2[0], fma(s11, c2[1], s12 * c2[2])) * size_2
    xx, yy = fma(m00, m00, fma(m01, m01, m02 * m02)), fma(m10, m10, fma(m11, m11, m12 * m12))
    xy = fma(m00, m10, fma(m01, m11, m02 * m12))
    # det(M M^T + eps I) from the minors of M (Cauchy-Binet): no cancellation for needles.
    d0, d1, d2 = m01 * m12 - m02 * m11, m02 * m10 - m00 * m12, m00 * m11 - m01 * m10
    eps = splat(_EPS)
    determinant = fma(d0, d0, fma(d1, d1, d2 * d2)) + eps * (xx + yy) + eps * eps
    inverse = splat(_ONE) / determinant
    xx, yy = xx + eps, yy + eps
    reach_x = fma(splat(_SIGMAS), root(xx), splat(_ONE))
    reach_y = fma(splat(_SIGMAS), root(yy), splat(_ONE))
    inside = both(inside, both(mean_x + reach_x > splat(_ZERO), splat(width) > mean_x - reach_x))
    inside = both(inside, both(mean_y + reach_y > splat(_ZERO), splat(height) > mean_y - reach_y))
    store(out, 0, mean_x)
    store(out, LANES, mean_y)
    store(out, 2 * LANES, yy * inverse)
    store(out, 3 * LANES, splat(_ZERO) - xy * inverse)
    store(out, 4 * LANES, xx * inverse)
    store(out, 5 * LANES, z)
    store(out, 6 * LANES, xx)
    store(out, 7 * LANES, yy)
    store(out, 8 * LANES, where(inside, splat(_ONE), splat(_ZERO)))


@kernel
def project(
    first: int,
    last: int,
    means: Floats,
    quats: Floats,
    scales: Floats,
    opacities: Floats,
    pose: Floats,
    K: Floats,
    width: int,
    height: int,
    means2d: Floats,
    conics: Floats,
    depths: Floats,
    variances: Floats,
    radii: Ints,
) -> None:
    """Fill centres, conics, depths, variances along x and y, log2 of the opacity, and radii (0 = culled).

    See :func:`render.rasterizer.reference.project`.
    """
    lanes, out = lane_array(11 * LANES), lane_array(9 * LANES)
    lanes[:] = _ONE
    wide, high = np.float32(width), np.float32(height)
    for start in range(first, last, LANES):
        count = min(LANES, last - start)
        _gather(start, count, means, quats, scales, opacities, lanes)
        _project_lanes(lanes, pose, K, wide, high, out)
        for lane in range(count):
            i = start + lane
            mean_x, mean_y = out[lane], out[LANES + lane]
            means2d[i, 0], means2d[i, 1] = mean_x, mean_y
            depths[i] = out[5 * LANES + lane]
            radii[i, 0], radii[i, 1] = 0, 0
            if out[8 * LANES + lane] == _ZERO:
                continue
            xx, yy = out[6 * LANES + lane], out[7 * LANES + lane]
            log_opacity = np.float32(math.log2(opacities[i]))
            reach = min(math.sqrt(_TWO * _LN2 * (log_opacity - _LOG_MIN_ALPHA)), _SIGMAS)
            radius_x, radius_y = math.ceil(reach * math.sqrt(xx)), math.ceil(reach * math.sqrt(yy))
            if (
                mean_x + radius_x <= _ZERO
                or mean_x - radius_x >= wide
                or mean_y + radius_y <= _ZERO
                or mean_y - radius_y >= high
            ):
                continue
            radii[i, 0], radii[i, 1] = np.int32(radius_x), np.int32(radius_y)
            variances[i, 0], variances[i, 1], variances[i, 2] = xx, yy, log_opacity
            for j in range(3):
                conics[i, j] = out[(2 + j) * LANES + lane]


@inlined
def _quat_gradient(quat: Floats, inverse: float, grad: Floats, out: Floats) -> None:
    """Chain dL/dR to the unnormalized quaternion."""
    w, x, y, z = quat[0] * inverse, quat[1] * inverse, quat[2] * inverse, quat[3] * inverse
    gw = _TWO * (x * (grad[2, 1] - grad[1, 2]) + y * (grad[0, 2] - grad[2, 0]) + z * (grad[1, 0] - grad[0, 1]))
    gx = _TWO * (
        -_TWO * x * (grad[1, 1] + grad[2, 2])
        + y * (grad[0, 1] + grad[1, 0])
        + z * (grad[0, 2] + grad[2, 0])
        + w * (grad[2, 1] - grad[1, 2])
    )
    gy = _TWO * (
        x * (grad[0, 1] + grad[1, 0])
        - _TWO * y * (grad[0, 0] + grad[2, 2])
        + z * (grad[1, 2] + grad[2, 1])
        + w * (grad[0, 2] - grad[2, 0])
    )
    gz = _TWO * (
        x * (grad[0, 2] + grad[2, 0])
        + y * (grad[1, 2] + grad[2, 1])
        - _TWO * z * (grad[0, 0] + grad[1, 1])
        + w * (grad[1, 0] - grad[0, 1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    out[0] = (gw - along * w) * inverse
    out[1] = (gx - along * x) * inverse
    out[2] = (gy - along * y) * inverse
    out[3] = (gz - along * z) * inverse


@inlined
def _factor_gradient(
    screen: Floats, rotation: Floats, scale: Floats, conic: Floats, grad_conic: Floats, grad_factor: Floats
) -> None:
    """Gradient of M = J R Q S from the conic's, the inverse of M M^T + eps I."""
    a, b, c = conic[0], conic[1], conic[2]
    ga, gb, gc = grad_conic[0], _HALF * grad_conic[1], grad_conic[2]
    # d(inverse): dL/dcov = -conic G conic.
    p00, p01 = a * ga + b * gb, a * gb + b * gc
    p10, p11 = b * ga + c * gb, b * gb + c * gc
    g_xx, g_xy, g_yy = -(p00 * a + p01 * b), -(p00 * b + p01 * c), -(p10 * b + p11 * c)
    for j in range(3):
        m0, m1 = _ZERO, _ZERO
        for k in range(3):
            m0 += screen[0, k] * rotation[k, j]
            m1 += screen[1, k] * rotation[k, j]
        m0 *= scale[j]
        m1 *= scale[j]
        grad_factor[0, j] = _TWO * (g_xx * m0 + g_xy * m1)
        grad_factor[1, j] = _TWO * (g_xy * m0 + g_yy * m1)


@inlined
def _chain_factor(
    screen: Floats,
    rotation: Floats,
    scale: Floats,
    grad_factor: Floats,
    grad_screen: Floats,
    grad_rotation: Floats,
    grad_scale: Floats,
) -> None:
    """From the gradient of M = (J R) Q S to those of its parts."""
    for r in range(2):
        for k in range(3):
            total = _ZERO
            for j in range(3):
                total += grad_factor[r, j] * rotation[k, j] * scale[j]
            grad_screen[r, k] = total
    for j in range(3):
        total = _ZERO
        for k in range(3):
            g = screen[0, k] * grad_factor[0, j] + screen[1, k] * grad_factor[1, j]
            total += g * rotation[k, j]
            grad_rotation[k, j] = g * scale[j]
        grad_scale[j] = total


@inlined
def _chain_centre(
    centre: Floats,
    jx: float,
    jy: float,
    K: Floats,
    pose: Floats,
    grad_screen: Floats,
    grad_mean2d: Floats,
    grad_depth: float,
) -> tuple[float, float, float]:
    """Gradient of the centre in camera axes, from the projected centre, the depth and J R."""
    x, y, z = centre[0], centre[1], centre[2]
    fx, fy = K[0, 0], K[1, 1]
    # J = [[fx/z, 0, -fx jx/z^2], [0, fy/z, -fy jy/z^2]] and its gradient J' = grad_screen R^T.
    j00, j02, j11, j12 = _ZERO, _ZERO, _ZERO, _ZERO
    for k in range(3):
        j00 += grad_screen[0, k] * pose[0, k]
        j02 += grad_screen[0, k] * pose[2, k]
        j11 += grad_screen[1, k] * pose[1, k]
        j12 += grad_screen[1, k] * pose[2, k]
    z2 = z * z
    gx = grad_mean2d[0] * fx / z
    gy = grad_mean2d[1] * fy / z
    gz = grad_depth - (gx * x + gy * y) / z
    gz += (-fx * j00 - fy * j11) / z2 + _TWO * (fx * jx * j02 + fy * jy * j12) / (z2 * z)
    # Where the linearization point is clamped it follows z alone.
    if jx == z * (x / z):
        gx -= fx * j02 / z2
    else:
        gz -= fx * j02 / z2 * (jx / z)
    if jy == z * (y / z):
        gy -= fy * j12 / z2
    else:
        gz -= fy * j12 / z2 * (jy / z)
    return gx, gy, gz


@kernel
def project_backward(
    first: int,
    last: int,
    means: Floats,
    quats: Floats,
    scales: Floats,
    pose: Floats,
    K: Floats,
    width: int,
    height: int,
    conics: Floats,
    radii: Ints,
    grad_means2d: Floats,
    grad_conics: Floats,
    grad_depths: Floats,
    grad_means: Floats,
    grad_quats: Floats,
    grad_scales: Floats,
    grad_poses: Doubles,
) -> None:
    """Chain gradients of :func:`project` to its inputs; ``grad_poses [blocks, 3, 4]`` are partial sums."""
    rotation = np.empty((3, 3), np.float32)
    screen = np.empty((2, 3), np.float32)
    grad_factor = np.empty((2, 3), np.float32)
    grad_rotation = np.empty((3, 3), np.float32)
    grad_screen = np.empty((2, 3), np.float32)
    camera = np.empty(3, np.float32)
    grad_camera = np.empty(3, np.float32)
    wide, high = np.float32(width), np.float32(height)
    fx, fy = K[0, 0], K[1, 1]
    for i in range(first, last):
        if radii[i, 0] == 0:
            continue
        for r in range(3):
            camera[r] = pose[r, 0] * means[i, 0] + pose[r, 1] * means[i, 1] + pose[r, 2] * means[i, 2] + pose[r, 3]
        z = camera[2]
        jx, jy = _linearize(camera[0], camera[1], z, K, wide, high, pose, screen)
        inverse = _rotate(quats[i], rotation)
        _factor_gradient(screen, rotation, scales[i], conics[i], grad_conics[i], grad_factor)
        _chain_factor(screen, rotation, scales[i], grad_factor, grad_screen, grad_rotation, grad_scales[i])
        _quat_gradient(quats[i], inverse, grad_rotation, grad_quats[i])
        gx, gy, gz = _chain_centre(camera, jx, jy, K, pose, grad_screen, grad_means2d[i], grad_depths[i])
        grad_camera[0], grad_camera[1], grad_camera[2] = gx, gy, gz
        for k in range(3):
            grad_means[i, k] = pose[0, k] * gx + pose[1, k] * gy + pose[2, k] * gz
        block = i // BLOCK
        for k in range(3):
            grad_poses[block, 0, k] += fx / z * grad_screen[0, k]
            grad_poses[block, 1, k] += fy / z * grad_screen[1, k]
            grad_poses[block, 2, k] -= (fx * jx * grad_screen[0, k] + fy * jy * grad_screen[1, k]) / (z * z)
            for r in range(3):
                grad_poses[block, r, k] += grad_camera[r] * means[i, k]
        for r in range(3):
            grad_poses[block, r, 3] += grad_camera[r]
