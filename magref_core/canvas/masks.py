"""From the canvas mask in pixels to the four mask channels beside the noise."""

from __future__ import annotations

from torch import Tensor

from ..errors import ShapeError
from ..sizes import FRAME_STRIDE, PIXEL_STRIDE, num_latent_frames


def to_latent_mask(canvas_mask: Tensor) -> Tensor:
    """Mark the latent cells in which a reference is drawn.

    A cell is marked when any of its 8 x 8 pixels is. Pixels to the right of and below the last whole cell
    are ignored.

    Args:
        canvas_mask: (B, H, W) in {0, 1}; 1 on a reference, 0 on the background.

    Returns:
        (B, H // 8, W // 8) in {0, 1}; dtype and device as given.

    Raises:
        ShapeError: a side is shorter than a cell.

    Source: MAGREF, magref/subject2video.py, `downsample_mask` in `process_refimg`.
    """
    batch, height, width = canvas_mask.shape
    rows, columns = height // PIXEL_STRIDE, width // PIXEL_STRIDE
    if not (rows and columns):
        raise ShapeError(f"the canvas mask is {width} x {height} pixels: use at least 16 x 16")
    whole = canvas_mask[:, : rows * PIXEL_STRIDE, : columns * PIXEL_STRIDE]
    return whole.reshape(batch, rows, PIXEL_STRIDE, columns, PIXEL_STRIDE).amax(dim=(2, 4))


def mask_channels(latent_mask: Tensor, num_frames: int) -> Tensor:
    """Spread the latent mask over the frames of a video.

    The canvas is pixel frame 0, which fills latent frame 0 alone; there all four channels, one for each of
    the pixel frames that a later latent frame would hold, carry the mask. All later frames are 0.

    Args:
        latent_mask: (B, h, w) in {0, 1}; 1 on a reference.
        num_frames: pixel frames of the video, 4 n + 1.

    Returns:
        (B, 4, T, h, w) in {0, 1} with T = n + 1; dtype and device as given.

    Raises:
        ShapeError: `num_frames` is not 4 n + 1.

    Source: MAGREF, magref/subject2video.py, `msk` in `generate`, which holds for 81 frames only.
    """
    batch, height, width = latent_mask.shape
    channels = latent_mask.new_zeros(batch, FRAME_STRIDE, num_latent_frames(num_frames), height, width)
    channels[:, :, 0] = latent_mask[:, None]
    return channels
