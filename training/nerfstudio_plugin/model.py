"""Feature Gaussians: splatfacto's model, rendered by this project, with a feature per Gaussian.

Yue et al., "Improving 2D Feature Representations by 3D-Aware Fine-Tuning", section 3.1: colours and
geometry follow the RGB loss alone (eq. 3); features are blended like colours (eq. 2) and decoded by one
3x3 convolution per scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizer
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.lib_bilagrid import BilateralGrid, color_correct, total_variation_loss
from nerfstudio.models.base_model import Model
from nerfstudio.models.splatfacto import (
    RGB2SH,
    SplatfactoModel,
    SplatfactoModelConfig,
    num_sh_bases,
    random_quat_tensor,
)
from nerfstudio.utils.colors import get_color
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerButton
from torch import Tensor
from torch.nn import Conv2d, Parameter, ParameterDict

from render import Camera, Gaussians, InputError, rasterize
from training.nerfstudio_plugin.cameras import to_camera
from training.nerfstudio_plugin.perceptual import PerceptualMetric
from training.nerfstudio_plugin.strategy import CappedStrategy
from training.nerfstudio_plugin.targets import resize_map
from training.seeding import neighbour_distances
from training.ssim import ssim
from uplift.pca import PCAColours

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

VISER_BACKGROUND = (0.1490, 0.1647, 0.2157)
FEATURE_INIT = 0.1  # standard deviation of the random initial features


@dataclass
class Fit3DModelConfig(SplatfactoModelConfig):
    """Feature Gaussians on any device."""

    _target: type = field(default_factory=lambda: Fit3DModel)
    feature_dim: int = 64
    """Channels of the feature that each Gaussian carries; unused without an encoder."""
    feature_downscale: int = 1
    """Features are rendered, decoded and compared at the photo's size divided by this."""
    feature_every: int = 1
    """The feature loss is taken in every so many steps."""
    feature_lambda: float = 1.0
    """Weight of the feature loss; it moves nothing but features and decoder."""
    feature_seed: int = 0
    """Seed of the random initial features."""
    max_gaussians: int = 1_000_000
    """Densification never exceeds this number."""
    pause_after_reset: int | None = None
    """Steps without densification after an opacity reset, and at the start; None = photos + refine_every."""
    initial_opacity: float = 0.1
    """Opacity of the seeds."""


class Fit3DModel(SplatfactoModel):
    """Gaussians with colours and features; see the module.

    The encoder's name, fingerprint, fitted state and mean feature come in as ``metadata["encoder"]`` of the
    data set and travel in the checkpoint, so that a run can be imported without its photos' maps.
    """

    config: Fit3DModelConfig

    def populate_modules(self) -> None:
        """Make the Gaussians from the seeds; nothing is downloaded, nothing needs a GPU."""
        config = self.config
        if config.rasterize_mode != "classic":
            raise InputError(
                f"fit3d renders in the classic mode, found rasterize_mode {config.rasterize_mode!r}; leave it out."
            )
        self.encoder_info: dict[str, Any] = dict(self.kwargs.get("metadata", {}).get("encoder", {}))
        self.gauss_params = ParameterDict(self._seed_parameters())
        self._populate_features()
        self.camera_optimizer: CameraOptimizer = config.camera_optimizer.setup(
            num_cameras=self.num_train_data, device="cpu"
        )
        self.step = 0
        self.crop_box: OrientedBox | None = None
        self.background_color = (
            torch.tensor(VISER_BACKGROUND)
            if config.background_color == "random"
            else get_color(config.background_color)
        )
        if config.use_bilateral_grid:
            x, y, w = config.grid_shape
            self.bil_grids = BilateralGrid(num=self.num_train_data, grid_X=x, grid_Y=y, grid_W=w)
        self.strategy = self._make_strategy()
        self.strategy_state = self.strategy.initialize_state(scene_scale=1.0)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.perceptual = PerceptualMetric()
        self._screen: SimpleNamespace | None = None
        self._basis: PCAColours | None = None
        self._warned = False

    @property
    def has_features(self) -> bool:
        """Whether the Gaussians carry features."""
        return "features" in self.gauss_params

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs: Any) -> Any:  # noqa: A002  nerfstudio's name
        """Load a checkpoint of any number of Gaussians.

        The parameters stay the objects that the optimizers hold: replacing them, as splatfacto does, would
        make a resumed training change nothing.
        """
        if "gauss_params.features" in dict and not self.has_features:
            # Outside training the data manager fits no encoder: the checkpoint knows what it was.
            self.encoder_info = {**dict["_extra_state"]}
            self._populate_features()
            self.to(self.device)
        own = {**{n: p for n, p in self.named_parameters()}, **{n: b for n, b in self.named_buffers()}}
        for name, value in dict.items():
            if name in own and own[name].shape != value.shape:
                own[name].data = torch.empty(value.shape, dtype=own[name].dtype, device=own[name].device)
        self.strategy_state = self.strategy.initialize_state(scene_scale=1.0)
        self._basis = None
        return Model.load_state_dict(self, dict, **kwargs)

    def get_extra_state(self) -> dict[str, Any]:
        """What the checkpoint tells about the encoder."""
        return self.encoder_info

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what the checkpoint tells about the encoder."""
        self.encoder_info = dict(state)

    def update_to_step(self, step: int) -> None:
        """Continue from a checkpoint's step."""
        self.step = step

    def get_gaussian_param_groups(self) -> dict[str, list[Parameter]]:
        """One group per parameter of the Gaussians, features included."""
        return {name: [parameter] for name, parameter in self.gauss_params.items()}

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The groups of the optimizers."""
        groups = self.get_gaussian_param_groups()
        if self.has_features:
            groups["feature_decoder"] = list(self.feature_decoder.parameters())
        if self.config.use_bilateral_grid:
            groups["bilateral_grid"] = list(self.bil_grids.parameters())
        self.camera_optimizer.get_param_groups(param_groups=groups)
        return groups

    def step_post_backward(self, step: int) -> None:
        """Densify and prune."""
        if self._screen is None:
            return
        screen, self._screen = self._screen, None
        means2d = screen.rendering.means2d
        gradients = SimpleNamespace(
            grad=None if means2d.grad is None else means2d.grad[None],
            absgrad=means2d.absgrad[None] if self.strategy.absgrad else None,
        )
        info = {
            "width": screen.camera.width,
            "height": screen.camera.height,
            "n_cameras": 1,
            "radii": screen.rendering.radii[None],
            "gaussian_ids": None,
            "means2d": gradients,
        }
        # Counted from 1: step 0 is a multiple of every period.
        self.strategy.step_post_backward(self.gauss_params, self.optimizers, self.strategy_state, step + 1, info)

    def get_outputs(self, camera: Cameras) -> dict[str, Any]:
        """Render a camera.

        Returns:
            ``rgb`` ``[h, w, 3]``, ``accumulation`` ``[h, w, 1]``, ``depth`` ``[h, w, 1]``, ``background``;
            with features, in training, ``features`` ``[h', w', C]`` (decoded), else ``feature_pca`` ``[h, w, 3]``.
        """
        pose = self.camera_optimizer.apply_to_camera(camera)[0, :3, :4] if self.training else None
        view = to_camera(camera, pose, divide=self._get_downscale_factor())
        chosen = None
        if self.crop_box is not None and not self.training:
            chosen = self.crop_box.within(self.means).reshape(-1)
            if not chosen.any():
                return self._empty_outputs(view)
        gaussians = self.gaussians(chosen)
        background = self._get_background_color()
        absgrad = self.training and self.strategy.absgrad
        rendering = rasterize(gaussians, view, background=background, absgrad=absgrad)
        rgb = rendering.values.clamp(0.0, 1.0)
        if self.training:
            if rendering.means2d.requires_grad:
                rendering.means2d.retain_grad()
                self._screen = SimpleNamespace(rendering=rendering, camera=view)
            if self.config.use_bilateral_grid:
                grid = camera.metadata["cam_idx"]
                rgb = self._apply_bilateral_grid(rgb[None], grid, view.height, view.width)[0]
        outputs = {"rgb": rgb, "accumulation": rendering.alpha[..., None], "background": background}
        if self.training:
            outputs["depth"] = None
            if self.has_features and self.step % self.config.feature_every == 0:
                outputs["features"] = self.decoded_features(to_camera(camera, pose))
            return outputs
        depth = rendering.depth[..., None]
        outputs["depth"] = torch.where(outputs["accumulation"] > 0, depth, depth.max())
        outputs["background"] = background.expand(view.height, view.width, 3)
        if self.has_features:
            colours = self.feature_colours()
            colours = colours if chosen is None else colours[chosen]
            outputs["feature_pca"] = rasterize(gaussians, view, values=colours).values.clamp(0.0, 1.0)
        return outputs

    def gaussians(self, chosen: Shaped[Tensor, " n"] | None = None) -> Gaussians:
        """The Gaussians as the rasterizer wants them, in nerfstudio's frame.

        Args:
            chosen: Mask of those to keep; None = all.
        """
        p = {n: v if chosen is None else v[chosen] for n, v in self.gauss_params.items()}
        degree = self.config.sh_degree
        if degree == 0:  # splatfacto's convention: without view dependence colours are logits
            sh = RGB2SH(torch.sigmoid(p["features_dc"]))[:, None, :]
        else:
            if self.training and self.config.sh_degree_interval > 0:
                degree = min(degree, self.step // self.config.sh_degree_interval)
            rest = p["features_rest"][:, : num_sh_bases(degree) - 1]
            sh = torch.cat([p["features_dc"][:, None, :], rest], 1)
        return Gaussians(
            means=p["means"],
            quats=p["quats"],
            scales=torch.exp(p["scales"]),
            opacities=torch.sigmoid(p["opacities"]).squeeze(-1),
            sh=sh,
        )

    def decoded_features(self, view: Camera) -> Float[Tensor, "h w C"]:
        """Render the features and decode them; only features and decoder get gradients.

        Args:
            view: At the photo's size; the result is ``feature_downscale`` times smaller.
        """
        divide = self.config.feature_downscale
        small = view.resized(max(view.width // divide, 1), max(view.height // divide, 1))
        small = Camera(small.K.detach(), small.world_to_camera.detach(), small.width, small.height)
        blended = rasterize(self.gaussians().detach(), small, values=self.gauss_params["features"]).values
        return self.feature_decoder(blended.permute(2, 0, 1)[None])[0].permute(1, 2, 0)

    @torch.no_grad()
    def feature_colours(self) -> Float[Tensor, "n 3"]:
        """PCA colours of the Gaussians' decoded features, in a basis that stays until it is refreshed."""
        # On constant features the convolution is the sum of its taps: that decodes a Gaussian by itself.
        taps = self.feature_decoder.weight.sum((2, 3))
        decoded = self.gauss_params["features"] @ taps.T + self.feature_decoder.bias
        if self._basis is None:
            self._basis = PCAColours.fit(decoded, torch.sigmoid(self.opacities[:, 0]))
        return self._basis.colours(decoded)

    def get_gt_img(self, image: Tensor) -> Float[Tensor, "h w c"]:
        """The photo in [0, 1] at the current resolution."""
        image = image.to(self.device)
        if image.dtype == torch.uint8:
            image = image.float() / 255.0
        return shrink(image, self._get_downscale_factor())

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """PSNR of the training picture and the number of Gaussians."""
        with torch.no_grad():
            photo = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
            metrics = {"psnr": psnr(outputs["rgb"], photo), "gaussian_count": self.num_points}
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics

    def get_loss_dict(
        self,
        outputs: dict[str, Any],
        batch: dict[str, Any],
        metrics_dict: dict[str, Any] | None = None,  # noqa: ARG002  nerfstudio's signature
    ) -> dict[str, Tensor]:
        """Eq. (3): L1 and D-SSIM on the photo, L1 on the feature map."""
        config = self.config
        photo = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
        rgb = outputs["rgb"]
        if "mask" in batch:
            mask = shrink(batch["mask"].to(self.device).float(), self._get_downscale_factor())
            photo, rgb = photo * mask, rgb * mask
        l1 = (photo - rgb).abs().mean()
        losses = {"main_loss": (1 - config.ssim_lambda) * l1 + config.ssim_lambda * (1 - ssim(rgb, photo))}
        if config.use_scale_regularization and self.step % 10 == 0:
            scales = torch.exp(self.scales)
            ratio = scales.amax(-1) / scales.amin(-1)
            losses["scale_reg"] = 0.1 * (ratio.clamp_min(config.max_gauss_ratio) - config.max_gauss_ratio).mean()
        if "features" in outputs and "feature_map" in batch:
            error = feature_error(outputs["features"], batch["feature_map"])
            losses["feature_loss"] = config.feature_lambda * error
        if self.training:
            self.camera_optimizer.get_loss_dict(losses)
            if config.use_bilateral_grid:
                losses["tv_loss"] = 10 * total_variation_loss(self.bil_grids.grids)
        return losses

    @torch.no_grad()
    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Evaluate a held-out picture.

        Returns:
            ``psnr``, ``ssim``, ``lpips`` where its weights are on this machine; with features ``feature_l1``
            and ``feature_l1_of_mean``, the error of always predicting the mean training feature.
        """
        photo = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
        rgb = outputs["rgb"]
        metrics = {"psnr": float(psnr(rgb, photo)), "ssim": float(ssim(rgb, photo))}
        perceived = self.perceptual(rgb, photo)
        if perceived is not None:
            metrics["lpips"] = perceived
        if self.config.color_corrected_metrics:
            corrected = color_correct(rgb, photo)
            metrics |= {"cc_psnr": float(psnr(corrected, photo)), "cc_ssim": float(ssim(corrected, photo))}
        images = {"img": torch.cat([photo, rgb], dim=1)}
        if self._comparable(batch):
            decoded = self.decoded_features(to_camera(batch["camera"]))
            metrics["feature_l1"] = float(feature_error(decoded, batch["feature_map"]))
            mean = self.encoder_info["mean"].to(decoded).expand_as(decoded)
            metrics["feature_l1_of_mean"] = float(feature_error(mean, batch["feature_map"]))
            images["feature_pca"] = outputs["feature_pca"]
        return metrics, images

    def _seed_parameters(self) -> dict[str, Parameter]:
        config = self.config
        seeded = self.seed_points is not None and not config.random_init
        if seeded:
            means = self.seed_points[0].float().clone()
        else:
            means = (torch.rand((config.num_random, 3)) - 0.5) * config.random_scale
        n = len(means)
        if seeded and len(self.seed_points[1]) > 0:
            colours = self.seed_points[1].float() / 255
            dc = RGB2SH(colours) if config.sh_degree > 0 else torch.logit(colours, eps=1e-4)
        else:
            dc = torch.rand(n, 3)
        opacity = torch.full((n, 1), config.initial_opacity)
        values = {
            "means": means,
            "scales": torch.log(neighbour_distances(means))[:, None].repeat(1, 3),
            "quats": random_quat_tensor(n),
            "features_dc": dc,
            "features_rest": torch.zeros(n, num_sh_bases(config.sh_degree) - 1, 3),
            "opacities": torch.logit(opacity),
        }
        return {name: Parameter(value.contiguous()) for name, value in values.items()}

    def _populate_features(self) -> None:
        """Random features (section 4.2) and the decoder, drawn without touching the global generator."""
        dimension = self.encoder_info.get("dimension", 0)
        if self.config.feature_dim == 0 or dimension == 0:
            return
        self.refresh_colours = ViewerButton(name="Refresh feature colours", cb_hook=self._forget_basis)
        generator = torch.Generator().manual_seed(self.config.feature_seed)
        features = torch.randn(self.num_points, self.config.feature_dim, generator=generator)
        self.gauss_params["features"] = Parameter(FEATURE_INIT * features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.feature_seed)
            self.feature_decoder = Conv2d(
                self.config.feature_dim, dimension, kernel_size=3, padding=1, padding_mode="replicate"
            )
        if "mean" in self.encoder_info:
            self.feature_decoder.bias.data.copy_(self.encoder_info["mean"])

    def _make_strategy(self) -> CappedStrategy:
        config = self.config
        pause = config.pause_after_reset
        return CappedStrategy(
            prune_opa=config.cull_alpha_thresh,
            grow_grad2d=config.densify_grad_thresh,
            grow_scale3d=config.densify_size_thresh,
            grow_scale2d=config.split_screen_size,
            prune_scale3d=config.cull_scale_thresh,
            prune_scale2d=config.cull_screen_size,
            refine_scale2d_stop_iter=config.stop_screen_size_at,
            refine_start_iter=config.warmup_length,
            refine_stop_iter=config.stop_split_at,
            reset_every=config.reset_alpha_every * config.refine_every,
            refine_every=config.refine_every,
            pause_refine_after_reset=self.num_train_data + config.refine_every if pause is None else pause,
            absgrad=config.use_absgrad,
            verbose=False,
            cap_max=config.max_gaussians,
        )

    def _comparable(self, batch: Mapping[str, Any]) -> bool:
        """Whether the batch's feature map comes from the encoder that the decoder was trained for."""
        if not self.has_features or "feature_map" not in batch:
            return False
        known, found = self.encoder_info.get("fingerprint"), batch["feature_fingerprint"]
        if known != found and not self._warned:
            self._warned = True
            CONSOLE.log(
                f"The features are not evaluated: the run was trained on {self.encoder_info.get('name')} "
                f"{known}, the encoder is now {found} (other weights, settings or training photos)."
            )
        return known == found

    def _empty_outputs(self, view: Camera) -> dict[str, Any]:
        outputs = self.get_empty_outputs(view.width, view.height, self._get_background_color())
        outputs["background"] = outputs["rgb"]
        if self.has_features:
            outputs["feature_pca"] = torch.zeros_like(outputs["rgb"])
        return outputs

    def _forget_basis(self, button: ViewerButton) -> None:  # noqa: ARG002  the viewer's signature
        self._basis = None


def psnr(prediction: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return -10.0 * torch.log10((prediction - photo).square().mean())


def feature_error(decoded: Float[Tensor, "h w C"], target: Float[Tensor, "gh gw C"]) -> Float[Tensor, ""]:
    """Mean absolute error against a feature map, brought to the size of the decoded one.

    Raises:
        InputError: the numbers of channels differ.
    """
    if decoded.shape[-1] != target.shape[-1]:
        raise InputError(
            f"The decoder has {decoded.shape[-1]} channels, but the feature map has {target.shape[-1]}; "
            "was the run trained with another encoder?"
        )
    return (decoded - resize_map(target.to(decoded), *decoded.shape[:2])).abs().mean()


def shrink(image: Float[Tensor, "h w c"], divide: int) -> Float[Tensor, "h2 w2 c"]:
    """Average blocks of ``divide`` x ``divide`` pixels; incomplete ones are dropped."""
    if divide == 1:
        return image
    height, width = image.shape[0] // divide, image.shape[1] // divide
    blocks = image[: height * divide, : width * divide].reshape(height, divide, width * divide, -1)
    return blocks.mean(1).reshape(height, width, divide, -1).mean(2)
