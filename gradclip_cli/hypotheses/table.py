"""The table of hypotheses: a line here, and the function that it names, is all that one takes."""

from gradclip_cli.hypotheses import altering, counting
from gradclip_cli.hypotheses.account import Alteration, Hypothesis

_GITHUB = "https://github.com/"

HYPOTHESES = (
    Hypothesis("copies", counting.copies, f"{_GITHUB}ROCm/TransformerEngine/issues/715"),
    Hypothesis("tied", counting.tied, f"{_GITHUB}NVIDIA/Megatron-LM/pull/7227"),
    Hypothesis("parts", counting.parts, f"{_GITHUB}pytorch/pytorch/pull/159856"),
    Hypothesis("ranks", counting.ranks, f"{_GITHUB}deepspeedai/DeepSpeed/pull/8478"),
    Hypothesis("one-rank", counting.one_rank, f"{_GITHUB}NVIDIA-NeMo/Automodel/issues/3816"),
    Hypothesis("experts", counting.experts, f"{_GITHUB}radixark/Megatron-LM/pull/80"),
    Hypothesis("embeddings", counting.embeddings, f"{_GITHUB}NVIDIA/Megatron-LM/pull/7228"),
    Hypothesis("not-finite", counting.not_finite, f"{_GITHUB}ZYang2077/DAOcc/issues/25"),
    Hypothesis("clipped", counting.clipped, f"{_GITHUB}radixark/miles/pull/2132"),
    Hypothesis("inf-norm", counting.largest, f"{_GITHUB}meta-pytorch/torchrec/pull/3199"),
    Hypothesis("tensors", counting.tensors, f"{_GITHUB}pytorch/pytorch/pull/172288"),
    Hypothesis("roots", counting.roots, f"{_GITHUB}pytorch/pytorch/issues/151761"),
    Hypothesis("overflow", altering.overflow, f"{_GITHUB}facebookresearch/fairscale/pull/263"),
    Hypothesis(
        "each-rounded", altering.each_rounded, f"{_GITHUB}pytorch/torchtitan/pull/4135", shown=False
    ),
    Hypothesis(
        "clipped-each",
        counting.clipped_each,
        f"{_GITHUB}huggingface/transformers/pull/614",
        shown=False,
    ),
    Hypothesis(
        "copies-otherwise",
        counting.copies_otherwise,
        f"{_GITHUB}NVIDIA-NeMo/RL/issues/3788",
        shown=False,
    ),
    Hypothesis(
        "float32", altering.singly, f"{_GITHUB}pytorch/pytorch/issues/68326", shown=False, slow=True
    ),
)
"""Ways to count; the first that gives a number is told first."""

ALTERATIONS = (
    Alteration("loss-scale", altering.loss_scale, f"{_GITHUB}deepspeedai/DeepSpeed/issues/7837"),
    Alteration("world-size", altering.world_size, f"{_GITHUB}pytorch/torchtitan/issues/2318"),
    Alteration(
        "accumulation", altering.accumulation, f"{_GITHUB}huggingface/transformers/pull/35207"
    ),
    Alteration("rounded", altering.rounded, f"{_GITHUB}facebookresearch/fairscale/issues/1092"),
)
"""Ways to alter what was counted."""
