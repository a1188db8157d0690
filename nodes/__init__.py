"""The pack's nodes in the order in which a workflow uses them."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .best_of import BestOf
from .canvas import BuildMaskedCanvas
from .convert import MagrefConvertModel
from .decode import DecodeVideo
from .decorrelation import DecorrelateReferences
from .demo import DemoEncoders, register_bundle
from .guidance import ApplyMaskedGuidance
from .guider import ReferenceGuider
from .installation import is_loaded_already
from .loaders import MagrefDiTLoader
from .lora import MagrefLoraLoader
from .references import LoadReferences
from .routes import register_routes
from .sampling import MagrefSampler, MagrefSchedule, MagrefSolver
from .segmentation import AutoMaskSubject
from .segmenters import register_folders
from .speed_profile import SpeedProfile
from .subject_controls import IdentityStrengthNode, SubjectDisentangle
from .subject_report import SubjectReport
from .subjects import BindSubjects

NODES: tuple[type[io.ComfyNode], ...] = (
    MagrefDiTLoader,
    MagrefLoraLoader,
    MagrefConvertModel,
    DemoEncoders,
    LoadReferences,
    AutoMaskSubject,
    DecorrelateReferences,
    BuildMaskedCanvas,
    BindSubjects,
    ApplyMaskedGuidance,
    SubjectDisentangle,
    IdentityStrengthNode,
    SpeedProfile,
    MagrefSampler,
    MagrefSolver,
    MagrefSchedule,
    ReferenceGuider,
    DecodeVideo,
    BestOf,
    SubjectReport,
)


class MagrefExtension(ComfyExtension):
    """What the host asks for at start."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        if is_loaded_already(NODES[0]):
            return []
        register_bundle()
        register_routes()
        register_folders()
        return list(NODES)
